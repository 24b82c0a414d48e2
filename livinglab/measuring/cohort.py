"""A cohort with censored follow-up and predicted risks, sorted once so that everything under weights is a cumulative sum."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cohort:
    """Cases sorted by time, events before censorings at the same time.

    time: (n,) years; event: (n,) did the event end follow-up; risk: (n,) predicted probability by `horizon`.
    Weights that the methods take are (replicates, n) in this order.
    """

    time: Floats
    event: Bools
    risk: Floats
    horizon: float

    @classmethod
    def sort(cls, time: Floats, event: Bools, risk: Floats, horizon: float) -> tuple["Cohort", Ints]:
        """The cohort, and the order that its cases were brought into."""
        order = np.lexsort((~event, time))
        return cls(time[order], event[order], risk[order], horizon), order

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def starts(self) -> Ints:
        """Index of the first case of each distinct time."""
        return np.flatnonzero(np.concatenate(([True], self.time[1:] != self.time[:-1])))

    @cached_property
    def group(self) -> Ints:
        """For each case, the number of its distinct time."""
        return np.cumsum(np.concatenate(([0], (self.time[1:] != self.time[:-1]).astype(np.int64))))

    @property
    def events(self) -> int:
        """Cases with the event by the horizon."""
        return int(np.sum(self.event & (self.time <= self.horizon)))

    @property
    def non_events(self) -> int:
        """Cases known to be free of the event at the horizon."""
        return int(np.sum(self.time > self.horizon))

    def at_risk(self, weights: Floats) -> Floats:
        """Weight still under observation at each distinct time: (replicates, distinct times)."""
        return np.cumsum(weights[:, ::-1], axis=1)[:, ::-1][:, self.starts]

    def survival(self, weights: Floats) -> Floats:
        """Kaplan–Meier survival at the horizon: (replicates,)."""
        deaths = np.add.reduceat(weights * self.event, self.starts, axis=1)
        factors = _factors(deaths, self.at_risk(weights))
        return np.asarray(np.prod(factors[:, self.time[self.starts] <= self.horizon], axis=1))

    def ipcw(self, weights: Floats) -> tuple[Floats, Floats]:
        """Inverse probability of censoring weights, G being the Kaplan–Meier estimate of staying uncensored.

        At a time where both happen, events come first: G's risk set there is without them (Gerds & Schumacher 2006).

        Returns:
            (replicates, n) 1/G(T−), the left limit at each case's own time, and (replicates,) 1/G(horizon).
            Infinite where G is 0.
        """
        deaths = np.add.reduceat(weights * self.event, self.starts, axis=1)
        censored = np.add.reduceat(weights * ~self.event, self.starts, axis=1)
        uncensored = np.cumprod(_factors(censored, self.at_risk(weights) - deaths), axis=1)
        before = np.concatenate((np.ones((len(weights), 1)), uncensored[:, :-1]), axis=1)
        known = np.searchsorted(self.time[self.starts], self.horizon, side="right") - 1
        at_horizon = uncensored[:, known] if known >= 0 else np.ones(len(weights))
        with np.errstate(divide="ignore"):
            return 1 / before[:, self.group], 1 / at_horizon

    def outcome_weights(self, weights: Floats) -> tuple[Floats, Floats]:
        """The IPCW weight of each case as one with, and as one without the event by the horizon: twice (replicates, n)."""
        own, at_horizon = self.ipcw(weights)
        with np.errstate(invalid="ignore"):
            case = np.where(self.event & (self.time <= self.horizon) & (weights > 0), weights * own, 0.0)
            control = np.where((self.time > self.horizon) & (weights > 0), weights * at_horizon[:, None], 0.0)
        return case, control


def _factors(ended: Floats, at_risk: Floats) -> Floats:
    """1 − d/n, and 1 where nobody is left."""
    return 1 - np.divide(ended, at_risk, out=np.zeros_like(ended), where=at_risk > 0)


def ratio(above: Floats, below: Floats) -> Floats:
    """Element by element; NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0))
