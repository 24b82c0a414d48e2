"""Measure: the decoded table against the reference."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from harness import baselines
from harness.tables import read
from livinglab.measuring.evaluate import Evaluation


def run(context: dict[str, Any], root: Path) -> None:
    """Decoded table, reference and key → out/measurements.json."""
    key = root / "key" / "key.parquet"
    reference = read(key if key.exists() else root / "hidden" / "reference.parquet")
    reference.setdefault("cohort", np.full(len(reference["id"]), "hidden"))
    train = read(root / "participant" / "train.parquet") if context["baselines"] else {}
    rivals = {name: baselines.fit(name, train, reference, context) for name in context["baselines"]}
    evaluation = Evaluation(reference, read(root / "decoded" / "table.parquet"), rivals, context)
    # A baseline is pinned by what it answered, so that whoever fits it again can compare.
    digests = {f"baseline {name}": f"sha256:{hashlib.sha256(risk.astype('<f8').tobytes()).hexdigest()}" for name, risk in rivals.items()}
    document = {"schema_version": 1, "measurements": evaluation.measure(), "curves": evaluation.curves(), "digests": digests, "notes": []}
    (root / "out" / "measurements.json").write_text(json.dumps(document, allow_nan=False))
