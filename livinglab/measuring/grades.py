"""Rating grades: the Jeffreys test, and the stability of scores."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Bools, Floats, Ints
from livinglab.measuring.scoring import Scored

_TENTHS = 10


@dataclass(frozen=True)
class Grade:
    """A grade that has cases: its number, how many, how many defaulted, their mean pd, and the p-value (before Holm)."""

    number: int
    n: int
    bad: int
    pd: float
    p: float


def jeffreys_p(bad: Ints, n: Ints, pd: Floats) -> Floats:
    """p-value of the hypothesis that the default rate is at most pd: the mass below pd of Beta(bad + ½, n − bad + ½).

    ECB 2019, Instructions for reporting the validation results of internal models (Jeffreys test, one-sided).
    """
    from scipy.special import betainc

    return np.asarray(betainc(bad + 0.5, n - bad + 0.5, np.clip(pd, 0.0, 1.0)))


def grades(cases: Scored, edges: Floats) -> list[Grade]:
    """The grades that `edges` (pd, rising) cut, where anyone is in them: grade k holds edges[k−1] ≤ pd < edges[k]."""
    number = np.searchsorted(edges, cases.risk, side="right")
    n = np.bincount(number, minlength=len(edges) + 1)
    bad, total = (np.bincount(number, values, len(edges) + 1) for values in (cases.event, cases.risk))
    some = np.flatnonzero(n)
    p = jeffreys_p(bad[some], n[some], total[some] / n[some])
    return [Grade(int(k), int(n[k]), int(bad[k]), float(total[k] / n[k]), float(value)) for k, value in zip(some, p, strict=True)]


def holm_least(p: Floats) -> float:
    """The least of the p-values after Holm (1979), which is the least of them times their number."""
    return float(min(1.0, len(p) * p.min()))


def psi(score: Floats, later: Bools) -> float:
    """Population stability index of the later scores against the earlier ones, by tenths of the earlier (Yurdakul & Naranjo 2020).

    An empty tenth counts as half a case. NaN where there are no earlier, or no later ones.
    """
    if later.all() or not later.any():
        return float("nan")
    edges = np.unique(np.quantile(score[~later], np.linspace(0, 1, _TENTHS + 1)[1:-1]))
    shares = []
    for part in (score[~later], score[later]):
        counts = np.bincount(np.searchsorted(edges, part, side="right"), minlength=len(edges) + 1)
        shares.append(np.maximum(counts, 0.5) / len(part))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
