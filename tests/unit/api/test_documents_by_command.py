"""Required evidence by the commands that participants use, over the API as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from livinglab.cli.pilots import pilot as pilot_commands
from livinglab.cli.plans import plan as plan_commands
from livinglab.cli.plans import sign
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import Conflict, Invalid
from tests.unit.api.conftest import HAZARDS, SAFETY_CASE

TEXT = b"# Safety case\n"


@pytest.fixture
def spec(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "required_evidence": [SAFETY_CASE, HAZARDS]}


def test_a_pilot_shows_what_is_missing_then_what_is_attached_then_a_plan_freezes_it(
    livinglab: Any, pilot: dict[str, Any], startup: Any, tmp_path: Path
) -> None:
    (tmp_path / "case.md").write_bytes(TEXT)
    (tmp_path / "hazards").write_bytes(b"[]")
    shown = livinglab(pilot_commands, "show", pilot["id"]).output
    assert f"{pilot['id']} of startup is submitted in sandbox tiny." in shown
    assert "safety-case: missing. Safety case, text/markdown or application/pdf, at most 100000 bytes: Which hazards were found" in shown
    refused = livinglab(plan_commands, "propose", pilot["id"], "--objective", "to be tested")
    assert isinstance(refused.exception, Conflict)
    assert f"livinglab pilot attach {pilot['id']} NAME FILE" in str(refused.exception)

    attached = livinglab(pilot_commands, "attach", pilot["id"], "safety-case", tmp_path / "case.md")
    assert attached.output == f"safety-case of {pilot['id']} is {sha256(TEXT)} (14 bytes, text/markdown).\n"
    answer = livinglab(pilot_commands, "attach", pilot["id"], "hazard-log", tmp_path / "hazards", "--media-type", "application/json", "--json")
    assert json.loads(answer.output)["digest"] == sha256(b"[]")
    documents = json.loads(livinglab(pilot_commands, "show", pilot["id"], "--json").output)["documents"]
    assert [d["attached"]["digest"] for d in documents] == [sha256(TEXT), sha256(b"[]")]
    assert f"safety-case: {sha256(TEXT)} (14 bytes, text/markdown)" in livinglab(pilot_commands, "show", pilot["id"]).output

    frozen = f"It freezes safety-case (text/markdown) as {sha256(TEXT)}."
    assert frozen in livinglab(plan_commands, "propose", pilot["id"], "--objective", "to be tested").output
    (plan,) = startup.call("GET", "/v1/plans")["items"]
    assert sha256(TEXT) in livinglab(plan_commands, "show", plan["body"]["id"]).output
    assert frozen in livinglab(sign, plan["body"]["id"], "--key", tmp_path / "startup.pem", "--as", "participant").output


def test_a_file_that_is_too_large_or_whose_name_does_not_say_what_it_is_is_not_sent(livinglab: Any, pilot: dict[str, Any], tmp_path: Path) -> None:
    with (tmp_path / "film.md").open("wb") as file:
        file.truncate((16 << 20) + 1)
    assert "16777216" in str(livinglab(pilot_commands, "attach", pilot["id"], "safety-case", tmp_path / "film.md").exception)
    (tmp_path / "case.docx").write_bytes(TEXT)
    refused = livinglab(pilot_commands, "attach", pilot["id"], "safety-case", tmp_path / "case.docx")
    assert isinstance(refused.exception, Invalid)
    assert "does not say what it is (known: .md, .pdf, .txt, .json). Say it by --media-type." in str(refused.exception)
