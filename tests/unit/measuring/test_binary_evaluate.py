"""Binary risk: each metric of the family against another's implementation, and from a stranger's risks to measurements."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dcurves import dca
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score

from livinglab.domain.families.binary_risk import BINARY_RISK
from livinglab.domain.verdict import Measurement
from livinglab.measuring import accuracy, calibration, discrimination, scoring
from livinglab.measuring.binary import BinaryEvaluation
from livinglab.measuring.cohort import Floats
from livinglab.measuring.logistic import probability
from livinglab.measuring.resampling import generator, multiplicities
from livinglab.measuring.scoring import Scored
from livinglab.measuring.slices import Table

N = 400
ALL = tuple(metric.name for metric in BINARY_RISK.metrics)
THRESHOLD = 0.35


def world() -> tuple[Table, Floats]:
    """Reference, and what an honest pilot answers, in the same order."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=N)
    reference: Table = {
        "id": np.array([f"p{i}" for i in range(N)]), "event": rng.random(N) < probability(x - 0.8), "cohort": np.full(N, "hidden"),
        "sex": np.where(rng.random(N) < 0.5, "F", "M"),
    }  # fmt: skip
    return reference, probability(1.1 * x - 0.8)


def criterion(metric: str, slice_: str = "all", method: str = "bootstrap-percentile") -> dict[str, Any]:
    baseline = {"name": "rival"} if metric == "delta_auc" else None
    return {"id": f"{metric} {slice_}", "metric": metric, "slice": slice_, "baseline": baseline, "interval": {"method": method, "level": 0.95}}


def measured(
    *metrics: str, risk: Floats | None = None, slice_: str = "all", method: str = "bootstrap-percentile", replicates: int = 200
) -> dict[str, Measurement]:
    found = evaluated([criterion(metric, slice_, method) for metric in metrics], risk, replicates)
    return {measurement.metric: measurement for measurement in found}


def evaluated(asked: list[dict[str, Any]], risk: Floats | None = None, replicates: int = 200) -> list[Measurement]:
    reference, honest = world()
    women = {"column": "sex", "equals": "F", "at_least": None, "below": None}
    context = {
        "parameters": {"risk_threshold": THRESHOLD, "net_benefit_range": (0.1, 0.4), "difference_column": "sex", "difference_groups": ["F", "M"]},
        "slices": {"all": {"cohort": "hidden", "where": []}, "women": {"cohort": "hidden", "where": [women]}},
        "criteria": asked, "levels": {c["id"]: 0.95 for c in asked}, "replicates": replicates, "seed": "s",
    }  # fmt: skip
    order = np.random.default_rng(2).permutation(N)
    predictions = {"id": reference["id"][order], "risk": (honest if risk is None else risk)[order]}
    evaluation = BinaryEvaluation(reference, predictions, {"rival": honest + np.random.default_rng(1).normal(0, 0.2, N)}, context)
    evaluation.charts()
    return [Measurement.model_validate(document) for document in evaluation.measure()]


def cases() -> Scored:
    reference, risk = world()
    return Scored(reference["event"], risk)


def resampled() -> tuple[Floats, list[Scored]]:
    """Multiplicities, and the data sets in which cases are written down as often as they say."""
    weights = multiplicities(N, 4, generator("a seed", "tests")).astype(np.float64)
    whole = cases()
    return weights, [Scored(np.repeat(whole.event, row.astype(int)), np.repeat(whole.risk, row.astype(int))) for row in weights]


def test_accuracy_and_rates_agree_with_scikit_learn() -> None:
    weights, samples = resampled()
    briers = [brier_score_loss(s.event, s.risk) for s in samples]
    assert_allclose(accuracy.brier(cases(), weights), briers, rtol=1e-12)
    nulls = [brier_score_loss(s.event, np.full(len(s), s.event.mean())) for s in samples]
    assert_allclose(accuracy.ipa(cases(), weights), 1 - np.array(briers) / np.array(nulls), rtol=1e-10)
    for metric, label in ((discrimination.sensitivity, 1), (discrimination.specificity, 0)):
        expected = [recall_score(s.event, s.risk >= THRESHOLD, pos_label=label) for s in samples]
        assert_allclose(metric(cases(), weights, THRESHOLD), expected, rtol=1e-12)


def test_net_benefit_is_that_of_dcurves() -> None:
    weights, samples = resampled()
    thresholds = np.array([0.1, 0.2, 0.3, 0.4])
    model, everyone = accuracy.net_benefit(cases(), weights, thresholds)
    for row, sample in enumerate(samples):
        table = pd.DataFrame({"event": sample.event.astype(int), "model": sample.risk})
        curves = dca(data=table, outcome="event", modelnames=["model"], thresholds=thresholds).set_index(["model", "threshold"])["net_benefit"]
        assert_allclose(model[row], curves["model"].loc[thresholds], rtol=1e-10)
        assert_allclose(everyone[row], curves["all"].loc[thresholds], rtol=1e-10)


