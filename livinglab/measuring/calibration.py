"""Calibration at the horizon: observed over expected, slope, and the integrated calibration index."""

import numpy as np

from livinglab.measuring import cox
from livinglab.measuring.cohort import Cohort, Floats, ratio
from livinglab.measuring.slices import Cases

_EDGE = 1e-6
"""Predicted risks are held this far from 0 and 1 where their logarithms are taken."""
_KNOTS = (0.05, 0.35, 0.65, 0.95)
"""Quantiles for a restricted cubic spline of four knots (Harrell 2015, Regression Modeling Strategies, table 2.3)."""
_FEWEST_KNOTS = 3
"""With less, a restricted cubic spline is a straight line."""


def cloglog(risk: Floats) -> Floats:
    """log(−log(1 − risk))."""
    return np.asarray(np.log(-np.log1p(-np.clip(risk, _EDGE, 1 - _EDGE))))


def observed_expected(cohort: Cases, weights: Floats) -> Floats:
    """Share with the event (1 − Kaplan–Meier at the horizon) over the mean predicted risk: (replicates,)."""
    expected = weights @ cohort.risk / weights.sum(axis=1)
    return ratio(1 - cohort.survival(weights), expected)


def truncated(cohort: Cohort) -> tuple[Cohort, Floats]:
    """The cohort with follow-up ended at the horizon (what happens later says nothing about the risk by then), and its events as 0 and 1."""
    time = np.minimum(cohort.time, cohort.horizon)
    event = cohort.event & (cohort.time <= cohort.horizon)
    # Cases stay in order: those beyond the horizon become one last group of censorings, after its events.
    return Cohort(time, event, cohort.risk, cohort.horizon), event.astype(np.float64)


def slope(cohort: Cohort, weights: Floats) -> Floats:
    """Calibration slope: Cox's coefficient of cloglog(risk), follow-up truncated at the horizon (Crowson et al. 2016): (replicates,).

    NaN where the predictions do not differ.
    """
    short, event = truncated(cohort)
    x = cloglog(cohort.risk)[:, None]
    if np.ptp(x) == 0:
        return np.full(len(weights), np.nan)
    full = cox.fit(x, event, short.starts, weights[:1]).beta[0]
    return cox.fit(x, event, short.starts, weights, full if np.isfinite(full).all() else None).beta[:, 0]


def spline(x: Floats, knots: Floats) -> Floats:
    """Restricted cubic spline basis (n, len(knots) − 1), linear beyond the outer knots (Harrell 2015, section 2.4.5)."""
    last, before = knots[-1], knots[-2]
    scale = (last - knots[0]) ** 2

    def cube(knot: float) -> Floats:
        return np.maximum(x - knot, 0) ** 3

    terms = [
        (cube(k) - cube(before) * (last - k) / (last - before) + cube(last) * (before - k) / (last - before)) / scale
        for k in knots[:-2]
    ]  # fmt: skip
    return np.stack([x, *terms], axis=1)


def smooth_basis(x: Floats) -> Floats:
    """Standardised spline of four knots of x, which differs between cases (Austin, Harrell & van Klaveren 2020): (n, p)."""
    knots = np.unique(np.quantile(x, _KNOTS))  # fewer where a pilot gives few different risks
    basis = spline(x, knots) if len(knots) >= _FEWEST_KNOTS else x[:, None]
    return np.asarray((basis - basis.mean(axis=0)) / basis.std(axis=0))


def smooth_observed(cohort: Cohort, weights: Floats) -> Floats:
    """Observed risk at the horizon as a smooth function of the predicted one: (replicates, n); NaN where it cannot be fitted.

    A Cox model on a restricted cubic spline of cloglog(risk) (Austin, Harrell & van Klaveren 2020).
    """
    short, event = truncated(cohort)
    x = cloglog(cohort.risk)
    if np.ptp(x) == 0:
        return np.full((len(weights), len(cohort)), np.nan)
    basis = smooth_basis(x)
    full = cox.fit(basis, event, short.starts, weights[:1]).beta[0]
    fitted = cox.fit(basis, event, short.starts, weights, full if np.isfinite(full).all() else None)
    known = max(0, int(np.searchsorted(short.time[short.starts], cohort.horizon, side="right")) - 1)
    return np.asarray(1 - np.exp(-fitted.hazard[:, known, None] * np.exp(np.clip(fitted.beta @ basis.T, -500, 500))))


def ici(cohort: Cohort, weights: Floats) -> Floats:
    """Integrated calibration index: mean |smooth observed − predicted| (Austin, Harrell & van Klaveren 2020, Stat Med 39:2714): (replicates,)."""
    return mean_distance(smooth_observed(cohort, weights), cohort.risk, weights)


def mean_distance(observed: Floats, risk: Floats, weights: Floats) -> Floats:
    """Weighted mean |observed − predicted|: (replicates,)."""
    return np.asarray((weights * np.abs(observed - risk)).sum(axis=1) / weights.sum(axis=1))
