"""A cohort with censored follow-up and predicted risks, sorted once so that everything under weights is a cumulative sum."""

from dataclasses import dataclass, replace
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

    def only(self, inside: Bools) -> "Cohort":
        """The cases (n,) that are inside."""
        return replace(self, time=self.time[inside], event=self.event[inside], risk=self.risk[inside])

    @cached_property
    def within(self) -> tuple[int, int]:
        """How many cases, and how many distinct times, there are by the horizon: nothing later tells them apart."""
        cases = int(np.searchsorted(self.time, self.horizon, side="right"))
        return cases, int(np.searchsorted(self.starts, cases))

    def _sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Weight of events, of censorings, and still under observation, at each distinct time by the horizon: (replicates, times)."""
        cases, times = self.within
        if not cases:
            none = np.zeros((len(weights), 0))
            return none, none, none
        head, starts = weights[:, :cases], self.starts[:times]
        deaths = np.add.reduceat(head * self.event[:cases], starts, axis=1)
        return deaths, np.add.reduceat(head, starts, axis=1) - deaths, behind(weights, starts, cases)

    def survival(self, weights: Floats) -> Floats:
        """Kaplan–Meier survival at the horizon: (replicates,)."""
        deaths, _, at_risk = self._sums(weights)
        return np.asarray(np.prod(_factors(deaths, at_risk), axis=1))

    def ipcw(self, weights: Floats) -> tuple[Floats, Floats]:
        """Inverse probability of censoring weights, G being the Kaplan–Meier estimate of staying uncensored.

        At a time where both happen, events come first: G's risk set there is without them (Gerds & Schumacher 2006).

        Returns:
            1/G(T−), the left limit at each case's own time, of the cases by the horizon (replicates, those), and 1/G(horizon)
            (replicates,). Infinite where G is 0.
        """
        cases, _ = self.within
        deaths, censored, at_risk = self._sums(weights)
        uncensored = np.ones((len(weights), censored.shape[1] + 1))
        np.cumprod(_factors(censored, at_risk - deaths), axis=1, out=uncensored[:, 1:])
        with np.errstate(divide="ignore"):
            inverse = 1 / uncensored
        return inverse[:, self.group[:cases]], inverse[:, -1]

    def outcome_weights(self, weights: Floats) -> tuple[Floats, Floats]:
        """The IPCW weight of each case as one with, and as one without the event by the horizon: twice (replicates, n)."""
        cases, _ = self.within
        own, at_horizon = self.ipcw(weights)
        case, control = np.zeros(weights.shape), np.zeros(weights.shape)
        # Where nothing was drawn there is no weight, however little of G is left.
        np.multiply(weights[:, :cases], own, out=case[:, :cases], where=self.event[:cases] & (weights[:, :cases] > 0))
        later = weights[:, cases:]
        np.multiply(later, at_horizon[:, None], out=control[:, cases:], where=later > 0)
        return case, control


def behind(values: Floats, starts: Ints, end: int) -> Floats:
    """The sum from each start (below `end`) to the last column: (rows, starts). What lies beyond `end` is only summed up."""
    head = np.cumsum(values[:, end - 1 :: -1], axis=1)[:, ::-1] if end else values[:, :0]
    return np.asarray(head[:, starts] + values[:, end:].sum(axis=1, keepdims=True))


def _factors(ended: Floats, at_risk: Floats) -> Floats:
    """1 − d/n, and 1 where nobody is left."""
    return 1 - np.divide(ended, at_risk, out=np.zeros_like(ended), where=at_risk > 0)


def ratio(above: Floats, below: Floats) -> Floats:
    """Element by element; NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0))
