"""What a participant may know beforehand (the task, and some examples), and what the runs' scenarios are drawn from.

Run by the authority (`livinglab sandbox prepare`), never by the lab's services. Needs numpy only. There are no data to split here:
each run draws its scenarios afresh, from the plan's digest and the committed secret. The examples are never among them.
"""

import json
from pathlib import Path
from typing import Any

EXAMPLES_EACH = 3
DRAWN_EACH = 500
"""Scenarios of each family from which the catalogue's ranges are taken."""
HARNESS = Path(__file__).resolve().parent.parent / "harness"

OBSERVATION = {
    "ego": "speed, acceleration (realised in the step before), lateral_offset from the middle of the lane, lateral_speed, length, width, set_speed",
    "road": "lane_width, lanes_right, lanes_left (in the same direction), speed_limit; junction: stop_line and clear (from the front bumper to the "
    "stop line, and from the rear bumper to the end of the area that others cross), right_of_way; zebra: begins and ends, from the front bumper",
    "age": "seconds since the road users were seen so",
    "road_users": "null where nothing came; otherwise of each: id (the same during an episode), kind (car, lorry, pedestrian), x ahead and y to "
    "the left (middle to middle), vx and vy (relative), heading (radians from the lane, counter-clockwise), length, width",
}
"""m, m/s, m/s², s."""
ACTIONS = {
    "acceleration": {"low": -9.0, "high": 4.0, "meaning": "along the road, until the next step (m/s²)"},
    "lateral_acceleration": {"low": -3.0, "high": 3.0, "meaning": "across the road, to the left if positive (m/s²); 0 keeps the lane"},
}
ABOUT = {
    "cut-in": "somebody slower comes into the lane from the side",
    "cut-out": "the one ahead leaves the lane for something that it had hidden",
    "hard-braking": "the one ahead brakes hard",
    "junction": "a junction without traffic lights, with and without right of way",
    "pedestrian": "a zebra crossing, and somebody who walks over it or along the road",
    "degraded-sensing": "a cut-in or hard braking, seen with noise, late, or not at every step",
    "dense-traffic": "the middle lane of three among the simulator's own drivers",
}


def make(out: Path, secret: bytes) -> None:
    """Write participant/task.json, participant/examples.json and hidden/catalogue.json under `out`."""
    from livinglab.measuring.loading import load
    from livinglab.measuring.resampling import generator

    known = load(HARNESS, "crossings", "geometry", "road", "scenario", "sensing")
    draws: dict[str, Any] = {
        "cut-in": known.road.cut_in, "cut-out": known.road.cut_out, "hard-braking": known.road.hard_braking,
        "junction": known.crossings.junction, "pedestrian": known.crossings.pedestrian, "degraded-sensing": known.road.degraded_sensing,
        "dense-traffic": known.road.dense_traffic,
    }  # fmt: skip

    def drawn(family: str, purpose: str, count: int) -> list[Any]:
        return [draws[family](generator(secret.hex(), f"{purpose} {family} {number}")) for number in range(count)]

    def write(document: Any, name: str) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(json.dumps(document, allow_nan=False))

    task = {
        "protocol": "livinglab.step/1", "socket": "/socket/lab.sock", "step_seconds": [0.05, 0.1], "late_after": 0.05, "rejected_after": 2.0,
        "actions": ACTIONS, "observation": OBSERVATION, "about": ABOUT,
        "sizes": {kind: {"length": length, "width": width} for kind, (length, width) in known.geometry.SIZES.items()},
    }  # fmt: skip
    scripted = [family for family in draws if family != "dense-traffic"]
    examples = [example(one, known) for family in scripted for one in drawn(family, "example", EXAMPLES_EACH)]
    write(task, "participant/task.json")
    write(examples, "participant/examples.json")
    write({family: ranges(drawn(family, "catalogue", DRAWN_EACH)) for family in draws}, "hidden/catalogue.json")


def example(scenario: Any, known: Any) -> dict[str, Any]:
    """What everybody does, and what a vehicle that keeps its speed observes of it, up to the first contact."""
    from livinglab.measuring.resampling import generator

    senses = known.sensing.Senses(scenario, generator("examples", scenario.family))
    egos = known.scenario.keeping(scenario.speed, scenario.step, scenario.steps)
    observations, touched = [], False
    for k, ego in enumerate(egos[:-1]):
        others = [(index, track[k]) for index, track in enumerate(scenario.tracks)]
        if touched := any(known.geometry.touches(ego, body) for _, body in others):
            break
        observations.append(senses.observe(ego, 0.0, others))
    return {
        "family": scenario.family, "parameters": scenario.parameters, "preventable": scenario.preventable, "step_seconds": scenario.step,
        "others": [
            {"kind": track[0].kind, "heading": round(track[0].heading, 4), "x_y_vx_vy": [rounded(b.x, b.y, b.vx, b.vy) for b in track]}
            for track in scenario.tracks
        ],
        "observations": observations, "ends_in_contact": touched,
    }  # fmt: skip


def rounded(*numbers: float) -> list[float]:
    """To a millimetre, or a millimetre per second."""
    return [round(number, 3) for number in numbers]


def ranges(scenarios: list[Any]) -> dict[str, Any]:
    """What the scenarios of a family look like: their parameters' ranges, and how many are preventable."""
    names = sorted({name for scenario in scenarios for name in scenario.parameters})
    found = {name: [scenario.parameters[name] for scenario in scenarios if name in scenario.parameters] for name in names}
    return {
        "drawn": len(scenarios), "preventable": sum(scenario.preventable for scenario in scenarios) / len(scenarios),
        "parameters": {name: {"least": min(values), "most": max(values)} for name, values in found.items()},
    }  # fmt: skip
