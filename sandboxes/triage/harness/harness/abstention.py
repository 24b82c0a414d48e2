"""Measures of answers that may be withheld. Everything takes weights (replicates, n)."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Bools, Floats, Ints, ratio


@dataclass(frozen=True)
class Routed:
    """Requests with what became of them, (n,) each.

    scope: some service is responsible; open: either of two is; service: the number of the one that was (−1: none); right: it is
    the one that the pilot named; answered: the pilot did not abstain; spoken: it named the request's language.
    """

    scope: Bools
    open: Bools
    service: Ints
    right: Bools
    answered: Bools
    confidence: Floats
    spoken: Bools

    def __len__(self) -> int:
        return len(self.scope)

    @property
    def events(self) -> int:
        """Requests that some service is responsible for."""
        return int(self.scope.sum())

    @property
    def non_events(self) -> int:
        """Those that none is."""
        return int((~self.scope).sum())

    def only(self, inside: Bools) -> "Routed":
        """The requests (n,) that are inside."""
        return Routed(**{name: getattr(self, name)[inside] for name in self.__dataclass_fields__})


def balanced_accuracy(cases: Routed, weights: Floats) -> Floats:
    """Mean over services of the share named rightly, whether or not the pilot abstained (Brodersen et al. 2010): (replicates,)."""
    shares = [ratio(weights @ (own & cases.right), weights @ own) for own in (cases.service == k for k in np.unique(cases.service[cases.scope]))]
    return np.asarray(np.mean(shares, axis=0))


def served(cases: Routed, weights: Floats) -> Floats:
    """Share of the requests in scope that are answered, and rightly: (replicates,)."""
    return ratio(weights @ (cases.scope & cases.answered & cases.right), weights @ cases.scope)


def overconfidence(cases: Routed, weights: Floats) -> Floats:
    """Mean confidence less the share of right ones, of what is answered (calibration in the large): (replicates,)."""
    return ratio(weights @ (cases.answered * (cases.confidence - cases.right)), weights @ cases.answered)


def aurc(cases: Routed, weights: Floats) -> Floats:
    """Area under the risk–coverage curve (Geifman, Uziel & El-Yaniv 2019), out of scope counting as wrong: (replicates,).

    The mean over all requests of the share that is wrong among those at least as confident; equal confidence is answered together.
    """
    order = np.argsort(-cases.confidence, kind="stable")
    confidence, drawn = cases.confidence[order], weights[:, order]
    starts = np.flatnonzero(np.concatenate(([True], confidence[1:] != confidence[:-1])))
    own, wrong = (np.add.reduceat(values, starts, axis=1) for values in (drawn, drawn * ~cases.right[order]))
    risk = np.nan_to_num(ratio(np.cumsum(wrong, axis=1), np.cumsum(own, axis=1)))
    return ratio((own * risk).sum(axis=1), drawn.sum(axis=1))


@dataclass(frozen=True)
class Band:
    """Answers of about the same confidence: how many, how many of them wrong, the mean that confidence leaves for that, and the p-value."""

    n: int
    wrong: int
    expected: float
    p: float


def bands(cases: Routed, edges: Floats) -> list[Band]:
    """The bands of what is answered that `edges` (of 1 − confidence, rising) cut, where anything is in them.

    p is that of so many wrong ones or more (exact binomial test) if confidence were right. Where confidences differ within a band
    it is too large rather than too small (Hoeffding 1956).
    """
    from scipy.special import betainc

    left, wrong = 1 - cases.confidence[cases.answered], ~cases.right[cases.answered]
    number = np.searchsorted(edges, left, side="right")
    found = []
    for band in np.unique(number):
        own = number == band
        n, bad, expected = int(own.sum()), int(wrong[own].sum()), float(left[own].mean())
        found.append(Band(n, bad, expected, float(betainc(bad, n - bad + 1, expected)) if bad else 1.0))
    return found
