"""Measure: the decoded table against the key."""

from pathlib import Path
from typing import Any

from harness.evaluation import TriageEvaluation
from livinglab.measuring.harness import answer
from livinglab.measuring.tables import read


def run(context: dict[str, Any], root: Path) -> None:
    """Decoded table, key and copies → out/measurements.json."""
    reference, copies = read(root / "key" / "key.parquet"), read(root / "key" / "copies.parquet")
    answer(TriageEvaluation(reference, read(root / "decoded" / "table.parquet"), {}, context, copies=copies), root)
