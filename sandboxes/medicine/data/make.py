"""FLChain, split by the committed secret: run by the authority (`livinglab sandbox prepare`), never by the lab's services.

Needs scikit-survival, whose package carries the data. `chapter`, the cause of death, is known only after the outcome and
goes nowhere; `flc.grp` is derived from kappa and lambda and is left out.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring.tables import Schema, need, write

SCHEMA = Path(__file__).resolve().parent.parent / "harness" / "harness" / "schema.json"
DAYS_PER_YEAR = 365.25
SHORTEST = 0.5 / DAYS_PER_YEAR
"""Three rows have a follow-up of 0 days: they died on the day of the sample, so half a day."""
TRAINING_SHARE = 0.6


def load() -> dict[str, np.ndarray[Any, Any]]:
    """The columns that are used, in years and with plain types."""
    from sksurv.datasets import load_flchain

    x, y = load_flchain()
    need(x, ("age", "sex", "kappa", "lambda", "creatinine", "mgus", "sample.yr"), "flchain")
    need(y.dtype.names, ("futime", "death"), "flchain")
    return {
        "time": np.maximum(y["futime"].astype(float) / DAYS_PER_YEAR, SHORTEST),
        "event": y["death"].astype(bool),
        "age": x["age"].to_numpy().astype(float),
        "sex": x["sex"].astype(str).to_numpy().astype(str),
        "kappa": x["kappa"].to_numpy().astype(float),
        "lambda": x["lambda"].to_numpy().astype(float),
        "creatinine": x["creatinine"].to_numpy().astype(float),
        "mgus": (x["mgus"].astype(str).to_numpy() == "yes"),
        "sample_year": x["sample.yr"].astype(str).to_numpy().astype(int),
    }


def make(out: Path, secret: bytes) -> None:
    """Write participant/train.parquet and hidden/reference.parquet under `out`, stratified by event, in an order that tells nothing.

    Raises:
        Unfit: FLChain, or what came of it, is not what harness/harness/schema.json expects.
    """
    table = load()
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(b"split\n" + secret).digest(), dtype=np.uint32))
    training = np.zeros(len(table["time"]), dtype=bool)
    for outcome in (False, True):
        rows = rng.permutation(np.flatnonzero(table["event"] == outcome))
        training[rows[: round(TRAINING_SHARE * len(rows))]] = True
    for folder, name, rows in (("participant", "train", np.flatnonzero(training)), ("hidden", "reference", np.flatnonzero(~training))):
        (out / folder).mkdir(parents=True)
        shuffled = rng.permutation(rows)
        columns = {column: values[shuffled] for column, values in table.items()}
        columns["id"] = np.array([f"{name}-{number:05d}" for number in range(len(rows))])
        write(columns, out / folder / f"{name}.parquet")
    Schema.load(SCHEMA).check(out)
