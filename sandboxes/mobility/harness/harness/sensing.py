"""What the pilot is told at a step: its own vehicle, the map ahead, and whom it can see. Nothing of what will happen."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.geometry import SIZES, Body, sees
from harness.scenario import LANE, Scenario

LENGTH, WIDTH = SIZES["car"]


class Senses:
    """One episode's observations."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self._scenario, self._rng, self._sensing = scenario, rng, scenario.sensing
        self._earlier: deque[list[dict[str, Any]]] = deque(maxlen=scenario.sensing.delay + 1)
        self._names: dict[int, int] = {}
        self._noisy = scenario.sensing.position > 0 or scenario.sensing.speed > 0

    def observe(self, ego: Body, acceleration: float, others: Sequence[tuple[int, Body]]) -> dict[str, Any]:
        """The observation at one step.

        Args:
            others: everybody, by a number that stays the same during the episode.
        """
        self._earlier.append([self._perceived(ego, number, body) for number, body in self._visible(ego, others)])
        lost = self._sensing.dropped > 0 and self._rng.random() < self._sensing.dropped
        place = self._scenario.place
        return {
            "ego": {
                "speed": round(ego.vx, 3), "acceleration": round(acceleration, 3), "lateral_offset": round(ego.y, 3),
                "lateral_speed": round(ego.vy, 3), "length": LENGTH, "width": WIDTH, "set_speed": round(self._scenario.speed, 3),
            },
            "road": {
                "lane_width": LANE, "lanes_right": place.lanes[0], "lanes_left": place.lanes[1], "speed_limit": self._scenario.limit,
                "junction": None if place.junction is None else {
                    "stop_line": round(place.junction[0] - ego.x - LENGTH / 2, 3), "clear": round(place.junction[1] - ego.x + LENGTH / 2, 3),
                    "right_of_way": place.junction[2],
                },
                "zebra": None if place.zebra is None else {
                    "begins": round(place.zebra[0] - ego.x - LENGTH / 2, 3), "ends": round(place.zebra[1] - ego.x + LENGTH / 2, 3),
                },
            },
            "age": round((len(self._earlier) - 1) * self._scenario.step, 3),
            "road_users": None if lost else self._earlier[0],
        }  # fmt: skip

    def _visible(self, ego: Body, others: Sequence[tuple[int, Body]]) -> list[tuple[int, Body]]:
        """Who is in reach and, where the scenario says so, not hidden by somebody else."""
        near = [pair for pair in others if math.hypot(pair[1].x - ego.x, pair[1].y - ego.y) <= self._sensing.reach]
        if not self._scenario.occlusion or len(near) == 1:
            return near
        bodies = [body for _, body in near]
        return [(number, body) for number, body in near if sees(ego, body, bodies)]

    def _perceived(self, ego: Body, number: int, body: Body) -> dict[str, Any]:
        """One road user relative to the vehicle under test, middle to middle. Its name is the order in which it was first seen."""
        name = self._names.setdefault(number, len(self._names) + 1)
        x, y, vx, vy = body.x - ego.x, body.y - ego.y, body.vx - ego.vx, body.vy - ego.vy
        if self._noisy:
            noise = self._rng.standard_normal(4)
            x, y = x + self._sensing.position * noise[0], y + self._sensing.position * noise[1]
            vx, vy = vx + self._sensing.speed * noise[2], vy + self._sensing.speed * noise[3]
        return {
            "id": name, "kind": body.kind, "x": round(float(x), 3), "y": round(float(y), 3), "vx": round(float(vx), 3), "vy": round(float(vy), 3),
            "heading": round(body.heading, 3), "length": body.length, "width": body.width,
        }  # fmt: skip
