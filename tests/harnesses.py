"""Sandboxes of the repository, as their tests use them: data made, one run prepared, a reference pilot's answer, and judging."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from livinglab.domain.criteria import CriteriaSet
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import CriterionVerdict, MeasurementFile, judge
from livinglab.measuring import decode, tables
from livinglab.measuring.slices import Table

ROOT = Path(__file__).resolve().parents[1]
REPLICATES = 400


def load_spec(sandbox: Path) -> SandboxSpec:
    """The specification of a sandbox's folder."""
    return SandboxSpec.model_validate(yaml.safe_load((sandbox / "sandbox.yaml").read_text()))


def load_script(path: Path) -> Any:
    """A file that belongs to no package, imported afresh."""
    loaded = importlib.util.spec_from_file_location(f"{path.parent.parent.name}_{path.stem}", path)
    assert loaded
    assert loaded.loader
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module


def load_make(sandbox: Path) -> Any:
    """The sandbox's data/make.py."""
    return load_script(sandbox / "data" / "make.py")


@dataclass(frozen=True)
class Prepared:
    """A run after `prepare`: its folders as the harness sees them, the key, and what an honest pilot answered."""

    root: Path
    harness: Any
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
        self.harness.measure.run(context, root)
        found = MeasurementFile.model_validate_json((root / "out" / "measurements.json").read_bytes())
        return {result.criterion: result for result in judge(chosen, found.measurements).results}


def prepare(data: Path, spec: SandboxSpec, harness: Any, preparing: Any | None, workload: Path) -> Prepared:
    """Prepare a run in `data` (participant/ and hidden/), let the pilot answer, and decode what it wrote.

    A harness that prepares nothing gives the pilot what the participant has, and has the hidden reference for a key.
    """
    criteria = spec.frozen_criteria(3)
    context: dict[str, Any] = {
        "parameters": spec.harness.model_dump(mode="json")["parameters"],
        "slices": {name: part.model_dump(mode="json") for name, part in spec.slices.items()}, "baselines": spec.baselines,
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria], "levels": {c.id: criteria.level(c) for c in criteria.criteria},
        "replicates": REPLICATES, "seed": hashlib.sha256(b"a test").hexdigest(),
    }  # fmt: skip
    if preparing:
        (data / "out").mkdir()
        preparing.run(context, data)
        for name in ("inputs", "key"):
            (data / "out" / name).rename(data / name)
    else:
        (data / "inputs").symlink_to(data / "participant")
        (data / "key").mkdir()
        (data / "key" / "key.parquet").symlink_to(data / "hidden" / "reference.parquet")
    honest = answered(data / "inputs", data / "decoding", spec, workload)
    return Prepared(data, harness, criteria, context, tables.read(data / "key" / "key.parquet"), honest)


def answered(inputs: Path, root: Path, spec: SandboxSpec, workload: Path, *arguments: str | Path) -> Table:
    """What a pilot answers to these inputs, decoded; `root` is where that happens."""
    for name in ("outputs", "out"):
        (root / name).mkdir(parents=True)
    environment = {**os.environ, "PILOT_IN": str(inputs), "PILOT_OUT": str(root / "outputs")}
    ran = subprocess.run([sys.executable, workload, *arguments], check=False, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    columns = [column.model_dump(mode="json") for column in spec.family.columns]
    decode.run({"output": spec.family.output, "columns": columns, "limits": {"bytes": 1 << 24, "rows": 20_000}}, root)
    assert json.loads((root / "out" / "decode.json").read_text())["status"] == "ok"
    return tables.read(root / "out" / "table.parquet")


def placed(ids: Any, predictions: Table) -> Any:
    """Where each of these ids stands in the predictions: (n,)."""
    order = predictions["id"].argsort()
    return order[predictions["id"].searchsorted(ids, sorter=order)]
