"""`python3 -m harness VERB`: reads /context/context.json, works on the mounts, writes to /out."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import baselines, twin
from harness.tables import read
from livinglab.measuring.decode import Rejected, decode_apart
from livinglab.measuring.evaluate import Evaluation

Run = Callable[[dict[str, Any], Path], None]


def run_decode(context: dict[str, Any], root: Path) -> None:
    """Outputs → out/table.parquet, and out/decode.json with what became of them."""
    table = root / "out" / "table.parquet"
    try:
        report = {"status": "ok", "reason": "", "rows": decode_apart(root / "outputs", table, context)}
    except Rejected as error:
        table.unlink(missing_ok=True)
        report = {"status": "rejected", "reason": str(error), "rows": 0}
    (root / "out" / "decode.json").write_text(json.dumps(report))


def run_measure(context: dict[str, Any], root: Path) -> None:
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


VERBS: dict[str, Run] = {"prepare": twin.run_prepare, "decode": run_decode, "measure": run_measure}


def main(root: Path = Path("/")) -> None:
    """Do what the argument says, on the mounts under `root`."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in VERBS:
        sys.exit(f"harness: unknown verb {verb!r}; known: {', '.join(VERBS)}")
    VERBS[verb](json.loads((root / "context" / "context.json").read_text()), root)


if __name__ == "__main__":
    main()
