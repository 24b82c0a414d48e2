"""`python3 -m harness VERB`: reads /context/context.json, works on the mounts, writes to /out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from harness import baselines, twin
from harness.tables import read
from livinglab.measuring.decode import Rejected, decode
from livinglab.measuring.evaluate import Evaluation

OUT, CONTEXT = Path("/out"), Path("/context/context.json")


def run_decode(context: dict[str, Any]) -> None:
    """Outputs → /out/table.parquet, and /out/decode.json with what became of them."""
    table = OUT / "table.parquet"
    try:
        report = {"status": "ok", "reason": "", "rows": decode(Path("/outputs"), table, context)}
    except Rejected as error:
        table.unlink(missing_ok=True)
        report = {"status": "rejected", "reason": str(error), "rows": 0}
    (OUT / "decode.json").write_text(json.dumps(report))


def run_measure(context: dict[str, Any]) -> None:
    """Decoded table, reference and key → /out/measurements.json."""
    key = Path("/key/key.parquet")
    reference = read(key if key.exists() else Path("/hidden/reference.parquet"))
    reference.setdefault("cohort", np.full(len(reference["id"]), "hidden"))
    rivals = {name: baselines.fit(name, read(Path("/participant/train.parquet")), reference, context) for name in context["baselines"]}
    evaluation = Evaluation(reference, read(Path("/decoded/table.parquet")), rivals, context)
    document = {"schema_version": 1, "measurements": evaluation.measure(), "curves": evaluation.curves(), "digests": {}, "notes": evaluation.notes}
    (OUT / "measurements.json").write_text(json.dumps(document, allow_nan=False))


def main() -> None:
    """Do what the argument says."""
    verbs = {"prepare": twin.run_prepare, "decode": run_decode, "measure": run_measure}
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in verbs:
        sys.exit(f"harness: unknown verb {verb!r}; known: {', '.join(verbs)}")
    verbs[verb](json.loads(CONTEXT.read_text()))


if __name__ == "__main__":
    main()
