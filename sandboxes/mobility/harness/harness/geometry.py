"""Plane geometry of road users: rectangles, what touches, what is ahead, what can be seen.

Lengths in metres, speeds in m/s, headings in radians from the road's direction (x), counter-clockwise; y is to the left.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SIZES = {"car": (4.6, 1.8), "lorry": (12.0, 2.5), "pedestrian": (0.5, 0.5)}
"""Kind → length and width."""
_STRAIGHT = 1e-9
"""A sine or cosine below this is none."""


class Body(NamedTuple):
    """A road user at one moment: its middle, where it looks, and how it moves."""

    kind: str
    length: float
    width: float
    x: float
    y: float
    heading: float
    vx: float
    vy: float

    @property
    def half_x(self) -> float:
        """Half of what it takes along the road."""
        return (self.length * abs(math.cos(self.heading)) + self.width * abs(math.sin(self.heading))) / 2

    @property
    def half_y(self) -> float:
        """Half of what it takes across the road."""
        return (self.length * abs(math.sin(self.heading)) + self.width * abs(math.cos(self.heading))) / 2

    @property
    def corners(self) -> list[tuple[float, float]]:
        """The four corners of its rectangle."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        halves = [(a * self.length / 2, b * self.width / 2) for a in (1, -1) for b in (1, -1)]
        return [(self.x + u * c - v * s, self.y + u * s + v * c) for u, v in halves]


def touches(a: Body, b: Body) -> bool:
    """Whether their rectangles overlap (separating axes; edges that only meet do not)."""
    if math.hypot(a.x - b.x, a.y - b.y) >= (a.length + a.width + b.length + b.width) / 2:
        return False
    return not any(_apart(a, b, heading) or _apart(a, b, heading + math.pi / 2) for heading in (a.heading, b.heading))


def _apart(a: Body, b: Body, direction: float) -> bool:
    """Whether their shadows on a line in that direction do not overlap."""
    c, s = math.cos(direction), math.sin(direction)
    reach = sum((abs(math.cos(body.heading - direction)) * body.length + abs(math.sin(body.heading - direction)) * body.width) / 2 for body in (a, b))
    return abs((a.x - b.x) * c + (a.y - b.y) * s) >= reach


def ahead(ego: Body, others: Iterable[Body]) -> tuple[float, float]:
    """Gap, bumper to bumper, to the nearest one in the strip that the ego's width sweeps, and the speed at which it closes.

    NaN, NaN where nobody is there.
    """
    found = (math.inf, math.nan)
    for other in others:
        if other.x > ego.x and abs(other.y - ego.y) < other.half_y + ego.width / 2:
            found = min(found, (other.x - other.half_x - ego.x - ego.length / 2, ego.vx - other.vx))
    return found if found[0] < math.inf else (math.nan, math.nan)


def sees(ego: Body, target: Body, others: Sequence[Body]) -> bool:
    """Whether a straight line joins the middle of the ego's front with the target's middle or a corner, and meets no other's rectangle."""
    eye = (ego.x + ego.length / 2, ego.y)
    hiding = [other for other in others if other is not target]
    return any(not any(_cuts(eye, point, other) for other in hiding) for point in ((target.x, target.y), *target.corners))


def _cuts(start: tuple[float, float], end: tuple[float, float], body: Body) -> bool:
    """Whether the line from start to end runs through the rectangle: clipped in the rectangle's own axes (Liang & Barsky 1984)."""
    c, s = math.cos(body.heading), math.sin(body.heading)
    dx, dy = start[0] - body.x, start[1] - body.y
    ex, ey = end[0] - start[0], end[1] - start[1]
    enters, leaves = 0.0, 1.0
    for at, along, half in ((dx * c + dy * s, ex * c + ey * s, body.length / 2), (dy * c - dx * s, ey * c - ex * s, body.width / 2)):
        if abs(along) < _STRAIGHT:
            if abs(at) >= half:
                return False
            continue
        first, second = sorted(((-half - at) / along, (half - at) / along))
        enters, leaves = max(enters, first), min(leaves, second)
    return enters < leaves
