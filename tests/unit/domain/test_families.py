"""Families that a sandbox brings itself are held to the same form as the lab's."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from livinglab.domain.errors import Invalid
from livinglab.domain.families import FAMILIES
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.tasks import TaskFamily

ROOT = Path(__file__).resolve().parents[3]
METRIC = {"name": "share", "title": "A share", "better": "higher", "source": "for tests"}
ID = {"name": "id", "kind": "id", "meaning": "whom"}
BATCH: dict[str, Any] = {"name": "own", "title": "Of its own", "inputs": {}, "output": "answers", "columns": [ID], "metrics": [METRIC]}
NUMBER = {"name": "force", "kind": "number", "low": 0, "high": 1, "meaning": "how hard"}
INTERACTIVE: dict[str, Any] = {
    "name": "own",
    "title": "Of its own",
    "inputs": {},
    "protocol": "livinglab.step/1",
    "actions": [NUMBER],
    "metrics": [METRIC],
}


def turns(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load((ROOT / "tests/sandboxes/turns/sandbox.yaml").read_text()), **changes}


@pytest.mark.parametrize("family", [BATCH, INTERACTIVE])
def test_both_kinds_are_families(family: dict[str, Any]) -> None:
    assert TaskFamily.model_validate(family).interactive is ("protocol" in family)


@pytest.mark.parametrize(("family", "why"), [
    (BATCH | {"protocol": "livinglab.step/1"}, "either one of batch"),
    ({**BATCH, "output": None}, "either one of batch"),
    (BATCH | {"columns": []}, "one column of kind `id`"),
    (BATCH | {"columns": [ID, {**ID, "name": "other"}]}, "one column of kind `id`"),
    (BATCH | {"actions": [NUMBER]}, "a batch family has none"),
    (INTERACTIVE | {"actions": []}, "has `actions`"),
    (INTERACTIVE | {"actions": [{**NUMBER, "kind": "text", "length": 3}]}, "which are numbers"),
    (INTERACTIVE | {"actions": [NUMBER, NUMBER]}, "defined twice: force"),
    (BATCH | {"metrics": [METRIC, METRIC]}, "defined twice: share"),
    (BATCH | {"metrics": []}, "at least 1 item"),
    (BATCH | {"columns": [ID, {**ID, "name": "note", "kind": "text"}]}, "a greatest `length`"),
    (BATCH | {"output": "../answers"}, "should match pattern"),
    (BATCH | {"columns": [{**ID, "kind": "blob"}]}, "'id', 'number' or 'text'"),
])  # fmt: skip
def test_what_is_no_family_is_refused_with_the_reason(family: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TaskFamily.model_validate(family)


def test_a_specification_brings_its_family_and_its_criteria_are_held_to_it() -> None:
    spec = SandboxSpec.model_validate(turns())
    assert spec.family.name == "doubling"
    with pytest.raises(Invalid, match="unknown metric 'speed'"):
        SandboxSpec.model_validate(turns(criteria=[{**turns()["criteria"][0], "metric": "speed"}]))


def test_a_sandbox_cannot_redefine_a_family_of_the_labs() -> None:
    with pytest.raises(Invalid, match="is a family of the lab's"):
        SandboxSpec.model_validate(turns(task={**turns()["task"], "name": "survival"}))


def test_the_harness_says_how_it_measures() -> None:
    with pytest.raises(Invalid, match="'doubling' is interactive"):
        SandboxSpec.model_validate(turns(harness={**turns()["harness"], "mode": "batch"}))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: str(f.name))
def test_the_labs_own_are_kept_as_data(family: TaskFamily) -> None:
    assert TaskFamily.model_validate_json(family.model_dump_json()) == family
    assert family.metric("completeness").high == 1
