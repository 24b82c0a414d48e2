"""What a pilot is compared with, fitted here on the pilot's own training part."""

from typing import Any

import numpy as np

from livinglab.measuring import cox
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.slices import Table

COVARIATES = {"age_sex": ("age", "male")}


def columns(table: Table, names: tuple[str, ...]) -> Floats:
    """Covariates by name, (n, p); `male` is 1 for men."""
    values = {**table, "male": (table["sex"] == "M").astype(float)} if "sex" in table else table
    return np.stack([np.asarray(values[name], dtype=float) for name in names], axis=1)


def fit(name: str, train: Table, reference: Table, context: dict[str, Any]) -> Floats:
    """The risk by the horizon of each reference case, from a Cox model on the baseline's covariates."""
    covariates, horizon = COVARIATES[name], float(context["parameters"]["horizon"])
    x = columns(train, covariates)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    cohort, order = Cohort.sort(train["time"].astype(float), train["event"].astype(bool), np.zeros(len(x)), horizon)
    model = cox.fit((x[order] - centre) / spread, cohort.event.astype(float), cohort.starts, np.ones((1, len(x))))
    known = int(np.searchsorted(cohort.time[cohort.starts], horizon, side="right")) - 1
    scaled = (columns(reference, covariates) - centre) / spread
    return np.asarray(1 - np.exp(-model.hazard[0, known] * np.exp(scaled @ model.beta[0])))
