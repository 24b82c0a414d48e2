"""The medicine sandbox's own data, split by a fixed secret, with one run prepared and the reference pilot's answer to it."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from livinglab.domain.criteria import CriteriaSet
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import CriterionVerdict, MeasurementFile, judge
from livinglab.measuring import decode, tables
from livinglab.measuring.slices import Table
from tests.harnesses import load

ROOT = Path(__file__).resolve().parents[3]
SANDBOX, PILOT = ROOT / "sandboxes" / "medicine", ROOT / "pilots" / "medicine"
REPLICATES = 400
harness = load(SANDBOX / "harness", "baselines", "measure", "twin")


def spec() -> SandboxSpec:
    return SandboxSpec.model_validate(yaml.safe_load((SANDBOX / "sandbox.yaml").read_text()))


@dataclass(frozen=True)
class Prepared:
    """A run after `prepare`: its folders as the harness sees them, the key, and what an honest pilot answered."""

    root: Path
    criteria: CriteriaSet
    context: dict[str, Any]
    key: Table
    honest: Table

    def judge(self, predictions: Table, *ids: str, folder: str = "measured") -> dict[str, CriterionVerdict]:
        """What the harness and the verdict make of these predictions, for the criteria named (all of them if none is)."""
        chosen = CriteriaSet(measured_runs=3, criteria=tuple(c for c in self.criteria.criteria if not ids or c.id in ids))
        root = self.root / folder
        for name in ("hidden", "participant", "key"):
            if not (root / name).exists():
                root.mkdir(exist_ok=True)
                (root / name).symlink_to(self.root / name)
        for name in ("decoded", "out"):
            (root / name).mkdir(exist_ok=True)
        tables.write(predictions, root / "decoded" / "table.parquet")
        context = {**self.context, "criteria": [c.model_dump(mode="json") for c in chosen.criteria]}
        harness.measure.run(context, root)
        found = MeasurementFile.model_validate_json((root / "out" / "measurements.json").read_bytes())
        return {result.criterion: result for result in judge(chosen, found.measurements).results}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`participant/` and `hidden/`, as the authority makes them."""
    loaded = importlib.util.spec_from_file_location("medicine_make", SANDBOX / "data" / "make.py")
    assert loaded
    assert loaded.loader
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    out = tmp_path_factory.mktemp("medicine")
    module.make(out, bytes(range(32)))
    return out


@pytest.fixture(scope="session")
def prepared(data: Path) -> Prepared:
    criteria = spec().frozen_criteria(3)
    context: dict[str, Any] = {
        "parameters": spec().harness.model_dump(mode="json")["parameters"],
        "slices": {name: part.model_dump(mode="json") for name, part in spec().slices.items()}, "baselines": spec().baselines,
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria], "levels": {c.id: criteria.level(c) for c in criteria.criteria},
        "replicates": REPLICATES, "seed": hashlib.sha256(b"a test").hexdigest(),
    }  # fmt: skip
    (data / "out").mkdir()
    harness.twin.run(context, data)
    for name in ("inputs", "key"):
        (data / "out" / name).rename(data / name)
    (data / "answer").mkdir()
    environment = {**os.environ, "PILOT_IN": str(data / "inputs"), "PILOT_OUT": str(data / "answer")}
    subprocess.run([sys.executable, PILOT / "workload" / "predict.py"], check=True, env=environment, capture_output=True)
    (data / "decoded").mkdir()
    columns = [column.model_dump(mode="json") for column in spec().family.columns]
    asked = {"output": "predictions", "columns": columns, "limits": {"bytes": 1 << 24, "rows": 10_000}}
    (data / "out-decode").mkdir()
    root = data / "decoding"
    root.mkdir()
    (root / "outputs").symlink_to(data / "answer")
    (root / "out").mkdir()
    decode.run(asked, root)
    assert json.loads((root / "out" / "decode.json").read_text())["status"] == "ok"
    honest = tables.read(root / "out" / "table.parquet")
    return Prepared(data, criteria, context, tables.read(data / "key" / "key.parquet"), honest)


@pytest.fixture(scope="session")
def honest_verdicts(prepared: Prepared) -> dict[str, CriterionVerdict]:
    return prepared.judge(prepared.honest, folder="honest")


def aligned(key: Table, predictions: Table) -> np.ndarray[Any, Any]:
    """Risks in the order of the key."""
    order = np.argsort(predictions["id"])
    return np.asarray(predictions["risk"][order][np.searchsorted(predictions["id"][order], key["id"])])
