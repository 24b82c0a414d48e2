"""Reference cases: which belong to a slice, how many there are of each kind, and which prediction belongs to each."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from livinglab.measuring.cohort import Bools, Cohort, Floats, Ints

Table = dict[str, np.ndarray[Any, Any]]
"""Columns by name, all of one length."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The cases of a slice, sorted.

    rows: (n,) where they stand in the reference. columns: (n,) where they stand among the cases of their cohort, in the
    order of the reference: their columns in that cohort's weights.
    """

    cohort: Cohort
    rows: Ints
    columns: Ints

    def weights(self, multiplicities: np.ndarray[Any, Any]) -> Floats:
        """Weights of these cases, from multiplicities of the whole cohort: (replicates, n)."""
        return multiplicities[:, self.columns].astype(np.float64)

    @property
    def counts(self) -> dict[str, int]:
        """Cases, those with the event by the horizon, and those known to be free of it there."""
        return {"n": len(self.cohort), "events": self.cohort.events, "non_events": self.cohort.non_events}

    def only(self, inside: Bools) -> "Part":
        """The part of these cases (n,) that is inside."""
        c = self.cohort
        cohort = replace(c, time=c.time[inside], event=c.event[inside], risk=c.risk[inside])
        return Part(cohort, self.rows[inside], self.columns[inside])


def cut(reference: Table, risk: Floats, slice_: Document, horizon: float) -> Part:
    """The part of the reference that a slice (`cohort`, `where`) describes."""
    whole = reference["cohort"] == slice_["cohort"]
    chosen = whole.copy()
    for condition in slice_["where"]:
        column = reference[condition["column"]]
        if condition["equals"] is not None:
            chosen &= column == condition["equals"]
        if condition["at_least"] is not None:
            chosen &= column >= condition["at_least"]
        if condition["below"] is not None:
            chosen &= column < condition["below"]
    rows = np.flatnonzero(chosen)
    cohort, order = Cohort.sort(reference["time"][rows].astype(float), reference["event"][rows].astype(bool), risk[rows], horizon)
    return Part(cohort, rows[order], (np.cumsum(whole) - 1)[rows[order]])


def match(ids: np.ndarray[Any, Any], predictions: Table) -> tuple[Floats, Bools]:
    """The prediction of each reference case, and whether there is exactly one that can be used (finite, within [0, 1]).

    An id that was not asked for makes nothing better or worse: it is left out.
    """
    names, first, counts = np.unique(predictions["id"].astype(str), return_index=True, return_counts=True)
    if not len(names):
        return np.full(len(ids), np.nan), np.zeros(len(ids), dtype=bool)
    asked = ids.astype(str)
    place = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    found = names[place] == asked
    risk = np.where(found, predictions["risk"][first[place]].astype(float), np.nan)
    usable = found & (counts[place] == 1) & np.isfinite(risk) & (risk >= 0) & (risk <= 1)
    return np.where(usable, risk, np.nan), usable
