"""From decoded predictions and reference outcomes to measurements: what a survival harness does in `measure`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from livinglab.measuring import accuracy, calibration, discrimination
from livinglab.measuring.cohort import Bools, Cohort, Floats
from livinglab.measuring.resampling import METHOD, bounds, generator, multiplicities

Table = dict[str, np.ndarray[Any, Any]]
"""Columns by name, all of one length."""

Document = dict[str, Any]

CHUNK = 256
"""Replicates that are computed together: enough for BLAS, few enough for memory."""

_BINS = 10


@dataclass
class Evaluation:
    """A pilot's predictions against the reference.

    Args:
        reference: id, time (years), event, cohort (`hidden` or `twin`) and the columns that slices name.
        predictions: id and risk, as decoded; in any order, with any faults.
        baselines: name → risk per reference row.
        context: as the lab gives it (`context.json`).
    """

    reference: Table
    predictions: Table
    baselines: dict[str, Floats]
    context: Document
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Match predictions to the reference once, and draw the replicates of each cohort once: measurements are paired."""
        self.horizon = float(self.context["parameters"]["horizon"])
        self.risk, self.complete = match(self.reference["id"], self.predictions)
        self._weights: dict[str, Floats] = {}

    def measure(self) -> list[Document]:
        """One measurement for each (metric, slice, baseline) that a criterion asks for."""
        done: dict[tuple[str, str, str | None], Document] = {}
        for criterion in self.context["criteria"]:
            baseline = (criterion["baseline"] or {}).get("name")
            key = (criterion["metric"], criterion["slice"], baseline)
            level = float(self.context["levels"][criterion["id"]])
            if key in done and done[key].get("interval") and done[key]["interval"]["level"] >= level:
                continue  # two criteria on one measurement: the stricter level serves both
            done[key] = self._measure_one(*key, level)
        return list(done.values())

    # --- slices --------------------------------------------------------------------------------------------------------

    def rows(self, name: str) -> Bools:
        """The reference cases of a slice."""
        part = self.context["slices"][name]
        chosen: Bools = self.reference["cohort"] == part["cohort"]
        for condition in part["where"]:
            column = self.reference[condition["column"]]
            if condition["equals"] is not None:
                chosen = chosen & (column == condition["equals"])
            if condition["at_least"] is not None:
                chosen = chosen & (column >= condition["at_least"])
            if condition["below"] is not None:
                chosen = chosen & (column < condition["below"])
        return chosen

    def weights(self, cohort: str) -> Floats:
        """The cohort's bootstrap multiplicities, for every row of the reference (0 outside of the cohort)."""
        if cohort not in self._weights:
            inside = self.reference["cohort"] == cohort
            full = np.zeros((int(self.context["replicates"]) + 1, len(inside)))
            full[:, inside] = multiplicities(
                int(inside.sum()), int(self.context["replicates"]), generator(self.context["seed"], f"bootstrap {cohort}")
            )
            self._weights[cohort] = full
        return self._weights[cohort]

    # --- measuring -----------------------------------------------------------------------------------------------------

    def _measure_one(self, metric: str, slice_: str, baseline: str | None, level: float) -> Document:
        rows = self.rows(slice_)
        time, event = self.reference["time"][rows], self.reference["event"][rows].astype(bool)
        counts = {
            "n": int(rows.sum()), "events": int(np.sum(event & (time <= self.horizon))), "non_events": int(np.sum(time > self.horizon)),
        }  # fmt: skip
        document: Document = {"metric": metric, "slice": slice_, "baseline": baseline, **counts}
        if metric == "completeness":
            return {**document, "status": "ok", "value": float(self.complete[rows].mean()) if counts["n"] else 1.0, "interval": None}
        if not counts["n"] or not counts["events"]:
            return {**document, "status": "fault", "value": None, "interval": None, "note": "the slice has no events"}
        if not self.complete[rows].all():
            missing = int((~self.complete[rows]).sum())
            return {
                **document,
                "status": "undefined",
                "value": None,
                "interval": None,
                "note": f"{missing} predictions are missing, duplicate or unusable",
            }
        return {**document, **self._interval(metric, slice_, rows, baseline, level)}

    def _interval(self, metric: str, slice_: str, rows: Bools, baseline: str | None, level: float) -> Document:
        weights = self.weights(self.context["slices"][slice_]["cohort"])[:, rows]
        compute = self._metric(metric, rows, baseline)
        values = np.concatenate([compute(weights[start : start + CHUNK]) for start in range(0, len(weights), CHUNK)])
        if values.ndim == 1:
            values = values[:, None]
        point = float(values[0].min())
        if not np.isfinite(point):
            return {"status": "undefined", "value": None, "interval": None, "note": "these predictions leave it without a value"}
        # Of several components (thresholds), every one must meet the demand: intersection–union, bound by bound.
        sides = [bounds(column, level) for column in values[1:].T]
        lower = None if any(low is None for low, _ in sides) else min(low for low, _ in sides if low is not None)
        upper = None if any(high is None for _, high in sides) else min(high for _, high in sides if high is not None)
        return {"status": "ok", "value": point, "interval": {"lower": lower, "upper": upper, "level": level, "method": METHOD}}

    def _metric(self, metric: str, rows: Bools, baseline: str | None) -> Callable[[Floats], Floats]:
        """The metric as a function of weights in the order of `rows`."""
        cohort, order = Cohort.sort(self.reference["time"][rows], self.reference["event"][rows].astype(bool), self.risk[rows], self.horizon)
        parameters = self.context["parameters"]
        if metric == "sensitivity_difference":
            return self._sensitivity_difference(rows)
        if metric == "delta_uno_c":
            rival = self.baselines[str(baseline)][rows][order]
            return lambda w: discrimination.uno_c(cohort, w[:, order]) - discrimination.uno_c(cohort, w[:, order], rival)
        if metric == "net_benefit_gain":
            thresholds = threshold_grid(parameters)
            return lambda w: accuracy.net_benefit_gain(cohort, w[:, order], thresholds)
        if metric == "sensitivity":
            return lambda w: discrimination.sensitivity(cohort, w[:, order], float(parameters["risk_threshold"]))
        simple: dict[str, Callable[[Cohort, Floats], Floats]] = {
            "uno_c": discrimination.uno_c, "uno_c_plausibility": discrimination.uno_c, "calibration_slope": calibration.slope,
            "observed_expected": calibration.observed_expected, "ici": calibration.ici, "brier": accuracy.brier, "ipa": accuracy.ipa,
        }  # fmt: skip
        return lambda w: simple[metric](cohort, w[:, order])

    def _sensitivity_difference(self, rows: Bools) -> Callable[[Floats], Floats]:
        """Signed: the first group less the second, each with its own censoring distribution."""
        parameters = self.context["parameters"]
        column, (first, second) = parameters["difference_column"], parameters["difference_groups"]
        threshold = float(parameters["risk_threshold"])
        values = self.reference[column][rows]
        parts = []
        for group in (first, second):
            inside = np.flatnonzero(values == group)
            where = np.flatnonzero(rows)[inside]
            cohort, order = Cohort.sort(self.reference["time"][where], self.reference["event"][where].astype(bool), self.risk[where], self.horizon)
            parts.append((cohort, inside[order]))
        return lambda w: np.subtract(*(discrimination.sensitivity(c, w[:, at], threshold) for c, at in parts))

    # --- curves --------------------------------------------------------------------------------------------------------

    def curves(self) -> dict[str, Document]:
        """Numbers for the calibration and decision curves of the slice `all`; empty where predictions are missing."""
        rows = self.rows("all")
        if not rows.any() or not self.complete[rows].all():
            return {}
        cohort, order = Cohort.sort(self.reference["time"][rows], self.reference["event"][rows].astype(bool), self.risk[rows], self.horizon)
        weights = self.weights("hidden")[: CHUNK + 1, rows][:, order]
        thresholds = threshold_grid(self.context["parameters"])
        model, everyone = accuracy.net_benefit(cohort, weights[:1], thresholds)
        decision = {
            "slice": "all",
            "threshold": thresholds.tolist(),
            "model": model[0].tolist(),
            "all": everyone[0].tolist(),
            "none": [0.0] * len(thresholds),
        }
        return {"calibration": _calibration_curve(cohort, weights), "decision": decision}


