"""Scenarios: what they say of themselves holds in their geometry, and what counts as preventable follows from physics."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from livinglab.measuring.resampling import generator
from tests.unit.mobility.conftest import harness

FAMILIES = {name: draw for name, (draw, _) in harness.catalogue.FAMILIES.items()}


def drawn(family: str, count: int = 60) -> list[Any]:
    return [FAMILIES[family](generator("a test", f"{family} {number}")) for number in range(count)]


def at(scenario: Any, moment: float) -> Any:
    """The same scenario with a moment at which its steps meet `moment`."""
    step = moment / round(moment / scenario.step)
    return replace(scenario, step=step), round(moment / step)


@pytest.mark.parametrize(("closing", "ttc"), [(10, 0.4815), (20, 0.713), (30, 0.944), (40, 1.176), (50, 1.407), (60, 1.639)])
def test_the_times_to_collision_of_the_regulation(closing: float, ttc: float) -> None:
    """Regulation (EU) 2022/1426, as its rounded table has it."""
    assert_allclose(harness.road.preventable_ttc(closing / 3.6), ttc, atol=5e-4)


def test_a_cut_in_is_at_its_reference_moment_what_it_says() -> None:
    for scenario in drawn("cut-in"):
        said = scenario.parameters
        exact, k = at(scenario, said["begins"] + said["visible"])
        other, ego = exact.tracks[0][k], harness.scenario.keeping(exact.speed, exact.step, exact.steps)[k]
        line = harness.scenario.LANE / 2
        assert_allclose(line - (abs(other.y) - other.width / 2), harness.road.INTRUSION, atol=1e-9)
        gap = other.x - other.length / 2 - ego.x - ego.length / 2
        assert_allclose(gap / (ego.vx - other.vx), said["ttc"], atol=1e-9)
        assert scenario.preventable == (said["ttc"] > said["closing"] / 12 + 0.25)
        assert said["visible"] >= 0.72
        assert 10 <= said["closing"] * 3.6 <= 60


def test_cut_ins_lie_on_both_sides_of_what_is_preventable() -> None:
    ratios = np.array([s.parameters["ttc"] / harness.road.preventable_ttc(s.parameters["closing"]) for s in drawn("cut-in", 400)])
    assert ratios.min() < 0.6
    assert ratios.max() > 1.9
    assert abs((ratios > 1).mean() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 400)


def test_the_usual_number_of_cut_ins_suffices_for_one_per_cent() -> None:
    """Clopper–Pearson without an event, three measured runs: 1 − (0.05 / 3) ** (1 / n) < 0.01."""
    usual = harness.catalogue.catalogue("a test", {f"episodes_{f.replace('-', '_')}": 0 for f in FAMILIES if f != "cut-in"})
    assert 1 - (0.05 / 3) ** (1 / sum(s.preventable for s in usual)) < 0.01


def test_hard_braking_is_preventable_where_the_stopping_distances_say_so() -> None:
    """Who ahead brakes to a standstill, more gently than the careful driver: the least gap is the last one."""
    seen = {True: 0, False: 0}
    for scenario in drawn("hard-braking", 300):
        said = scenario.parameters
        if said["ends_at"] > 0 or said["braking"] > 5.5:
            continue
        room = said["speed"] * said["headway"] + said["speed"] ** 2 / (2 * said["braking"])
        needed = said["speed"] * harness.scenario.REACTION + said["speed"] ** 2 / (2 * harness.scenario.BRAKING)
        stopped = replace(scenario, horizon=said["begins"] + 16.0)
        for shorter in (0.0, room - needed + 1.0):  # as it is, and with a metre too little
            nearer = replace(stopped, actors=(replace(stopped.actors[0], x=stopped.actors[0].x - shorter),))
            expected = room - shorter > needed
            assert nearer.avoidable(said["begins"]) == expected
            seen[expected] += 1
    assert min(seen.values()) > 10


def test_what_is_hidden_is_seen_only_once_it_comes_out() -> None:
    for scenario in drawn("cut-out"):
        assert scenario.parameters["begins"] < scenario.parameters["seen"] < scenario.horizon
        alone = replace(scenario, actors=scenario.actors[1:], sensing=harness.scenario.Sensing(reach=1000.0))
        assert alone.first_seen(0) == 0


def test_nobody_appears_within_the_vehicles_lane() -> None:
    """SUMO 1.28 breaks where a walker does, once they get to the other side."""
    starts = [abs(s.actors[0].y) for s in drawn("pedestrian", 500)]
    assert min(starts) > harness.crossings.KERB + 0.25


def test_a_van_hides_who_stands_behind_it() -> None:
    hidden = [s for s in drawn("pedestrian", 200) if s.parameters["van"] and not s.parameters["along"]]
    assert sum(s.parameters["seen"] > 0 for s in hidden) > len(hidden) / 2
    assert all(s.parameters["seen"] == 0 for s in drawn("pedestrian", 200) if not s.parameters["van"])


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "dense-traffic"])
def test_most_of_each_family_is_preventable_and_nobody_touches_at_the_start(family: str) -> None:
    scenarios = drawn(family, 200)
    assert 0.6 < np.mean([s.preventable for s in scenarios]) <= 1
    for scenario in scenarios:
        ego = harness.scenario.keeping(scenario.speed, scenario.step, 1)[0]
        assert not any(harness.geometry.touches(ego, track[0]) for track in scenario.tracks)


def test_whoever_waits_at_the_line_waits_beside_the_lane() -> None:
    for scenario in drawn("junction", 200):
        if scenario.parameters["priority"] == 0:
            continue
        waiting = scenario.tracks[0][0]
        assert abs(waiting.y) - waiting.half_y > harness.scenario.LANE / 2
        middle = (scenario.place.junction[0] + scenario.place.junction[1]) / 2
        assert_allclose(abs(waiting.x - middle), harness.scenario.LANE / 2)


def test_the_same_seed_draws_the_same_scenarios_and_another_one_others() -> None:
    parameters = {f"episodes_{family.replace('-', '_')}": 3 for family in FAMILIES}
    one, same, other = (harness.catalogue.catalogue(seed, parameters) for seed in ("a", "a", "b"))
    assert one == same
    assert len(one) == len(other) == 3 * len(FAMILIES)
    speeds = {scenario.speed for scenario in one}
    assert not speeds & {scenario.speed for scenario in other}


def observations(scenario: Any, until: float) -> list[str]:
    """What is observed by then, by a vehicle that keeps its speed."""
    senses = harness.sensing.Senses(scenario, generator("a test", "senses"))
    egos = harness.scenario.keeping(scenario.speed, scenario.step, scenario.steps)
    around = [[(index, track[k]) for index, track in enumerate(scenario.tracks)] for k in range(scenario.steps)]
    return [json.dumps(senses.observe(ego, 0.0, others)) for ego, others in zip(egos, around, strict=False)][: int(until / scenario.step)]


@pytest.mark.parametrize("family", ["cut-in", "cut-out", "hard-braking"])
def test_nothing_observed_beforehand_depends_on_what_will_happen(family: str) -> None:
    for scenario in drawn(family, 20):
        tame = replace(scenario, actors=tuple(replace(actor, shift=None, accelerations=()) for actor in scenario.actors))
        begins = scenario.parameters["begins"]
        assert observations(scenario, begins) == observations(tame, begins)
        assert observations(scenario, scenario.horizon) != observations(tame, scenario.horizon)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "dense-traffic"])
def test_an_observation_has_these_fields_and_no_others(family: str) -> None:
    seen = 0
    for scenario in drawn(family, 10):
        for text in observations(scenario, 2.0):
            found = json.loads(text)
            assert set(found) == {"ego", "road", "age", "road_users"}
            assert set(found["ego"]) == {"speed", "acceleration", "lateral_offset", "lateral_speed", "length", "width", "set_speed"}
            assert set(found["road"]) == {"lane_width", "lanes_right", "lanes_left", "speed_limit", "junction", "zebra"}
            for user in found["road_users"] or ():
                assert set(user) == {"id", "kind", "x", "y", "vx", "vy", "heading", "length", "width"}
                seen += 1
    assert seen


def test_degraded_sensing_is_as_noisy_late_and_lossy_as_it_says() -> None:
    sensing = harness.scenario.Sensing(position=0.3, speed=0.2, dropped=0.25, delay=3)
    scenario = replace(drawn("hard-braking", 1)[0], sensing=sensing, horizon=100.0)
    clear = replace(scenario, sensing=harness.scenario.Sensing())
    degraded, true = ([json.loads(text) for text in observations(s, 100.0)] for s in (scenario, clear))
    there = [k for k, found in enumerate(degraded) if found["road_users"] and k >= 3]
    lost = np.mean([found["road_users"] is None for found in degraded])
    assert abs(lost - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(degraded))
    assert {degraded[k]["age"] for k in there} == {0.15}
    for name, deviation in (("x", 0.3), ("y", 0.3), ("vx", 0.2), ("vy", 0.2)):
        errors = np.array([degraded[k]["road_users"][0][name] - true[k - 3]["road_users"][0][name] for k in there])
        assert_allclose(errors.std(), deviation, rtol=4 / math.sqrt(2 * len(errors)))
        assert abs(errors.mean()) < 4 * deviation / math.sqrt(len(errors))


@pytest.mark.parametrize("speed", [10.0, 6.5, 4.0])
def test_post_encroachment_time(speed: float) -> None:
    """Somebody is in the lane from 2.475 s to 3.975 s; a car is in their strip while its middle is between 17 m and 23.6 m."""
    egos = harness.scenario.keeping(speed, 0.05, 200)
    other = harness.geometry.Body("car", 1.2, 2.0, 20.3, 0.0, math.pi / 2, 0.0, 2.0)
    track = [other._replace(y=2.0 * (k * 0.05 - 3.225)) for k in range(201)]
    expected = max(2.475 - 23.6 / speed, 17.0 / speed - 3.975, 0.0)  # before them, behind them, or neither
    assert abs(harness.episode.post_encroachment(egos, [track], 0.05) - expected) <= 0.1
    assert harness.episode.post_encroachment(egos, [egos], 0.05) is None
