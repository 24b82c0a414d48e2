"""What a pilot is compared with: a scorecard on five attributes, fitted here on the pilot's own training part."""

import numpy as np

from harness.portfolio import Table
from livinglab.measuring import logistic
from livinglab.measuring.cohort import Floats

CATEGORIES = ("checking_account", "credit_history", "savings")
_RIDGE = 1.0


def design(table: Table, levels: dict[str, list[str]]) -> Floats:
    """Indicators of the categories, duration in years and log amount: (n, p)."""
    columns = [table[name] == level for name in CATEGORIES for level in levels[name]]
    return np.stack([*columns, table["duration_months"] / 12.0, np.log(table["amount"])], axis=1).astype(np.float64)


def scorecard(train: Table, asked: Table) -> Floats:
    """Default probability of each applicant (n,), from a penalised logistic regression for each portfolio."""
    predicted = np.empty(len(asked["portfolio"]))
    for portfolio in np.unique(asked["portfolio"]):
        known = {name: column[train["portfolio"] == portfolio] for name, column in train.items()}
        own = asked["portfolio"] == portfolio
        levels = {name: sorted(np.unique(known[name]))[1:] for name in CATEGORIES}
        x = design(known, levels)
        beta = logistic.fit(x, known["bad"].astype(np.float64), np.ones((1, len(x))), ridge=_RIDGE)[0]
        predicted[own] = logistic.probability(beta[0] + design({name: asked[name][own] for name in asked}, levels) @ beta[1:])
    return predicted


BASELINES = {"scorecard": scorecard}
