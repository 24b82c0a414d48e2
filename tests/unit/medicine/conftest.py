"""The medicine sandbox's own data, split by a fixed secret, with one run prepared and the reference pilot's answer to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import CriterionVerdict
from livinglab.measuring.loading import load
from livinglab.measuring.slices import Table
from tests.harnesses import ROOT, Prepared, load_make, load_spec, placed, prepare

SANDBOX, PILOT = ROOT / "sandboxes" / "medicine", ROOT / "pilots" / "medicine"
harness = load(SANDBOX / "harness", "baselines", "measure", "twin")


def spec() -> SandboxSpec:
    return load_spec(SANDBOX)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`participant/` and `hidden/`, as the authority makes them."""
    out = tmp_path_factory.mktemp("medicine")
    load_make(SANDBOX).make(out, bytes(range(32)))
    return out


@pytest.fixture(scope="session")
def prepared(data: Path) -> Prepared:
    return prepare(data, spec(), harness, harness.twin, PILOT / "workload" / "predict.py")


@pytest.fixture(scope="session")
def honest_verdicts(prepared: Prepared) -> dict[str, CriterionVerdict]:
    return prepared.judge(prepared.honest, folder="honest")


def aligned(key: Table, predictions: Table) -> np.ndarray[Any, Any]:
    """Risks in the order of the key."""
    return np.asarray(predictions["risk"][placed(key["id"], predictions)])
