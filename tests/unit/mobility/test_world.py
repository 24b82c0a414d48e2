"""What SUMO does with what it is told, and that its view and ours agree."""

import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from livinglab.measuring.resampling import generator
from tests.harnesses import ROOT
from tests.unit.mobility.conftest import SANDBOX, harness

SCRIPTED = [family for family in harness.catalogue.FAMILIES if family != "dense-traffic"]


@pytest.fixture(scope="module")
def world() -> Any:
    """SUMO is loaded into this process once, beside whatever else is there; pilots' drives have a process of their own."""
    return harness.world.World()


def drawn(family: str, count: int, purpose: str = "a test") -> list[Any]:
    return [harness.catalogue.FAMILIES[family][0](generator(purpose, f"{family} {number}")) for number in range(count)]


def step(world: Any, ego: Any, scenario: Any, acceleration: float = 0.0, lateral: float = 0.0) -> Any:
    return world.advance(harness.episode.move(ego, acceleration, lateral, scenario))


@pytest.mark.parametrize("family", SCRIPTED)
def test_sumo_has_everybody_where_the_script_says(world: Any, family: str) -> None:
    import libsumo

    for scenario in drawn(family, 8):
        ego = world.open(scenario, driven=False)
        for k in range(scenario.steps):
            ego = step(world, ego, scenario, 1.5 * math.sin(k / 9), 0.4 * math.cos(k / 7))
            there = {"ego": ego} | {f"a{index}": body for index, body in world.others() if not scenario.actors[index].beside}
            for name, body in there.items():
                if body.kind != "pedestrian":
                    found = world.standing(name)
                    assert_allclose([found.x, found.y, found.heading], [body.x, body.y, body.heading], atol=1e-6)
                    assert_allclose(libsumo.vehicle.getSpeed(name), abs(body.vx) if body.heading == 0 else abs(body.vy), atol=1e-6)
                elif -1.7 < body.y < 5.2:  # on the carriageway; on the areas beside it SUMO holds walkers elsewhere
                    x, y = libsumo.person.getPosition(name)
                    front = body.y + math.sin(body.heading) * body.length / 2
                    assert_allclose([x - scenario.place.x, y - scenario.place.y], [body.x, front], atol=0.3)


def test_our_contacts_are_sumos(world: Any) -> None:
    """It never sees one that we do not; it sees those from the side later, once a vehicle counts to the other lane."""
    apart: Counter[tuple[str, bool]] = Counter()
    for family in SCRIPTED:
        for scenario in drawn(family, 12):
            ego, ours, theirs = world.open(scenario, driven=False), None, None
            for k in range(scenario.steps):
                ego = step(world, ego, scenario)
                ours = k if ours is None and harness.episode.contact(ego, world.others(), 0.0) else ours
                theirs = k if theirs is None and world.contacts() else theirs
            if theirs is not None:
                assert ours is not None
                assert ours <= theirs + 2
            if ours is not None:
                apart["both" if theirs is not None else "ours", abs(ours - (theirs or ours)) <= 1] += 1
    assert apart["both", True] > 0.85 * sum(apart.values()) > 20


def test_the_action_is_realised_as_it_was_given(world: Any) -> None:
    scenario = replace(drawn("cut-in", 1)[0], actors=())
    ego = world.open(scenario, driven=False)
    speed, way, beside, sideways = scenario.speed, 0.0, 0.0, 0.0
    for acceleration, lateral in [(2.0, 1.0)] * 20 + [(-9.0, -2.0)] * 20 + [(0.0, 0.0)] * 20:
        way, speed = way + (speed + acceleration * 0.025) * 0.05, speed + acceleration * 0.05
        beside, sideways = beside + (sideways + lateral * 0.025) * 0.05, sideways + lateral * 0.05
        ego = step(world, ego, scenario, acceleration, lateral)
        found = world.standing("ego")
        assert_allclose([found.x, found.y, found.vx], [way, beside, speed], atol=1e-9)


def test_the_vehicle_drives_neither_backwards_nor_off_the_carriageway() -> None:
    scenario = drawn("cut-in", 1)[0]
    ego = harness.scenario.keeping(1.0, scenario.step, 0)[0]
    for _ in range(40):
        ego = harness.episode.move(ego, -9.0, 3.0, scenario)
    assert (ego.vx, ego.vy) == (0.0, 0.0)
    fast = harness.scenario.keeping(30.0, scenario.step, 0)[0]
    for _ in range(200):
        fast = harness.episode.move(fast, 0.0, -3.0, scenario)
    assert fast.y == pytest.approx(-1.5 * harness.scenario.LANE + fast.width / 2)


def test_an_emptied_network_is_as_good_as_a_new_one(world: Any) -> None:
    """Whatever was driven before has no part in what SUMO's own driver does."""
    scenarios = [scenario for family in SCRIPTED for scenario in drawn(family, 2)]
    after_one_another = [harness.episode.compare(world, scenario) for scenario in scenarios]
    anew = []
    for scenario in reversed(scenarios):
        world.open(drawn("dense-traffic", 1)[0], driven=False)  # it gets a simulation of its own, and so does the next
        anew.append(harness.episode.compare(world, scenario))
    assert after_one_another == anew[::-1]


