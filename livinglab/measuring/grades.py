"""Rating grades: the Jeffreys test, and the stability of scores."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Bools, Floats, Ints
from livinglab.measuring.scoring import Scored
from livinglab.measuring.slices import Table

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
    return stability(np.searchsorted(edges, score, side="right"), len(edges) + 1, later)


def input_psi(values: Table, later: Bools) -> dict[str, float]:
    """The same index of each input: a number by tenths of the earlier, anything else by its categories."""
    found = {}
    for name, column in values.items():
        if np.issubdtype(column.dtype, np.number):
            found[name] = psi(column.astype(np.float64), later)
        else:
            categories, place = np.unique(column.astype(str), return_inverse=True)
            found[name] = stability(place, len(categories), later)
    return found


def stability(bins: Ints, count: int, later: Bools) -> float:
    """Σ (later − earlier) log(later / earlier) over the shares of `count` bins, into which cases (n,) fall. NaN without earlier or later ones."""
    if later.all() or not later.any():
        return float("nan")
    before, after = (np.maximum(np.bincount(part, minlength=count), 0.5) / len(part) for part in (bins[~later], bins[later]))
    return float(((after - before) * np.log(after / before)).sum())
