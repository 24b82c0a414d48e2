"""Scenarios where paths cross: a junction without traffic lights, and a zebra crossing."""

from dataclasses import replace

import numpy as np

from harness.geometry import SIZES
from harness.road import KMH, chance, either_side, uniform
from harness.scenario import LANE, LEFT, NORTH, RIGHT, SOUTH, Actor, Place, Scenario

CAR = SIZES["car"][0]
URBAN = 16.67
"""Speed limit (m/s)."""

# Of the network (networks/world.*.xml): the middle of the junctions and of the zebra, and what lies around it.
MIDDLE, STOP_LINE, CLEAR = 300.0, -7.5, 7.5
HALF_ZEBRA = 2.0
NEAR, FAR = LANE / 2, -LANE / 2
"""x, from the middle, of the lane that comes from the right, and of the one that comes from the left."""
KERB, SIDEWALK = 1.75, 3.0


def junction(rng: np.random.Generator) -> Scenario:
    """Seven in ten must give way to a stream of crossing cars; in the others somebody else must, and mostly does not."""
    return give_way(rng) if chance(rng, 0.7) else right_of_way(rng)


def at_junction(name: str, distance: float, *, priority: bool) -> Place:
    """A place from whose origin the middle of the junction is `distance` metres ahead."""
    y = {"minor": 2000.0, "major": 3000.0}[name] - LANE / 2
    return Place(route=(f"{name}-in", f"{name}-out"), lane=0, x=MIDDLE - distance, y=y, junction=(distance + STOP_LINE, distance + CLEAR, priority))


def across(name: str, heading: float) -> tuple[str, str]:
    """The way of somebody who crosses at a junction."""
    direction = "north" if heading == NORTH else "south"
    return f"{name}-{direction}-in", f"{name}-{direction}-out"


def give_way(rng: np.random.Generator) -> Scenario:
    """Crossing cars from both sides, at constant speed, that mind nobody, and then none. Whoever can stop before the line could prevent it."""
    speed, distance = uniform(rng, 30, 50) * KMH, uniform(rng, 60, 85)
    actors = []
    for x, heading in ((NEAR, NORTH), (FAR, SOUTH)):
        own, moment = uniform(rng, 40, 58) * KMH, uniform(rng, 1.0, 4.0)
        until = uniform(rng, 4.0, 8.0)
        while moment < until:  # the moment at which it is in the middle of the vehicle's lane
            sign = 1 if heading == NORTH else -1
            actors.append(Actor("car", distance + x, -sign * own * moment, own, heading, route=across("minor", heading)))
            moment += 1.5 + float(rng.exponential(1.8))
    drawn = Scenario(
        family="junction", place=at_junction("minor", distance, priority=False), speed=speed, limit=URBAN, actors=tuple(actors), horizon=13.0,
        preventable=False, parameters={"priority": 0.0, "speed": speed, "distance": distance, "cars": float(len(actors))},
    )  # fmt: skip
    return replace(drawn, preventable=drawn.avoidable(0.0))


def right_of_way(rng: np.random.Generator) -> Scenario:
    """A car waits at the crossing road's line. It stays there (three in ten), or drives off in front of the vehicle that has right of way."""
    speed, left_over, begins = uniform(rng, 35, 58) * KMH, uniform(rng, 1.0, 4.0), uniform(rng, 1.0, 2.5)
    stays, pace, side = chance(rng, 0.3), uniform(rng, 1.5, 3.5), either_side(rng)
    x, heading = (NEAR, NORTH) if side == RIGHT else (FAR, SOUTH)
    distance = speed * (begins + left_over) - x + CAR / 2
    start = side * (5.75 + 0.5 + CAR / 2 + (LANE if side == LEFT else 0.0))
    drives_off = () if stays else ((begins, np.inf, pace),)
    waiting = Actor("car", distance + x, start, 0.0, heading, drives_off, ends_at=12.0, route=across("major", heading))
    drawn = Scenario(
        family="junction", place=at_junction("major", distance, priority=True), speed=speed, limit=URBAN, actors=(waiting,),
        horizon=begins + left_over + 3.0, preventable=False,
        parameters={
            "priority": 1.0, "speed": speed, "left_over": left_over, "begins": begins, "stays": float(stays), "pace": pace, "side": float(side),
        },
    )  # fmt: skip
    return replace(drawn, preventable=drawn.avoidable(begins))


def pedestrian(rng: np.random.Generator) -> Scenario:
    """Somebody walks over the zebra, from either side, half of them from behind a parked van; or (two in ten) along the road only."""
    speed, arrives, pace = uniform(rng, 25, 50) * KMH, uniform(rng, 2.5, 5.0), uniform(rng, 1.0, 2.0)
    distance = speed * arrives + HALF_ZEBRA + CAR / 2
    side, along, van = either_side(rng), chance(rng, 0.2), chance(rng, 0.5)
    meets, inside = arrives + uniform(rng, -1.5, 1.0), uniform(rng, -1.5, 1.5)
    edge = KERB + (LANE if side == LEFT else 0.0)
    if along:
        walker = Actor("pedestrian", distance - uniform(rng, 5, 30), side * (edge + SIDEWALK / 2), pace)
    elif van:  # stands behind it, and steps out so as to be there in time
        behind, heading = edge + 1.2, NORTH if side == RIGHT else SOUTH
        begins = max(0.0, meets - behind / pace)
        steps_out = ((begins, np.inf, 3.0),)
        walker = Actor("pedestrian", distance - abs(inside), side * behind, 0.0, heading, accelerations=steps_out, ends_at=pace)
    else:
        # Never from within the vehicle's lane: nobody appears there, and SUMO 1.28 breaks when such a walker gets to the other side.
        start = max(pace * meets, KERB + 0.5)
        meets = start / pace
        walker = Actor("pedestrian", distance + inside, side * start, pace, NORTH if side == RIGHT else SOUTH)
    parked = Actor("car", distance - HALF_ZEBRA - 1.0 - CAR / 2, side * (edge + 0.3 + SIZES["car"][1] / 2), 0.0, beside=True)
    place = Place(
        route=("zebra-in", "zebra-out"), lane=1, x=MIDDLE - distance, y=1000.0 - LANE / 2, zebra=(distance - HALF_ZEBRA, distance + HALF_ZEBRA)
    )
    drawn = Scenario(
        family="pedestrian", place=place, speed=speed, limit=13.89, actors=(walker, parked) if van else (walker,), horizon=arrives + 4.5,
        preventable=False,
        parameters={
            "speed": speed, "arrives": arrives, "pace": pace, "side": float(side), "along": float(along), "van": float(van), "meets": meets,
        },
    )  # fmt: skip
    seen = drawn.first_seen(0)
    return replace(drawn, preventable=drawn.avoidable(seen), parameters={**drawn.parameters, "seen": seen})
