"""Reference cases: which belong to a slice, how many there are of each kind, and which prediction belongs to each."""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from livinglab.measuring.cohort import Bools, Cohort, Floats, Ints

Table = dict[str, np.ndarray[Any, Any]]
"""Columns by name, all of one length."""

Document = dict[str, Any]


class Cases(Protocol):
    """Reference cases of any task family, with their predictions."""

    def __len__(self) -> int: ...

    @property
    def risk(self) -> Floats:
        """Predicted probability of the event: (n,)."""

    @property
    def events(self) -> int:
        """Cases with the event (by the horizon, where there is one)."""

    @property
    def non_events(self) -> int:
        """Cases known to be free of it."""

    def only(self, inside: Bools) -> Self:
        """Those of these cases (n,) that are inside."""

    def survival(self, weights: Floats) -> Floats:
        """Share that stays free of the event, under weights (replicates, n): (replicates,)."""

    def outcome_weights(self, weights: Floats) -> tuple[Floats, Floats]:
        """The weight of each case as one with, and as one without the event: twice (replicates, n)."""


C = TypeVar("C", bound=Cases)


@dataclass(frozen=True)
class Part(Generic[C]):
    """The cases of a slice, in the order that their family wants.

    rows: (n,) where they stand in the reference. columns: (n,) where they stand among the cases of their cohort, in the
    order of the reference: their columns in that cohort's weights.
    """

    cohort: C
    rows: Ints
    columns: Ints

    def weights(self, multiplicities: np.ndarray[Any, Any]) -> Floats:
        """Weights of these cases, from multiplicities of the whole cohort: (replicates, n)."""
        return multiplicities[:, self.columns].astype(np.float64)

    @property
    def counts(self) -> dict[str, int]:
        """Cases, those with the event by the horizon, and those known to be free of it there."""
        return {"n": len(self.cohort), "events": self.cohort.events, "non_events": self.cohort.non_events}

    def only(self, inside: Bools) -> "Part[C]":
        """The part of these cases (n,) that is inside."""
        return Part(self.cohort.only(inside), self.rows[inside], self.columns[inside])


def chosen(reference: Table, slice_: Document) -> tuple[Ints, Ints]:
    """Rows of the reference that a slice (`cohort`, `where`) describes, and where they stand among their cohort's: twice (n,)."""
    whole = reference["cohort"] == slice_["cohort"]
    inside = whole.copy()
    for condition in slice_["where"]:
        column = reference[condition["column"]]
        if condition["equals"] is not None:
            inside &= column == condition["equals"]
        if condition["at_least"] is not None:
            inside &= column >= condition["at_least"]
        if condition["below"] is not None:
            inside &= column < condition["below"]
    rows = np.flatnonzero(inside)
    return rows, (np.cumsum(whole) - 1)[rows]


def cut(reference: Table, risk: Floats, slice_: Document, horizon: float) -> Part[Cohort]:
    """The part of a reference with follow-up that a slice describes, sorted by time."""
    rows, columns = chosen(reference, slice_)
    cohort, order = Cohort.sort(reference["time"][rows].astype(float), reference["event"][rows].astype(bool), risk[rows], horizon)
    return Part(cohort, rows[order], columns[order])


def located(ids: np.ndarray[Any, Any], predictions: Table) -> tuple[Ints, Ints]:
    """For each id the first row of the predictions that has it (0 where there is none), and how many have it: twice (n,)."""
    names, first, counts = np.unique(predictions["id"].astype(str), return_index=True, return_counts=True)
    if not len(names):
        return np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
    asked = ids.astype(str)
    place = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    found = names[place] == asked
    return np.where(found, first[place], 0), np.where(found, counts[place], 0)


def match(ids: np.ndarray[Any, Any], predictions: Table, column: str = "risk") -> tuple[Floats, Bools]:
    """The prediction of each reference case, and whether there is exactly one that can be used (finite, within [0, 1]).

    An id that was not asked for makes nothing better or worse: it is left out.
    """
    rows, times = located(ids, predictions)
    risk = np.full(len(ids), np.nan)
    risk[times == 1] = predictions[column][rows[times == 1]].astype(float)
    usable = np.isfinite(risk) & (risk >= 0) & (risk <= 1)
    return np.where(usable, risk, np.nan), usable
