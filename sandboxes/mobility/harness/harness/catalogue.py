"""The scenarios of one run: so many of each family, in an order that tells nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

from harness.crossings import junction, pedestrian
from harness.road import cut_in, cut_out, degraded_sensing, dense_traffic, hard_braking
from harness.scenario import Scenario
from livinglab.measuring.resampling import generator

FAMILIES: dict[str, tuple[Callable[..., Scenario], int]] = {
    "cut-in": (cut_in, 600), "cut-out": (cut_out, 120), "hard-braking": (hard_braking, 120), "junction": (junction, 120),
    "pedestrian": (pedestrian, 120), "degraded-sensing": (degraded_sensing, 160), "dense-traffic": (dense_traffic, 48),
}  # fmt: skip
"""Family → what draws one of it, and how many unless the specification's parameters say otherwise (`episodes_cut_in`, …)."""
SECONDS = 60.0
"""Of one episode in dense traffic, unless `dense_seconds` says otherwise."""


def catalogue(seed: str, parameters: dict[str, Any]) -> list[Scenario]:
    """All scenarios of the run that has this seed."""
    drawn: list[Scenario] = []
    for family, (function, usual) in FAMILIES.items():
        draw = partial(function, seconds=float(parameters.get("dense_seconds", SECONDS))) if family == "dense-traffic" else function
        count = int(parameters.get(f"episodes_{family.replace('-', '_')}", usual))
        drawn += [draw(generator(seed, f"{family} {number}")) for number in range(count)]
    order: list[int] = generator(seed, "order").permutation(len(drawn)).tolist()
    return [drawn[index] for index in order]
