"""Measurements of a drive: values by hand, bounds against scipy's bootstrap, and what a pilot cannot do to them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from livinglab.domain.criteria import CriteriaSet, Criterion
from livinglab.domain.families import task_family
from livinglab.domain.verdict import Measurement, Verdict, judge
from livinglab.measuring import exact
from livinglab.measuring.driving import DrivingEvaluation, rare
from livinglab.measuring.exact import EXACT
from livinglab.measuring.resampling import BOOTSTRAP
from tests.drives import Driven, context, driven, hit, recorded

FAMILY: dict[str, list[dict[str, Any]]] = {"cut_in": [{"column": "family", "equals": "cut-in"}], "dense": [{"column": "family", "equals": "dense"}]}


def measure(drives: list[Driven], folder: Path, *asked: tuple[str, str, str], **more: Any) -> dict[tuple[str, str], Measurement]:
    documents = DrivingEvaluation(recorded(drives, folder), context(*asked, **{**FAMILY, **more})).measure()
    return {(m.metric, m.slice): m for m in map(Measurement.model_validate, documents)}


def bounds(m: Measurement) -> tuple[float, float]:
    """Both, which must be there."""
    assert m.interval
    assert m.interval.lower is not None
    assert m.interval.upper is not None
    return m.interval.lower, m.interval.upper


def one(drives: list[Driven], folder: Path, metric: str, method: str, slice_: str = "all", **more: Any) -> Measurement:
    return measure(drives, folder, (metric, slice_, method), **more)[metric, slice_]


def test_collisions_count_among_the_preventable_and_among_all(tmp_path: Path) -> None:
    drives = [
        driven(collision=hit()),
        driven(collision=hit(), preventable=False),
        *[driven() for _ in range(30)],
        driven(family="dense", collision=hit()),
    ]
    asked = [("preventable_collision_rate", "cut-in", EXACT), ("collision_rate", "cut-in", EXACT), ("collision_rate", "all", EXACT)]
    found = measure(drives, tmp_path, *asked)
    for key, events, n in (
        (("preventable_collision_rate", "cut-in"), 1, 31), (("collision_rate", "cut-in"), 2, 32), (("collision_rate", "all"), 3, 33),
    ):  # fmt: skip
        m = found[key]
        theirs = stats.binomtest(events, n).proportion_ci(confidence_level=0.9, method="exact")
        assert (m.n, m.value, m.events) == (n, events / n, None)
        assert m.note.startswith(f"{events} of {n} ")
        assert bounds(m) == pytest.approx((theirs.low, theirs.high))
        assert m.interval
        assert (m.interval.method, m.interval.level) == (EXACT, 0.95)


def test_collisions_per_distance_are_a_poisson_rate_per_thousand_kilometres(tmp_path: Path) -> None:
    drives = [driven(200, distance=500.0, collision=hit() if number < 2 else None) for number in range(40)]
    m = one(drives, tmp_path, "collisions_per_1000_km", EXACT)
    low, high = stats.chi2.ppf(0.05, 4) / 2 / 20 * 1000, stats.chi2.ppf(0.95, 6) / 2 / 20 * 1000
    assert (m.value, *bounds(m)) == pytest.approx((100, low, high))
    assert m.note == "collisions in 20.0 km: 2"


@pytest.mark.parametrize(("metric", "episode", "words"), [
    ("narrow_encounters", {"pet": 0.5}, "had a narrow encounter"),
    ("hard_braking", {"columns": {"acceleration": -5.0}}, "had hard braking for nothing"),
])  # fmt: skip
def test_episodes_with_a_fault_are_a_proportion(metric: str, episode: dict[str, Any], words: str, tmp_path: Path) -> None:
    m = one([driven(**episode), *[driven() for _ in range(9)]], tmp_path, metric, EXACT)
    assert (m.n, m.value, m.note) == (10, 0.1, f"1 of 10 scenarios {words}")


def test_answers_that_could_not_be_used_are_counted_by_step(tmp_path: Path) -> None:
    drives = [driven(20, valid=15), driven(60), driven(20, late=10)]
    found = measure(drives, tmp_path, ("completeness", "all", "none"), ("on_time", "all", BOOTSTRAP))
    assert (found["completeness", "all"].value, found["completeness", "all"].interval) == (0.95, None)
    assert found["completeness", "all"].note == "5 of 100 answers were not finite or out of range"
    assert found["on_time", "all"].value == pytest.approx(0.9)


def traffic(n: int, rng: np.random.Generator) -> list[Driven]:
    """Episodes of unlike lengths in which everything happens now and then."""
    drives = []
    for _ in range(n):
        steps = int(rng.integers(40, 200))
        columns = {
            "gap": np.where(rng.random(steps) < 0.5, np.nan, rng.uniform(1, 60, steps)), "closing": rng.normal(2, 8, steps),
            "speed": rng.uniform(5, 30), "acceleration": rng.normal(0, 2, steps), "lateral_acceleration": rng.normal(0, 1.2, steps),
        }  # fmt: skip
        distance, co2 = rng.uniform(50, 200, 2), rng.uniform(5, 30, 2)
        rival = {"distance": distance[1], "co2": co2[1], "collision": bool(rng.random() < 0.1)}
        drives.append(driven(steps, columns=columns, distance=distance[0], co2=co2[0], baseline=rival, late=int(rng.integers(0, 9))))
    return drives


RATIOS = {
    "ttc_exposure": ("critical", "duration"), "close_following": ("close", "following"), "lateral_exposure": ("lateral", "duration"),
    "jerk_exposure": ("jerky", "judged"), "progress": ("own_distance", "base_distance"),
}  # fmt: skip


@pytest.mark.parametrize("metric", [*RATIOS, "co2_ratio", "on_time"])
def test_a_ratio_is_of_sums_and_resampled_by_episodes_as_scipy_does(metric: str, tmp_path: Path) -> None:
    evaluation = DrivingEvaluation(recorded(traffic(60, np.random.default_rng(4)), tmp_path), context((metric, "all", BOOTSTRAP), replicates=4000))
    total = evaluation.totals
    names = RATIOS.get(metric, ("own_co2", "own_distance", "base_co2", "base_distance") if metric == "co2_ratio" else ("late", "steps"))

    def statistic(*columns: Any, axis: int = -1) -> Any:
        sums = [np.sum(column, axis=axis) for column in columns]
        value = sums[0] / sums[1] if len(sums) == 2 else sums[0] / sums[1] / (sums[2] / sums[3])
        return 1 - value if metric == "on_time" else value

    sample = tuple(total[name] for name in names)
    theirs = stats.bootstrap(sample, statistic, paired=True, vectorized=True, n_resamples=4000, confidence_level=0.9, method="percentile",
                             rng=np.random.default_rng(5))  # fmt: skip
    m = Measurement.model_validate(evaluation.measure()[0])
    assert m.value == pytest.approx(statistic(*sample))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    # Two bootstraps of 4,000 differ by chance: a bound's standard error is about 0.03 of the interval's width.
    assert bounds(m) == pytest.approx(tuple(theirs.confidence_interval), abs=0.12 * width)
    assert m.interval
    assert (m.interval.method, m.n) == (BOOTSTRAP, 60)


def test_where_the_simulators_own_driver_collided_nothing_is_compared(tmp_path: Path) -> None:
    drives = [driven(distance=80.0, baseline={"distance": 100.0}) for _ in range(9)]
    crashed = driven(distance=80.0, baseline={"distance": 1.0, "co2": 0.1, "collision": True})
    found = measure([*drives, crashed], tmp_path, ("progress", "all", BOOTSTRAP), ("co2_ratio", "all", BOOTSTRAP))
    assert found["progress", "all"].value == pytest.approx(0.8)
    assert found["progress", "all"].note == "without 1 scenarios in which the simulator's own driver collided"
    assert found["co2_ratio", "all"].value == pytest.approx(drives[0].about["co2"] / 80 / (drives[0].about["baseline"]["co2"] / 100))


def test_who_stands_still_has_no_progress_and_fails_what_it_leaves_without_a_value(tmp_path: Path) -> None:
    still = [driven(columns={"speed": 0.0, "gap": 20.0}, baseline={"distance": 20.0, "co2": 3.0}) for _ in range(30)]
    asked = (
        ("progress", "all", BOOTSTRAP),
        ("co2_ratio", "all", BOOTSTRAP),
        ("close_following", "all", BOOTSTRAP),
        ("collisions_per_1000_km", "all", EXACT),
    )
    found = measure(still, tmp_path, *asked)
    assert (found["progress", "all"].status, found["progress", "all"].value) == ("ok", 0.0)
    assert {found[metric, "all"].status for metric, _, _ in asked[1:]} == {"undefined"}


def test_what_the_scenarios_leave_without_a_value_is_no_pilots_fault(tmp_path: Path) -> None:
    short = [driven(10, baseline={"collision": True}, preventable=False) for _ in range(5)]
    asked = (
        ("jerk_exposure", "all", BOOTSTRAP),
        ("progress", "all", BOOTSTRAP),
        ("preventable_collision_rate", "all", EXACT),
        ("collision_rate", "dense", EXACT),
    )
    found = measure(short, tmp_path, *asked)
    assert {found[metric, slice_].status for metric, slice_, _ in asked} == {"fault"}
    assert found["collision_rate", "dense"].n == found["preventable_collision_rate", "all"].n == 0


@pytest.mark.parametrize(("metric", "method"), [("collision_rate", BOOTSTRAP), ("progress", EXACT), ("ttc_exposure", "influence-multiplier")])
def test_bounds_are_made_by_the_method_that_a_metric_has_or_not_at_all(metric: str, method: str, tmp_path: Path) -> None:
    m = one([driven() for _ in range(5)], tmp_path, metric, method)
    assert m.status == "fault"
    assert "and by nothing else" in m.note


def test_slices_are_by_family_and_by_ranges_of_parameters(tmp_path: Path) -> None:
    drives = [driven(parameters={"closing": c}, family=f) for c, f in ((5.0, "cut-in"), (12.0, "cut-in"), (15.0, "dense"))]
    drives.append(driven(parameters={}, family="cut-in", preventable=False))
    fast = [{"column": "family", "equals": "cut-in"}, {"column": "closing", "at_least": 11.11}]
    asked = (("collision_rate", "fast", EXACT), ("collision_rate", "preventable", EXACT))
    found = measure(drives, tmp_path, *asked, fast=fast, preventable=[{"column": "preventable", "equals": True}])
    assert (found["collision_rate", "fast"].n, found["collision_rate", "preventable"].n) == (1, 3)
    odd = one(drives, tmp_path, "collision_rate", EXACT, "odd", odd=[{"column": "colour", "equals": 1}])
    assert (odd.n, odd.status, odd.note) == (0, "fault", "the slice is by `colour`, which no scenario says")


def test_the_share_of_what_is_rare_is_bounded_by_how_few_episodes_have_it() -> None:
    none, below = np.zeros(100), np.full(100, 40.0)
    assert rare(none, below, 0.95) == pytest.approx(exact.proportion(0, 100, 0.95)[1])
    some = none.copy()
    some[:2] = 4.0
    assert rare(some, below, 0.95) == pytest.approx(exact.proportion(2, 100, 0.95)[1] * (4 + 4 + 40) / (3 * 40))
    some[:20] = 4.0
    assert rare(some, below, 0.95) == 0.0


def test_what_nobody_saw_is_not_shown_never_to_happen(tmp_path: Path) -> None:
    found = measure([driven() for _ in range(100)], tmp_path, ("ttc_exposure", "all", BOOTSTRAP), ("on_time", "all", BOOTSTRAP))
    bound = exact.proportion(0, 100, 0.95)[1]
    assert bounds(found["ttc_exposure", "all"]) == pytest.approx((0.0, bound))
    assert bounds(found["on_time", "all"]) == pytest.approx((1 - bound, 1.0))
    assert found["ttc_exposure", "all"].note == "0 of 100 scenarios have any"


def test_every_metric_of_the_family_is_measured_within_its_range(tmp_path: Path) -> None:
    family = task_family("closed-loop-driving")
    counted = {"preventable_collision_rate", "collision_rate", "collisions_per_1000_km", "narrow_encounters", "hard_braking"}
    asked = [(metric.name, "all", EXACT if metric.name in counted else BOOTSTRAP) for metric in family.metrics]
    found = measure(traffic(40, np.random.default_rng(1)), tmp_path, *asked)
    for metric in family.metrics:
        m = found[metric.name, "all"]
        assert m.status == "ok", m
        assert m.value is not None
        assert (-math.inf if metric.low is None else metric.low) <= m.value <= (math.inf if metric.high is None else metric.high)


def test_the_same_run_measured_again_gives_the_same_numbers(tmp_path: Path) -> None:
    drives, asked = traffic(20, np.random.default_rng(2)), ("ttc_exposure", "all", BOOTSTRAP)
    assert measure(drives, tmp_path / "one", asked) == measure(drives, tmp_path / "two", asked)


def test_an_exact_bound_decides(tmp_path: Path) -> None:
    demand = Criterion.model_validate({
        "id": "none", "title": "No collision", "metric": "preventable_collision_rate", "direction": "at_most", "threshold": 0.01, "min_events": 0,
        "min_n": 408, "interval": {"method": "exact"}, "basis": "law", "source": "a test", "rationale": "What the sandbox demands.",
    })  # fmt: skip
    criteria = CriteriaSet(measured_runs=3, criteria=(demand,))

    def verdict(*drives: Driven) -> Verdict:
        told = context(("preventable_collision_rate", "all", EXACT), level=criteria.level(demand))
        return judge(criteria, tuple(map(Measurement.model_validate, DrivingEvaluation(recorded(list(drives), tmp_path), told).measure()))).verdict

    clean = [driven(1) for _ in range(408)]
    assert verdict(*clean) is Verdict.PASS
    assert verdict(*clean[1:]) is Verdict.NOT_EVALUABLE
    assert verdict(*clean, driven(1, collision=hit())) is Verdict.INCONCLUSIVE
    assert verdict(*clean, *[driven(1, collision=hit()) for _ in range(20)]) is Verdict.FAIL


def test_the_baseline_is_pinned_by_what_it_did(tmp_path: Path) -> None:
    drives = [driven(baseline={"distance": 7.0, "co2": 2.0}), driven(baseline={"distance": 8.0, "co2": 3.0})]
    found = DrivingEvaluation(recorded(drives, tmp_path), context()).baselines
    assert {name: values.tolist() for name, values in found.items()} == {"sumo": [[7.0, 2.0], [8.0, 3.0]]}
