"""Metrics in closed form with their influence functions: for samples so large that resampling them whole costs too much.

A metric θ is a smooth function of the cases' weights; its influence is ψᵢ = n ∂θ/∂wᵢ at equal weights (the infinitesimal
jackknife, Efron 1982, chapter 6), through the estimate of the censoring distribution too. Then θ + mean(ξᵢ ψᵢ) with
independent multipliers ξ of mean 0 and variance 1 is distributed as the estimate is (van der Vaart & Wellner 1996,
section 3.6), to first order: curvature is ignored, which is why small samples are resampled instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from livinglab.measuring import cox
from livinglab.measuring.calibration import cloglog, truncated
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.concordance import later_and_earlier
from livinglab.measuring.estimate import Estimate, Sum, quotient, total


class Linear(Protocol):
    """Cases of any family at equal weights, with the derivatives that are common to the metrics' influences."""

    @property
    def risk(self) -> Floats:
        """The predictions: (n,)."""

    @property
    def case(self) -> Floats:
        """The weight of each as one with the event: (n,)."""

    @property
    def control(self) -> Floats:
        """The weight of each as one without it: (n,)."""

    @property
    def survival(self) -> Sum:
        """The share that stays free of the event."""

    def weighted(self, of_case: Floats, of_control: Floats) -> Sum:
        """The sum of what each contributes as one with, and as one without the event."""


@dataclass(frozen=True)
class Linearised:
    """A cohort with follow-up, as `Linear`."""

    cohort: Cohort

    @property
    def risk(self) -> Floats:
        """The predicted risks."""
        return self.cohort.risk

    @cached_property
    def _counts(self) -> tuple[Floats, Floats, Floats]:
        """Deaths, censorings and cases at risk at each distinct time."""
        c = self.cohort
        size = len(c.starts)
        deaths = np.bincount(c.group, c.event, size).astype(np.float64)
        everyone = np.bincount(c.group, minlength=size).astype(np.float64)
        return deaths, everyone - deaths, np.cumsum(everyone[::-1])[::-1]

    @cached_property
    def known(self) -> int:
        """Number of the last distinct time by the horizon; −1 if none is."""
        return int(np.searchsorted(self.cohort.time[self.cohort.starts], self.cohort.horizon, side="right")) - 1

    @cached_property
    def uncensored(self) -> Floats:
        """G before the first, and after each distinct time: (distinct times + 1,)."""
        deaths, censored, at_risk = self._counts
        exposed = at_risk - deaths
        return np.concatenate(([1.0], np.cumprod(1 - np.divide(censored, exposed, out=np.zeros_like(exposed), where=exposed > 0))))

    @cached_property
    def case(self) -> Floats:
        """1/G(T−) of each case with the event by the horizon, else 0."""
        c = self.cohort
        return np.where(c.event & (c.time <= c.horizon), 1 / np.maximum(self.uncensored[c.group], np.finfo(float).tiny), 0.0)

    @cached_property
    def control(self) -> Floats:
        """1/G(horizon) of each case that is free of the event there, else 0."""
        c = self.cohort
        return np.where(c.time > c.horizon, 1 / max(self.uncensored[self.known + 1], np.finfo(float).tiny), 0.0)

    def through_censoring(self, mass: Floats) -> Floats:
        """Σ massₖ ∂log Gₖ/∂wᵢ: (n,). `mass` is by place in `uncensored`."""
        c = self.cohort
        deaths, censored, at_risk = self._counts
        left = at_risk - deaths - censored
        hazard = np.divide(censored, (at_risk - deaths) * left, out=np.zeros_like(left), where=left > 0)
        gained = np.concatenate(([0.0], np.cumsum(hazard)))
        within, below = np.cumsum(mass * gained), np.cumsum(mass)
        own = c.group + ~c.event  # a case is at risk of being censored at its own time only if it was not an event
        staying = within[own] + gained[own] * (below[-1] - below[own])
        leaving = np.divide(below[-1] - below[c.group], left[c.group], out=np.zeros(len(c)), where=left[c.group] > 0)
        return np.asarray(staying - np.where(c.event, 0.0, leaving))

    def weighted(self, of_case: Floats, of_control: Floats, power: int = 1) -> Sum:
        """The sum over cases of what each contributes (its IPCW included), and that sum's derivative by each weight."""
        mass = np.asarray(np.bincount(self.cohort.group, of_case, len(self.uncensored)), dtype=np.float64)
        mass[self.known + 1] += of_control.sum()
        own = of_case + of_control
        return float(own.sum()), own - power * self.through_censoring(mass)

    @cached_property
    def survival(self) -> Sum:
        """Kaplan–Meier survival at the horizon, and its derivative by each weight."""
        c = self.cohort
        deaths, _, at_risk = self._counts
        left = at_risk - deaths
        kept = np.divide(left, at_risk)[: self.known + 1]
        value = float(np.prod(kept))
        gained = np.cumsum(np.divide(deaths, at_risk * left, out=np.zeros_like(left), where=left > 0))
        if self.known < 0:
            return 1.0, np.zeros(len(c))
        staying = gained[np.minimum(c.group, self.known)]
        died = np.divide(1.0, left[c.group], out=np.zeros(len(c)), where=(left[c.group] > 0) & c.event & (c.group <= self.known))
        return value, value * (staying - died)


