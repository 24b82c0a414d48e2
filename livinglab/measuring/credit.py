"""From decoded scores and defaults to measurements: what a credit-scoring harness does in `measure`."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from livinglab.measuring import grades, score_influence, scoring
from livinglab.measuring.binary import BinaryEvaluation, Metric
from livinglab.measuring.cohort import Bools, Floats, Ints
from livinglab.measuring.estimate import Estimate
from livinglab.measuring.evaluation import Key
from livinglab.measuring.reasons import Reasons
from livinglab.measuring.scoring import Scored, Share
from livinglab.measuring.slices import Part, Table, located, match

SHAKEN, MOVED = "shaken", "moved"
"""Kinds of copies: of a case that hardly differs, and of one whose risk is higher in a feature declared monotone."""

_SAME = 1e-9
"""Differences of pd up to this are none."""

_SHARES = frozenset({"adverse_impact_ratio", "equal_opportunity_difference", "reason_completeness", "reason_stability"})
"""Metrics that are, or compare, the share of one sum over cases in another."""


def no_copies() -> Table:
    """A run without perturbed copies."""
    return {name: np.array([], dtype=str) for name in ("id", "of", "kind")}


@dataclass
class CreditEvaluation(BinaryEvaluation):
    """A pilot's pd and reasons against defaults.

    The reference has `bad` and the columns that `parameters` names; predictions are id, pd and reasons. `copies` are perturbed
    cases: id, `of` (the case's id) and kind (`shaken` or `moved`); they have no outcome and are no cases.
    """

    copies: Table = field(default_factory=no_copies)

    column = "pd"
    outcome = "bad"
    by_pilot = BinaryEvaluation.by_pilot | {"adverse_impact_ratio", "reason_completeness", "reason_concentration", "reason_stability"}
    smooth = BinaryEvaluation.smooth | _SHARES | {"gini"}
    between = frozenset({"adverse_impact_ratio", "equal_opportunity_difference"})
    ratios = frozenset({"adverse_impact_ratio"})
    points = frozenset({"jeffreys", "psi", "input_psi", "monotonicity"})
    decides = False
    event_words = ("defaults", "cases without default")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reject_at = float(self.context["parameters"]["reject_at"])
        self.copied, self.copied_complete = match(self.copies["id"], self.predictions, self.column)
        order = np.argsort(self.reference["id"])
        self.origin = order[np.searchsorted(self.reference["id"], self.copies["of"], sorter=order)] if len(self.copies["of"]) else order[:0]

    # --- what is measured on ---------------------------------------------------------------------------------------------

    @cached_property
    def reasons(self) -> Reasons:
        """Those given to the cases of the reference."""
        return self._reasons(self.reference["id"])

    @cached_property
    def copied_reasons(self) -> Reasons:
        """Those given to the copies."""
        return self._reasons(self.copies["id"])

    def _reasons(self, ids: np.ndarray[Any, Any]) -> Reasons:
        """The reasons given to these cases; none where a case is missing."""
        texts = np.full(len(ids), "", dtype=self.predictions["reasons"].dtype)
        rows, times = located(ids, self.predictions)
        texts[times > 0] = self.predictions["reasons"][rows[times > 0]]
        return Reasons.parse(texts, tuple(self.context["parameters"].get("reason_codes", ())))

    def _copies(self, part: Part[Scored], kind: str | None = None) -> tuple[Ints, Ints]:
        """Copies of these cases, and where each one's case stands among them."""
        place = np.full(len(self.reference["id"]), -1)
        place[part.rows] = np.arange(len(part.rows))
        own = place[self.origin]
        inside = np.flatnonzero((own >= 0) & ((self.copies["kind"] == kind) if kind else True))
        return inside, own[inside]

    def _usable(self, part: Part[Scored]) -> Bools:
        return np.concatenate([self.complete[part.rows], self.copied_complete[self._copies(part)[0]]])

    def _groups(self, slice_: str) -> tuple[Part[Scored], Part[Scored]]:
        """The protected group, and the others."""
        part, parameters = self.part(slice_), self.context["parameters"]
        protected = self.reference[parameters["protected_column"]][part.rows] < parameters["protected_below"]
        return part.only(protected), part.only(~protected)

    def _compared(self, metric: str, slice_: str) -> tuple[Part[Scored], ...]:
        part, kind = self.part(slice_), {"reason_stability": SHAKEN, "monotonicity": MOVED}.get(metric)
        if kind is None:
            return super()._compared(metric, slice_)
        return (part.only(np.isin(np.arange(len(part.rows)), self._copies(part, kind)[1])),)

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        if metric in self.points:
            return np.array([getattr(self, f"_{metric}")(self.part(slice_))])
        return super()._replicates(metric, slice_, baseline)

    def _metric(self, metric: str, part: Part[Scored]) -> Metric:
        if metric in _SHARES:
            what = self._share(metric, part)
            return lambda _, w: scoring.share(w, what)
        if metric == "reason_concentration":
            return self._concentration(part)
        return {"gini": scoring.gini, "ks": scoring.ks}.get(metric) or super()._metric(metric, part)

    def _influence(self, metric: str, part: Part[Scored], rival: Floats | None = None) -> Estimate:
        if metric in _SHARES:
            return score_influence.share(self._share(metric, part))
        return score_influence.gini(part.cohort) if metric == "gini" else super()._influence(metric, part, rival)

    def _share(self, metric: str, part: Part[Scored]) -> Share:
        """The share that a metric is, or compares between groups."""
        if metric == "adverse_impact_ratio":
            return scoring.approval(part.cohort, self.reject_at)
        if metric == "equal_opportunity_difference":
            return scoring.approval_of_good(part.cohort, self.reject_at)
        if metric == "reason_completeness":
            rejected = part.cohort.risk >= self.reject_at
            return (self.reasons.valid[part.rows] & rejected).astype(np.float64), rejected.astype(np.float64)
        return self._overlaps(part)

    def _overlaps(self, part: Part[Scored]) -> Share:
        """Of each case the overlap of its reasons with those of its shaken copies, and how many copies count: either is rejected."""
        copies, own = self._copies(part, SHAKEN)
        counts = (part.cohort.risk[own] >= self.reject_at) | (self.copied[copies] >= self.reject_at)
        overlap = self.reasons.take(part.rows[own]).overlap(self.copied_reasons.take(copies))
        total, n = (np.bincount(own[counts], values, len(part.rows)) for values in (overlap[counts], None))
        return np.asarray(total, dtype=np.float64), np.asarray(n, dtype=np.float64)

    def _concentration(self, part: Part[Scored]) -> Metric:
        rejected = np.flatnonzero(part.cohort.risk >= self.reject_at)
        kinds = self.reasons.take(part.rows[rejected]).kinds
        return lambda _, w: scoring.commonest(w[:, rejected], kinds) if len(rejected) else np.full(len(w), np.nan)

    def _jeffreys(self, part: Part[Scored]) -> float:
        found = grades.grades(part.cohort, np.asarray(self.context["parameters"]["grades"], dtype=np.float64))
        return grades.holm_least(np.array([grade.p for grade in found]))

    def _later(self, part: Part[Scored]) -> Bools:
        parameters = self.context["parameters"]
        return np.asarray(self.reference[parameters["vintage_column"]][part.rows] >= parameters["vintage_from"])

    def _psi(self, part: Part[Scored]) -> float:
        return grades.psi(part.cohort.risk, self._later(part))

    def _input_psi(self, part: Part[Scored]) -> float:
        return max(self._inputs(part).values())

    def _inputs(self, part: Part[Scored]) -> dict[str, float]:
        values = {name: self.reference[name][part.rows] for name in self.context["parameters"]["inputs"]}
        return grades.input_psi(values, self._later(part))

    def _monotonicity(self, part: Part[Scored]) -> float:
        copies, own = self._copies(part, MOVED)
        return float(np.mean(self.copied[copies] >= part.cohort.risk[own] - _SAME)) if len(copies) else float("nan")

    def _note(self, key: Key) -> str:
        if key[0] == "input_psi":
            worst = sorted(self._inputs(self.part(key[1])).items(), key=lambda item: -item[1])
            return "by input: " + ", ".join(f"{name} {value:.3f}" for name, value in worst)[:440]
        if key[0] != "jeffreys":
            return ""
        edges = np.asarray(self.context["parameters"]["grades"], dtype=np.float64)
        found = grades.grades(self.part(key[1]).cohort, edges)
        return "defaults of cases by grade (mean pd): " + ", ".join(f"{g.bad} of {g.n} ({g.pd:.3f})" for g in found)[:440]
