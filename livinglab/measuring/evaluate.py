"""From decoded predictions and reference outcomes to measurements: what a survival harness does in `measure`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from livinglab.measuring import accuracy, calibration, discrimination, influence
from livinglab.measuring.cohort import Floats
from livinglab.measuring.curves import calibration_curve, decision_curve, threshold_grid
from livinglab.measuring.influence import Estimate, Linearised
from livinglab.measuring.resampling import BOOTSTRAP, MULTIPLIER, THREADS, generator, lower_bound, multiplicities, multiplied, upper_bound
from livinglab.measuring.slices import Document, Part, Table, cut, match

Key = tuple[str, str, str | None]
"""Metric, slice, baseline."""

_CHUNK, _CELLS = 256, 4_000_000
"""Replicates that are computed together, and replicates × cases at most: enough for BLAS, few enough for memory."""

LARGEST = 100_000_000
"""Cases × replicates that are resampled whole; beyond it, influence functions are the way."""

_BY_PILOT = frozenset({"calibration_slope", "ici", "observed_expected"})
"""Metrics that predictions alone can leave without a value, given that there are events and non-events."""

_PLAIN: dict[str, Callable[[Any, Floats], Floats]] = {
    "calibration_slope": calibration.slope, "observed_expected": calibration.observed_expected, "ici": calibration.ici,
    "brier": accuracy.brier, "ipa": accuracy.ipa,
}  # fmt: skip


def both_bounds(metric: str, values: Floats, level: float) -> tuple[float | None, float | None]:
    """Lower and upper bound of a metric, each at `level`; row 0 of `values` (replicates + 1, components) is the sample as it is.

    Of several components (thresholds), each must meet the demand. The least of their lower bounds holds at `level` by itself
    (intersection–union, Berger 1982); that even one fails is shown at `level` by Bonferroni's correction.

    Absolute differences only grow when a sample is drawn again, so for `ici` percentiles alone would make a good model look
    surely bad in a small sample: its lower bound is the lesser of the percentile and the basic one (Davison & Hinkley 1997,
    section 5.2). In simulation it holds at 0.964 where 0.983 is nominal, and the upper one always (docs/statistics.md).
    """
    lows = [lower_bound(column, level) for column in values[1:].T]
    highs = [upper_bound(column, 1 - (1 - level) / values.shape[1]) for column in values[1:].T]
    lower = None if None in lows else min(low for low in lows if low is not None)
    upper = None if None in highs else min(high for high in highs if high is not None)
    if metric == "ici" and lower is not None:
        lower = None if upper is None else max(0.0, min(lower, 2 * float(values[0].min()) - upper))
    return lower, upper


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
    _parts: dict[str, Part] = field(default_factory=dict)
    _weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    _resampled: dict[Key, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Match predictions to the reference once."""
        self.horizon = float(self.context["parameters"]["horizon"])
        self.risk, self.complete = match(self.reference["id"], self.predictions)

    def measure(self) -> list[Document]:
        """One measurement (as `domain.verdict.Measurement`) for each metric, slice and baseline that a criterion asks for.

        Where two criteria share one, it has the stricter level; resampling whole goes before multipliers.
        """
        wanted: dict[Key, tuple[float, str]] = {}
        for criterion in self.context["criteria"]:
            key = (criterion["metric"], criterion["slice"], (criterion["baseline"] or {}).get("name"))
            level, method = wanted.get(key, (0.0, MULTIPLIER))
            asked = criterion.get("interval", {}).get("method", BOOTSTRAP)
            wanted[key] = (max(level, float(self.context["levels"][criterion["id"]])), method if asked == MULTIPLIER else BOOTSTRAP)
        documents = {key: self._reference(*key, method) for key, (_, method) in wanted.items()}
        open_ = [key for key, document in documents.items() if "status" not in document]
        multiplied_ = [key for key in open_ if wanted[key][1] == MULTIPLIER]
        for key, values in self._multiplier(multiplied_).items():
            documents[key] |= self._interval(key, values, wanted[key][0], MULTIPLIER)
        for key in (key for key in open_ if key not in multiplied_):
            documents[key] |= self._bootstrap(key, wanted[key][0])
        return list(documents.values())

    def curves(self) -> dict[str, Document]:
        """Numbers for the calibration and decision curves of the slice `all`; empty where predictions are missing."""
        part = self.part("all")
        if not len(part.rows) or not self.complete[part.rows].all():
            return {}
        drawn = {
            "calibration": calibration_curve(part, generator(self.context["seed"], "curves")),
            "decision": decision_curve(part, threshold_grid(self.context["parameters"])),
        }
        return {name: {"slice": "all", **curve} for name, curve in drawn.items()}

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def part(self, name: str) -> Part:
        """The reference cases of a slice."""
        if name not in self._parts:
            self._parts[name] = cut(self.reference, self.risk, self.context["slices"][name], self.horizon)
        return self._parts[name]

    def _groups(self, name: str) -> tuple[Part, Part]:
        """The two groups of a slice whose difference is asked for, first less second."""
        part, parameters = self.part(name), self.context["parameters"]
        values = self.reference[parameters["difference_column"]][part.rows]
        first, second = (part.only(values == group) for group in parameters["difference_groups"])
        return first, second

    def _multiplicities(self, cohort: str) -> np.ndarray[Any, Any]:
        """Drawn once per cohort: all measurements on it are paired."""
        if cohort not in self._weights:
            n = int(np.sum(self.reference["cohort"] == cohort))
            self._weights[cohort] = multiplicities(n, int(self.context["replicates"]), generator(self.context["seed"], f"bootstrap {cohort}"))
        return self._weights[cohort]

    def _reference(self, metric: str, slice_: str, baseline: str | None, method: str) -> Document:
        """What can be said before any computing: counts, completeness, and why there will be no value."""
        part = self.part(slice_)
        document: Document = {"metric": metric, "slice": slice_, "baseline": baseline, **part.counts, "value": None, "interval": None}
        usable = self.complete[part.rows]
        missing = int(np.sum(~usable))
        if metric == "completeness":
            note = f"{missing} predictions are missing, duplicate or unusable" if missing else ""
            return {**document, "status": "ok", "value": float(usable.mean()) if len(usable) else 1.0, "note": note}
        if metric == "sensitivity_difference":  # it is as certain as its smaller group
            groups = [group.counts for group in self._groups(slice_)]
            document |= {name: min(group[name] for group in groups) for name in groups[0]}
        for name in ("events", "non_events"):
            if not document[name]:
                return {**document, "status": "fault", "note": f"the slice has no {name.replace('_', '-')} by the horizon"}
        if missing:
            return {**document, "status": "undefined", "note": f"{missing} predictions are missing, duplicate or unusable"}
        if method == MULTIPLIER and metric not in influence.SMOOTH:
            return {**document, "status": "fault", "note": f"{metric} has no influence function; ask for the interval method {BOOTSTRAP}"}
        return document

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _bootstrap(self, key: Key, level: float) -> Document:
        cohort = self.context["slices"][key[1]]["cohort"]
        if int(np.sum(self.reference["cohort"] == cohort)) * int(self.context["replicates"]) > LARGEST:
            note = f"too many cases to resample whole; ask for the interval method {MULTIPLIER}"
            return {"status": "fault", "note": note}
        return self._interval(key, self._replicates(*key), level, BOOTSTRAP)

    def _interval(self, key: Key, values: Floats, level: float, method: str) -> Document:
        """Value and bounds; row 0 of `values` is the sample as it is."""
        values = values.reshape(len(values), -1)
        point = float(values[0].min())
        if not np.isfinite(point):
            if key[0] in _BY_PILOT:
                return {"status": "undefined", "note": "these predictions leave it without a value"}
            return {"status": "fault", "note": "the reference cases leave it without a value"}
        lower, upper = both_bounds(key[0], values, level)
        interval = {"lower": lower, "upper": upper, "level": level, "method": method}
        return {"status": "ok", "value": point, "interval": interval, "note": self._note(key)}

    def _note(self, key: Key) -> str:
        if key[0] in {"calibration_slope", "observed_expected", "ici"}:
            return ""
        part = Linearised(self.part(key[1]).cohort)
        largest = max(float(part.case.max()), float(part.control.max()))
        return f"inverse probability of censoring weights up to {largest:.3g}, tau = {self.horizon:g} years"

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        """The metric in the sample (row 0) and in each bootstrap sample; by threshold for net benefit."""
        if metric == "uno_c_plausibility":
            return self._replicates("uno_c", slice_, None)
        if metric == "delta_uno_c":
            return self._replicates("uno_c", slice_, None) - self._replicates("uno_c", slice_, baseline)
        if metric == "sensitivity_difference":
            first, second = (self._resample(group, slice_, self._metric("sensitivity")) for group in self._groups(slice_))
            return first - second
        key = (metric, slice_, baseline)
        if key not in self._resampled:
            part = self.part(slice_)
            if metric == "uno_c":
                rival = None if baseline is None else self.baselines[baseline][part.rows]
                self._resampled[key] = self._resample(part, slice_, lambda cohort, w: discrimination.uno_c(cohort, w, rival))
            else:
                self._resampled[key] = self._resample(part, slice_, self._metric(metric))
        return self._resampled[key]

    def _metric(self, metric: str) -> Callable[[Any, Floats], Floats]:
        parameters = self.context["parameters"]
        if metric == "net_benefit_gain":
            return lambda cohort, w: accuracy.net_benefit_gain(cohort, w, threshold_grid(parameters))
        if metric == "sensitivity":
            return lambda cohort, w: discrimination.sensitivity(cohort, w, float(parameters["risk_threshold"]))
        return _PLAIN[metric]

    def _resample(self, part: Part, slice_: str, compute: Callable[[Any, Floats], Floats]) -> Floats:
        drawn = self._multiplicities(self.context["slices"][slice_]["cohort"])

        step = max(1, min(_CHUNK, _CELLS // len(part.rows)))

        def chunk(start: int) -> Floats:
            return compute(part.cohort, part.weights(drawn[start : start + step]))

        with ThreadPoolExecutor(THREADS) as threads:
            return np.concatenate(list(threads.map(chunk, range(0, len(drawn), step))))

    # --- large samples ---------------------------------------------------------------------------------------------------

    def _multiplier(self, keys: list[Key]) -> dict[Key, Floats]:
        """Values as `_replicates` gives them, for all keys in one pass over the cases of each cohort."""
        found: dict[Key, Floats] = {}
        for cohort in sorted({self.context["slices"][slice_]["cohort"] for _, slice_, _ in keys}):
            n = int(np.sum(self.reference["cohort"] == cohort))
            own = [key for key in keys if self.context["slices"][key[1]]["cohort"] == cohort]
            with ThreadPoolExecutor(THREADS) as threads:
                estimates = list(threads.map(self._estimate, own))
            columns = np.zeros((n, len(own)), dtype=np.float32)
            scales = [float(np.abs(estimate.influence).max()) for estimate in estimates]
            for place, (estimate, scale) in enumerate(zip(estimates, scales, strict=True)):
                columns[:, place] = estimate.influence / scale if scale > 0 else 0.0  # single precision has a narrow range
            drawn = multiplied(columns, int(self.context["replicates"]), generator(self.context["seed"], f"multipliers {cohort}"))
            for place, key in enumerate(own):
                found[key] = estimates[place].value + scales[place] * np.concatenate(([0.0], drawn[:, place]))
        return found

    def _estimate(self, key: Key) -> Estimate:
        """The metric with its influence on every case of the cohort."""
        metric, slice_, baseline = key
        threshold = float(self.context["parameters"].get("risk_threshold", 0.5))
        n = int(np.sum(self.reference["cohort"] == self.context["slices"][slice_]["cohort"]))
        if metric == "sensitivity_difference":
            parts = self._groups(slice_)
            first, second = (influence.spread(influence.sensitivity(Linearised(p.cohort), threshold), p.columns, n) for p in parts)
            return influence.difference(first, second)
        part = self.part(slice_)
        whole = Linearised(part.cohort)
        if metric == "delta_uno_c":
            rival = influence.uno_c(whole, self.baselines[str(baseline)][part.rows])
            estimate = influence.difference(influence.uno_c(whole), rival)
        elif metric == "sensitivity":
            estimate = influence.sensitivity(whole, threshold)
        else:
            estimate = influence.SIMPLE[metric](whole)
        return influence.spread(estimate, part.columns, n)
