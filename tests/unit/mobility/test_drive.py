"""Pilots in processes of their own, over a real socket: the reference passes, and each bad one shows as what it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from livinglab.measuring import recording
from tests.unit.mobility.conftest import BAD, NONE, PILOT, Drive, Outcome, harness

SOME = {name: 8 for name in NONE if name != "episodes_dense_traffic"} | {"episodes_dense_traffic": 2, "dense_seconds": 20}
FIELDS = {
    "id", "family", "parameters", "preventable", "steps", "valid", "late", "duration", "distance", "ended", "collision", "pet", "co2",
    "baseline", "edges",
}  # fmt: skip


def preventable_collisions(driven: Outcome, *families: str) -> list[dict[str, Any]]:
    chosen = [episode for episode in driven.episodes if not families or episode["family"] in families]
    return [episode for episode in chosen if episode["preventable"] and episode["ended"] == "collision"]


def progress(driven: Outcome) -> float:
    way = sum(episode["distance"] for episode in driven.episodes)
    return float(way / sum(episode["baseline"]["distance"] for episode in driven.episodes))


@pytest.fixture(scope="module")
def reference(drive: Drive) -> Outcome:
    return drive(PILOT, **SOME)


def test_the_reference_pilot_has_no_preventable_collision_and_makes_progress(reference: Outcome) -> None:
    assert reference.report == {"status": "ok", "reason": "", "episodes": 6 * 8 + 2}
    assert preventable_collisions(reference) == []
    assert progress(reference) > 0.9
    assert all(episode["valid"] == episode["steps"] for episode in reference.episodes)


def test_the_reference_pilot_is_as_smooth_as_it_can_be(reference: Outcome) -> None:
    """Beyond 5 m/s³ in few steps: when an emergency begins."""
    trace = reference.trace
    steps = np.flatnonzero(np.diff(trace["episode"]) == 0)
    jerk = np.abs(trace["acceleration"][steps + 1] - trace["acceleration"][steps]) / (trace["time"][steps + 1] - trace["time"][steps])
    assert (jerk > 5).mean() < 0.02
    assert (jerk > 5).any()


def test_the_recording_is_as_the_contract_says(reference: Outcome) -> None:
    trace, episodes = reference.trace, reference.episodes
    assert all(set(episode) == FIELDS for episode in episodes)
    assert [episode["id"] for episode in episodes] == [f"e{number:04d}" for number in range(1, len(episodes) + 1)]
    assert {episode["family"] for episode in episodes} == set(harness.catalogue.FAMILIES)
    assert_array_equal(np.bincount(trace["episode"]), [episode["steps"] for episode in episodes])
    floats = ("time", "x", "y", "angle", "speed", "acceleration", "lateral_acceleration", "gap", "closing", "latency")
    others = {"other_step": "i4", "other": "i2", "other_kind": "i1", "other_x": "f4", "other_y": "f4", "other_angle": "f4"}
    found = {name: column.dtype.str[1:] for name, column in trace.items()}
    assert found == {**dict.fromkeys(floats, "f8"), "episode": "i4", "valid": "b1", **others}
    assert len({len(trace[name]) for name in (*floats, "episode", "valid")}) == 1
    assert trace["other_step"].max() < len(trace["time"])
    assert (np.hypot(*(trace[f"other_{a}"] - trace[a][trace["other_step"]] for a in "xy")) < 100.1).all()
    assert_array_equal(np.isnan(trace["gap"]), np.isnan(trace["closing"]))
    assert np.isfinite(trace["speed"]).all()
    for number, episode in enumerate(episodes):
        x = trace["x"][trace["episode"] == number]
        assert x[0] == 0
        assert abs(episode["distance"] - x[-1]) < 4
        assert episode["duration"] <= episode["baseline"]["duration"] + 1e-9


def test_the_recording_can_be_measured(reference: Outcome) -> None:
    read = recording.read(reference.folder)
    assert read.episodes == reference.episodes
    assert_array_equal(read.seconds[:1] * reference.episodes[0]["steps"], reference.episodes[0]["duration"])


def test_realised_accelerations_are_those_of_the_speeds(reference: Outcome) -> None:
    trace = reference.trace
    steps = np.flatnonzero(np.diff(trace["episode"]) == 0)
    change = (trace["speed"][steps + 1] - trace["speed"][steps]) / (trace["time"][steps + 1] - trace["time"][steps])
    np.testing.assert_allclose(trace["acceleration"][steps], change, atol=1e-9)


def test_never_braking_collides_and_ends_at_the_first_contact(drive: Drive) -> None:
    driven = drive(BAD, "never_brakes", **{**SOME, "episodes_dense_traffic": 0})
    assert driven.report["status"] == "ok"
    assert len(preventable_collisions(driven)) > 0.5 * len(driven.episodes)
    for family in ("cut-in", "cut-out", "hard-braking", "junction", "pedestrian", "degraded-sensing"):
        assert preventable_collisions(driven, family), family
    for episode in driven.episodes:
        if episode["ended"] == "collision":
            assert set(episode["collision"]) == {"time", "with", "relative_speed"}
            assert episode["collision"]["time"] == episode["duration"] <= episode["baseline"]["duration"]
            assert episode["collision"]["relative_speed"] > 0


def test_standing_still_is_safe_and_gets_nowhere(drive: Drive) -> None:
    driven = drive(BAD, "stands_still", episodes_junction=6, episodes_cut_in=6, episodes_dense_traffic=1, dense_seconds=30)
    assert preventable_collisions(driven, "junction", "cut-in") == []
    assert progress(driven) < 0.6


def test_swerving_is_realised(drive: Drive) -> None:
    driven = drive(BAD, "swerves", episodes_hard_braking=2)
    assert driven.trace["y"].max() > 3


REJECTED = {
    "out_of_order": "in episode 1, step 0: the answer's step is 1; 0 is expected.",
    "replays": "in episode 1, step 1: the answer's step is 0; 1 is expected.",
    "floods": "in episode 1, step 1: bytes came unasked; one answer per question is expected, and nothing else.",
    "oversize": "in episode 1, step 0: a frame of 1073741824 bytes was announced; at most 65536 are expected, after four bytes of length.",
    "not_json": "in episode 1, step 0: the answer is not JSON that can be read (it is not UTF-8).",
    "another_protocol": 'at the greeting: the answer\'s protocol is "livinglab.step/0"; "livinglab.step/1" is expected.',
    "hangs": "in episode 1, step 0: no complete answer came within 0.5 s.",
    "never_connects": "no connection to /socket/lab.sock within 1 s; connect to it, and retry while it is not there.",
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_broken_protocol_ends_the_drive_with_a_sentence(drive: Drive, name: str) -> None:
    slow = name in ("hangs", "never_connects")
    driven = drive(BAD, name, episodes_cut_in=3, step_timeout=0.5 if slow else 10, connect_timeout=1 if name == "never_connects" else 30)
    assert driven.report == {"status": "left" if name == "closes" else "rejected", "reason": REJECTED[name], "episodes": 0}


def test_who_leaves_is_told_apart_from_who_breaks_the_protocol(drive: Drive) -> None:
    driven = drive(BAD, "closes", episodes_cut_in=3)
    assert driven.report == {
        "status": "left", "reason": "in episode 1, step 0: the pilot closed the connection; an answer is expected.", "episodes": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["nan", "out_of_range"])
def test_an_invalid_action_is_counted_and_the_vehicle_coasts(drive: Drive, name: str) -> None:
    driven = drive(BAD, name, episodes_hard_braking=2)
    assert driven.report["status"] == "ok"
    assert all(episode["valid"] == 0 for episode in driven.episodes)
    assert not driven.trace["valid"].any()
    assert not driven.trace["acceleration"].any()


def test_a_late_answer_is_counted_and_applied(drive: Drive) -> None:
    driven = drive(BAD, "late", episodes_cut_in=2, step_timeout=10)
    assert driven.report["status"] == "ok"
    for number, episode in enumerate(driven.episodes):
        latency = driven.trace["latency"][driven.trace["episode"] == number]
        assert (latency[::10] > 0.08).all()
        assert episode["late"] == (latency > 0.05).sum() >= -(-episode["steps"] // 10)


def test_the_same_seed_gives_the_same_recording_and_another_one_another(drive: Drive, reference: Outcome) -> None:
    again, other = drive(PILOT, **SOME), drive(PILOT, **SOME, seed="another test")
    without = [[{k: v for k, v in e.items() if k != "late"} for e in outcome.episodes] for outcome in (reference, again, other)]
    assert json.dumps(without[0]) == json.dumps(without[1])
    assert {name for name, column in reference.trace.items() if column.tobytes() != again.trace[name].tobytes()} == {"latency"}
    assert not {e["parameters"]["speed"] for e in without[0]} & {e["parameters"]["speed"] for e in without[2]}


def test_knowing_the_examples_by_heart_does_not_help(drive: Drive, data: Path) -> None:
    """It brakes as the examples' road users demand, and none of them comes again."""
    examples = json.loads((data / "participant" / "examples.json").read_text())
    assert sum(example["ends_in_contact"] for example in examples) > 6
    heart, blind = (drive(BAD, name, episodes_cut_in=10, episodes_hard_braking=10) for name in ("memorised", "never_brakes"))
    assert len(preventable_collisions(heart)) == len(preventable_collisions(blind)) > 10


