"""What steps say: the Regulations' tables, and each total of an episode against plain loops."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.measuring.kinematics import Steps, Thresholds, minimum_following_distance, preventable_ttc, time_to_collision, totals
from tests.drives import THRESHOLDS, driven, hit, recorded


@pytest.mark.parametrize(("kmh", "metres"), [(0, 2.0), (5, 2.0), (7.2, 2.0), (10, 3.1), (20, 6.7), (30, 10.8), (40, 15.6), (50, 20.8), (60, 26.7)])
def test_the_minimum_following_distance_is_that_of_regulation_157(kmh: float, metres: float) -> None:
    """UN Regulation No 157, 5.2.3.3; the Regulation rounds to a decimetre."""
    assert round(float(minimum_following_distance(np.array([kmh / 3.6]))[0]), 1) == metres


def test_between_the_tables_speeds_its_time_gap_is_interpolated_and_beyond_them_kept() -> None:
    assert minimum_following_distance(np.array([25 / 3.6, 35.0])) == pytest.approx([25 / 3.6 * 1.25, 35 * 1.6])


def test_a_cut_in_is_preventable_above_the_times_of_regulation_2022_1426() -> None:
    """Annex III gives them for 10 to 60 km/h, to the hundredth."""
    printed = [0.48, 0.71, 0.94, 1.18, 1.41, 1.64]
    assert np.round(preventable_ttc(np.arange(10, 61, 10) / 3.6), 2).tolist() == printed


def test_time_to_collision_is_infinite_unless_a_gap_closes() -> None:
    gap, closing = np.array([10.0, 10.0, 10.0, np.nan, -0.1]), np.array([5.0, 0.0, -3.0, np.nan, 2.0])
    assert time_to_collision(gap, closing).tolist() == [2.0, math.inf, math.inf, math.inf, 0.0]


def test_jerk_is_the_change_over_a_second_and_unknown_in_the_first(tmp_path: Path) -> None:
    ramp = np.arange(50) * 0.05 * 3.0  # 3 m/s³
    recording = recorded([driven(50, columns={"acceleration": ramp}), driven(30, 0.1, columns={"acceleration": 1.0})], tmp_path)
    jerk = Steps.of(recording).jerk
    assert np.isnan(jerk[:20]).all()
    assert jerk[20:50] == pytest.approx(3.0)
    assert np.isnan(jerk[50:60]).all()  # a second has ten steps there, and none of another episode's
    assert jerk[60:] == pytest.approx(0.0)


@pytest.mark.parametrize(("threat_at", "counts"), [(None, True), (0, True), (9, True), (10, False), (30, False), (31, True)])
def test_hard_braking_is_explained_by_a_threat_in_the_second_before(threat_at: int | None, counts: bool, tmp_path: Path) -> None:
    gap, closing, acceleration = np.full(50, 60.0), np.full(50, 1.0), np.zeros(50)
    acceleration[30] = -4.0
    if threat_at is not None:
        closing[threat_at] = 15.0  # 4 s
    steps = Steps.of(recorded([driven(50, columns={"gap": gap, "closing": closing, "acceleration": acceleration})], tmp_path))
    assert steps.unprovoked(4.0, 4.0).any() == counts


def by_hand(trace: dict[str, Any], about: dict[str, Any], step: float) -> dict[str, float]:
    """The times of one episode, step after step."""
    found = dict.fromkeys(("critical", "following", "close", "lateral", "jerky", "judged"), 0.0)
    a_second = round(1 / step)
    for k in range(about["steps"]):
        gap, closing, speed = trace["gap"][k], trace["closing"][k], trace["speed"][k]
        behind = not math.isnan(gap)
        found["critical"] += step * (behind and closing > 0 and gap / closing <= 1.5)
        found["following"] += step * (behind and speed > 0.1)
        found["close"] += step * (behind and speed > 0.1 and gap < float(minimum_following_distance(np.array([speed]))[0]))
        found["lateral"] += step * (abs(trace["lateral_acceleration"][k]) > 2)
        if k >= a_second:
            found["judged"] += step
            found["jerky"] += step * (abs(trace["acceleration"][k] - trace["acceleration"][k - a_second]) > 2.5)
    return found


def test_each_total_is_what_plain_loops_add_up_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    drives = []
    for _ in range(12):
        n = int(rng.integers(10, 80))
        gap = np.where(rng.random(n) < 0.3, np.nan, rng.uniform(0, 60, n))
        columns = {"gap": gap, "closing": rng.normal(3, 10, n), "speed": np.maximum(0, rng.normal(10, 8, n)), "acceleration": rng.normal(0, 3, n),
                   "lateral_acceleration": rng.normal(0, 1.5, n)}  # fmt: skip
        drives.append(driven(n, float(rng.choice([0.05, 0.1])), columns=columns))
    found = totals(Steps.of(recorded(drives, tmp_path)), Thresholds.of(THRESHOLDS))
    for number, drive in enumerate(drives):
        expected = by_hand(drive.trace, drive.about, drive.about["duration"] / drive.about["steps"])
        assert {name: found[name][number] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_what_is_counted_by_episode(tmp_path: Path) -> None:
    drives = [
        driven(collision=hit(), pet=None), driven(pet=0.9, preventable=False), driven(pet=1.0), driven(baseline={"collision": True}),
        driven(distance=-3.0),
    ]  # fmt: skip
    found = totals(Steps.of(recorded(drives, tmp_path)), Thresholds.of(THRESHOLDS))
    assert found["collided"].tolist() == [1, 0, 0, 0, 0]
    assert found["narrow"].tolist() == [1, 1, 0, 0, 0]
    assert found["preventable"].tolist() == [1, 0, 1, 1, 1]
    assert (found["own_distance"][3], found["base_distance"][3], found["own_co2"][3], found["base_co2"][3]) == (0, 0, 0, 0)
    assert found["km"].tolist() == pytest.approx([0.02, 0.02, 0.02, 0.02, 0.0])
