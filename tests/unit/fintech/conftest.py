"""The fintech sandbox's own data, split by a fixed secret, with one run prepared and the reference pilot's answer to it."""

from pathlib import Path

import pytest

from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import CriterionVerdict
from livinglab.measuring.loading import load
from tests.harnesses import ROOT, Prepared, load_make, load_spec, prepare

SANDBOX, PILOT = ROOT / "sandboxes" / "fintech", ROOT / "pilots" / "fintech"
harness = load(SANDBOX / "harness", "baselines", "measure", "portfolio", "prepare")


def spec() -> SandboxSpec:
    return load_spec(SANDBOX)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`participant/` and `hidden/`, as the authority makes them."""
    out = tmp_path_factory.mktemp("fintech")
    load_make(SANDBOX).make(out, bytes(range(32)))
    return out


@pytest.fixture(scope="session")
def prepared(data: Path) -> Prepared:
    return prepare(data, spec(), harness, harness.prepare, PILOT / "workload" / "score.py")


@pytest.fixture(scope="session")
def honest_verdicts(prepared: Prepared) -> dict[str, CriterionVerdict]:
    return prepared.judge(prepared.honest, folder="honest")
