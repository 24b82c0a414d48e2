"""Measure: the decoded table against the reference."""

from pathlib import Path
from typing import Any

import numpy as np

from harness import baselines
from livinglab.measuring.evaluate import Evaluation
from livinglab.measuring.harness import answer
from livinglab.measuring.tables import read


def run(context: dict[str, Any], root: Path) -> None:
    """Decoded table, reference and key → out/measurements.json."""
    key = root / "key" / "key.parquet"
    reference = read(key if key.exists() else root / "hidden" / "reference.parquet")
    reference.setdefault("cohort", np.full(len(reference["id"]), "hidden"))
    train = read(root / "participant" / "train.parquet") if context["baselines"] else {}
    rivals = {name: baselines.fit(name, train, reference, context) for name in context["baselines"]}
    answer(Evaluation(reference, read(root / "decoded" / "table.parquet"), rivals, context), root)
