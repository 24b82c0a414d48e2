"""From a stranger's scores and reasons to measurements."""

from typing import Any

import numpy as np
import pytest

from livinglab.domain.chart import Chart
from livinglab.domain.families.credit_scoring import CREDIT_SCORING
from livinglab.domain.verdict import Measurement
from livinglab.measuring import evaluation as shared
from livinglab.measuring.credit import CreditEvaluation
from livinglab.measuring.logistic import probability
from livinglab.measuring.slices import Table

N = 600
CODES = ("INCOME", "DURATION", "AMOUNT")
ALL = tuple(metric.name for metric in CREDIT_SCORING.metrics)


def criterion(metric: str, slice_: str = "all", level: float = 0.95, method: str = "bootstrap-percentile") -> dict[str, Any]:
    baseline = {"name": "rival"} if metric == "delta_auc" else None
    return {"id": f"{metric} {slice_} {level}", "metric": metric, "slice": slice_, "baseline": baseline,
            "interval": {"method": method, "level": level}}  # fmt: skip


def world() -> tuple[Table, Table, Table]:
    """Reference, copies, and what an honest pilot answers to both."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=N)
    reference: Table = {
        "id": np.array([f"p{i}" for i in range(N)]), "bad": rng.random(N) < probability(x - 0.8), "cohort": np.full(N, "hidden"),
        "age": rng.integers(18, 80, N), "quarter": rng.integers(1, 9, N),
    }  # fmt: skip
    copies: Table = {
        "id": np.array([f"c{i}" for i in range(400)]), "of": np.concatenate([reference["id"][100:300], reference["id"][200:400]]),
        "kind": np.repeat(["shaken", "moved"], 200),
    }  # fmt: skip
    scores = np.concatenate([x, x[100:300] + 0.01, x[200:400] + 0.5])
    reasons = np.where(np.round(scores * 7) % 2 == 0, "INCOME;AMOUNT", "DURATION")
    predictions = {"id": np.concatenate([reference["id"], copies["id"]]), "pd": probability(scores - 0.8), "reasons": reasons}
    return reference, copies, predictions


def evaluation(*criteria: dict[str, Any], change: Any = None, **context: Any) -> CreditEvaluation:
    reference, copies, predictions = world()
    if change:
        predictions = change(predictions)
    young = {"column": "age", "equals": None, "at_least": None, "below": 40}
    document = {
        "parameters": {"reject_at": 0.4, "grades": [0.1, 0.2, 0.4, 0.6], "protected_column": "age", "protected_below": 30,
                       "vintage_column": "quarter", "vintage_from": 7, "inputs": ["age"], "reason_codes": CODES},
        "slices": {"all": {"cohort": "hidden", "where": []}, "young": {"cohort": "hidden", "where": [young]}},
        "criteria": list(criteria), "levels": {c["id"]: c["interval"]["level"] for c in criteria}, "replicates": 200, "seed": "s", **context,
    }  # fmt: skip
    rivals = {"rival": reference["bad"] + np.random.default_rng(1).normal(0, 2, N)}
    order = np.random.default_rng(2).permutation(len(predictions["id"]))
    return CreditEvaluation(reference, {name: column[order] for name, column in predictions.items()}, rivals, document, copies=copies)


def measured(*names: str, change: Any = None, slice_: str = "all") -> dict[str, Measurement]:
    found = evaluation(*(criterion(name, slice_) for name in names), change=change).measure()
    return {m["metric"]: Measurement.model_validate(m) for m in found}


def changed(**columns: Any) -> Any:
    """Some columns anew: functions of the old ones."""
    return lambda table: {**table, **{name: how(table[name]) for name, how in columns.items()}}


@pytest.mark.parametrize("metric", ALL)
def test_every_metric_of_the_family_becomes_a_valid_measurement(metric: str) -> None:
    found = measured(metric)[metric]
    assert found.status == "ok"
    assert found.value is not None
    if metric not in {"completeness", *CreditEvaluation.points}:
        assert found.interval
        assert found.interval.lower is not None
        assert found.interval.upper is not None
        assert found.interval.lower <= found.value <= found.interval.upper


def test_counts_are_of_the_cases_that_carry_a_metric() -> None:
    found = measured("auc", "adverse_impact_ratio", "reason_stability", "monotonicity")
    reference = world()[0]
    young = reference["age"] < 30
    assert found["auc"].n == N
    assert found["adverse_impact_ratio"].n == young.sum()
    assert found["adverse_impact_ratio"].events == (reference["bad"] & young).sum()
    assert found["reason_stability"].n == found["monotonicity"].n == 200


def test_the_seed_decides_the_interval() -> None:
    one, again, other = (evaluation(criterion("auc"), seed=seed).measure()[0] for seed in "sst")
    assert one == again
    assert one["value"] == other["value"]
    assert one["interval"] != other["interval"]


def test_copies_that_are_missing_are_missing() -> None:
    def without(table: Table) -> Table:
        return {name: column[:-10] for name, column in table.items()}

    found = measured("completeness", "auc", change=without)
    assert found["completeness"].value == pytest.approx(1 - 10 / (N + 400))
    assert found["auc"].status == "undefined"
    assert found["auc"].n == N


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_a_pd_that_is_none_leaves_everything_undefined(bad: float) -> None:
    found = measured(*ALL, change=changed(pd=lambda pd: np.concatenate([[bad], pd[1:]])))
    assert found.pop("completeness").value == 1 - 1 / (N + 400)
    assert {m.status for m in found.values()} == {"undefined"}


@pytest.mark.parametrize("value", [0.0, 0.3, 0.4, 1.0])
def test_a_constant_pd_never_crashes_and_orders_nobody(value: float) -> None:
    found = measured(*ALL, change=changed(pd=lambda pd: np.full(len(pd), value)))
    assert found["auc"].value == pytest.approx(0.5)
    assert found["ks"].value == pytest.approx(0.0)
    assert found["calibration_slope"].status == "undefined"
    assert "fault" not in {m.status for m in found.values()}
    assert (found["adverse_impact_ratio"].status == "undefined") == (value >= 0.4)  # nobody is approved
    assert (found["reason_stability"].status == "undefined") == (value < 0.4)  # nobody is rejected


def test_pd_that_is_too_low_is_found_by_the_jeffreys_test() -> None:
    assert (measured("jeffreys")["jeffreys"].value or 0) > 0.05
    low = measured("jeffreys", change=changed(pd=lambda pd: pd / 2))["jeffreys"]
    assert low.value is not None
    assert low.value < 1e-6
    assert "defaults of cases by grade (mean pd): " in low.note


@pytest.mark.parametrize(("text", "complete"), [("", 0.0), ("INCOME;NONSENSE", 0.0), ("INCOME", 1.0)])
def test_reasons_that_are_none_or_the_same_for_all_are_seen(text: str, complete: float) -> None:
    found = measured("reason_completeness", "reason_concentration", "reason_stability", change=changed(reasons=lambda r: np.full(len(r), text)))
    assert found["reason_completeness"].value == complete
    assert found["reason_concentration"].value == 1.0
    assert found["reason_stability"].value == (0.0 if not text else 1.0)


def test_stability_and_monotonicity_look_at_copies_of_their_kind() -> None:
    found = measured("reason_stability", "monotonicity")
    assert found["monotonicity"].value == 1.0
    assert 0.7 < (found["reason_stability"].value or 0) < 1.0
    falling = measured("monotonicity", change=lambda t: {**t, "pd": np.where(np.char.startswith(t["id"], "c"), t["pd"] / 2, t["pd"])})
    assert falling["monotonicity"].value == 0.0


def test_a_slice_has_its_own_copies() -> None:
    found = measured("monotonicity", slice_="young")["monotonicity"]
    reference, copies, _ = world()
    young = set(reference["id"][reference["age"] < 40])
    assert found.n == sum(of in young for of in copies["of"][copies["kind"] == "moved"])


def test_what_is_too_large_or_has_no_influence_function_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = evaluation(criterion("ks", method="influence-multiplier")).measure()
    assert found["status"] == "fault"
    assert "bootstrap-percentile" in found["note"]
    monkeypatch.setattr(shared, "LARGEST", 1000)
    for metric, way in (("ks", "are the most"), ("auc", "ask for the interval method influence-multiplier")):
        (found,) = evaluation(criterion(metric)).measure()
        assert (found["status"], way in found["note"]) == ("fault", True)


@pytest.mark.parametrize("metric", sorted(CreditEvaluation.smooth & set(ALL)))
def test_multipliers_and_the_whole_bootstrap_give_the_same_value_and_much_the_same_interval(metric: str) -> None:
    (whole,), (smooth,) = (
        evaluation(criterion(metric, method=m), replicates=2000).measure() for m in ("bootstrap-percentile", "influence-multiplier")
    )
    assert smooth["value"] == pytest.approx(whole["value"], rel=1e-12)
    assert {name: whole[name] for name in ("n", "events", "non_events")} == {name: smooth[name] for name in ("n", "events", "non_events")}
    width = whole["interval"]["upper"] - whole["interval"]["lower"]
    for side in ("lower", "upper"):
        assert smooth["interval"][side] == pytest.approx(whole["interval"][side], abs=0.15 * width)


def test_the_curve_is_of_tenths() -> None:
    chart = Chart.model_validate(evaluation(criterion("auc")).charts()["calibration"])
    assert len(chart.series[0].x) == len(chart.series[0].lower) == 10
    assert evaluation(criterion("auc"), change=changed(pd=lambda pd: pd * np.nan)).charts() == {}
