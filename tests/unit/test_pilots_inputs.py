"""The reference pilots meet what they have not seen: a category that was not in the training part, values that are missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.measuring import tables
from livinglab.measuring.slices import Table
from tests.harnesses import ROOT, answered, load_make, load_spec

ROWS = 40
SPREAD = np.arange(0.1, 1.0, 0.1)
WORKLOAD = {"medicine": "predict.py", "fintech": "score.py"}
NUMBER = {"medicine": "kappa", "fintech": "amount"}
CATEGORY = {"medicine": "sex", "fintech": "housing"}
TASK: dict[str, dict[str, Any]] = {
    "medicine": {"id": "id", "prediction": "risk", "horizon": 10},
    "fintech": {"id": "id", "prediction": "pd", "reasons": "reasons", "reason_codes": ["AMOUNT"], "monotone": ["duration_months"]},
}


def ask(domain: str, root: Path, train: Table, variants: dict[str, Table]) -> dict[str, Any]:
    """The pilot's predictions for each variant of the cohort; all are asked for at once."""
    names = next(iter(variants.values()))
    cohort = {name: np.concatenate([table[name].astype(object) for table in variants.values()]) for name in names}
    cohort = {name: column.astype(names[name].dtype) if names[name].dtype.kind == "f" else column for name, column in cohort.items()}
    cohort["id"] = np.array([f"p{i:04d}" for i in range(ROWS * len(variants))])
    (root / "inputs").mkdir(parents=True)
    tables.write(cohort, root / "inputs" / "cohort.parquet")
    tables.write(train, root / "inputs" / "train.parquet")
    (root / "inputs" / "task.json").write_text(json.dumps(TASK[domain]))
    found = answered(root / "inputs", root, load_spec(ROOT / "sandboxes" / domain), ROOT / "pilots" / domain / "workload" / WORKLOAD[domain])
    order = np.argsort(found["id"])
    assert (found["id"][order] == cohort["id"]).all()
    return dict(zip(variants, found[TASK[domain]["prediction"]][order].reshape(len(variants), ROWS), strict=True))


def with_value(table: Table, column: str, value: Any) -> Table:
    """The value in the first half of the column."""
    values = table[column].astype(float if table[column].dtype.kind == "f" else object)
    values[: ROWS // 2] = value
    return {**table, column: values}


class Asked:
    """What a pilot answers to a cohort from its training part, and to variants of it."""

    def __init__(self, domain: str, root: Path) -> None:
        load_make(ROOT / "sandboxes" / domain).make(root, bytes(32))
        train = tables.read(root / "participant" / "train.parquet")
        if domain == "fintech":
            train = {name: column[train["portfolio"] == "german"] for name, column in train.items()}
        cohort = {name: column[:ROWS] for name, column in train.items() if name not in {"bad", "time", "event"}}
        number, category = NUMBER[domain], CATEGORY[domain]
        self.domain, self.values = domain, [f"at its quantile {part:.1f}" for part in SPREAD]
        self.levels = [str(level) for level in np.unique(train[category])]
        variants = {"as it is": cohort, "average": with_value(cohort, number, np.exp(np.log(train[number]).mean()))}
        variants |= {level: with_value(cohort, category, level) for level in (*self.levels, "a new one")}
        variants |= {"no category": with_value(cohort, category, None)}
        variants |= {f"number {value}": with_value(cohort, number, value) for value in (np.nan, 0.0)}
        variants |= {name: with_value(cohort, number, np.quantile(train[number], part)) for name, part in zip(self.values, SPREAD, strict=True)}
        if domain == "fintech":
            variants["elsewhere"] = with_value(cohort, "portfolio", "elsewhere")
        self.found = ask(domain, root / "one", train, variants)
        gaps = np.where(np.random.default_rng(1).random(len(train[number])) < 0.02, np.nan, train[number])
        self.gaps = ask(domain, root / "two", {**train, number: gaps}, {"as it is": cohort})["as it is"]


@pytest.fixture(scope="module", params=["medicine", "fintech"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(request.param, tmp_path_factory.mktemp(request.param))


def test_every_answer_is_a_probability_and_leaves_the_other_cases_alone(asked: Asked) -> None:
    for found in asked.found.values():
        assert ((found > 0) & (found < 1)).all()
        np.testing.assert_allclose(found[ROWS // 2 :], asked.found["as it is"][ROWS // 2 :], rtol=1e-12)


def test_a_category_never_seen_counts_as_something_between_those_that_were(asked: Asked) -> None:
    known = np.stack([asked.found[level] for level in asked.levels])[:, : ROWS // 2]
    for value in ("a new one", "no category"):
        found = asked.found[value][: ROWS // 2]
        assert (found > known.min(axis=0)).all()
        assert (found < known.max(axis=0)).all()


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_number_that_is_missing_or_impossible_counts_as_something_between_those_that_were(asked: Asked, value: float) -> None:
    known = np.stack([asked.found[name] for name in asked.values])[:, : ROWS // 2]
    found = asked.found[f"number {value}"][: ROWS // 2]
    assert (found > known.min(axis=0)).all()
    assert (found < known.max(axis=0)).all()
    if asked.domain == "medicine":  # there it is the average one; in fintech no value has just no evidence either way
        np.testing.assert_allclose(found, asked.found["average"][: ROWS // 2], rtol=1e-6)
        assert (found != asked.found["as it is"][: ROWS // 2]).all()


def test_gaps_in_the_training_part_move_predictions_little(asked: Asked) -> None:
    np.testing.assert_allclose(asked.gaps, asked.found["as it is"], atol=0.05)
    assert (asked.gaps != asked.found["as it is"]).any()
