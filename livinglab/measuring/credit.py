"""From decoded scores and defaults to measurements: what a credit-scoring harness does in `measure`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from livinglab.measuring import grades, scoring
from livinglab.measuring.cohort import Bools, Floats, Ints, ratio
from livinglab.measuring.curves import calibration_curve
from livinglab.measuring.evaluation import BaseEvaluation, Key
from livinglab.measuring.reasons import Reasons
from livinglab.measuring.resampling import generator
from livinglab.measuring.scoring import Scored
from livinglab.measuring.slices import Document, Part, Table, chosen, match

SHAKEN, MOVED = "shaken", "moved"
"""Kinds of copies: of a case that hardly differs, and of one whose risk is higher in a feature declared monotone."""

_SAME = 1e-9
"""Differences of pd up to this are none."""

_PLAIN: dict[str, Callable[[Scored, Floats], Floats]] = {
    "auc": scoring.auc, "gini": scoring.gini, "ks": scoring.ks, "observed_expected": scoring.observed_expected, "calibration_slope": scoring.slope,
}  # fmt: skip


def no_copies() -> Table:
    """A run without perturbed copies."""
    return {name: np.array([], dtype=str) for name in ("id", "of", "kind")}


@dataclass
class CreditEvaluation(BaseEvaluation[Scored]):
    """A pilot's pd and reasons against defaults.

    The reference has `bad` and the columns that `parameters` names; predictions are id, pd and reasons. `copies` are perturbed
    cases: id, `of` (the case's id) and kind (`shaken` or `moved`); they have no outcome and are no cases.
    """

    copies: Table = field(default_factory=no_copies)

    column = "pd"
    by_pilot = frozenset({
        "calibration_slope", "observed_expected", "adverse_impact_ratio", "reason_completeness", "reason_concentration", "reason_stability",
    })  # fmt: skip
    points = frozenset({"jeffreys", "psi", "monotonicity"})
    event_words = ("defaults", "cases without default")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reject_at = float(self.context["parameters"]["reject_at"])
        self.reasons = self._reasons(self.reference["id"])
        self.copied, self.copied_complete = match(self.copies["id"], self.predictions, self.column)
        self.copied_reasons = self._reasons(self.copies["id"])
        order = np.argsort(self.reference["id"])
        self.origin = order[np.searchsorted(self.reference["id"], self.copies["of"], sorter=order)] if len(self.copies["of"]) else order[:0]

    def charts(self) -> dict[str, Document]:
        """The calibration curve."""
        part = self.part("all")
        if not len(part.rows) or not self.complete[part.rows].all():
            return {}
        rng = generator(self.context["seed"], "curves")
        curve = calibration_curve(part, part.cohort.pd, lambda cases, w: ratio(w @ cases.bad, w.sum(axis=1)), rng)
        return {"calibration": curve}

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def _reasons(self, ids: np.ndarray[Any, Any]) -> Reasons:
        """The reasons given to these cases; none where a case is missing."""
        names, first = np.unique(self.predictions["id"].astype(str), return_index=True)
        place = np.searchsorted(names, ids.astype(str))
        found = np.isin(ids.astype(str), names)
        texts = np.array([self.predictions["reasons"][first[p]] if known else "" for p, known in zip(place, found, strict=True)], dtype=str)
        return Reasons.parse(texts, tuple(self.context["parameters"].get("reason_codes", ())))

    def _cut(self, slice_: Document) -> Part[Scored]:
        rows, columns = chosen(self.reference, slice_)
        return Part(Scored(self.reference["bad"][rows].astype(bool), self.predicted[rows]), rows, columns)

    def _copies(self, part: Part[Scored], kind: str | None = None) -> tuple[Ints, Ints]:
        """Copies of these cases, and where each one's case stands among them."""
        place = np.full(len(self.reference["id"]), -1)
        place[part.rows] = np.arange(len(part.rows))
        own = place[self.origin]
        inside = np.flatnonzero((own >= 0) & ((self.copies["kind"] == kind) if kind else True))
        return inside, own[inside]

    def _usable(self, part: Part[Scored]) -> Bools:
        return np.concatenate([self.complete[part.rows], self.copied_complete[self._copies(part)[0]]])

    def _compared(self, metric: str, slice_: str) -> tuple[Part[Scored], ...]:
        part, parameters = self.part(slice_), self.context["parameters"]
        if metric in {"adverse_impact_ratio", "equal_opportunity_difference"}:
            protected = self.reference[parameters["protected_column"]][part.rows] < parameters["protected_below"]
            return part.only(protected), part.only(~protected)
        kind = {"reason_stability": SHAKEN, "monotonicity": MOVED}.get(metric)
        return () if kind is None else (part.only(np.isin(np.arange(len(part.rows)), self._copies(part, kind)[1])),)

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        part = self.part(slice_)
        if metric == "auc_plausibility":
            return self._replicates("auc", slice_, None)
        if metric == "delta_auc":
            rival = self.baselines[str(baseline)][part.rows]
            return self._replicates("auc", slice_, None) - self._resample(part, slice_, lambda cases, w: scoring.auc(cases, w, rival))
        if metric in self.points:
            return np.array([getattr(self, f"_{metric}")(part)])
        if metric.startswith("reason_"):
            return self._resample(part, slice_, getattr(self, f"_{metric}")(part))
        if metric in {"adverse_impact_ratio", "equal_opportunity_difference"}:
            return self._between_groups(metric, slice_)
        key = (metric, slice_, baseline)
        if key not in self._resampled:
            self._resampled[key] = self._resample(part, slice_, _PLAIN[metric])
        return self._resampled[key]

    def _between_groups(self, metric: str, slice_: str) -> Floats:
        rate = scoring.approval if metric == "adverse_impact_ratio" else scoring.approval_of_good
        groups = self._compared(metric, slice_)
        first, second = (self._resample(group, slice_, lambda cases, w: rate(cases, w, self.reject_at)) for group in groups)
        return ratio(first, second) if metric == "adverse_impact_ratio" else first - second

    def _reason_completeness(self, part: Part[Scored]) -> Callable[[Scored, Floats], Floats]:
        valid, rejected = self.reasons.valid[part.rows], part.cohort.pd >= self.reject_at
        return lambda _, w: ratio(w @ (valid & rejected), w @ rejected)

    def _reason_concentration(self, part: Part[Scored]) -> Callable[[Scored, Floats], Floats]:
        rejected = np.flatnonzero(part.cohort.pd >= self.reject_at)
        kinds = self.reasons.take(part.rows[rejected]).kinds
        return lambda _, w: scoring.commonest(w[:, rejected], kinds) if len(rejected) else np.full(len(w), np.nan)

    def _reason_stability(self, part: Part[Scored]) -> Callable[[Scored, Floats], Floats]:
        copies, own = self._copies(part, SHAKEN)
        counts = (part.cohort.pd[own] >= self.reject_at) | (self.copied[copies] >= self.reject_at)
        overlap = self.reasons.take(part.rows[own]).overlap(self.copied_reasons.take(copies))
        total, n = (np.bincount(own[counts], values, len(part.rows)) for values in (overlap[counts], None))
        return lambda _, w: ratio(w @ total, w @ n.astype(np.float64))

    def _jeffreys(self, part: Part[Scored]) -> float:
        found = grades.grades(part.cohort, np.asarray(self.context["parameters"]["grades"], dtype=np.float64))
        return grades.holm_least(np.array([grade.p for grade in found]))

    def _psi(self, part: Part[Scored]) -> float:
        parameters = self.context["parameters"]
        return grades.psi(part.cohort.pd, self.reference[parameters["vintage_column"]][part.rows] >= parameters["vintage_from"])

    def _monotonicity(self, part: Part[Scored]) -> float:
        copies, own = self._copies(part, MOVED)
        return float(np.mean(self.copied[copies] >= part.cohort.pd[own] - _SAME)) if len(copies) else float("nan")

    def _note(self, key: Key) -> str:
        if key[0] != "jeffreys":
            return ""
        edges = np.asarray(self.context["parameters"]["grades"], dtype=np.float64)
        found = grades.grades(self.part(key[1]).cohort, edges)
        return "defaults of cases by grade (mean pd): " + ", ".join(f"{g.bad} of {g.n} ({g.pd:.3f})" for g in found)[:440]
