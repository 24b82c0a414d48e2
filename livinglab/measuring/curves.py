"""The calibration and the decision curve, as charts (`domain.chart.Chart`). The lab draws them: no picture comes out of a container."""

import numpy as np

from livinglab.measuring import accuracy
from livinglab.measuring.cohort import Floats
from livinglab.measuring.resampling import multiplicities
from livinglab.measuring.slices import C, Document, Part

_TENTHS = 10
_REPLICATES = 400
_STEP = 0.05


def calibration_curve(part: Part[C], rng: np.random.Generator) -> Document:
    """Observed risk by tenths of predicted risk, with 95 % pointwise bootstrap bounds."""
    risk = part.cohort.risk
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, _TENTHS + 1)))
    tenth = np.clip(np.searchsorted(edges, risk, side="right") - 1, 0, max(0, len(edges) - 2))
    curve: Document = {"label": "pilot, by tenths of predicted risk (bars: 95 %)", "style": "points", "x": [], "y": [], "lower": [], "upper": []}
    for number in np.unique(tenth):
        cohort = part.only(tenth == number).cohort
        seen = 1 - cohort.survival(multiplicities(len(cohort), _REPLICATES, rng).astype(np.float64))
        curve["x"].append(float(risk[tenth == number].mean()))
        curve["y"].append(float(seen[0]))
        curve["lower"].append(float(np.quantile(seen[1:], 0.025)))
        curve["upper"].append(float(np.quantile(seen[1:], 0.975)))
    return {
        "title": "Calibration", "x": "predicted risk", "y": "observed risk", "square": True, "series": [curve],
        "marks": [{"of": "diagonal", "label": "perfect"}],
    }  # fmt: skip


def decision_curve(part: Part[C], thresholds: Floats) -> Document:
    """Net benefit of the model, of treating all, and of treating none, by threshold."""
    model, everyone = accuracy.net_benefit(part.cohort, np.ones((1, len(part.cohort))), thresholds)
    lines = (("pilot", "line", model[0]), ("treat all", "dashed", everyone[0]), ("treat none", "dotted", np.zeros(len(thresholds))))
    series = [{"label": label, "style": style, "x": thresholds.tolist(), "y": y.tolist()} for label, style, y in lines]
    return {"title": "Decision curve", "x": "risk threshold", "y": "net benefit (higher is better)", "series": series}


def threshold_grid(parameters: Document) -> Floats:
    """The thresholds at which net benefit is compared: the stated range in steps of 0.05."""
    low, high = parameters.get("net_benefit_range", (0.1, 0.4))
    return np.asarray(np.round(np.arange(low, high + _STEP / 2, _STEP), 6), dtype=np.float64)
