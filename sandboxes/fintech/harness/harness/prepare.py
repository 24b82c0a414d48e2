"""Prepare: the inputs of one run. A portfolio that is drawn afresh, and copies of applicants that show what scores and reasons depend on.

The labels of German credit are public, so a pilot may have them by heart; those of the portfolio did not exist before the run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.portfolio import COVARIATES, DEVELOPMENT, LATER, Table, draw
from livinglab.measuring.credit import MOVED, SHAKEN
from livinglab.measuring.resampling import generator
from livinglab.measuring.tables import Schema, write

SCHEMA = Path(__file__).with_name("schema.json")
"""What the data must be."""
EARLIER_EACH, LATER_EACH = 250, 3000
"""Applicants per quarter."""
COPIES = {"hidden": 120, "twin": 900}
"""Cases of a cohort that get a copy of each kind."""
SEEN = ("portfolio", "quarter", *COVARIATES)
"""What a pilot sees of an applicant, beside the id."""
MONOTONE = ("duration_months", "installment_rate")
"""Features in which pd must not fall: a longer credit, or a larger share of the income for it, makes nobody safer."""


def run(context: dict[str, Any], root: Path) -> None:
    """Hidden and participant's data → out/inputs (what the pilot gets) and out/key (what only `measure` gets)."""
    schema = Schema.load(SCHEMA)
    train, hidden, pool = (schema.read(root, file) for file in ("participant/train.parquet", "hidden/reference.parquet", "hidden/pool.parquet"))
    rng = generator(context["seed"], "portfolio")
    cases = applicants(hidden, pool, rng)
    copies = [*copied(cases, "hidden", rng), *copied(cases, "twin", rng)]
    everyone = {name: np.concatenate([cases[name], *(copy[name] for copy in copies)]) for name in (*SEEN, "id")}
    n = len(everyone["id"])
    fresh = np.array([f"a{number:010d}" for number in rng.choice(10**10, n, replace=False)])
    renamed = dict(zip(everyone["id"].tolist(), fresh.tolist(), strict=True))
    key = {**cases, "id": fresh[: len(cases["id"])]}
    order = rng.permutation(n)
    inputs = {name: (fresh if name == "id" else everyone[name])[order] for name in ("id", *SEEN)}
    kept = {
        "id": fresh[len(cases["id"]) :], "kind": np.concatenate([copy["kind"] for copy in copies]),
        "of": np.array([renamed[of] for copy in copies for of in copy["of"]]),
    }  # fmt: skip
    for folder in ("inputs", "key"):
        (root / "out" / folder).mkdir()
    write(inputs, root / "out" / "inputs" / "cohort.parquet")
    write({name: train[name] for name in (*SEEN, "bad")}, root / "out" / "inputs" / "train.parquet")
    (root / "out" / "inputs" / "task.json").write_text(json.dumps(task(context["parameters"])))
    write(key, root / "out" / "key" / "key.parquet")
    write(kept, root / "out" / "key" / "copies.parquet")


def task(parameters: dict[str, Any]) -> dict[str, Any]:
    """What the pilot is told."""
    return {
        "id": "id", "outcome": "bad", "prediction": "pd", "reasons": "reasons", "covariates": COVARIATES, "reject_at": parameters["reject_at"],
        "reason_codes": parameters["reason_codes"], "monotone": MONOTONE,
    }  # fmt: skip


def applicants(hidden: Table, pool: Table, rng: np.random.Generator) -> Table:
    """The hidden part of German credit, and the portfolio of this run."""
    twins = [draw(pool, DEVELOPMENT, EARLIER_EACH, rng), draw(pool, LATER, LATER_EACH, rng)]
    n, m = len(hidden["bad"]), sum(len(part["bad"]) for part in twins)
    german = {**hidden, "quarter": np.zeros(n, dtype=np.int64), "true_pd": np.full(n, np.nan)}
    cases = {name: np.concatenate([part[name] for part in (german, *twins)]) for name in (*COVARIATES, "age", "quarter", "bad", "true_pd")}
    cases["cohort"] = np.repeat(["hidden", "twin"], [n, m])
    cases["portfolio"] = np.repeat(["german", "generated"], [n, m])
    cases["id"] = np.array([f"case-{number}" for number in range(n + m)])
    return cases


def copied(cases: Table, cohort: str, rng: np.random.Generator) -> list[Table]:
    """Copies of either kind, of cases of the latest quarter that the cohort has."""
    pool = np.flatnonzero((cases["cohort"] == cohort) & (cases["quarter"] >= (LATER[0] if cohort == "twin" else 0)))
    found = []
    for kind, change in ((SHAKEN, shaken), (MOVED, moved)):
        rows = rng.choice(pool, COPIES[cohort], replace=False)
        copy = {name: cases[name][rows].copy() for name in SEEN}
        change(copy, rng)
        found.append(
            {**copy, "id": np.array([f"{kind}-{cases['id'][row]}" for row in rows]), "of": cases["id"][rows], "kind": np.full(len(rows), kind)}
        )
    return found


def shaken(copy: Table, rng: np.random.Generator) -> None:
    """An amount that differs by up to two per cent, a duration by up to a month."""
    copy["amount"] = np.round(copy["amount"] * (1 + rng.uniform(-0.02, 0.02, len(copy["amount"]))))
    copy["duration_months"] = np.clip(copy["duration_months"] + rng.integers(-1, 2, len(copy["amount"])), 4, 72)


def moved(copy: Table, rng: np.random.Generator) -> None:
    """Riskier in one feature declared monotone: half a year to a year longer, or one step more of the income."""
    n = len(copy["amount"])
    rate = (rng.random(n) < 0.5) & (copy["installment_rate"] < 4)  # noqa: PLR2004 - the scale ends there
    copy["installment_rate"] = copy["installment_rate"] + rate
    copy["duration_months"] = copy["duration_months"] + np.where(rate, 0, rng.integers(6, 13, n))
