"""A million predictions, twenty slices, two thousand replicates: how long the harness's evaluation takes.

    python benchmarks/measuring.py [--cases 1000000] [--replicates 2000]

Simulated survival data; one slice of all, two by sex, four by region, five by age and eight by sex and region, so that every
case is in five. In each slice: Uno's C-index up to the horizon, observed over expected, Brier score and sensitivity at 30 %
risk, all with both one-sided bounds from 2,000 multiplier replicates (`influence-multiplier`): 80 measurements.
Matching predictions to reference cases by id is part of what is timed; making the data is not.
"""

import argparse
import json
import os
import resource
import time
from typing import Any

import numpy as np

from livinglab.measuring.evaluate import Evaluation
from livinglab.measuring.slices import Table

GOAL_SECONDS = 60
METRICS = ("uno_c", "observed_expected", "brier", "sensitivity")
SEXES, REGIONS, AGES = 2, 4, 5


def condition(column: str, value: int) -> dict[str, Any]:
    return {"column": column, "equals": value, "at_least": None, "below": None}


def slices() -> dict[str, list[dict[str, Any]]]:
    chosen: dict[str, list[dict[str, Any]]] = {"all": []}
    chosen |= {f"sex {s}": [condition("sex", s)] for s in range(SEXES)}
    chosen |= {f"region {r}": [condition("region", r)] for r in range(REGIONS)}
    chosen |= {f"age {a}": [condition("age", a)] for a in range(AGES)}
    chosen |= {f"sex {s}, region {r}": [condition("sex", s), condition("region", r)] for s in range(SEXES) for r in range(REGIONS)}
    return chosen


def draw(n: int) -> tuple[Table, Table]:
    """Reference and predictions, the latter in another order."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    died, left = 10 * (rng.exponential(size=n) / (0.135 * np.exp(1.5 * x))) ** (1 / 1.3), rng.uniform(5, 14, n)
    ids = np.char.add("p", np.arange(n).astype(str))
    groups = {name: rng.integers(0, size, n) for name, size in (("sex", SEXES), ("region", REGIONS), ("age", AGES))}
    reference = {"id": ids, "time": np.minimum(died, left), "event": died <= left, "cohort": np.full(n, "hidden"), **groups}
    order = rng.permutation(n)
    return reference, {"id": ids[order], "risk": (1 - np.exp(-0.135 * np.exp(1.5 * x)))[order]}


def context(replicates: int) -> dict[str, Any]:
    interval = {"method": "influence-multiplier", "level": 0.95}
    asked = [{"id": f"{m} {s}", "metric": m, "slice": s, "baseline": None, "interval": interval} for m in METRICS for s in slices()]
    return {
        "parameters": {"horizon": 10, "risk_threshold": 0.3},
        "slices": {name: {"cohort": "hidden", "where": where} for name, where in slices().items()},
        "criteria": asked, "levels": {c["id"]: 1 - 0.05 / 3 for c in asked}, "replicates": replicates, "seed": "benchmark",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=2_000)
    arguments = parser.parse_args()
    reference, predictions = draw(arguments.cases)
    start, used = time.perf_counter(), time.process_time()
    measurements = Evaluation(reference, predictions, {}, context(arguments.replicates)).measure()
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    assert len(measurements) == len(METRICS) * len(slices())
    assert all(m["status"] == "ok" and m["interval"]["lower"] < m["value"] < m["interval"]["upper"] for m in measurements)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "cases": arguments.cases, "slices": len(slices()), "measurements": len(measurements), "replicates": arguments.replicates,
        "seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "peak_mib": round(peak), "goal_seconds": GOAL_SECONDS, "met": seconds < GOAL_SECONDS,
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
