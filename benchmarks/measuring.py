"""A million predictions, twenty slices, two thousand replicates: how long the harness's evaluation takes.

    python benchmarks/measuring.py [--family survival] [--cases 1000000] [--replicates 2000]

Simulated data; one slice of all, two by sex, four by region, five by age and eight by sex and region, so that every case is
in five. In each slice, all with both one-sided bounds from 2,000 multiplier replicates (`influence-multiplier`):

- `survival`: Uno's C-index up to the horizon, observed over expected, Brier score and sensitivity at 30 % risk (80 measurements);
- `credit`: AUC, its difference to a baseline, observed over expected, calibration slope, adverse impact ratio and difference in
  equal opportunity (120 measurements).

Matching predictions to reference cases by id is part of what is timed; making the data is not.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from livinglab.measuring.credit import CreditEvaluation
from livinglab.measuring.evaluate import Evaluation
from livinglab.measuring.evaluation import BaseEvaluation
from livinglab.measuring.logistic import probability
from livinglab.measuring.slices import Table

GOAL_SECONDS = 60
SURVIVAL = ("uno_c", "observed_expected", "brier", "sensitivity")
CREDIT = ("auc", "delta_auc", "observed_expected", "calibration_slope", "adverse_impact_ratio", "equal_opportunity_difference")
SEXES, REGIONS, AGES = 2, 4, 5
REJECT_AT = 0.4


def condition(column: str, value: int) -> dict[str, Any]:
    return {"column": column, "equals": value, "at_least": None, "below": None}


def slices() -> dict[str, list[dict[str, Any]]]:
    chosen: dict[str, list[dict[str, Any]]] = {"all": []}
    chosen |= {f"sex {s}": [condition("sex", s)] for s in range(SEXES)}
    chosen |= {f"region {r}": [condition("region", r)] for r in range(REGIONS)}
    chosen |= {f"age {a}": [condition("age", a)] for a in range(AGES)}
    chosen |= {f"sex {s}, region {r}": [condition("sex", s), condition("region", r)] for s in range(SEXES) for r in range(REGIONS)}
    return chosen


def described(n: int, rng: np.random.Generator) -> Table:
    """What the reference has of the cases, whatever the family."""
    groups = {name: rng.integers(0, size, n) for name, size in (("sex", SEXES), ("region", REGIONS), ("age", AGES))}
    return {"id": np.char.add("p", np.arange(n).astype(str)), "cohort": np.full(n, "hidden"), **groups}


def context(metrics: tuple[str, ...], replicates: int, parameters: dict[str, Any]) -> dict[str, Any]:
    interval = {"method": "influence-multiplier", "level": 0.95}
    asked = [
        {"id": f"{m} {s}", "metric": m, "slice": s, "baseline": {"name": "rival"} if m == "delta_auc" else None, "interval": interval}
        for m in metrics for s in slices()
    ]  # fmt: skip
    return {
        "parameters": parameters, "slices": {name: {"cohort": "hidden", "where": where} for name, where in slices().items()},
        "criteria": asked, "levels": {c["id"]: 1 - 0.05 / 3 for c in asked}, "replicates": replicates, "seed": "benchmark",
    }  # fmt: skip


def survival(n: int, replicates: int) -> Callable[[], Evaluation]:
    """Predictions come in another order than the reference."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    died, left = 10 * (rng.exponential(size=n) / (0.135 * np.exp(1.5 * x))) ** (1 / 1.3), rng.uniform(5, 14, n)
    reference = {**described(n, rng), "time": np.minimum(died, left), "event": died <= left}
    order = rng.permutation(n)
    predictions = {"id": reference["id"][order], "risk": (1 - np.exp(-0.135 * np.exp(1.5 * x)))[order]}
    return lambda: Evaluation(reference, predictions, {}, context(SURVIVAL, replicates, {"horizon": 10, "risk_threshold": 0.3}))


def credit(n: int, replicates: int) -> Callable[[], CreditEvaluation]:
    """The same of applicants, a fifth of them of the protected group."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    reference = {**described(n, rng), "bad": rng.random(n) < probability(1.2 * x - 1.2)}
    order = rng.permutation(n)
    pd = probability(1.25 * x - 1.2)
    predictions = {"id": reference["id"][order], "pd": pd[order], "reasons": np.where(pd < REJECT_AT, "", "INCOME;AMOUNT")[order]}
    rivals = {"rival": x + rng.normal(0, 0.5, n)}
    reference["years"] = rng.integers(18, 78, n)
    parameters = {"reject_at": REJECT_AT, "protected_column": "years", "protected_below": 30}
    return lambda: CreditEvaluation(reference, predictions, rivals, context(CREDIT, replicates, parameters))


FAMILIES: dict[str, tuple[Callable[[int, int], Callable[[], BaseEvaluation[Any]]], tuple[str, ...]]] = {
    "survival": (survival, SURVIVAL), "credit": (credit, CREDIT),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="survival")
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=2_000)
    arguments = parser.parse_args()
    made, metrics = FAMILIES[arguments.family]
    begin = made(arguments.cases, arguments.replicates)
    start, used = time.perf_counter(), time.process_time()
    measurements = begin().measure()
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    assert len(measurements) == len(metrics) * len(slices())
    assert all(m["status"] == "ok" and m["interval"]["lower"] < m["value"] < m["interval"]["upper"] for m in measurements)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "family": arguments.family, "cases": arguments.cases, "slices": len(slices()), "measurements": len(measurements),
        "replicates": arguments.replicates, "seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1), "peak_mib": round(peak), "goal_seconds": GOAL_SECONDS, "met": seconds < GOAL_SECONDS,
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
