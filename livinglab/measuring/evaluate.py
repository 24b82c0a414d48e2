"""From decoded predictions and reference outcomes to measurements: what a survival harness does in `measure`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livinglab.measuring import accuracy, calibration, discrimination, influence
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.curves import threshold_grid
from livinglab.measuring.estimate import Estimate
from livinglab.measuring.evaluation import BaseEvaluation, Key
from livinglab.measuring.influence import Linearised
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

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def _cut(self, slice_: Document) -> Part[Cohort]:
        return cut(self.reference, self.predicted, slice_, self.horizon)

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

    def _influence(self, metric: str, part: Part[Cohort], rival: Floats | None = None) -> Estimate:
        whole = Linearised(part.cohort)
        if metric in {"sensitivity", "sensitivity_difference"}:
            return influence.sensitivity(whole, float(self.context["parameters"]["risk_threshold"]))
        return influence.uno_c(whole, rival) if metric == "delta_uno_c" else influence.SIMPLE[metric](whole)
