"""Scenarios on the three-lane road: cut-in, cut-out, hard braking ahead, the same with degraded sensing, and dense traffic."""

from dataclasses import replace

import numpy as np

from harness.geometry import SIZES
from harness.scenario import LANE, LEFT, RIGHT, Actor, Driver, Place, Scenario, Sensing, Shift

KMH = 1 / 3.6
ROAD = Place(route=("road",), lane=1, x=1000.0, y=-1.5 * LANE, lanes=(1, 1))
CAR = SIZES["car"][0]

UNPREVENTABLE = 0.25
"""Share of cut-ins that are nearer than what a driver must be able to prevent."""
INTRUSION = 0.3
"""How far a cutting-in vehicle is over the line at the reference moment (m)."""
VISIBLE = 0.72
"""The least time for which it has been moving sideways by then (s)."""


def preventable_ttc(closing: float) -> float:
    """The time to collision at the reference moment above which a cut-in must not end in a collision (s).

    Commission Implementing Regulation (EU) 2022/1426: v_rel / (2 · 6 m/s²) + 0.25 s, here unrounded.
    """
    return closing / 12 + 0.25


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A plain number."""
    return float(rng.uniform(low, high))


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in that share of cases."""
    return bool(rng.random() < share)


def either_side(rng: np.random.Generator) -> int:
    """RIGHT or LEFT."""
    return RIGHT if chance(rng, 0.5) else LEFT


def kind_of_vehicle(rng: np.random.Generator, lorries: float) -> str:
    """A car, or in that share of cases a lorry."""
    return "lorry" if chance(rng, lorries) else "car"


def cut_in(rng: np.random.Generator) -> Scenario:
    """Somebody slower comes into the lane from the side. The time to collision lies on both sides of what is preventable."""
    closing = uniform(rng, 10, 60)
    speed, closing = uniform(rng, max(60, closing + 30), 130) * KMH, closing * KMH
    ttc = preventable_ttc(closing) * (uniform(rng, 0.5, 1.0) if chance(rng, UNPREVENTABLE) else uniform(rng, 1.0, 2.0))
    kind, side = kind_of_vehicle(rng, 0.15), either_side(rng)
    visible, begins = uniform(rng, VISIBLE, 1.8), uniform(rng, 0.5, 2.0)
    length, width = SIZES[kind]
    sideways = (LANE / 2 - width / 2 + INTRUSION) / visible
    gap = closing * (begins + visible + ttc)
    actor = Actor(kind, gap + (CAR + length) / 2, side * LANE, speed - closing, shift=Shift(begins, -side * sideways, LANE))
    return Scenario(
        family="cut-in", place=ROAD, speed=speed, actors=(actor,), horizon=begins + visible + ttc + 1.5, preventable=ttc > preventable_ttc(closing),
        parameters={
            "speed": speed, "closing": closing, "ttc": ttc, "visible": visible, "begins": begins, "sideways": sideways, "side": float(side),
            "lorry": float(kind == "lorry"),
        },
    )  # fmt: skip


def cut_out(rng: np.random.Generator) -> Scenario:
    """The one ahead leaves the lane, for a standing or slow vehicle that it had hidden. Counted from when that can be seen."""
    speed, headway, begins = uniform(rng, 50, 110) * KMH, uniform(rng, 0.8, 1.8), uniform(rng, 1.0, 2.5)
    slow = 0.0 if chance(rng, 0.7) else uniform(rng, 10, 30) * KMH
    kind, side = kind_of_vehicle(rng, 0.3), either_side(rng)
    sideways = uniform(rng, 0.8, 1.6)
    ttc = 2.3 / sideways + uniform(rng, 0.0, 1.2)  # it gets clear itself
    length, _ = SIZES[kind]
    leader = Actor(kind, speed * headway + (CAR + length) / 2, 0.0, speed, shift=Shift(begins, side * sideways, LANE))
    hidden = Actor("car", leader.x + (length + CAR) / 2 + (speed - slow) * (begins + ttc), 0.0, slow)
    drawn = Scenario(
        family="cut-out", place=ROAD, speed=speed, actors=(leader, hidden), horizon=begins + ttc + headway + 2.5, preventable=False,
        parameters={
            "speed": speed, "headway": headway, "begins": begins, "slow": slow, "sideways": sideways, "ttc": ttc, "side": float(side),
            "lorry": float(kind == "lorry"),
        },
    )  # fmt: skip
    seen = drawn.first_seen(1)
    return replace(drawn, preventable=drawn.avoidable(seen), parameters={**drawn.parameters, "seen": seen})


