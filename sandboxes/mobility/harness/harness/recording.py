"""The recording of a drive: episodes.json and trace.npz."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.episode import Driven
from harness.scenario import LANE, Scenario

TRACE = ("time", "x", "y", "angle", "speed", "acceleration", "lateral_acceleration", "gap", "closing", "latency", "valid")
MARGIN = 60.0
"""How far the road is drawn beyond where the vehicle was (m)."""
AROUND = {"other_kind": np.int8, "other_x": np.float32, "other_y": np.float32, "other_angle": np.float32}


class Recording:
    """What was driven so far, in order. Positions are middles, in the road's frame (see `scenario`); angles are radians from x."""

    def __init__(self) -> None:
        self.episodes: list[dict[str, Any]] = []
        self._trace: list[np.ndarray[Any, Any]] = []
        self._around: list[np.ndarray[Any, Any]] = []
        self._steps = 0

    def add(self, name: str, scenario: Scenario, driven: Driven, baseline: dict[str, Any]) -> None:
        """One episode more."""
        self.episodes.append({
            "id": name, "family": scenario.family, "parameters": {key: float(value) for key, value in scenario.parameters.items()},
            "preventable": bool(scenario.preventable), "steps": driven.steps, "valid": driven.valid, "late": driven.late,
            "duration": round(driven.duration(scenario.step), 3), "distance": float(driven.distance),
            "ended": "collision" if driven.collision else "finished", "collision": driven.collision, "pet": driven.pet, "co2": float(driven.co2),
            "baseline": baseline, "edges": edges(scenario, driven.distance),
        })  # fmt: skip
        self._trace.append(np.array(driven.trace, dtype=np.float64).reshape(-1, len(TRACE)))
        around = np.array(driven.around, dtype=np.float64).reshape(-1, 2 + len(AROUND))
        around[:, 0] += self._steps
        self._around.append(around)
        self._steps += driven.steps

    def write(self, out: Path) -> None:
        """Both files into `out`."""
        trace, around = np.concatenate([*self._trace, np.empty((0, len(TRACE)))]), np.concatenate([*self._around, np.empty((0, 2 + len(AROUND)))])
        columns: dict[str, Any] = {name: trace[:, i] for i, name in enumerate(TRACE)}
        columns["valid"] = columns["valid"].astype(bool)
        columns["episode"] = np.repeat(np.arange(len(self._trace), dtype=np.int32), [len(part) for part in self._trace])
        columns["other_step"], columns["other"] = around[:, 0].astype(np.int32), around[:, 1].astype(np.int16)
        columns |= {name: around[:, 2 + i].astype(kind) for i, (name, kind) in enumerate(AROUND.items())}
        (out / "episodes.json").write_text(json.dumps(self.episodes, allow_nan=False))
        np.savez(out / "trace.npz", **columns)


def edges(scenario: Scenario, distance: float) -> list[list[list[float]]]:
    """Lines to draw of the road: the edges of its lanes, and of what crosses them."""
    place, ends = scenario.place, (-MARGIN, round(distance + MARGIN, 1))
    sides = [(side - place.lanes[0] - 0.5) * LANE for side in range(sum(place.lanes) + 2)]
    found = [[[x, y] for x in ends] for y in sides]
    if place.junction is not None:
        middle = (place.junction[0] + place.junction[1]) / 2
        found += [[[round(middle + x, 2), y] for y in (-MARGIN, MARGIN)] for x in (-LANE, 0.0, LANE)]
    if place.zebra is not None:
        found += [[[round(x, 2), y] for y in (-LANE / 2, 1.5 * LANE)] for x in place.zebra]
    return found
