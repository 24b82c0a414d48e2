"""The meaning of a verdict: a pure function, monotone in the interval, and never a pass by absence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.criteria import CriteriaSet, Criterion
from livinglab.domain.verdict import Interval, Measurement, Verdict, judge

RANK = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


def criterion(**changes: Any) -> Criterion:
    plain: dict[str, Any] = {
        "id": "c", "title": "A demand", "metric": "uno_c", "direction": "at_least", "threshold": 0.75, "basis": "sandbox", "source": "for tests",
        "rationale": "Because tests need one.",
    }  # fmt: skip
    return Criterion.model_validate(plain | changes)


def criteria(*given_: Criterion, runs: int = 1) -> CriteriaSet:
    return CriteriaSet(measured_runs=runs, criteria=given_)


def measurement(
    value: float | None = 0.8,
    lower: float | None = 0.78,
    upper: float | None = 0.82,
    *,
    level: float = 0.95,
    method: str = "bootstrap-percentile",
    **changes: Any,
) -> Measurement:
    plain: dict[str, Any] = {"metric": "uno_c", "value": value, "n": 1000, "events": 300, "non_events": 600,
                             "interval": Interval(lower=lower, upper=upper, level=level, method=method)}  # fmt: skip
    return Measurement.model_validate(plain | changes)


def verdict_of(c: Criterion, m: Measurement | None, runs: int = 1) -> Verdict:
    return judge(criteria(c, runs=runs), (m,) if m else ()).results[0].verdict


@pytest.mark.parametrize(("lower", "upper", "expected"), [
    (0.75, 0.80, Verdict.PASS), (0.76, 0.80, Verdict.PASS), (0.74, 0.80, Verdict.INCONCLUSIVE), (0.60, 0.75, Verdict.INCONCLUSIVE),
    (0.60, 0.74, Verdict.FAIL), (None, 0.80, Verdict.INCONCLUSIVE), (None, 0.70, Verdict.FAIL), (0.76, None, Verdict.PASS),
])  # fmt: skip
def test_at_least_compares_the_unfavourable_bound(lower: float | None, upper: float | None, expected: Verdict) -> None:
    assert verdict_of(criterion(), measurement(0.75, lower, upper)) is expected


@pytest.mark.parametrize(("lower", "upper", "expected"), [
    (0.92, 1.08, Verdict.PASS), (0.90, 1.10, Verdict.PASS), (0.85, 1.05, Verdict.INCONCLUSIVE), (0.80, 1.30, Verdict.INCONCLUSIVE),
    (0.70, 0.89, Verdict.FAIL), (1.11, 1.30, Verdict.FAIL), (None, 1.0, Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_within_is_two_one_sided_tests(lower: float | None, upper: float | None, expected: Verdict) -> None:
    c = criterion(metric="observed_expected", direction="within", threshold={"low": 0.9, "high": 1.1})
    assert verdict_of(c, measurement(1.0, lower, upper, metric="observed_expected")) is expected


def test_at_most_is_the_mirror_of_at_least() -> None:
    c = criterion(metric="ici", direction="at_most", threshold=0.03)
    assert verdict_of(c, measurement(0.02, 0.01, 0.03, metric="ici")) is Verdict.PASS
    assert verdict_of(c, measurement(0.05, 0.04, 0.06, metric="ici")) is Verdict.FAIL


def test_a_point_criterion_is_never_inconclusive() -> None:
    c = criterion(compare="point", interval={"method": "none"})
    assert verdict_of(c, measurement(0.75, 0.5, 0.9)) is Verdict.PASS
    assert verdict_of(c, measurement(0.7499, 0.5, 0.9)) is Verdict.FAIL


def test_non_inferiority_compares_with_minus_the_margin() -> None:
    c = criterion(metric="delta_uno_c", threshold=None, baseline={"name": "age", "margin": 0.05, "reason": "a tolerable loss"})
    m = measurement(0.0, -0.04, 0.03, metric="delta_uno_c", baseline="age")
    assert verdict_of(c, m) is Verdict.PASS
    assert verdict_of(c, measurement(0.0, -0.06, 0.03, metric="delta_uno_c", baseline="age")) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("changes", "why"), [
    ({"events": 99}, "99 events, 100 are needed"), ({"non_events": 12}, "12 non-events"), ({"events": None}, "did not count"),
    ({"n": 5}, "5 reference cases"), ({"status": "fault", "value": None, "note": "no data"}, "no data"), ({"interval": None}, "no interval"),
])  # fmt: skip
def test_what_the_reference_cannot_carry_is_not_evaluable(changes: dict[str, Any], why: str) -> None:
    result = judge(criteria(criterion(min_n=10)), (measurement(**changes),)).results[0]
    assert result.verdict is Verdict.NOT_EVALUABLE
    assert why in result.reason


def test_a_metric_that_the_pilot_left_undefined_fails() -> None:
    assert verdict_of(criterion(), measurement(None, None, None, status="undefined")) is Verdict.FAIL


def test_absence_and_repetition_never_pass() -> None:
    assert verdict_of(criterion(), None) is Verdict.NOT_EVALUABLE
    assert judge(criteria(criterion()), (measurement(), measurement())).results[0].verdict is Verdict.NOT_EVALUABLE


def test_a_level_below_the_one_that_the_plan_froze_is_not_evaluable() -> None:
    assert verdict_of(criterion(), measurement(level=0.95), runs=3) is Verdict.NOT_EVALUABLE
    assert verdict_of(criterion(), measurement(level=1 - 0.05 / 3), runs=3) is Verdict.PASS


def test_an_interval_by_another_method_than_the_one_that_was_agreed_is_not_evaluable() -> None:
    assert verdict_of(criterion(), measurement(method="influence-multiplier")) is Verdict.NOT_EVALUABLE
    assert verdict_of(criterion(interval={"method": "influence-multiplier"}), measurement(method="influence-multiplier")) is Verdict.PASS
    assert verdict_of(criterion(compare="point", interval={"method": "none"}), measurement(method="influence-multiplier")) is Verdict.PASS


def test_a_set_is_as_bad_as_its_worst_gate_and_advisories_never_count() -> None:
    bad = measurement(0.5, 0.4, 0.6)
    assert judge(criteria(criterion()), (bad,)).verdict is Verdict.FAIL
    assert judge(criteria(criterion(severity="advisory")), (bad,)).verdict is Verdict.NOT_EVALUABLE
    both = criteria(criterion(), criterion(id="d", slice="men", min_events=10_000))
    assert judge(both, (measurement(), measurement(slice="men"))).verdict is Verdict.NOT_EVALUABLE
    assert judge(both, (bad, measurement(slice="men"))).verdict is Verdict.FAIL


bounds = st.floats(-1, 2, allow_nan=False)


@given(st.tuples(bounds, bounds), st.floats(0, 1), st.floats(0, 1))
def test_a_better_interval_never_gets_a_worse_verdict(ends: tuple[float, float], up_low: float, up_high: float) -> None:
    low, high = sorted(ends)
    better_low, better_high = low + up_low, max(low + up_low, high + up_high)
    worse = verdict_of(criterion(), measurement(low, low, high))
    assert RANK[verdict_of(criterion(), measurement(better_low, better_low, better_high))] >= RANK[worse]


@given(st.tuples(bounds, bounds), st.floats(0, 1), st.floats(0, 1))
def test_a_wider_interval_decides_nothing_that_a_narrower_one_left_open(ends: tuple[float, float], down: float, up: float) -> None:
    low, high = sorted(ends)
    narrow, wide = verdict_of(criterion(), measurement(low, low, high)), verdict_of(criterion(), measurement(low, low - down, high + up))
    assert wide in (narrow, Verdict.INCONCLUSIVE)
