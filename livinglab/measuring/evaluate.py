"""From decoded predictions and reference outcomes to measurements: what a survival harness does in `measure`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from livinglab.measuring import accuracy, calibration, discrimination, influence
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.curves import calibration_curve, decision_curve, threshold_grid
from livinglab.measuring.evaluation import BaseEvaluation, Key
from livinglab.measuring.influence import Estimate, Linearised
from livinglab.measuring.resampling import THREADS, generator, multiplied
from livinglab.measuring.slices import Document, Part, cut

_PLAIN: dict[str, Callable[[Any, Floats], Floats]] = {
    "calibration_slope": calibration.slope, "observed_expected": calibration.observed_expected, "ici": calibration.ici,
    "brier": accuracy.brier, "ipa": accuracy.ipa,
}  # fmt: skip


@dataclass
class Evaluation(BaseEvaluation[Cohort]):
    """A pilot's risks against follow-up: the reference has time (years) and event, predictions and baselines are risks by the horizon."""

    column = "risk"
    by_pilot = frozenset({"calibration_slope", "ici", "observed_expected"})
    smooth = influence.SMOOTH
    event_words = ("events by the horizon", "non-events by the horizon")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.horizon = float(self.context["parameters"]["horizon"])

    def charts(self) -> dict[str, Document]:
        """The calibration and decision curves of the slice `all`; empty where predictions are missing."""
        part = self.part("all")
        if not len(part.rows) or not self.complete[part.rows].all():
            return {}
        return {
            "calibration": calibration_curve(
                part, part.cohort.risk, lambda cohort, w: 1 - cohort.survival(w), generator(self.context["seed"], "curves")
            ),
            "decision": decision_curve(part, threshold_grid(self.context["parameters"])),
        }

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def _cut(self, slice_: Document) -> Part[Cohort]:
        return cut(self.reference, self.predicted, slice_, self.horizon)

    def _compared(self, metric: str, slice_: str) -> tuple[Part[Cohort], ...]:
        return self._groups(slice_) if metric == "sensitivity_difference" else ()

    def _groups(self, name: str) -> tuple[Part[Cohort], Part[Cohort]]:
        """The two groups of a slice whose difference is asked for, first less second."""
        part, parameters = self.part(name), self.context["parameters"]
        values = self.reference[parameters["difference_column"]][part.rows]
        first, second = (part.only(values == group) for group in parameters["difference_groups"])
        return first, second

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _note(self, key: Key) -> str:
        if key[0] in {"calibration_slope", "observed_expected", "ici"}:
            return ""
        part = Linearised(self.part(key[1]).cohort)
        largest = max(float(part.case.max()), float(part.control.max()))
        return f"inverse probability of censoring weights up to {largest:.3g}, tau = {self.horizon:g} years"

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        """By threshold for net benefit."""
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

    # --- large samples ---------------------------------------------------------------------------------------------------

    def _multiplier(self, keys: list[Key]) -> dict[Key, Floats]:
        """For all keys in one pass over the cases of each cohort."""
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
        threshold = float(self.context["parameters"].get("risk_threshold", 0.5))
        n = self._size(self.context["slices"][slice_]["cohort"])
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
