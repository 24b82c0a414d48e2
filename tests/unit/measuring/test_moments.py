"""The worst moments and the pictures: which are chosen and why, and that what is written fits the lab's schemas."""

import json
from pathlib import Path

import numpy as np
import pytest

from livinglab.domain.chart import Chart
from livinglab.domain.replay import MOST_EPISODES, MOST_FRAMES, MOST_OTHERS, REPLAY_LIMIT, Replay
from livinglab.measuring import moments
from livinglab.measuring.driving import DrivingEvaluation
from tests.drives import Driven, context, driven, hit, recorded


def evaluation(drives: list[Driven], folder: Path) -> DrivingEvaluation:
    return DrivingEvaluation(recorded(drives, folder), context())


def closing(at: float, steps: int = 40) -> Driven:
    """An episode that comes as near to a collision as `at` seconds."""
    ttc = np.full(steps, 9.0)
    ttc[steps // 2] = at
    return driven(steps, columns={"gap": 10 * ttc, "closing": 10.0})


@pytest.fixture
def all_kinds() -> list[Driven]:
    return [
        closing(3.0), driven(collision=hit(speed=2.0)), driven(collision=hit(speed=30.0), preventable=False), driven(collision=hit(speed=9.0)),
        driven(pet=0.4, family="pedestrian"), driven(pet=0.6, family="junction"), driven(distance=4.0, baseline={"distance": 10.0}),
        driven(family="dense-traffic", columns={"acceleration": -6.0}), closing(0.7), closing(0.9), driven(),
    ]  # fmt: skip


def test_the_worst_come_first_each_once_with_its_reason(all_kinds: list[Driven], tmp_path: Path) -> None:
    found = {moment.number: moment.why for moment in evaluation(all_kinds, tmp_path).worst}
    assert list(found) == [3, 1, 2, 4, 5, 7, 6, 8, 9, 0]
    assert found[3] == "collision with car-1 at 32 km/h, which a careful driver prevents"
    assert found[2].endswith("which the careful driver does not prevent either")
    assert found[4] == "only 0.40 s between the two in the area that both crossed"
    assert found[6] == "got 40% as far as the simulator's own driver"
    assert found[8] == "0.70 s from a collision at the nearest"


def test_however_many_collide_other_moments_are_seen_too(tmp_path: Path) -> None:
    drives = [*[driven(collision=hit(speed=float(speed))) for speed in range(1, 30)], *[closing(0.1 * k) for k in range(1, 20)]]
    found = [moment.number for moment in evaluation(drives, tmp_path).worst]
    assert len(found) == MOST_EPISODES == moments.WORST
    assert found[:5] == [28, 27, 26, 25, 24]
    assert sum(number >= 29 for number in found) >= 4


def test_what_is_written_is_a_replay_with_the_very_numbers(tmp_path: Path) -> None:
    around = [(step, 3, 2, 30.0 - step, 1.0, 0.5) for step in range(0, 40, 2)] + [(0, 5, 1, 9.0, 3.5, 0.0)]
    gap = np.full(40, 12.0)
    gap[:3] = np.nan
    drive = driven(40, columns={"gap": gap, "closing": 6.0}, around=sorted(around), edges=[[[0, 1.75], [99, 1.75]]], collision=hit(2.0, 6.0))
    document = evaluation([drive], tmp_path).replay()
    found = Replay.model_validate_json(json.dumps(document))
    (episode,) = found.episodes
    assert (episode.gap[:4], episode.ttc[:4]) == ((None, None, None, 12.0), (None, None, None, 2.0))
    assert episode.x == pytest.approx(drive.trace["x"], abs=5e-4)
    assert episode.edges == (((0, 1.75), (99, 1.75)),)
    walker, lorry = episode.others
    assert (walker.kind, walker.frames, walker.x[:2]) == ("pedestrian", tuple(range(0, 40, 2)), (30.0, 28.0))
    assert (lorry.kind, lorry.frames) == ("lorry", (0,))


def test_the_largest_replay_fits_its_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    steps = MOST_FRAMES + 500
    around = [(step, other, 0, *rng.normal(0, 99, 3)) for step in range(steps - 900, steps, 5) for other in range(MOST_OTHERS + 20)]
    drives = [driven(steps, columns={"speed": rng.uniform(20, 40, steps), "gap": rng.uniform(1, 99, steps), "closing": 9.9}, around=around)] * 14
    text = json.dumps(evaluation(drives, tmp_path).replay(), allow_nan=False, separators=(",", ":"))
    assert len(text) < REPLAY_LIMIT
    found = Replay.model_validate_json(text)
    assert {len(episode.time) for episode in found.episodes} == {MOST_FRAMES}
    assert {len(episode.others) for episode in found.episodes} == {MOST_OTHERS}


def test_the_charts_are_charts_and_say_what_was_driven(all_kinds: list[Driven], tmp_path: Path) -> None:
    found = {name: Chart.model_validate_json(json.dumps(chart)) for name, chart in evaluation(all_kinds, tmp_path).charts().items()}
    assert set(found) == {"time-to-collision", "cut-ins", "least-ttc", "worst-gaps", "worst-moment"}
    bars = found["time-to-collision"].series[0]
    assert sum(bars.y) == pytest.approx(3 * 40 / sum(drive.about["steps"] for drive in all_kinds))
    assert found["time-to-collision"].marks[0].at == 1.5
    avoided, collided, curve = found["cut-ins"].series
    assert (len(avoided.x), len(collided.x)) == (5, 3)
    assert curve.y[-1] == pytest.approx(curve.x[-1] / 3.6 / 12 + 0.25)
    assert sorted(found["least-ttc"].series[0].y) == pytest.approx([0.7, 0.9, 3.0])


def test_charts_of_nothing_are_left_out(tmp_path: Path) -> None:
    quiet = evaluation([driven(family="junction", baseline={"distance": 0.0})], tmp_path)
    assert set(quiet.charts()) == {"time-to-collision"}
    assert quiet.worst == []
    assert Replay.model_validate_json(json.dumps(quiet.replay())).episodes == ()