def observed_expected(part: Linear) -> Estimate:
    """As `calibration.observed_expected`."""
    n, risk = len(part.risk), part.risk
    survival, change = part.survival
    expected = float(risk.mean())
    return quotient((1 - survival, -change), (expected, (risk - expected) / n), n)


def brier(part: Linear) -> Estimate:
    """As `accuracy.brier`."""
    risk = part.risk
    return quotient(part.weighted(part.case * (1 - risk) ** 2, part.control * risk**2), total(len(risk)), len(risk))


def ipa(part: Linear) -> Estimate:
    """As `accuracy.ipa`."""
    n, risk = len(part.risk), part.risk
    survival, change = part.survival
    cases, dead = part.weighted(part.case, np.zeros(n))
    controls, alive = part.weighted(np.zeros(n), part.control)
    null = survival**2 * cases + (1 - survival) ** 2 * controls
    slope = 2 * survival * cases - 2 * (1 - survival) * controls
    model = part.weighted(part.case * (1 - risk) ** 2, part.control * risk**2)
    share = quotient(model, (null, survival**2 * dead + (1 - survival) ** 2 * alive + slope * change), n)
    return Estimate(1 - share.value, -share.influence)


def sensitivity(part: Linear, threshold: float) -> Estimate:
    """As `discrimination.sensitivity`."""
    none = np.zeros(len(part.risk))
    found = part.case * (part.risk >= threshold)
    return quotient(part.weighted(found, none), part.weighted(part.case, none), len(none))


def specificity(part: Linear, threshold: float) -> Estimate:
    """As `discrimination.specificity`."""
    none = np.zeros(len(part.risk))
    spared = part.control * (part.risk < threshold)
    return quotient(part.weighted(none, spared), part.weighted(none, part.control), len(none))


def uno_c(part: Linearised, score: Floats | None = None) -> Estimate:
    """As `discrimination.uno_c`, in O(n log n)."""
    c = part.cohort
    weight = np.where(c.event & (c.time < c.horizon), part.case**2, 0.0)
    concordant, comparable = later_and_earlier(c, c.risk if score is None else score, weight)
    sums = []
    for beaten, beaten_by in (concordant, comparable):
        own = weight * beaten
        value, change = part.weighted(own, np.zeros(len(c)), power=2)
        sums.append((value, change + beaten_by))
    return quotient(sums[0], sums[1], len(c))


def slope(part: Linearised) -> Estimate:
    """As `calibration.slope`; the influence is the scaled score residual (Cain & Lange 1984, Biometrics 40:493)."""
    c, event = truncated(part.cohort)
    n, x = len(c), cloglog(c.risk)
    if np.ptp(x) == 0:
        return Estimate.undefined(n)
    beta = float(cox.fit(x[:, None], event, c.starts, np.ones((1, n))).beta[0, 0])
    relative = np.exp(beta * x)
    s0, s1, s2 = (np.cumsum((relative * x**k)[::-1])[::-1][c.starts] for k in range(3))
    deaths, mean = np.bincount(c.group, event, len(c.starts)), s1 / s0
    information = float((deaths * (s2 / s0 - mean**2)).sum())
    hazard, moved = np.cumsum(deaths / s0)[c.group], np.cumsum(deaths * mean / s0)[c.group]
    residual = event * (x - mean[c.group]) - relative * (x * hazard - moved)
    return Estimate(beta, n * residual / information)


SIMPLE: dict[str, Callable[[Linearised], Estimate]] = {
    "uno_c": uno_c, "uno_c_plausibility": uno_c, "observed_expected": observed_expected, "brier": brier, "ipa": ipa, "calibration_slope": slope,
}  # fmt: skip
"""Metrics that need nothing but the cohort. `ici` is not smooth where predicted and observed risk agree, so it has no influence function."""

SMOOTH = frozenset(SIMPLE) | {"delta_uno_c", "sensitivity", "sensitivity_difference"}
"""All metrics that have an influence function."""
