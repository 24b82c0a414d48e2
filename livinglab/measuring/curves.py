"""Numbers for the calibration and the decision curve. The lab draws them: no picture comes out of a container."""

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
    curve: Document = {"predicted": [], "observed": [], "lower": [], "upper": []}
    for number in np.unique(tenth):
        cohort = part.only(tenth == number).cohort
        seen = 1 - cohort.survival(multiplicities(len(cohort), _REPLICATES, rng).astype(np.float64))
        curve["predicted"].append(float(risk[tenth == number].mean()))
        curve["observed"].append(float(seen[0]))
        curve["lower"].append(float(np.quantile(seen[1:], 0.025)))
        curve["upper"].append(float(np.quantile(seen[1:], 0.975)))
    return curve


def decision_curve(part: Part[C], thresholds: Floats) -> Document:
    """Net benefit of the model, of treating all, and of treating none, by threshold."""
    model, everyone = accuracy.net_benefit(part.cohort, np.ones((1, len(part.cohort))), thresholds)
    return {"threshold": thresholds.tolist(), "model": model[0].tolist(), "all": everyone[0].tolist(), "none": [0.0] * len(thresholds)}


def threshold_grid(parameters: Document) -> Floats:
    """The thresholds at which net benefit is compared: the stated range in steps of 0.05."""
    low, high = parameters.get("net_benefit_range", (0.1, 0.4))
    return np.asarray(np.round(np.arange(low, high + _STEP / 2, _STEP), 6), dtype=np.float64)