def _calibration_curve(cohort: Cohort, weights: Floats) -> Document:
    """Observed risk (1 − Kaplan–Meier) by tenths of predicted risk, with 95 % pointwise bootstrap bounds."""
    edges = np.unique(np.quantile(cohort.risk, np.linspace(0, 1, _BINS + 1)))
    tenth = np.clip(np.searchsorted(edges, cohort.risk, side="right") - 1, 0, max(0, len(edges) - 2))
    curve: Document = {"slice": "all", "predicted": [], "observed": [], "lower": [], "upper": []}
    for number in np.unique(tenth):
        inside = tenth == number
        part = Cohort(cohort.time[inside], cohort.event[inside], cohort.risk[inside], cohort.horizon)
        observed = 1 - part.survival(weights[:, inside])
        curve["predicted"].append(float(part.risk.mean()))
        curve["observed"].append(float(observed[0]))
        curve["lower"].append(float(np.quantile(observed[1:], 0.025)))
        curve["upper"].append(float(np.quantile(observed[1:], 0.975)))
    return curve


def threshold_grid(parameters: Document) -> Floats:
    """The thresholds at which net benefit is compared: the stated range in steps of 0.05."""
    low, high = parameters.get("net_benefit_range", (0.1, 0.4))
    return np.asarray(np.round(np.arange(low, high + 0.025, 0.05), 6), dtype=np.float64)


def match(ids: np.ndarray[Any, Any], predictions: Table) -> tuple[Floats, Bools]:
    """The prediction of each reference case, and whether there is exactly one that can be used (finite, within [0, 1]).

    An id that was not asked for makes nothing better or worse: it is left out.
    """
    given = predictions["id"].astype(str)
    names, first, counts = np.unique(given, return_index=True, return_counts=True)
    place = np.searchsorted(names, ids.astype(str)) if len(names) else np.zeros(len(ids), dtype=np.int64)
    place = np.minimum(place, max(0, len(names) - 1))
    if not len(names):
        return np.full(len(ids), np.nan), np.zeros(len(ids), dtype=bool)
    found = names[place] == ids.astype(str)
    risk = np.where(found, predictions["risk"][first[place]], np.nan)
    usable = found & (counts[place] == 1) & np.isfinite(risk) & (risk >= 0) & (risk <= 1)
    return np.where(usable, risk, np.nan), usable
