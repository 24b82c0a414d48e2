"""What a specification may require, and that requiring nothing changes nothing that was signed before."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from livinglab.domain.canonical import canonical, parse_json
from livinglab.domain.documents import MOST_BYTES, MediaType, check_content
from livinglab.domain.errors import Invalid
from livinglab.domain.sandbox import SandboxSpec
from tests.labs import TINY

CASE = {"name": "safety-case", "title": "Safety case", "must_hold": "What can go wrong, and what is done.", "media_types": ["text/markdown"]}


def document(*required: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((TINY / "sandbox.yaml").read_text())
    return {**found, "required_evidence": list(required)} if required else found


def test_a_specification_that_requires_nothing_keeps_its_bytes_and_criteria_keep_theirs_in_any_case() -> None:
    without, demanding = SandboxSpec.model_validate(document()), SandboxSpec.model_validate(document(CASE))
    assert "required_evidence" not in parse_json(canonical(without))
    assert parse_json(canonical(demanding))["required_evidence"][0]["max_bytes"] == 4 << 20
    assert without.digest != demanding.digest
    assert without.frozen_criteria().digest == demanding.frozen_criteria().digest
    assert SandboxSpec.model_validate_json(demanding.model_dump_json()) == demanding


@pytest.mark.parametrize(("change", "says"), [
    ({"name": "Safety Case"}, "required_evidence.0.name"), ({"media_types": []}, "required_evidence.0.media_types"),
    ({"media_types": ["text/html"]}, "required_evidence.0.media_types.0"), ({"max_bytes": 0}, "required_evidence.0.max_bytes"),
    ({"max_bytes": MOST_BYTES + 1}, "required_evidence.0.max_bytes"), ({"must_hold": "it"}, "required_evidence.0.must_hold"),
    ({"surprise": 1}, "required_evidence.0.surprise"),
])  # fmt: skip
def test_a_demand_that_nobody_could_meet_says_where(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SandboxSpec.model_validate(document({**CASE, **change}))


def test_a_document_is_demanded_once_and_criteria_name_what_is_demanded() -> None:
    with pytest.raises(Invalid, match=r"required_evidence\[1\].name: 'safety-case' is demanded twice"):
        SandboxSpec.model_validate(document(CASE, CASE))
    naming = document(CASE)
    naming["criteria"][1]["required_evidence"] = ["safety-case"]
    SandboxSpec.model_validate(naming)
    naming["criteria"][1]["required_evidence"] = ["safety-cases"]
    with pytest.raises(Invalid, match=r"criteria\[1\].required_evidence: unknown required evidence 'safety-cases'. Known: safety-case"):
        SandboxSpec.model_validate(naming)


@given(st.binary(min_size=1, max_size=200))
def test_text_that_is_taken_has_no_byte_that_a_terminal_obeys(data: bytes) -> None:
    try:
        check_content(data, MediaType.TEXT, where="x")
    except Invalid:
        return
    assert all(c in "\t\n\r" or c.isprintable() or ord(c) >= 0xA0 for c in data.decode())


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_ordinary_text_in_any_script_is_taken(text: str) -> None:
    check_content(text.encode(), MediaType.MARKDOWN, where="x")
