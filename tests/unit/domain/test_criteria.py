"""Specifications that nothing could measure, or that no pilot could meet, are turned away with the place of the fault."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from livinglab.domain.canonical import canonical, digest_of, parse_json
from livinglab.domain.errors import Invalid
from livinglab.domain.sandbox import SandboxSpec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def document() -> dict[str, Any]:
    """The medicine sandbox, but for its chance: that is bound to its criteria, which are changed here."""
    spec: dict[str, Any] = yaml.safe_load((ROOT / "sandboxes" / "medicine" / "sandbox.yaml").read_text())
    return {**spec, "chance": []}


def criterion(document: dict[str, Any], id_: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in document["criteria"] if c["id"] == id_)
    return found


def test_the_medicine_sandbox_loads_and_every_criterion_says_where_it_comes_from(document: dict[str, Any]) -> None:
    spec = SandboxSpec.model_validate(document)
    assert len(spec.frozen_criteria().gates) >= 15
    assert all(c.source and c.rationale for c in spec.criteria)
    assert not any(c.basis == "law" for c in spec.criteria), "nothing in medicine here is law"


def test_a_digest_changes_with_every_field_and_with_the_number_of_measured_runs(document: dict[str, Any]) -> None:
    spec = SandboxSpec.model_validate(document)
    digests = {spec.frozen_criteria(k).digest for k in (1, 2, 3)}
    criterion(document, "discrimination")["threshold"] = 0.76
    assert len(digests | {SandboxSpec.model_validate(document).frozen_criteria(3).digest}) == 4


@pytest.mark.parametrize(("id_", "change", "where", "what"), [
    ("discrimination", {"metric": "uno_k"}, "criteria[2].metric", "unknown metric 'uno_k'. Known: uno_c"),
    ("discrimination", {"slice": "children"}, "criteria[2].slice", "unknown slice 'children'"),
    ("discrimination", {"direction": "at_most"}, "criteria[2].direction", "demand that a pilot be bad"),
    ("discrimination", {"threshold": 1.2}, "criteria[2].threshold", "outside what uno_c can be"),
    ("discrimination-women", {"id": "discrimination"}, "criteria[3].id", "already that of criteria[2]"),
    ("gain-over-age-and-sex", {"baseline": {"name": "magic", "margin": 0, "reason": "none at all"}}, "criteria[7].baseline", "unknown baseline"),
    ("gain-over-age-and-sex", {"baseline": None, "threshold": 0.1}, "criteria[7].baseline", "a difference to a baseline, and none is named"),
    ("gain-over-age-and-sex", {"metric": "uno_c"}, "criteria[7].baseline", "uno_c is no difference to a baseline"),
])  # fmt: skip
def test_unmeasurable_criteria_are_rejected_with_their_place(
    document: dict[str, Any], id_: str, change: dict[str, Any], where: str, what: str
) -> None:
    criterion(document, id_).update(change)
    with pytest.raises(Invalid) as caught:
        SandboxSpec.model_validate(document)
    assert caught.value.where == where
    assert what in str(caught.value)


def test_gates_that_exclude_each_other_are_rejected(document: dict[str, Any]) -> None:
    document["criteria"].append({**criterion(document, "calibration-in-the-large"), "id": "the-opposite", "threshold": {"low": 1.2, "high": 1.4}})
    with pytest.raises(Invalid, match="no value of observed_expected") as caught:
        SandboxSpec.model_validate(document)
    assert caught.value.where == f"criteria[{len(document['criteria']) - 1}]"


def test_two_methods_for_the_bounds_of_one_measurement_are_rejected(document: dict[str, Any]) -> None:
    document["criteria"].append({**criterion(document, "discrimination"), "id": "again", "interval": {"method": "influence-multiplier"}})
    with pytest.raises(Invalid, match="asks for another") as caught:
        SandboxSpec.model_validate(document)
    assert caught.value.where == f"criteria[{len(document['criteria']) - 1}].interval.method"


@pytest.mark.parametrize("change", [
    {"threshold": None}, {"threshold": {"low": 0.5, "high": 0.6}}, {"interval": {"method": "none"}}, {"interval": {"method": "guess"}},
    {"rationale": "no"}, {"unheard": 1}, {"threshold": float("nan")}, {"severity": "maybe"}, {"min_events": -1},
])  # fmt: skip
def test_malformed_criteria_are_rejected(document: dict[str, Any], change: dict[str, Any]) -> None:
    criterion(document, "discrimination").update(change)
    with pytest.raises(ValidationError):
        SandboxSpec.model_validate(document)


def test_canonical_json_round_trips_and_refuses_what_it_cannot_carry(document: dict[str, Any]) -> None:
    spec = SandboxSpec.model_validate(document)
    again = SandboxSpec.model_validate(parse_json(canonical(spec)))
    assert again.digest == spec.digest
    with pytest.raises(Invalid):
        digest_of({"seed": 2**53})
    with pytest.raises(ValueError, match="twice"):
        parse_json('{"a": 1, "a": 2}')
