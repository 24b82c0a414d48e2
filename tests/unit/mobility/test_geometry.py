"""Plane geometry against other ways to find the same."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.mobility.conftest import harness

geometry = harness.geometry
Body = geometry.Body


def body(x: float, y: float, heading: float, length: float = 4.6, width: float = 1.8, vx: float = 0.0) -> Any:
    return Body("car", length, width, x, y, heading, vx, 0.0)


bodies = st.builds(body, st.floats(-6, 6), st.floats(-6, 6), st.floats(-math.pi, math.pi), st.floats(0.5, 8), st.floats(0.5, 3), st.floats(-9, 9))


def inside(point: tuple[float, float], of: Any, slack: float = 0.0) -> bool:
    c, s = math.cos(of.heading), math.sin(of.heading)
    dx, dy = point[0] - of.x, point[1] - of.y
    return bool(abs(dx * c + dy * s) < of.length / 2 + slack and abs(dy * c - dx * s) < of.width / 2 + slack)


def outline(of: Any, each: int = 400) -> list[tuple[float, float]]:
    """Points all along its edges."""
    a, b, d, c = of.corners
    corners = [a, b, c, d, a]
    return [(p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])) for p, q in pairwise(corners) for t in np.linspace(0, 1, each)]


@given(bodies, bodies)
def test_bodies_touch_where_an_edge_of_one_runs_through_the_other(a: Any, b: Any) -> None:
    def meet(slack: float) -> bool:
        found = any(inside(p, b, slack) for p in outline(a)) or any(inside(p, a, slack) for p in outline(b))
        return found or inside((a.x, a.y), b, slack) or inside((b.x, b.y), a, slack)

    assume(meet(-0.03) == meet(0.03))  # the outline is sampled: what only just touches is left out
    assert geometry.touches(a, b) == geometry.touches(b, a) == meet(0.0)


@given(bodies, bodies, st.floats(-math.pi, math.pi), st.floats(-50, 50))
def test_touching_does_not_depend_on_where_one_looks_from(a: Any, b: Any, turn: float, shift: float) -> None:
    def moved(of: Any, larger: float) -> Any:
        c, s = math.cos(turn), math.sin(turn)
        x, y, heading = of.x * c - of.y * s + shift, of.x * s + of.y * c, of.heading + turn
        return of._replace(x=x, y=y, heading=heading, length=of.length + larger, width=of.width + larger)

    assume(geometry.touches(moved(a, -1e-6), moved(b, 0)) == geometry.touches(moved(a, 1e-6), moved(b, 0)))
    assert geometry.touches(a, b) == geometry.touches(moved(a, 0), moved(b, 0))


@given(bodies, bodies)
def test_a_view_is_blocked_where_points_of_the_line_lie_in_the_other(hiding: Any, target: Any) -> None:
    ego = body(-15.0, 0.0, 0.0)
    eye = (ego.x + ego.length / 2, ego.y)

    def blocked(point: tuple[float, float], slack: float) -> bool:
        line = [(eye[0] + t * (point[0] - eye[0]), eye[1] + t * (point[1] - eye[1])) for t in np.linspace(0, 1, 600)]
        return any(inside(at, hiding, slack) for at in line)

    points = ((target.x, target.y), *target.corners)
    assume(all(blocked(point, -0.03) == blocked(point, 0.03) for point in points))
    assert geometry.sees(ego, target, [hiding, target]) == (not all(blocked(point, 0.0) for point in points))


def test_who_is_ahead() -> None:
    ego = body(0.0, 0.0, 0.0, vx=20.0)
    near, far, beside, behind = body(15.0, 0.5, 0.0, vx=12.0), body(40.0, 0.0, 0.0), body(12.0, 1.81, 0.0), body(-15.0, 0.0, 0.0)
    gap, closing = geometry.ahead(ego, [far, beside, near, behind])
    assert (round(gap, 9), closing) == (10.4, 8.0)
    assert all(math.isnan(value) for value in geometry.ahead(ego, [beside, behind]))
    across = body(10.0, 2.0, math.pi / 2)
    assert round(geometry.ahead(ego, [across])[0], 9) == 10.0 - 0.9 - 2.3
