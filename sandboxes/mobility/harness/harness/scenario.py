"""A scenario: where everybody is, what they will do, what the vehicle under test can see of it, and whether a careful driver gets through.

All is in the road's frame: the origin is the middle of the vehicle under test at the start, x is its lane's direction, y is to the
left. What others do is a function of time alone, so that it is the same whoever drives.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

from harness.geometry import SIZES, Body, sees, touches

LANE = 3.5
"""Width of a lane (m)."""
REACTION, BRAKING = 0.75, 6.0
"""The careful driver, by whom `preventable` is told: seconds until braking begins, and its deceleration (m/s²). This sandbox's convention."""
RIGHT, LEFT = -1, 1
NORTH, SOUTH = math.pi / 2, -math.pi / 2


@dataclass(frozen=True)
class Shift:
    """A move to the side, at a constant lateral speed."""

    begins: float
    speed: float
    """m/s, to the left if positive."""
    distance: float
    """m, always positive."""


@dataclass(frozen=True)
class Actor:
    """A road user who does what the scenario says, and minds nobody."""

    kind: str
    x: float
    y: float
    speed: float
    heading: float = 0.0
    accelerations: tuple[tuple[float, float, float], ...] = ()
    """From, to (s), and how much (m/s²); it never drives backwards, and keeps its speed at other times."""
    ends_at: float = math.nan
    """The speed at which an acceleration stops; NaN: none but 0."""
    shift: Shift | None = None
    route: tuple[str, ...] = ()
    """Its own way through the network; none: that of the vehicle under test."""
    beside: bool = False
    """It stands beside the carriageway, where SUMO has no place for it: it can hide others, and be run into."""

    def track(self, step: float, count: int) -> list[Body]:
        """Where it is at each of `count` + 1 moments, `step` seconds apart (trapezoidal rule, as SUMO's ballistic steps)."""
        length, width = SIZES[self.kind]
        c, s = math.cos(self.heading), math.sin(self.heading)
        way, speed, found = 0.0, self.speed, []
        for k in range(count + 1):
            moment = k * step
            beside, sideways = self._beside(moment)
            found.append(Body(self.kind, length, width, self.x + way * c, self.y + way * s + beside, self.heading, speed * c, speed * s + sideways))
            later = self._faster(speed, moment, step)
            way, speed = way + (speed + later) / 2 * step, later
        return found

    def _faster(self, speed: float, moment: float, step: float) -> float:
        """Its speed one step later."""
        for begins, ends, much in self.accelerations:
            if begins <= moment < ends:
                later = max(0.0, speed + much * step)
                if math.isnan(self.ends_at):
                    return later
                return max(later, self.ends_at) if much < 0 else min(later, self.ends_at)
        return speed

    def _beside(self, moment: float) -> tuple[float, float]:
        """How far it has shifted by then, and how fast it does."""
        if self.shift is None or moment < self.shift.begins:
            return 0.0, 0.0
        way = (moment - self.shift.begins) * abs(self.shift.speed)
        if way >= self.shift.distance:
            return math.copysign(self.shift.distance, self.shift.speed), 0.0
        return math.copysign(way, self.shift.speed), self.shift.speed


@dataclass(frozen=True)
class Driver:
    """A vehicle that one of SUMO's own drivers drives."""

    kind: str
    lane: int
    x: float
    speed: float
    wish: float
    """Of the speed limit."""


@dataclass(frozen=True)
class Sensing:
    """What comes between the world and the pilot's eyes."""

    reach: float = 150.0
    """m around the vehicle under test."""
    position: float = 0.0
    """Standard deviation of a position, either axis (m)."""
    speed: float = 0.0
    """Standard deviation of a speed, either axis (m/s)."""
    dropped: float = 0.0
    """Share of steps at which nothing comes."""
    delay: int = 0
    """Steps by which road users are seen late."""


@dataclass(frozen=True)
class Place:
    """Where on the network a scenario is, and what its map says (metres ahead of the origin)."""

    route: tuple[str, ...]
    lane: int
    x: float
    y: float
    """Of the origin, in the network's frame."""
    junction: tuple[float, float, bool] | None = None
    """Stop line, end of the area that others cross, and whether the vehicle under test has right of way."""
    zebra: tuple[float, float] | None = None
    """Where it begins and ends."""
    lanes: tuple[int, int] = (0, 0)
    """To the right and to the left, in the same direction."""


@dataclass(frozen=True)
class Scenario:
    """One episode's beginning and all that will happen in it but for what the vehicle under test does."""

    family: str
    parameters: dict[str, float]
    preventable: bool
    place: Place
    speed: float
    """At the start, and the one to keep where nothing is in the way (m/s)."""
    horizon: float
    step: float = 0.05
    limit: float = 36.11
    actors: tuple[Actor, ...] = ()
    traffic: tuple[Driver, ...] = ()
    sensing: Sensing = field(default_factory=Sensing)
    occlusion: bool = True
    seed: int = 1
    """Of SUMO's own drivers."""

    @property
    def steps(self) -> int:
        """How many questions it asks if nothing ends it before."""
        return round(self.horizon / self.step)

    @cached_property
    def tracks(self) -> list[list[Body]]:
        """Actor by actor, where it is at each moment."""
        return [actor.track(self.step, self.steps) for actor in self.actors]

    def first_seen(self, actor: int) -> float:
        """The first moment at which a vehicle that keeps its speed sees that actor (s); the horizon if never."""
        for k, ego in enumerate(keeping(self.speed, self.step, self.steps)):
            around = [track[k] for track in self.tracks]
            if math.hypot(around[actor].x - ego.x, around[actor].y - ego.y) <= self.sensing.reach and sees(ego, around[actor], around):
                return k * self.step
        return self.horizon

    def avoidable(self, recognised: float, delay: float = 0.0) -> bool:
        """Whether the careful driver, who brakes to a standstill from REACTION (and `delay`) seconds after `recognised`, touches nobody."""
        braking = ((recognised + REACTION + delay, math.inf, -BRAKING),)
        careful = Actor("car", 0.0, 0.0, self.speed, accelerations=braking).track(self.step, self.steps)
        return not any(touches(ego, body) for track in self.tracks for ego, body in zip(careful, track, strict=True))


def keeping(speed: float, step: float, count: int) -> list[Body]:
    """The vehicle under test if nobody touched its controls."""
    return Actor("car", 0.0, 0.0, speed).track(step, count)
