"""What the coverage scripts share: simulated studies from a world with a known truth, and how often the bounds held there."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from livinglab.measuring.bounds import both_bounds
from livinglab.measuring.cohort import Floats
from livinglab.measuring.estimate import Estimate
from livinglab.measuring.resampling import generator, lower_bound, multiplicities, multiplied, upper_bound

LEVEL = 1 - 0.05 / 3
"""That of each bound for three measured runs."""

BOOTSTRAP, MULTIPLIER = "bootstrap", "multiplier"

S = TypeVar("S")

Bounds = dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class World(Generic[S]):
    """Where studies are drawn from.

    draw: a study of n cases. resampled: its metrics as functions of weights (replicates, n). closed: those that have an influence
    function. truth: what the metrics would be of infinitely many cases. events: how many a study has.
    """

    name: str
    draw: Callable[[int, np.random.Generator], S]
    resampled: Callable[[S], dict[str, Callable[[Floats], Floats]]]
    closed: Callable[[S], dict[str, Estimate]]
    truth: Callable[[], dict[str, float]]
    events: Callable[[S], int]


@dataclass
class Tally:
    """How often the truth was not below the lower, and not above the upper bound."""

    simulations: int = 0
    above_lower: int = 0
    below_upper: int = 0

    def add(self, true: float, low: float | None, high: float | None) -> None:
        self.simulations += 1
        self.above_lower += low is None or low <= true
        self.below_upper += high is None or true <= high


def bootstrap_bounds(metrics: dict[str, Callable[[Floats], Floats]], n: int, replicates: int, rng: np.random.Generator) -> Bounds:
    """Both bounds of each metric, as the harness makes them."""
    weights = multiplicities(n, replicates, rng).astype(np.float64)
    found: Bounds = {}
    for name, metric in metrics.items():
        values = metric(weights)
        found[name] = both_bounds(name, values.reshape(len(values), -1), LEVEL)
    return found


def multiplier_bounds(estimates: dict[str, Estimate], replicates: int, rng: np.random.Generator) -> Bounds:
    """Both bounds of each metric that has an influence function."""
    drawn = multiplied(np.stack([e.influence for e in estimates.values()], axis=1).astype(np.float32), replicates, rng)
    values = {name: estimate.value + drawn[:, place] for place, (name, estimate) in enumerate(estimates.items())}
    return {name: (lower_bound(column, LEVEL), upper_bound(column, LEVEL)) for name, column in values.items()}


def cover(world: World[S], n: int, simulations: int, replicates: int, method: str, metrics: tuple[str, ...] = ()) -> dict[str, Tally]:
    """Simulated studies of n cases under one method; of the metrics named, or of all."""
    tallies: dict[str, Tally] = {}
    for number in range(simulations):
        rng = generator(world.name, f"{n} {number}")
        study = world.draw(n, rng)
        if method == BOOTSTRAP:
            chosen = {name: metric for name, metric in world.resampled(study).items() if name in metrics or not metrics}
            found = bootstrap_bounds(chosen, n, replicates, rng)
        else:
            found = multiplier_bounds(world.closed(study), replicates, rng)
        for name, (low, high) in found.items():
            tallies.setdefault(name, Tally()).add(world.truth()[name], low, high)
    return tallies


def report(world: World[S], description: str | None, sizes: str) -> None:
    """The table, as the command's arguments want it; nominal is the level."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--replicates", type=int, default=600)
    parser.add_argument("--sizes", default=sizes)
    parser.add_argument("--methods", default=f"{BOOTSTRAP},{MULTIPLIER}")
    parser.add_argument("--metrics", default="", help="for the bootstrap; all of them if empty")
    arguments = parser.parse_args()
    error = (LEVEL * (1 - LEVEL) / arguments.simulations) ** 0.5
    print(f"level {LEVEL:.4f}, {arguments.replicates} replicates, {arguments.simulations} simulated studies per row, ± {error:.3f}", flush=True)
    print("| method | n | events | metric | truth | lower bound holds | upper bound holds |\n|---|---|---|---|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        events = world.events(world.draw(size, generator(world.name, f"{size} 0")))
        for method in arguments.methods.split(","):
            chosen = tuple(filter(None, arguments.metrics.split(",")))
            for name, tally in cover(world, size, arguments.simulations, arguments.replicates, method, chosen).items():
                low, high = tally.above_lower / tally.simulations, tally.below_upper / tally.simulations
                print(f"| {method} | {size} | {events} | {name} | {world.truth()[name]:.4f} | {low:.3f} | {high:.3f} |", flush=True)
