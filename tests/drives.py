"""Recordings of drives, made for tests: episodes of which everything is known."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring import recording
from livinglab.measuring.recording import Recording

Other = tuple[int, int, int, float, float, float]
"""Step, id, kind, x, y, angle."""
THRESHOLDS: dict[str, Any] = {
    "ttc_threshold": 1.5, "control_ttc": 4.0, "pet_threshold": 1.0, "lateral_threshold": 2.0, "jerk_threshold": 2.5, "braking_threshold": 4.0,
    "lane_width": 3.5,
}  # fmt: skip
_USUAL = {"speed": 20.0, "gap": np.nan, "closing": np.nan, "acceleration": 0.0, "lateral_acceleration": 0.0}
_AROUND = {"other_step": "i4", "other": "i2", "other_kind": "i1", "other_x": "f4", "other_y": "f4", "other_angle": "f4"}


@dataclass
class Driven:
    """One episode: what episodes.json says of it, its steps, and who was around."""

    about: dict[str, Any]
    trace: dict[str, Any]
    around: list[Other] = field(default_factory=list)


def driven(steps: int = 20, step: float = 0.05, *, columns: dict[str, Any] | None = None, around: Iterable[Other] = (),
           collision: dict[str, Any] | None = None, baseline: dict[str, Any] | None = None, **about: Any) -> Driven:  # fmt: skip
    """An episode in which nothing happens but for what is given; each of its columns a number, or one per step."""
    given = {**_USUAL, **(columns or {})}
    trace: dict[str, Any] = {name: np.broadcast_to(np.asarray(value, dtype=np.float64), (steps,)).copy() for name, value in given.items()}
    trace["closing"] = np.where(np.isnan(trace["gap"]), np.nan, np.where(np.isnan(trace["closing"]), 0.0, trace["closing"]))
    trace |= {"time": np.arange(steps) * step, "x": np.cumsum(trace["speed"]) * step, "y": np.zeros(steps), "angle": np.zeros(steps)}
    trace |= {"latency": np.full(steps, 1e-4), "valid": np.ones(steps, dtype=bool)}
    distance, seconds = float(trace["speed"].sum() * step), steps * step
    rival = {"duration": seconds, "distance": distance, "co2": distance * 0.15, "collision": False}
    told = {
        "family": "cut-in", "parameters": {"closing": 10.0, "ttc": 2.0}, "preventable": True, "steps": steps, "valid": steps, "late": 0,
        "duration": seconds, "distance": distance, "ended": "collision" if collision else "finished", "collision": collision, "pet": None,
        "co2": distance * 0.15, "baseline": {**rival, **(baseline or {})},
    }  # fmt: skip
    return Driven({**told, **about}, trace, list(around))


def hit(time: float = 1.0, speed: float = 5.0) -> dict[str, Any]:
    """A collision."""
    return {"time": time, "with": "car-1", "relative_speed": speed}


def write(drives: list[Driven], folder: Path) -> Path:
    """Both files, as the harness's `drive` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    episodes = [{"id": f"e{number + 1:04d}", **drive.about} for number, drive in enumerate(drives)]
    (folder / recording.EPISODES).write_text(json.dumps(episodes))
    columns: dict[str, Any] = {name: np.concatenate([drive.trace[name] for drive in drives]) for name in drives[0].trace}
    counts = [len(drive.trace["time"]) for drive in drives]
    columns["episode"] = np.repeat(np.arange(len(drives), dtype=np.int32), counts)
    starts = np.cumsum([0, *counts])
    around = [(start + other[0], *other[1:]) for start, drive in zip(starts, drives, strict=False) for other in drive.around]
    table = np.array(around, dtype=np.float64).reshape(-1, len(_AROUND))
    columns |= {name: table[:, i].astype(kind) for i, (name, kind) in enumerate(_AROUND.items())}
    np.savez(folder / recording.TRACE, **columns)
    return folder


def recorded(drives: list[Driven], folder: Path) -> Recording:
    """The recording, written and read again."""
    return recording.read(write(drives, folder))


def context(*asked: tuple[str, str, str], level: float = 0.95, replicates: int = 400, **slices: list[dict[str, Any]]) -> dict[str, Any]:
    """What the lab tells a harness that is asked for metrics, in slices, by methods."""
    condition = {"equals": None, "at_least": None, "below": None}
    parts: dict[str, list[dict[str, Any]]] = {"all": [], **slices}
    criteria = [
        {"id": f"{metric}-{part}", "metric": metric, "slice": part, "baseline": None, "interval": {"method": method}}
        for metric, part, method in asked
    ]  # fmt: skip
    return {
        "parameters": THRESHOLDS, "criteria": criteria, "levels": {c["id"]: level for c in criteria}, "replicates": replicates, "seed": "5eed",
        "slices": {name.replace("_", "-"): {"cohort": "hidden", "where": [{**condition, **w} for w in where]} for name, where in parts.items()},
        "baselines": {"sumo": "the simulator's own driver"},
    }  # fmt: skip
