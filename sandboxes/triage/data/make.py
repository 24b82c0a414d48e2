"""Requests of citizens, drawn from the grammar: the training part, the hidden part, and which templates are whose.

Run by the authority (`livinglab sandbox prepare`), never by the lab's services. Needs nothing but numpy and pyarrow. All of it
follows from the secret; the grammar stands in this repository for anyone to read.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring.loading import load

HARNESS = Path(__file__).resolve().parent.parent / "harness"
TRAIN_EACH, HIDDEN_EACH = 1500, 1000
"""Requests in each language."""
GIVEN = ("text", "language", "service", "template")
"""What a participant gets of the training part. Requests with the same template say the same, in whatever language."""


def make(out: Path, secret: bytes) -> None:
    """Write participant/train.parquet, hidden/reference.parquet and hidden/split.json.

    Args:
        out: an empty folder.
        secret: at least 16 bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    harness = load(HARNESS, "grammar", "writing")
    writing = harness.writing
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(b"split\n" + secret).digest(), dtype=np.uint32))

    def write(table: dict[str, np.ndarray[Any, Any]], path: str) -> None:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), out / path)

    grammar = harness.grammar.read()
    split = writing.split(grammar, rng)
    train = writing.draw(grammar, split[writing.TRAIN], TRAIN_EACH, rng)
    meant = [name.partition(":")[2] for name in train["template"].tolist()]  # in whatever language
    numbers = {name: number for number, name in enumerate(rng.permutation(np.unique(meant)).tolist())}
    train["template"] = np.array([numbers[name] for name in meant])
    write({name: train[name] for name in GIVEN}, "participant/train.parquet")
    write(writing.draw(grammar, split[writing.HIDDEN], HIDDEN_EACH, rng), "hidden/reference.parquet")
    (out / "hidden" / "split.json").write_text(json.dumps(split))