def test_traffic_depends_on_its_seed_and_on_nothing_that_was_driven_before(world: Any) -> None:
    def after_a_while(scenario: Any) -> list[Any]:
        ego = world.open(scenario, driven=False)
        for _ in range(200):
            ego = step(world, ego, scenario)
        return sorted(world.others())

    scenario = drawn("dense-traffic", 1)[0]
    first = after_a_while(scenario)
    harness.episode.compare(world, drawn("cut-in", 1)[0])
    assert after_a_while(scenario) == first
    assert after_a_while(replace(scenario, seed=scenario.seed + 1)) != first


def test_there_is_traffic_around_and_it_changes_lanes(world: Any) -> None:
    near, changes = [], 0
    for scenario in drawn("dense-traffic", 3):
        ego = world.open(replace(scenario, horizon=40.0), driven=False)
        before: dict[int, float] = {}
        for _ in range(400):
            ego = step(world, ego, scenario)
            others = world.others()
            near.append(sum(abs(body.x - ego.x) < 100 for _, body in others))
            changes += sum(before.get(n, body.y) != body.y and abs(body.vy) > 0.3 for n, body in others)
            assert all(abs(body.vy) < 3 for _, body in others)  # nobody jumps from lane to lane
            before = {n: body.y for n, body in others}
    assert sum(near) / len(near) > 4
    assert changes > 20


def test_sumos_driver_gives_way_where_the_network_says_so(world: Any) -> None:
    """To crossing traffic, and to who walks over the zebra in sight; who takes its right of way, or steps out from behind a van, may be hit."""
    collided: Counter[tuple[str, bool]] = Counter()
    for scenario in (*drawn("junction", 40), *drawn("pedestrian", 40)):
        found = harness.episode.compare(world, scenario)
        assert found["co2"] > 0
        said = scenario.parameters
        expected = said["priority"] == 0 if scenario.family == "junction" else not said["van"]
        collided["in sight" if expected else "otherwise", found["collision"]] += 1
    assert collided["in sight", True] == 0
    assert collided["in sight", False] > 40


APPROACH = """
import json, os, sys
os.environ["LIBSUMO_AS_TRACI"] = "quiet"
import libsumo
network, out = sys.argv[1:]
libsumo.start(["sumo", "--net-file", network, "--step-length", "0.05", "--step-method.ballistic", "--no-step-log", "--no-warnings",
    "--device.ssm.explicit", "ego", "--device.ssm.measures", "TTC DRAC", "--device.ssm.thresholds", "20 0.01", "--device.ssm.range", "200",
    "--device.ssm.file", out])
libsumo.route.add("r", ["road"])
for name, position, speed in (("slow", "300", 10), ("ego", "150", 30)):
    libsumo.vehicle.add(name, "r", departPos=position, departSpeed=str(speed), departLane="1")
libsumo.simulationStep()
seen = []
for k in range(200):
    libsumo.vehicle.setSpeed("slow", 10)
    libsumo.vehicle.setLaneChangeMode("ego", 0)
    libsumo.simulationStep()
    seen.append([[*libsumo.vehicle.getPosition(n), libsumo.vehicle.getSpeed(n)] for n in ("ego", "slow")])
libsumo.close()
print(json.dumps(seen))
"""


def test_gap_and_closing_speed_give_the_time_to_collision_of_sumos_own_device(tmp_path: Path) -> None:
    network, out = SANDBOX / "harness" / "harness" / "networks" / "world.net.xml", tmp_path / "ssm.xml"
    done = subprocess.run([sys.executable, "-c", APPROACH, network, out], capture_output=True, text=True, check=True, env={**os.environ}, cwd=ROOT)
    times, decelerations = [], []
    for (ex, ey, ev), (sx, sy, sv) in json.loads(done.stdout.splitlines()[-1]):
        ego, slow = (harness.geometry.Body("car", 5.0, 1.8, x - 2.5, y, 0.0, v, 0.0) for x, y, v in ((ex, ey, ev), (sx, sy, sv)))
        gap, closing = harness.geometry.ahead(ego, [slow])
        if closing > 0:
            times.append(gap / closing)
            decelerations.append(closing**2 / (2 * gap))
    conflict = ET.parse(out).getroot().find("conflict")  # noqa: S314 - written by the line above
    assert conflict is not None
    ttc, drac = conflict.find("minTTC"), conflict.find("maxDRAC")
    assert ttc is not None
    assert drac is not None
    assert_allclose(float(ttc.attrib["value"]), min(times), atol=0.01)
    assert_allclose(float(drac.attrib["value"]), max(decelerations), atol=0.01)


def test_the_simulator_bears_many_walkers() -> None:
    """In a process of its own: what breaks it, breaks the process."""
    script = (
        "from harness.world import World; from harness.crossings import pedestrian; from harness.episode import compare\n"
        "from livinglab.measuring.resampling import generator\n"
        "world = World()\n"
        "for number in range(600): compare(world, pedestrian(generator('walkers', f'pedestrian {number}')))\n"
        "print('all')"
    )
    path = os.pathsep.join(map(str, (SANDBOX / "harness", ROOT)))
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()[-3:]) == (0, "all"), ended.stderr[-500:]
