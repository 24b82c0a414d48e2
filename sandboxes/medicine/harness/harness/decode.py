"""Decode: a pilot's outputs become a fixed table, in a container that has no label to lose."""

import json
from pathlib import Path
from typing import Any

from livinglab.measuring.decode import Rejected, decode_apart


def run(context: dict[str, Any], root: Path) -> None:
    """Outputs → out/table.parquet, and out/decode.json with what became of them."""
    table = root / "out" / "table.parquet"
    try:
        report = {"status": "ok", "reason": "", "rows": decode_apart(root / "outputs", table, context)}
    except Rejected as error:
        table.unlink(missing_ok=True)
        report = {"status": "rejected", "reason": str(error), "rows": 0}
    (root / "out" / "decode.json").write_text(json.dumps(report))
