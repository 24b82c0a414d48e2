"""The triage sandbox's own data, split by a fixed secret, with one run prepared and the reference pilot's answers to it."""

from pathlib import Path
from typing import Any

import pytest

from livinglab.measuring.loading import load
from tests.harnesses import ROOT, Prepared, load_make, load_spec, prepare

SANDBOX, PILOT = ROOT / "sandboxes" / "triage", ROOT / "pilots" / "triage"
PARTS = ("abstention", "answers", "catalogue", "evaluation", "grammar", "measure", "noise", "prepare", "writing")


@pytest.fixture(scope="session")
def harness() -> Any:
    return load(SANDBOX / "harness", *PARTS)


@pytest.fixture(scope="session")
def spec() -> Any:
    return load_spec(SANDBOX)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`participant/` and `hidden/`, as the authority makes them."""
    out = tmp_path_factory.mktemp("triage")
    load_make(SANDBOX).make(out, bytes(range(32)))
    return out


@pytest.fixture(scope="session")
def prepared(data: Path, spec: Any, harness: Any) -> Prepared:
    return prepare(data, spec, harness, harness.prepare, PILOT / "workload" / "route.py")


@pytest.fixture(scope="session")
def honest_verdicts(prepared: Prepared) -> Any:
    return prepared.judge(prepared.honest, folder="honest")