def test_a_pilot_is_told_nothing_but_observations(tmp_path: Path, drive: Drive) -> None:
    """All that the lab says, kept by a pilot that listens."""
    listening = tmp_path / "listening.py"
    listening.write_text(LISTENER.format(folder=str(BAD.parent), heard=str(tmp_path / "heard.jsonl")))
    driven = drive(listening, seed="5eed5eed", **{**SOME, "episodes_dense_traffic": 1})
    heard = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text().splitlines()]
    text = (tmp_path / "heard.jsonl").read_text()
    told = {"hello": {"type", "protocol", "task"}, "begin": {"type", "episode", "step_seconds"}, "end": {"type", "episode"}, "bye": {"type"}}
    told["step"] = {"type", "episode", "step", "observation"}
    assert all(set(message) == told[message["type"]] for message in heard)
    families = set(harness.catalogue.FAMILIES) - {"pedestrian", "junction"}  # these two are words of the map and of the senses
    assert not [word for word in (*families, "5eed5eed", "preventable", "collision") if word in text]
    names = [message["episode"] for message in heard if message["type"] == "begin"]
    assert len(set(names)) == len(driven.episodes)
    assert names != sorted(names)
    order = [episode["family"] for episode in driven.episodes]
    assert order != sorted(order)


LISTENER = """
import json, sys
sys.path.insert(0, {folder!r})
import driving
heard = open({heard!r}, "w")
loads = json.loads
def listen(text):
    message = loads(text)
    print(json.dumps(message), file=heard, flush=True)
    return message
driving.json.loads = listen
driving.never_brakes()
"""
