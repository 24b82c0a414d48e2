"""From decoded predictions and events without follow-up to measurements: what a binary-risk harness does in `measure`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from livinglab.measuring import accuracy, calibration, discrimination, influence, score_influence, scoring
from livinglab.measuring.cohort import Floats, ratio
from livinglab.measuring.curves import threshold_grid
from livinglab.measuring.estimate import Estimate
from livinglab.measuring.evaluation import BaseEvaluation
from livinglab.measuring.score_influence import LinearisedScores
from livinglab.measuring.scoring import Scored
from livinglab.measuring.slices import Document, Part, chosen

Metric = Callable[[Scored, Floats], Floats]

_PLAIN: dict[str, Metric] = {
    "auc": scoring.auc, "observed_expected": calibration.observed_expected, "calibration_slope": scoring.slope, "ici": scoring.ici,
    "brier": accuracy.brier, "ipa": accuracy.ipa,
}  # fmt: skip

_SMOOTH: dict[str, Callable[[LinearisedScores], Estimate]] = {
    "observed_expected": influence.observed_expected, "brier": influence.brier, "ipa": influence.ipa,
    "calibration_slope": lambda part: score_influence.slope(part.cases),
}  # fmt: skip


@dataclass
class BinaryEvaluation(BaseEvaluation[Scored]):
    """A pilot's probabilities against events: the reference has the outcome's column, predictions and baselines are probabilities."""

    column = "risk"
    outcome: ClassVar[str] = "event"
    """Name of the reference's column that says whether the event happened."""
    by_pilot = frozenset({"calibration_slope", "ici", "observed_expected"})
    smooth = frozenset(_SMOOTH) | {"auc", "auc_plausibility", "delta_auc", "sensitivity", "specificity", "sensitivity_difference"}

    def _cut(self, slice_: Document) -> Part[Scored]:
        rows, columns = chosen(self.reference, slice_)
        return Part(Scored(self.reference[self.outcome][rows].astype(bool), self.predicted[rows]), rows, columns)

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:
        """By threshold for net benefit."""
        part = self.part(slice_)
        if metric == "auc_plausibility":
            return self._replicates("auc", slice_, None)
        if metric == "delta_auc":
            rival = self.baselines[str(baseline)][part.rows]
            return self._replicates("auc", slice_, None) - self._resample(part, slice_, lambda cases, w: scoring.auc(cases, w, rival))
        if metric in self.between:
            first, second = (self._resample(group, slice_, self._metric(metric, group)) for group in self._groups(slice_))
            return ratio(first, second) if metric in self.ratios else first - second
        key = (metric, slice_, baseline)
        if key not in self._resampled:
            self._resampled[key] = self._resample(part, slice_, self._metric(metric, part))
        return self._resampled[key]

    def _metric(self, metric: str, part: Part[Scored]) -> Metric:  # noqa: ARG002 - families measure what else is known of the cases
        """The metric of these cases, or of a group of them."""
        parameters = self.context["parameters"]
        if metric == "net_benefit_gain":
            return lambda cases, w: accuracy.net_benefit_gain(cases, w, threshold_grid(parameters))
        if metric in {"sensitivity", "sensitivity_difference"}:
            return lambda cases, w: discrimination.sensitivity(cases, w, float(parameters["risk_threshold"]))
        if metric == "specificity":
            return lambda cases, w: discrimination.specificity(cases, w, float(parameters["risk_threshold"]))
        return _PLAIN[metric]

    def _influence(self, metric: str, part: Part[Scored], rival: Floats | None = None) -> Estimate:
        if metric in {"auc", "auc_plausibility", "delta_auc"}:
            return score_influence.auc(part.cohort, rival)
        whole = LinearisedScores(part.cohort)
        if metric in {"sensitivity", "sensitivity_difference"}:
            return influence.sensitivity(whole, float(self.context["parameters"]["risk_threshold"]))
        if metric == "specificity":
            return influence.specificity(whole, float(self.context["parameters"]["risk_threshold"]))
        return _SMOOTH[metric](whole)
