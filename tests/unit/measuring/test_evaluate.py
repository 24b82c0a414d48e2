"""From a stranger's table and the reference to measurements."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livinglab.domain.chart import Chart
from livinglab.domain.verdict import Measurement
from livinglab.measuring import evaluation as shared
from livinglab.measuring.evaluate import Evaluation
from livinglab.measuring.resampling import bounds
from livinglab.measuring.slices import Table, match
from tests.unit.measuring.conftest import draw_cohort

N = 400
SMOOTH = ("uno_c", "delta_uno_c", "calibration_slope", "observed_expected", "brier", "ipa", "sensitivity", "sensitivity_difference")
ALL = (*SMOOTH, "ici", "net_benefit_gain", "uno_c_plausibility", "completeness")


def criterion(metric: str, slice_: str = "all", level: float = 0.95, method: str = "bootstrap-percentile") -> dict[str, Any]:
    baseline = {"name": "rival"} if metric == "delta_uno_c" else None
    return {"id": f"{metric} {slice_} {level} {method}", "metric": metric, "slice": slice_, "baseline": baseline,
            "interval": {"method": method, "level": level}}  # fmt: skip


def where(column: str, **how: Any) -> dict[str, Any]:
    return {"cohort": "hidden", "where": [{"column": column, "equals": None, "at_least": None, "below": None} | how]}


def evaluation(*criteria: dict[str, Any], predictions: Table | None = None, n: int = N, replicates: int = 200, **context: Any) -> Evaluation:
    cohort = draw_cohort(n=n)
    rng = np.random.default_rng(5)
    reference: Table = {
        "id": np.array([f"p{i}" for i in range(n)]), "time": cohort.time, "event": cohort.event, "cohort": np.full(n, "hidden"),
        "sex": rng.choice(["F", "M"], n), "age": rng.integers(40, 90, n),
    }  # fmt: skip
    document = {
        "parameters": {"horizon": 5, "risk_threshold": 0.4, "net_benefit_range": [0.1, 0.4], "difference_column": "sex",
                       "difference_groups": ["F", "M"]},
        "slices": {"all": {"cohort": "hidden", "where": []}, "women": where("sex", equals="F"), "old": where("age", at_least=60, below=70),
                   "none": where("age", below=0)},
        "criteria": list(criteria), "levels": {c["id"]: c["interval"]["level"] for c in criteria}, "replicates": replicates, "seed": "s", **context,
    }  # fmt: skip
    rivals = {"rival": cohort.risk + rng.normal(0, 0.2, n)}
    return Evaluation(reference, {"id": reference["id"][::-1], "risk": cohort.risk[::-1]} if predictions is None else predictions, rivals, document)


def only(found: list[dict[str, Any]]) -> Measurement:
    (document,) = found
    return Measurement.model_validate(document)


def test_predictions_find_their_cases_whatever_their_order() -> None:
    ids = np.array(["c", "a", "b", "d"])
    risk, complete = match(ids, {"id": np.array(["b", "x", "a", "c", "d", "d"]), "risk": np.array([0.2, 0.9, 0.1, 0.3, 0.4, 0.4])})
    assert complete.tolist() == [True, True, True, False]
    assert risk[:3].tolist() == [0.3, 0.1, 0.2]


@pytest.mark.parametrize("metric", ALL)
def test_every_metric_becomes_a_valid_measurement(metric: str) -> None:
    found = only(evaluation(criterion(metric)).measure())
    assert found.status == "ok"
    assert found.value is not None
    assert found.metric == metric
    if metric != "completeness":
        assert found.interval is not None
        assert found.interval.lower is not None
        assert found.interval.upper is not None
        assert found.interval.level == 0.95
        assert found.interval.lower < found.value < found.interval.upper


def test_the_families_metrics_are_all_measured() -> None:
    from livinglab.domain.families.survival import SURVIVAL

    assert {metric.name for metric in SURVIVAL.metrics} == set(ALL)


@pytest.mark.parametrize("metric", SMOOTH)
def test_multipliers_and_bootstrap_agree_on_a_large_sample(metric: str) -> None:
    slice_ = "all" if metric == "sensitivity_difference" else "women"
    one = only(evaluation(criterion(metric, slice_), n=4000, replicates=1000).measure())
    two = only(evaluation(criterion(metric, slice_, method="influence-multiplier"), n=4000, replicates=1000).measure())
    assert one.interval
    assert two.interval
    assert (one.interval.method, two.interval.method) == ("bootstrap-percentile", "influence-multiplier")
    assert two.value == pytest.approx(one.value, abs=1e-9)
    width = float(one.interval.upper or 0) - float(one.interval.lower or 0)
    assert two.interval.lower == pytest.approx(one.interval.lower, abs=0.15 * width)
    assert two.interval.upper == pytest.approx(one.interval.upper, abs=0.15 * width)


def test_the_seed_decides_the_interval_and_nothing_else_does() -> None:
    first, again = (only(evaluation(criterion("uno_c")).measure()) for _ in range(2))
    among_others = Evaluation.measure(evaluation(criterion("brier"), criterion("ipa", "women"), criterion("uno_c")))[2]
    other = only(evaluation(criterion("uno_c"), seed="t").measure())
    assert first == again == Measurement.model_validate(among_others)
    assert other.value == first.value
    assert other.interval != first.interval


def test_two_criteria_on_one_measurement_get_the_stricter_level() -> None:
    found = only(evaluation(criterion("uno_c", level=0.9), criterion("uno_c", level=0.98)).measure())
    assert found.interval
    assert found.interval.level == 0.98


def test_counts_are_of_reference_cases_by_slice() -> None:
    e = evaluation(criterion("uno_c", "women"), criterion("uno_c", "old"))
    women, old = (Measurement.model_validate(m) for m in e.measure())
    sex, age, time, event = (e.reference[name] for name in ("sex", "age", "time", "event"))
    assert women.n == np.sum(sex == "F")
    assert old.n == np.sum((age >= 60) & (age < 70))
    assert women.events == np.sum((sex == "F") & event & (time <= 5))
    assert women.non_events == np.sum((sex == "F") & (time > 5))


def test_a_difference_counts_its_smaller_group() -> None:
    e = evaluation(criterion("sensitivity_difference"))
    found = only(e.measure())
    assert found.n == min(np.sum(e.reference["sex"] == "F"), np.sum(e.reference["sex"] == "M"))
    assert (found.events or 0) < N / 2


def test_weights_and_tau_are_published() -> None:
    assert "weights up to 1." in only(evaluation(criterion("brier")).measure()).note
    assert "tau = 5 years" in only(evaluation(criterion("uno_c")).measure()).note


def test_an_empty_slice_is_the_references_doing() -> None:
    found = only(evaluation(criterion("uno_c", "none")).measure())
    assert (found.status, found.note) == ("fault", "the slice has no events by the horizon")


def test_what_is_too_large_to_resample_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LARGEST", 1000)
    found = only(evaluation(criterion("uno_c")).measure())
    assert found.status == "fault"
    assert "influence-multiplier" in found.note


@pytest.mark.parametrize("metric", ["ici", "net_benefit_gain"])
def test_what_has_no_influence_function_says_so(metric: str) -> None:
    found = only(evaluation(criterion(metric, method="influence-multiplier")).measure())
    assert found.status == "fault"
    assert "bootstrap-percentile" in found.note


def damaged(how: str) -> Table:
    cohort = draw_cohort(n=N)
    ids, risk = np.array([f"p{i}" for i in range(N)]), cohort.risk.copy()
    if how == "nan":
        risk[7] = np.nan
    if how == "above one":
        risk[7] = 1.0001
    if how == "infinite":
        risk[7] = np.inf
    if how == "twice":
        ids, risk = np.append(ids, "p7"), np.append(risk, risk[7])
    if how == "missing":
        ids, risk = np.delete(ids, 7), np.delete(risk, 7)
    if how == "wrong ids":
        ids = np.char.add("x", ids)
    if how == "none":
        ids, risk = ids[:0], risk[:0]
    return {"id": ids, "risk": risk}


@pytest.mark.parametrize(("how", "share"), [("nan", 1 - 1 / N), ("above one", 1 - 1 / N), ("infinite", 1 - 1 / N), ("twice", 1 - 1 / N),
                                            ("missing", 1 - 1 / N), ("wrong ids", 0), ("none", 0)])  # fmt: skip
def test_a_damaged_set_is_incomplete_and_leaves_the_rest_undefined(how: str, share: float) -> None:
    e = evaluation(*(criterion(metric) for metric in ALL), predictions=damaged(how))
    found = {m["metric"]: Measurement.model_validate(m) for m in e.measure()}
    assert found.pop("completeness").value == share
    assert {m.status for m in found.values()} == {"undefined"}
    assert {m.n for name, m in found.items() if name != "sensitivity_difference"} == {N}  # the denominator never shrinks
    assert e.charts() == {}


def test_more_rows_than_were_asked_for_change_nothing() -> None:
    good = damaged("")
    more = {"id": np.append(good["id"], "someone else"), "risk": np.append(good["risk"], np.nan)}
    assert only(evaluation(criterion("uno_c"), predictions=more).measure()) == only(evaluation(criterion("uno_c"), predictions=good).measure())


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_leaves_slope_undefined_and_orders_nobody(value: float) -> None:
    constant = {**damaged(""), "risk": np.full(N, value)}
    e = evaluation(*(criterion(metric) for metric in ALL), predictions=constant)
    found = {m["metric"]: Measurement.model_validate(m) for m in e.measure()}
    assert found["uno_c"].value == pytest.approx(0.5)
    assert found["calibration_slope"].status == found["ici"].status == "undefined"
    assert (found["observed_expected"].status == "undefined") == (value == 0)
    assert "fault" not in {m.status for m in found.values()}


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.0, 1e-300, 1e-7, 0.1, 0.5, 1 - 1e-16, 1.0]), min_size=N, max_size=N), st.integers(0, 1000))
def test_no_risks_make_it_crash(risks: list[float], seed: int) -> None:
    chosen = np.array(risks)
    np.random.default_rng(seed).shuffle(chosen)
    for method in ("bootstrap-percentile", "influence-multiplier"):
        metrics = ALL if method == "bootstrap-percentile" else SMOOTH
        e = evaluation(*(criterion(metric, method=method) for metric in metrics), predictions={**damaged(""), "risk": chosen}, replicates=20)
        for document in e.measure():
            assert Measurement.model_validate(document).status in {"ok", "undefined"}
        e.charts()


def test_charts_are_of_their_schema() -> None:
    charts = {name: Chart.model_validate(chart) for name, chart in evaluation(criterion("uno_c")).charts().items()}
    assert {name: {len(series.x) for series in chart.series} for name, chart in charts.items()} == {"calibration": {10}, "decision": {7}}
    (tenths,) = charts["calibration"].series
    assert all(low <= seen <= high for low, seen, high in zip(tenths.lower, tenths.y, tenths.upper, strict=True))


def test_bounds_are_one_sided_each_and_undefined_replicates_count_against_both() -> None:
    values = np.arange(1.0, 1001.0)
    assert bounds(values, 0.95) == (50.0, 951.0)
    values[:100] = np.nan
    assert bounds(values, 0.95) == (None, None)
    values[30:] = np.arange(1.0, 971.0)
    low, high = bounds(values, 0.95)
    assert low is not None
    assert high is not None
    assert low < 50
    assert high > 951 - 30


def test_net_benefit_fails_only_where_a_threshold_surely_does() -> None:
    """The least of the lower bounds, each at the level; the least of the upper bounds, each at Bonferroni's."""
    found = only(evaluation(criterion("net_benefit_gain"), replicates=1000).measure())
    narrow = only(evaluation(criterion("net_benefit_gain"), replicates=1000, parameters={"horizon": 5, "net_benefit_range": [0.4, 0.4]}).measure())
    assert found.interval
    assert narrow.interval
    assert found.value is not None
    assert narrow.value is not None
    assert found.value <= narrow.value
    assert (found.interval.lower or 0) <= (narrow.interval.lower or 0)
