"""Overall accuracy and use: Brier score, index of prediction accuracy, net benefit. Without follow-up nothing is censored, and each case weighs 1."""

import numpy as np

from livinglab.measuring.cohort import Floats, ratio
from livinglab.measuring.slices import Cases


def _brier(case: Floats, control: Floats, weights: Floats, risk: Floats) -> Floats:
    return np.asarray((case @ (1 - risk) ** 2 + control @ risk**2) / weights.sum(axis=1))


def brier(cohort: Cases, weights: Floats) -> Floats:
    """IPCW Brier score at the horizon (Graf et al. 1999, Statistics in Medicine 18:2529): (replicates,)."""
    return _brier(*cohort.outcome_weights(weights), weights, cohort.risk)


def ipa(cohort: Cases, weights: Floats) -> Floats:
    """Index of prediction accuracy: 1 − Brier / Brier of the replicate's own risk of all, by Kaplan–Meier (Kattan & Gerds 2018): (replicates,)."""
    case, control = cohort.outcome_weights(weights)
    survival = cohort.survival(weights)
    null = (case.sum(axis=1) * survival**2 + control.sum(axis=1) * (1 - survival) ** 2) / weights.sum(axis=1)
    return np.asarray(1 - ratio(_brier(case, control, weights, cohort.risk), null))


def net_benefit(cohort: Cases, weights: Floats, thresholds: Floats) -> tuple[Floats, Floats]:
    """Net benefit of treating at `risk ≥ threshold`, and of treating all: twice (replicates, thresholds).

    Vickers & Elkin 2006, Med Decis Making 26:565; with censored data true and false positives are IPCW means
    (Vickers et al. 2008, BMC Med Inform Decis Mak 8:53, weighted instead of conditional).
    """
    case, control = cohort.outcome_weights(weights)
    total = weights.sum(axis=1, keepdims=True)
    high = (cohort.risk[:, None] >= thresholds[None, :]).astype(np.float64)
    odds = thresholds / (1 - thresholds)
    model = case @ high / total - control @ high / total * odds
    everyone = case.sum(axis=1, keepdims=True) / total - control.sum(axis=1, keepdims=True) / total * odds
    return model, everyone


def net_benefit_gain(cohort: Cases, weights: Floats, thresholds: Floats) -> Floats:
    """Net benefit over that of the better of treating all and treating none: (replicates, thresholds)."""
    model, everyone = net_benefit(cohort, weights, thresholds)
    return model - np.maximum(everyone, 0)
