"""Driving one scenario: by a pilot that answers at each step, or by SUMO's own driver, with whom the pilot's progress is compared."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.geometry import Body, ahead, touches
from harness.scenario import LANE, Scenario
from harness.sensing import Senses
from harness.world import FASTEST, World
from livinglab.measuring.peer import Answer

AROUND = 100.0
"""Metres around the vehicle under test within which the recording keeps others."""
CROSSES = 0.5
"""Sine of the angle from which on somebody's way crosses that of the vehicle under test."""
KEPT_EACH, KEPT_EACH_IN_TRAFFIC = 2, 5
"""Of how many steps one keeps what was around."""
STEEPEST = 0.2
"""Most metres to the side per metre ahead: a car that stands does not slide."""


class Asked(Protocol):
    """Whoever answers: `livinglab.measuring.peer.Peer`."""

    def ask(self, step: int, observation: dict[str, Any]) -> Answer: ...


@dataclass
class Driven:
    """What happened. `trace` has one row per step, `around` one per step and road user that was kept."""

    steps: int = 0
    valid: int = 0
    late: int = 0
    distance: float = 0.0
    co2: float = 0.0
    collision: dict[str, Any] | None = None
    pet: float | None = None
    trace: list[tuple[float, ...]] = field(default_factory=list)
    around: list[tuple[float, ...]] = field(default_factory=list)

    def duration(self, step: float) -> float:
        """Seconds driven."""
        return self.steps * step


def drive(world: World, scenario: Scenario, pilot: Asked, senses: Senses) -> Driven:
    """The pilot drives until the horizon or the first contact."""
    ego, acceleration, done = world.open(scenario, driven=False), 0.0, Driven()
    others, egos = world.others(), [ego]
    kept_each = KEPT_EACH_IN_TRAFFIC if scenario.traffic else KEPT_EACH
    for step in range(scenario.steps):
        answer = pilot.ask(step, senses.observe(ego, acceleration, others))
        lateral = answer.values["lateral_acceleration"] if answer.valid else 0.0
        moved = move(ego, answer.values["acceleration"] if answer.valid else 0.0, lateral, scenario)
        acceleration = (moved.vx - ego.vx) / scenario.step
        moment, gap = step * scenario.step, ahead(ego, (body for _, body in others))
        done.trace.append((moment, ego.x, ego.y, ego.heading, ego.vx, acceleration, lateral, *gap, answer.latency, answer.valid))
        if step % kept_each == 0:
            done.around += [(step, number, *place(body)) for number, body in others if near(ego, body)]
        done.steps, done.valid, done.late = step + 1, done.valid + answer.valid, done.late + answer.late
        ego = world.advance(moved)
        egos.append(ego)
        done.co2 += world.co2() * scenario.step
        others = world.others()
        done.distance, done.collision = ego.x, contact(ego, others, moment + scenario.step)
        if done.collision:
            break
    done.pet = post_encroachment(egos, scenario.tracks, scenario.step)
    return done


def compare(world: World, scenario: Scenario) -> dict[str, Any]:
    """SUMO's own driver in the same scenario, up to the horizon whatever happens: how far it gets, and what it emits. It keeps its lane."""
    ego, co2, collided = world.open(scenario, driven=True), 0.0, False
    for _ in range(scenario.steps):
        ego = world.advance(None)
        co2 += world.co2() * scenario.step
        collided = collided or contact(ego, world.others(), 0.0) is not None
    return {"duration": round(scenario.steps * scenario.step, 3), "distance": ego.x, "co2": co2, "collision": collided}


def move(ego: Body, acceleration: float, lateral: float, scenario: Scenario) -> Body:
    """The vehicle under test one step later (trapezoidal rule). It drives neither backwards nor off the carriageway, whose edge holds it."""
    step, (right, left) = scenario.step, scenario.place.lanes
    speed = min(max(ego.vx + acceleration * step, 0.0), FASTEST)
    sideways = min(max(ego.vy + lateral * step, -STEEPEST * speed), STEEPEST * speed)
    y = ego.y + (ego.vy + sideways) / 2 * step
    lowest, highest = ego.width / 2 - (right + 0.5) * LANE, (left + 0.5) * LANE - ego.width / 2
    if not lowest <= y <= highest:
        y, sideways = min(max(y, lowest), highest), 0.0
    return ego._replace(x=ego.x + (ego.vx + speed) / 2 * step, y=y, vx=speed, vy=sideways)


def contact(ego: Body, others: list[tuple[int, Body]], moment: float) -> dict[str, Any] | None:
    """The first contact, if there is one now."""
    for number, body in others:
        if touches(ego, body):
            relative = math.hypot(ego.vx - body.vx, ego.vy - body.vy)
            return {"time": round(moment, 3), "with": f"{body.kind}-{number}", "relative_speed": relative}
    return None


def near(ego: Body, body: Body) -> bool:
    """Whether the recording keeps it."""
    return math.hypot(body.x - ego.x, body.y - ego.y) <= AROUND


KIND_NUMBERS = {"car": 0, "lorry": 1, "pedestrian": 2}


def place(body: Body) -> tuple[float, float, float, float]:
    """What the recording keeps of it: kind, x, y, angle."""
    return KIND_NUMBERS[body.kind], body.x, body.y, body.heading


def post_encroachment(egos: list[Body], tracks: list[list[Body]], step: float) -> float | None:
    """The least time between one leaving and the other entering the area that both crossed (s); None where no paths crossed.

    Allen, Shin & Cooper 1978, Transportation Research Record 667: post-encroachment time. To the step.
    """
    found: list[float] = []
    for track in tracks:
        if abs(math.sin(track[0].heading)) < CROSSES:
            continue
        pairs = list(zip(egos, track, strict=False))
        ego_in = [k for k, (ego, body) in enumerate(pairs) if abs(body.x - ego.x) < body.half_x + ego.half_x]
        other_in = [k for k, (ego, body) in enumerate(pairs) if abs(body.y - ego.y) < body.half_y + ego.half_y]
        if ego_in and other_in:
            found.append(max(other_in[0] - ego_in[-1], ego_in[0] - other_in[-1], 0) * step)
    return min(found, default=None)
