"""Simulated survival data with a known truth: exponential times whose rate depends on one covariate."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CASES = 400


def make(out: Path, secret: bytes) -> None:
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(secret).digest(), dtype=np.uint32))
    for folder in ("participant", "hidden"):
        (out / folder).mkdir(parents=True)
    for part in ("train", "reference"):
        x = rng.normal(size=CASES)
        died, left = rng.exponential(1 / (0.1 * np.exp(x))), rng.uniform(3, 12, CASES)
        outcome = {"time": np.minimum(died, left), "event": died <= left}
        ids = [f"{part}-{i:04d}" for i in range(CASES)]
        known = {"id": ids, "x": x}
        if part == "train":
            pq.write_table(pa.table({**known, **outcome}), out / "participant" / "train.parquet")
        else:
            pq.write_table(pa.table({**known, **outcome}), out / "hidden" / "reference.parquet")
            lines = ["id,x", *(f"{i},{value:.6f}" for i, value in zip(ids, x, strict=True))]
            (out / "participant" / "cohort.csv").write_text("\n".join(lines) + "\n")
