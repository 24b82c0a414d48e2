"""Prepare: the inputs of one run, with a twin cohort that is drawn afresh and that no memorised row can answer.

The data are public, so a pilot may have all the labels by heart. The twins are persons who never were: covariates of
hidden cases, disturbed, with outcomes drawn from a Cox model that is fitted here on everything. They are mixed among the
hidden cases under fresh ids; an honest model does on them what it does on the others, a memory does not.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring import cox
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.resampling import generator
from livinglab.measuring.slices import Table
from livinglab.measuring.tables import Schema, write

COVARIATES = ("age", "sex", "kappa", "lambda", "creatinine", "mgus", "sample_year")
"""What a pilot gets of each person."""
SCHEMA = Path(__file__).with_name("schema.json")
"""What the data must be."""


def run(context: dict[str, Any], root: Path) -> None:
    """Hidden and participant's data → out/inputs (what the pilot gets) and out/key (what only `measure` gets)."""
    schema = Schema.load(SCHEMA)
    train, hidden = (schema.read(root, file) for file in ("participant/train.parquet", "hidden/reference.parquet"))
    rng = generator(context["seed"], "twin cohort")
    twins = draw_twins(train, hidden, rng)
    hidden["cohort"] = np.full(len(hidden["time"]), "hidden")
    everyone = {name: np.concatenate([hidden[name], twins[name]]) for name in ("time", "event", "cohort", *COVARIATES)}
    order = rng.permutation(len(everyone["time"]))
    everyone = {name: column[order] for name, column in everyone.items()}
    everyone["id"] = np.array([f"p{number:010d}" for number in rng.choice(10**10, len(order), replace=False)])
    inputs, key = root / "out" / "inputs", root / "out" / "key"
    inputs.mkdir()
    key.mkdir()
    write({name: everyone[name] for name in ("id", *COVARIATES)}, inputs / "cohort.parquet")
    write({name: train[name] for name in (*COVARIATES, "time", "event")}, inputs / "train.parquet")
    task = {"horizon": context["parameters"]["horizon"], "id": "id", "time": "time", "event": "event", "prediction": "risk", "covariates": COVARIATES}
    (inputs / "task.json").write_text(json.dumps(task))
    write({name: everyone[name] for name in ("id", "time", "event", "cohort", *COVARIATES)}, key / "key.parquet")


def features(table: Table) -> Floats:
    """The terms of the Cox model that twins are drawn from: (n, 5)."""
    creatinine = np.asarray(table["creatinine"], dtype=float)
    filled = np.where(np.isfinite(creatinine), creatinine, np.nanmedian(creatinine))
    return np.stack([
        np.asarray(table["age"], dtype=float), (table["sex"] == "M").astype(float), np.log(table["kappa"]), np.log(table["lambda"]), np.log(filled),
    ], axis=1)  # fmt: skip


def draw_twins(train: Table, hidden: Table, rng: np.random.Generator) -> Table:
    """As many twins as there are hidden cases."""
    both = {name: np.concatenate([train[name], hidden[name]]) for name in ("time", "event", *COVARIATES)}
    x = features(both)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    cohort, order = Cohort.sort(both["time"].astype(float), both["event"].astype(bool), np.zeros(len(x)), np.inf)
    model = cox.fit((x[order] - centre) / spread, cohort.event.astype(float), cohort.starts, np.ones((1, len(x))))
    chosen = rng.integers(0, len(hidden["time"]), len(hidden["time"]))
    twins = {name: hidden[name][chosen].copy() for name in COVARIATES}
    twins["age"] = np.clip(np.round(twins["age"] + rng.integers(-2, 3, len(chosen))), 50, 101).astype(hidden["age"].dtype)
    for name in ("kappa", "lambda", "creatinine"):
        twins[name] = np.round(twins[name] * np.exp(rng.normal(0, 0.08, len(chosen))), 3)
    relative = np.exp(((features(twins) - centre) / spread) @ model.beta[0])
    died = _invert(model.hazard[0], cohort.time[cohort.starts], rng.exponential(size=len(chosen)) / relative)
    censored = _censoring(both, twins["sample_year"], rng)
    twins["time"], twins["event"] = np.minimum(died, censored), died <= censored
    twins["cohort"] = np.full(len(chosen), "twin")
    return twins


def _invert(hazard: Floats, times: Floats, target: Floats) -> Floats:
    """When the cumulative hazard reaches the target; never, where it does not."""
    place = np.searchsorted(hazard, target)
    return np.where(place < len(times), times[np.minimum(place, len(times) - 1)], np.inf)


def _censoring(both: Table, years: np.ndarray[Any, Any], rng: np.random.Generator) -> Floats:
    """Follow-up that ended without the event, drawn from persons who were enrolled in the same year: censoring depends on it."""
    ends = np.empty(len(years))
    for year in np.unique(years):
        pool = both["time"][(both["sample_year"] == year) & ~both["event"].astype(bool)]
        same = years == year
        ends[same] = rng.choice(pool if len(pool) else both["time"], int(same.sum()))
    return ends
