"""What the evaluations of all task families share: which measurements are asked for, on which cases, and how spread becomes bounds."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from livinglab.measuring.bounds import both_bounds
from livinglab.measuring.cohort import Bools, Floats
from livinglab.measuring.curves import calibration_curve, decision_curve, threshold_grid
from livinglab.measuring.estimate import Estimate, difference, proportion, spread
from livinglab.measuring.resampling import BOOTSTRAP, MULTIPLIER, THREADS, generator, multiplicities, multiplied
from livinglab.measuring.slices import Cases, Document, Part, Table, match

C = TypeVar("C", bound=Cases)

Key = tuple[str, str, str | None]
"""Metric, slice, baseline."""

_CHUNK, _CELLS = 256, 4_000_000
"""Replicates that are computed together, and replicates × cases at most: enough for BLAS, few enough for memory."""

LARGEST = 100_000_000
"""Cases × replicates that are resampled whole; beyond it, influence functions are the way."""


def _key(criterion: Document) -> Key:
    return criterion["metric"], criterion["slice"], (criterion["baseline"] or {}).get("name")


def demanded(context: Document) -> dict[Key, tuple[float, frozenset[str]]]:
    """Each measurement that a criterion asks for, at the strictest level of those that share it, with the interval methods that they name."""
    found: dict[Key, tuple[float, frozenset[str]]] = {}
    for criterion in context["criteria"]:
        key = _key(criterion)
        level, methods = found.get(key, (0.0, frozenset()))
        asked = criterion.get("interval", {}).get("method", BOOTSTRAP)
        found[key] = (max(level, float(context["levels"][criterion["id"]])), methods | {asked})
    return found


@dataclass
class BaseEvaluation(ABC, Generic[C]):
    """A pilot's predictions against the reference.

    Args:
        reference: id, cohort (`hidden` or `twin`), the outcome's columns and those that slices name.
        predictions: id and the prediction, as decoded; in any order, with any faults.
        baselines: name → prediction per reference row.
        context: as the lab gives it (`context.json`).
    """

    reference: Table
    predictions: Table
    baselines: dict[str, Floats]
    context: Document
    _parts: dict[str, Part[C]] = field(default_factory=dict)
    _weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    _resampled: dict[Key, Floats] = field(default_factory=dict)

    column: ClassVar[str]
    """Name of the prediction's column."""
    by_pilot: ClassVar[frozenset[str]]
    """Metrics that predictions alone can leave without a value, given that there are events and non-events."""
    smooth: ClassVar[frozenset[str]] = frozenset()
    """Metrics that have an influence function."""
    between: ClassVar[frozenset[str]] = frozenset({"sensitivity_difference"})
    """Metrics that compare two groups of a slice: they are as certain as the smaller of them."""
    ratios: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are the first group over the second; the others are the first less the second."""
    points: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are a value without an interval."""
    decides: ClassVar[bool] = True
    """Is a decision curve drawn?"""
    event_words: ClassVar[tuple[str, str]] = ("events", "non-events")

    def __post_init__(self) -> None:
        """Match predictions to the reference once."""
        self.predicted, self.complete = match(self.reference["id"], self.predictions, self.column)

    def measure(self) -> list[Document]:
        """One measurement (as `domain.verdict.Measurement`) for each metric, slice and baseline that a criterion asks for.

        Where two criteria share one, it has the stricter level; resampling whole goes before multipliers.
        """
        wanted = {key: (level, MULTIPLIER if methods == {MULTIPLIER} else BOOTSTRAP) for key, (level, methods) in demanded(self.context).items()}
        documents = {key: self._reference(*key, method) for key, (_, method) in wanted.items()}
        open_ = [key for key, document in documents.items() if "status" not in document]
        multiplied_ = [key for key in open_ if wanted[key][1] == MULTIPLIER]
        for key, values in self._multiplier(multiplied_).items():
            documents[key] |= self._interval(key, values, wanted[key][0], MULTIPLIER)
        for key in (key for key in open_ if key not in multiplied_):
            documents[key] |= self._bootstrap(key, wanted[key][0])
        return list(documents.values())

    def charts(self) -> dict[str, Document]:
        """Pictures of the slice `all`, each as `domain.chart.Chart`; empty where predictions are missing."""
        part = self.part("all")
        if not len(part.rows) or not self.complete[part.rows].all():
            return {}
        drawn = {"calibration": calibration_curve(part, generator(self.context["seed"], "curves"))}
        if self.decides:
            drawn["decision"] = decision_curve(part, threshold_grid(self.context["parameters"]))
        return drawn

    # --- what a task family adds -----------------------------------------------------------------------------------------

    @abstractmethod
    def _cut(self, slice_: Document) -> Part[C]:
        """The reference cases of a slice, with their predictions."""

    @abstractmethod
    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        """The metric in the sample (row 0) and in each bootstrap sample, (replicates + 1,) or (replicates + 1, components).

        Of `points` there is row 0 only.
        """

    def _usable(self, part: Part[C]) -> Bools:
        """For each prediction that was asked for because of these cases: can it be used?"""
        return self.complete[part.rows]

    def _note(self, key: Key) -> str:  # noqa: ARG002 - families that have something to say use it
        return ""

    def _influence(self, metric: str, part: Part[C], rival: Floats | None = None) -> Estimate:
        """One of the `smooth` metrics of these cases, or of a group of them; of the baseline's predictions, where `rival` (n,) are given."""
        msg = f"{metric} has no influence function."
        raise NotImplementedError(msg)

    def _groups(self, slice_: str) -> tuple[Part[C], Part[C]]:
        """The two groups that are compared, the first with the second."""
        part, parameters = self.part(slice_), self.context["parameters"]
        values = self.reference[parameters["difference_column"]][part.rows]
        first, second = (part.only(values == group) for group in parameters["difference_groups"])
        return first, second

    def _compared(self, metric: str, slice_: str) -> tuple[Part[C], ...]:
        """The groups that the metric rests on, where that is not the slice: it is as certain as the smallest of them."""
        return self._groups(slice_) if metric in self.between else ()

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def part(self, name: str) -> Part[C]:
        """The reference cases of a slice."""
        if name not in self._parts:
            self._parts[name] = self._cut(self.context["slices"][name])
        return self._parts[name]

    def _size(self, cohort: str) -> int:
        return int(np.sum(self.reference["cohort"] == cohort))

    def _multiplicities(self, cohort: str) -> np.ndarray[Any, Any]:
        """Drawn once per cohort: all measurements on it are paired."""
        if cohort not in self._weights:
            rng = generator(self.context["seed"], f"bootstrap {cohort}")
            self._weights[cohort] = multiplicities(self._size(cohort), int(self.context["replicates"]), rng)
        return self._weights[cohort]

    def _reference(self, metric: str, slice_: str, baseline: str | None, method: str) -> Document:
        """What can be said before any computing: counts, completeness, and why there will be no value."""
        part = self.part(slice_)
        document: Document = {"metric": metric, "slice": slice_, "baseline": baseline, **part.counts, "value": None, "interval": None}
        usable = self._usable(part)
        missing = int(np.sum(~usable))
        if metric == "completeness":
            note = f"{missing} predictions are missing, duplicate or unusable" if missing else ""
            return {**document, "status": "ok", "value": float(usable.mean()) if len(usable) else 1.0, "note": note}
        groups = [group.counts for group in self._compared(metric, slice_)]
        if groups:
            document |= {name: min(group[name] for group in groups) for name in groups[0]}
        for name, words in zip(("events", "non_events"), self.event_words, strict=True):
            if not document[name]:
                return {**document, "status": "fault", "note": f"the slice has no {words}"}
        if missing:
            return {**document, "status": "undefined", "note": f"{missing} predictions are missing, duplicate or unusable"}
        if method == MULTIPLIER and metric not in self.smooth:
            return {**document, "status": "fault", "note": f"{metric} has no influence function; ask for the interval method {BOOTSTRAP}"}
        return document

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _bootstrap(self, key: Key, level: float) -> Document:
        cells = self._size(self.context["slices"][key[1]]["cohort"]) * int(self.context["replicates"])
        if key[0] not in self.points and cells > LARGEST:
            way = f"ask for the interval method {MULTIPLIER}" if key[0] in self.smooth else f"{LARGEST} cases × replicates are the most"
            return {"status": "fault", "note": f"too many cases to resample whole; {way}"}
        return self._interval(key, self._replicates(*key), level, BOOTSTRAP)

    def _interval(self, key: Key, values: Floats, level: float, method: str) -> Document:
        """Value and bounds; row 0 of `values` is the sample as it is."""
        values = values.reshape(len(values), -1)
        point = float(values[0].min())
        if not np.isfinite(point):
            if key[0] in self.by_pilot:
                return {"status": "undefined", "note": "these predictions leave it without a value"}
            return {"status": "fault", "note": "the reference cases leave it without a value"}
        document: Document = {"status": "ok", "value": point, "note": self._note(key)}
        if key[0] in self.points:
            return document

        def interval(at: float) -> Document:
            lower, upper = both_bounds(key[0], values, at)
            return {"lower": lower, "upper": upper, "level": at, "method": method}

        stricter = [interval(at) for at in self._stricter(key)]
        return {**document, "interval": interval(level), **({"stricter": stricter} if stricter else {})}

    def _stricter(self, key: Key) -> list[float]:
        """The levels 1 − α/k, k from 2 to the size of its family, of each criterion under Holm's procedure that is on this measurement."""
        criteria = self.context["criteria"]
        sizes = Counter(c["family"] for c in criteria if c.get("family") is not None)
        own = [c for c in criteria if c.get("family") is not None and _key(c) == key]
        return sorted({1 - (1 - float(self.context["levels"][c["id"]])) / k for c in own for k in range(2, sizes[c["family"]] + 1)})

    def _resample(self, part: Part[C], slice_: str, compute: Callable[[C, Floats], Floats]) -> Floats:
        """A metric of these cases under the multiplicities of the slice's cohort: (replicates + 1, …)."""
        drawn = self._multiplicities(self.context["slices"][slice_]["cohort"])
        step = max(1, min(_CHUNK, _CELLS // len(part.rows)))

        def chunk(start: int) -> Floats:
            return compute(part.cohort, part.weights(drawn[start : start + step]))

        with ThreadPoolExecutor(THREADS) as threads:
            return np.concatenate(list(threads.map(chunk, range(0, len(drawn), step))))

    # --- large samples ---------------------------------------------------------------------------------------------------

    def _multiplier(self, keys: list[Key]) -> dict[Key, Floats]:
        """Values as `_replicates` gives them, from influence functions; for all keys in one pass over the cases of each cohort."""
        found: dict[Key, Floats] = {}
        for cohort in sorted({self.context["slices"][slice_]["cohort"] for _, slice_, _ in keys}):
            n = self._size(cohort)
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
        n = self._size(self.context["slices"][slice_]["cohort"])
        if metric in self.between:
            first, second = (spread(self._influence(metric, group), group.columns, n) for group in self._groups(slice_))
            return proportion(first, second) if metric in self.ratios else difference(first, second)
        part = self.part(slice_)
        estimate = self._influence(metric, part)
        if metric.startswith("delta_"):
            estimate = difference(estimate, self._influence(metric, part, self.baselines[str(baseline)][part.rows]))
        return spread(estimate, part.columns, n)
