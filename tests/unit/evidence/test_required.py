"""Required evidence in a dossier: its bytes are those whose digests both sides signed, all of them and no others."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.canonical import canonical, parse_json, sha256
from livinglab.evidence.verify import Report, verify
from tests.unit.evidence.conftest import Case, digest, make_case, make_plan, make_release
from tests.unit.evidence.test_forged import listed
from tests.unit.evidence.test_verify import found, names_in, repacked

CASE, LOG = b"# Safety case\n<script>alert(1)</script>\n", b"%PDF-1.7\n\x00\xff"
REQUIRED = [
    {"name": "safety-case", "title": "Safety case & <b>more", "must_hold": "What can go wrong, and what is done about it.",
     "media_types": ["text/markdown", "text/plain"]},
    {"name": "hazard-log", "title": "Hazard log", "must_hold": "Every hazard with its severity.", "media_types": ["application/pdf"]},
]  # fmt: skip
FROZEN = [{"name": "hazard-log", "media_type": "application/pdf", "digest": sha256(LOG)},
          {"name": "safety-case", "media_type": "text/markdown", "digest": sha256(CASE)}]  # fmt: skip
FILES = {"safety-case.md": CASE, "hazard-log.pdf": LOG}


def case_of(folder: Path, frozen: list[dict[str, Any]], required: list[dict[str, Any]] = REQUIRED) -> Case:
    release = make_release(required_evidence=required)
    made = make_case(folder, release, make_plan(release, documents=frozen))
    return replace(made, contents=replace(made.contents, required=dict(FILES)))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_of(tmp_path, FROZEN)


def test_a_dossier_with_what_was_required_holds_and_says_what_that_is(case: Case) -> None:
    report = case.check()
    assert report.ok, report.problems
    assert report.facts["required evidence"] == {"hazard-log": sha256(LOG), "safety-case": sha256(CASE)}
    assert {"required/safety-case.md", "required/hazard-log.pdf"} <= set(names_in(case.write()))


def test_its_page_names_the_documents_and_renders_none_of_them(case: Case) -> None:
    pages: dict[str, bytes] = {}
    repacked(case.write(), pages.update)
    page = pages["report.html"].decode()
    assert "Safety case &amp; &lt;b&gt;more (text/markdown)" in page
    assert sha256(CASE) in page
    assert "<script>" not in page
    formats = {item["@id"]: item.get("encodingFormat") for item in parse_json(pages["ro-crate-metadata.json"])["@graph"]}
    assert (formats["required/safety-case.md"], formats["required/hazard-log.pdf"]) == ("text/markdown", "application/pdf")


def renamed(files: dict[str, bytes]) -> None:
    files["required/safety-case.txt"] = files.pop("required/safety-case.md")


def swapped(files: dict[str, bytes]) -> None:
    files["required/safety-case.md"], files["required/hazard-log.pdf"] = files["required/hazard-log.pdf"], files["required/safety-case.md"]


Change = Callable[[dict[str, bytes]], object]


@pytest.mark.parametrize(("change", "where", "what"), [
    (lambda files: files.update({"required/safety-case.md": CASE + b" "}), "required/safety-case.md", "not those that the plan froze"),
    (lambda files: files.update({"required/safety-case.md": b""}), "required/safety-case.md", "not those that the plan froze"),
    (lambda files: files.pop("required/safety-case.md"), "required/safety-case.md", "it is missing: the plan froze it"),
    (lambda files: files.update({"required/praise.md": b"# Good"}), "required/praise.md", "the plan froze no such document"),
    (lambda files: files.update({"required/safety-case.md/x": b"# Good"}), "required/safety-case.md/x", "the plan froze no such document"),
    (lambda files: files.update({"required/": b""}), "required/", "not a plain file"),
    (lambda files: files.update({"documents/safety-case.md": CASE}), "documents/safety-case.md", "no signed statement names it"),
    (renamed, "required/safety-case.txt", "the plan froze no such document"), (renamed, "required/safety-case.md", "it is missing"),
    (swapped, "required/hazard-log.pdf", "not those that the plan froze"), (swapped, "required/safety-case.md", "not those that the plan froze"),
])  # fmt: skip
def test_documents_that_were_changed_added_or_taken_are_noticed_even_where_the_manifest_lists_them(
    case: Case, change: Change, where: str, what: str
) -> None:
    report = listed(case, change)
    assert found(report, where, what), report.problems


def withholding(case: Case, **digests: str) -> Report:
    kept = {file: data for file, data in FILES.items() if f"required/{file}" not in digests}
    return case.check(replace(case.contents, required=kept, withheld={**case.contents.withheld, **digests}))


def test_what_is_withheld_is_shown_with_the_digest_that_was_signed(case: Case) -> None:
    report = withholding(case, **{"required/safety-case.md": sha256(CASE)})
    assert report.ok, report.problems
    assert report.facts["withheld"] == 2
    assert found(withholding(case, **{"required/safety-case.md": digest("x")}), "withheld.json", "is not the one that the plan froze")
    assert found(withholding(case, **{"required/praise.md": digest("x")}), "withheld.json", "which the plan did not freeze")


@pytest.mark.parametrize(("frozen", "what"), [
    (FROZEN[:1], "it froze no document 'safety-case', which the specification requires"),
    ([], "it froze no document 'hazard-log', which the specification requires"),
    ([*FROZEN, {**FROZEN[0], "name": "praise"}], "it froze a document 'praise', which the specification does not know"),
    ([FROZEN[0], {**FROZEN[1], "media_type": "application/json"}], "as application/json, which the specification does not take"),
    ([*FROZEN, {**FROZEN[1], "media_type": "text/plain"}], "it froze 'safety-case' more than once"),
])  # fmt: skip
def test_a_plan_that_both_sides_signed_without_what_the_specification_requires_is_noticed(
    tmp_path: Path, frozen: list[dict[str, Any]], what: str
) -> None:
    report = case_of(tmp_path, frozen).check()
    assert found(report, "plan.json", what), report.problems


def test_a_specification_that_requires_nothing_any_more_is_noticed(case: Case) -> None:
    release = parse_json(case.contents.release)
    del release["spec"]["required_evidence"]
    report = case.check(replace(case.contents, release=canonical(release)))
    assert found(report, "plan.json", "which the specification does not know")
    assert found(report, "release.json", "not the release that the plan names")


def test_a_digest_in_the_plan_that_was_changed_is_one_that_nobody_signed(case: Case) -> None:
    plan = parse_json(case.contents.plan)
    plan["documents"][1]["digest"] = sha256(b"# Better")
    report = case.check(replace(case.contents, plan=canonical(plan), required={**FILES, "safety-case.md": b"# Better"}))
    assert found(report, "plan.json", "no trusted key signed it for the participant")


@pytest.mark.parametrize(
    "documents", [5, [5], [{}], {"a": 1}, [{**FROZEN[0], "name": "../../etc/passwd"}], [{**FROZEN[0], "media_type": "text/html"}]]
)
def test_a_plan_whose_documents_make_no_sense_is_a_problem_and_never_an_exception(case: Case, documents: Any) -> None:
    plan = parse_json(case.contents.plan) | {"documents": documents}

    def spoil(files: dict[str, bytes]) -> None:
        files["plan.json"] = canonical(plan)

    report = verify(repacked(case.write(), spoil), case.policy)
    assert any(re.search("understood", p.what) for p in report.problems), report.problems
