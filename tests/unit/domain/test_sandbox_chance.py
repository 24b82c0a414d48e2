"""A specification says how a deserving model fares, by these very criteria."""

import csv
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from livinglab.domain.errors import Invalid
from livinglab.domain.sandbox import SandboxSpec
from tests.labs import ROOT

MEDICINE = ROOT / "sandboxes" / "medicine"


def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((MEDICINE / "sandbox.yaml").read_text())
    return found


@pytest.mark.parametrize("name", ["medicine", "fintech"])
def test_a_sandbox_states_what_was_simulated(name: str) -> None:
    folder = ROOT / "sandboxes" / name
    spec = SandboxSpec.model_validate(yaml.safe_load((folder / "sandbox.yaml").read_text()))
    rows = list(csv.DictReader((folder / "chance.csv").read_text().splitlines()))
    simulated = [(float(r["PASS"]), float(r["INCONCLUSIVE"]), float(r["FAIL"])) for r in rows if r["criterion"] == "(all gates)"]
    assert [(c.passes, c.inconclusive, c.fails) for c in spec.chance] == simulated
    assert {r["criterion"] for r in rows} == {"(all gates)", *(c.id for c in spec.criteria)}


def test_criteria_that_changed_must_be_simulated_again() -> None:
    changed = document()
    changed["criteria"][2]["threshold"] = 0.76
    with pytest.raises((Invalid, ValidationError), match=r"simulated for other criteria than these, whose digest is sha256:"):
        SandboxSpec.model_validate(changed)


def test_shares_are_shares() -> None:
    changed = document()
    changed["chance"][0]["passes"] = 1.4
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        SandboxSpec.model_validate(changed)
