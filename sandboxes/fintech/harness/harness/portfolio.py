"""The generated portfolio: applicants who never were, whose probability of default is known because it is written here.

Covariates are those of German credit, drawn with replacement and disturbed, so that they hang together as they do there (the
young have been employed for less long, and rent). Defaults are drawn from the logistic model below; age has no part in it.
No label of German credit is used, so knowing those by heart helps nobody.
"""

from typing import Any

import numpy as np

Table = dict[str, np.ndarray[Any, Any]]

COVARIATES = (
    "checking_account", "duration_months", "credit_history", "purpose", "amount", "savings", "employment", "installment_rate", "guarantors",
    "residence_since", "property", "other_plans", "housing", "existing_credits", "job", "dependants", "telephone",
)  # fmt: skip
"""What a pilot gets of each applicant, beside the portfolio and the quarter of the application."""

DEVELOPMENT, LATER = range(1, 9), range(9, 11)
"""Quarters of the training part, and those after it."""

INTERCEPT, PER_QUARTER = -1.75, 0.01
"""The level of risk, and how it rises: logit, per quarter."""
TILT = 0.03
"""How much likelier, per quarter, an applicant is drawn whose amount is one standard deviation larger (log)."""
POINTS: dict[str, dict[str, float]] = {
    "checking_account": {"... < 0 DM": 0.9, "0 <= ... < 200 DM": 0.5, "no checking account": -0.8},
    "credit_history": {
        "no credits taken/ all credits paid back duly": 0.7, "all credits at this bank paid back duly": 0.6,
        "critical account/ other credits existing (not at this bank)": -0.6,
    },
    "purpose": {"car (new)": 0.3, "education": 0.4, "car (used)": -0.8},
    "savings": {"... < 100 DM": 0.3, "500 <= ... < 1000 DM": -0.3, "... >= 1000 DM": -0.6, "unknown/ no savings account": -0.4},
    "employment": {"unemployed": 0.3, "... < 1 year": 0.3, "4 <= ... < 7 years": -0.3, "... >= 7 years": -0.1},
    "guarantors": {"guarantor": -0.6, "co-applicant": 0.3},
    "property": {"real estate": -0.2, "unknown / no property": 0.3},
    "other_plans": {"bank": 0.4, "stores": 0.4},
    "housing": {"own": -0.1, "rent": 0.2},
}  # fmt: skip
"""Logits of a category; 0 where it is not named."""
PER_MONTH, PER_LOG_AMOUNT, PER_RATE = 0.035, 0.25, 0.2
"""Logits for a month of duration beyond 21, for the logarithm of the amount over 2,500, for a step of the instalment rate beyond 3."""


def true_logit(table: Table) -> np.ndarray[Any, Any]:
    """Logit of the probability of default: (n,)."""
    logit = INTERCEPT + PER_QUARTER * table["quarter"] + PER_MONTH * (table["duration_months"] - 21.0)
    logit = logit + PER_LOG_AMOUNT * np.log(table["amount"] / 2500.0) + PER_RATE * (table["installment_rate"] - 3.0)
    for name, points in POINTS.items():
        for category, value in points.items():
            logit = logit + value * (table[name] == category)
    return np.asarray(logit)


def draw(pool: Table, quarters: range, each: int, rng: np.random.Generator) -> Table:
    """Applicants of these quarters, `each` per quarter, with `age`, `bad` and their true `pd`.

    Args:
        pool: covariates and age of German credit, without outcomes.
    """
    size = np.log(pool["amount"])
    size = (size - size.mean()) / size.std()
    rows = []
    for quarter in quarters:
        weight = np.exp(TILT * quarter * size)
        rows.append(rng.choice(len(size), each, p=weight / weight.sum()))
    chosen = np.concatenate(rows)
    table = {name: pool[name][chosen].copy() for name in (*COVARIATES, "age")}
    table["quarter"] = np.repeat(np.array(quarters), each)
    n = len(chosen)
    table["amount"] = np.round(table["amount"] * np.exp(rng.normal(0, 0.1, n)))
    table["duration_months"] = np.clip(table["duration_months"] + rng.integers(-2, 3, n), 4, 72)
    table["age"] = np.clip(table["age"] + rng.integers(-2, 3, n), 19, 75)
    table["true_pd"] = 1 / (1 + np.exp(-true_logit(table)))
    table["bad"] = rng.random(n) < table["true_pd"]
    return table


def accepted(table: Table, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Whom the lender took before there was any pilot, by a crude rule and some chance: nobody knows how the others would have paid."""
    rule = 1.2 * (table["checking_account"] == "... < 0 DM") + 0.04 * (table["duration_months"] - 21.0)
    return np.asarray(rule + rng.normal(0, 0.7, len(rule)) < np.quantile(rule, 0.9) + 0.3)
