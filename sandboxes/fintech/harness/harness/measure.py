"""Measure: the decoded table against the key."""

from pathlib import Path
from typing import Any

from harness.baselines import BASELINES
from livinglab.measuring.credit import CreditEvaluation
from livinglab.measuring.harness import answer
from livinglab.measuring.tables import read


def run(context: dict[str, Any], root: Path) -> None:
    """Decoded table, key and copies → out/measurements.json."""
    reference, copies = read(root / "key" / "key.parquet"), read(root / "key" / "copies.parquet")
    train = read(root / "participant" / "train.parquet") if context["baselines"] else {}
    rivals = {name: BASELINES[name](train, reference) for name in context["baselines"]}
    answer(CreditEvaluation(reference, read(root / "decoded" / "table.parquet"), rivals, context, copies=copies), root)