def hard_braking(rng: np.random.Generator) -> Scenario:
    """The one ahead brakes hard, to a standstill or to less than half of its speed."""
    speed, headway, begins, braking = uniform(rng, 50, 130) * KMH, uniform(rng, 0.9, 2.2), uniform(rng, 1.0, 2.5), uniform(rng, 3, 9)
    ends_at = 0.0 if chance(rng, 0.5) else speed * uniform(rng, 0.2, 0.5)
    kind = kind_of_vehicle(rng, 0.15)
    ahead = speed * headway + (CAR + SIZES[kind][0]) / 2
    leader = Actor(kind, ahead, 0.0, speed, accelerations=((begins, np.inf, -braking),), ends_at=ends_at)
    drawn = Scenario(
        family="hard-braking", place=ROAD, speed=speed, actors=(leader,), horizon=begins + min(speed / 5 + 2.0, 8.0), preventable=False,
        parameters={
            "speed": speed, "headway": headway, "begins": begins, "braking": braking, "ends_at": ends_at, "lorry": float(kind == "lorry"),
        },
    )  # fmt: skip
    return replace(drawn, preventable=drawn.avoidable(begins))


def degraded_sensing(rng: np.random.Generator) -> Scenario:
    """A cut-in or hard braking, seen with noise, late, and not at every step. What is preventable moves by what comes late."""
    sensing = Sensing(position=uniform(rng, 0.05, 0.4), speed=uniform(rng, 0.05, 0.4), dropped=uniform(rng, 0.0, 0.3), delay=int(rng.integers(1, 5)))
    if chance(rng, 0.5):
        drawn, cut = cut_in(rng), 1.0
        late = lateness(sensing, drawn.step)
        preventable = drawn.parameters["ttc"] > preventable_ttc(drawn.parameters["closing"]) + late
    else:
        drawn, cut = hard_braking(rng), 0.0
        late = lateness(sensing, drawn.step)
        preventable = drawn.avoidable(drawn.parameters["begins"], late)
    degraded = {"noise_position": sensing.position, "noise_speed": sensing.speed, "dropped": sensing.dropped, "delay": late, "cut_in": cut}
    return replace(drawn, family="degraded-sensing", sensing=sensing, preventable=preventable, parameters={**drawn.parameters, **degraded})


def lateness(sensing: Sensing, step: float) -> float:
    """By how much a careful driver would know later: the delay, and two steps for what is dropped (s). This sandbox's convention."""
    return (sensing.delay + 2) * step


LANES = ((0.70, 0.4), (0.85, 0.05), (0.97, 0.0))
"""Of dense traffic, from the right: the mean wish of its drivers, of the speed limit, and the share of lorries."""
BEHIND, BEFORE, FREE = 350.0, 500.0, 70.0
"""Where drivers are at the start, and how much of its own lane is free around the vehicle under test (m)."""
FLOWING, HEADWAY = 0.9, 1.2
"""Of their wish, how fast they go at the start; and the least time between two of them (s)."""


def dense_traffic(rng: np.random.Generator, seconds: float = 60.0) -> Scenario:
    """Some kilometres among SUMO's own drivers, in the middle lane. Their models leave safe gaps, so all of it counts as preventable."""
    density, speed = uniform(rng, 12, 24), uniform(rng, 90, 120) * KMH
    traffic: list[Driver] = []
    for lane, (wish, lorries) in enumerate(LANES):
        flow = FLOWING * wish * Scenario.limit
        position = uniform(rng, -BEHIND, 50 - BEHIND)
        while position < BEFORE:
            kind = kind_of_vehicle(rng, lorries)
            own = wish * max(0.75, float(rng.normal(1.0, 0.08))) * (0.9 if kind == "lorry" else 1.0)
            if lane != ROAD.lane or abs(position) > FREE:
                traffic.append(Driver(kind, lane, position, min(flow, own * Scenario.limit), own))
            least = SIZES["lorry"][0] + flow * HEADWAY
            position += least + float(rng.exponential(max(1000 / density - least, 5.0)))
    return Scenario(
        family="dense-traffic", place=ROAD, speed=speed, horizon=seconds, step=0.1, preventable=True, traffic=tuple(traffic), occlusion=False,
        sensing=Sensing(reach=120.0), seed=int(rng.integers(1, 2**31 - 1)), parameters={"speed": speed, "density": density},
    )  # fmt: skip