@pytest.mark.parametrize("steps", [0, 20])
def test_ici_agrees_with_a_regression_of_scikit_learn_on_the_same_splines(steps: int) -> None:
    whole = cases()
    whole = Scored(whole.event, np.round(whole.risk * steps) / steps) if steps else whole
    weights = resampled()[0]
    x = scoring.logit(whole.risk)
    basis = calibration.spline(x, np.unique(np.quantile(x, (0.05, 0.35, 0.65, 0.95))))
    basis = (basis - basis.mean(axis=0)) / basis.std(axis=0)
    expected = []
    for row in weights:
        model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(basis, whole.event, sample_weight=row)
        expected.append(np.average(np.abs(model.predict_proba(basis)[:, 1] - whole.risk), weights=row))
    assert_allclose(scoring.ici(whole, weights), expected, rtol=1e-3)


def test_values_are_those_of_scikit_learn_and_fairlearn_end_to_end() -> None:
    reference, risk = world()
    found = measured(*ALL)
    rival = risk + np.random.default_rng(1).normal(0, 0.2, N)
    area = roc_auc_score(reference["event"], risk)
    assert found["auc"].value == found["auc_plausibility"].value == pytest.approx(area, rel=1e-12)
    assert found["delta_auc"].value == pytest.approx(area - roc_auc_score(reference["event"], rival), rel=1e-9)
    assert found["observed_expected"].value == pytest.approx(reference["event"].mean() / risk.mean(), rel=1e-12)
    by_sex = MetricFrame(metrics=recall_score, y_true=reference["event"], y_pred=risk >= THRESHOLD, sensitive_features=reference["sex"]).by_group
    assert found["sensitivity_difference"].value == pytest.approx(by_sex["F"] - by_sex["M"], rel=1e-12)
    assert found["completeness"].value == 1


@pytest.mark.parametrize("metric", ALL)
def test_every_metric_of_the_family_becomes_a_valid_measurement(metric: str) -> None:
    found = measured(metric, slice_="women" if metric != "sensitivity_difference" else "all")[metric]
    assert found.status == "ok"
    assert found.value is not None
    if metric != "completeness":
        assert found.interval
        assert found.interval.lower is not None
        assert found.interval.upper is not None
        assert found.interval.lower <= found.value <= found.interval.upper


@pytest.mark.parametrize("metric", sorted(BinaryEvaluation.smooth))
def test_multipliers_and_the_whole_bootstrap_give_the_same_value_and_much_the_same_interval(metric: str) -> None:
    whole, smooth = (measured(metric, method=m, replicates=2000)[metric] for m in ("bootstrap-percentile", "influence-multiplier"))
    assert smooth.value == pytest.approx(whole.value, rel=1e-9)
    assert whole.interval
    assert smooth.interval
    sides = [(i.lower or 0.0, i.upper or 0.0) for i in (whole.interval, smooth.interval)]
    assert_allclose(sides[1], sides[0], atol=0.15 * (sides[0][1] - sides[0][0]))


def test_what_has_no_influence_function_says_so() -> None:
    for metric in set(ALL) - BinaryEvaluation.smooth - {"completeness"}:
        found = measured(metric, method="influence-multiplier")[metric]
        assert (found.status, "bootstrap-percentile" in found.note) == ("fault", True)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_orders_nobody(value: float) -> None:
    found = measured(*ALL, risk=np.full(N, value))
    assert found["auc"].value == 0.5
    assert found["calibration_slope"].status == found["ici"].status == "undefined"
    assert (found["observed_expected"].status == "undefined") == (value == 0)
    assert "fault" not in {m.status for m in found.values()}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-300, 1e-7, 0.1, 0.5, 1 - 1e-16, 1.0]), min_size=N, max_size=N))
def test_no_risks_make_it_crash(risks: list[float]) -> None:
    for method, metrics in (("bootstrap-percentile", ALL), ("influence-multiplier", tuple(BinaryEvaluation.smooth))):
        found = measured(*metrics, risk=np.array(risks), method=method, replicates=20)
        assert {m.status for m in found.values()} <= {"ok", "undefined"}


def test_criteria_in_a_family_get_bounds_at_the_levels_of_holms_procedure() -> None:
    members = [{**criterion("auc", slice_), "family": "slices"} for slice_ in ("all", "women")]
    found = evaluated([*members, criterion("brier")])
    for slice_ in ("all", "women"):
        (m,) = (m for m in found if (m.metric, m.slice) == ("auc", slice_))
        assert m.interval
        assert [i.level for i in m.stricter] == [pytest.approx(0.975)]
        assert (m.stricter[0].lower or 0) < (m.interval.lower or 0)
        assert (m.stricter[0].upper or 0) > (m.interval.upper or 0)
    assert [m.stricter for m in found if m.metric == "brier"] == [()]
