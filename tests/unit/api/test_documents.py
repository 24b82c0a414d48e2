"""Required evidence over HTTP: what is taken, what is told to whom, and what a plan does to it."""

from typing import Any

import pytest

from livinglab.bootstrap import Lab
from livinglab.domain.canonical import sha256
from tests.unit.api.conftest import HAZARDS, SAFETY_CASE
from tests.unit.api.test_api import agree, request_run

TEXT = "# Safety case\n\nThe brakes hold — always.\n".encode()
LOG = b'{"hazards": []}'
PROPOSAL = {"objectives": ["to be tested"], "valid_from": "2020-01-01", "valid_until": "2099-12-31"}


@pytest.fixture
def spec(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "required_evidence": [SAFETY_CASE, HAZARDS]}


@pytest.fixture
def attach(startup: Any, pilot: dict[str, Any]) -> Any:
    def put(
        data: Any, media_type: str = "text/markdown", expected: int = 200, name: str = "safety-case", by: Any = startup, to: str = pilot["id"]
    ) -> Any:
        return by.call("PUT", f"/v1/pilots/{to}/documents/{name}", expected, content=data, headers={"Content-Type": media_type})

    return put


@pytest.fixture
def both(attach: Any) -> None:
    attach(TEXT)
    attach(LOG, "application/json", name="hazard-log")


def propose(by: Any, pilot: dict[str, Any], expected: int = 201) -> Any:
    return by.call("POST", "/v1/plans", expected, json={"pilot": pilot["id"], **PROPOSAL})


def kinds_on_chain(lab: Lab, pilot: dict[str, Any]) -> list[bytes]:
    with lab.store.transaction(read_only=True) as tx:
        return [row.entry for row in tx.ledger(pilot["id"])]


def test_what_is_attached_is_listed_and_read_byte_for_byte_and_never_rendered(attach: Any, startup: Any, pilot: dict[str, Any]) -> None:
    assert attach(TEXT) == {"name": "safety-case", "media_type": "text/markdown", "digest": sha256(TEXT), "size": len(TEXT)}
    listed = startup.call("GET", f"/v1/pilots/{pilot['id']}/documents")
    assert [(d["name"], d["attached"] and d["attached"]["digest"]) for d in listed] == [("safety-case", sha256(TEXT)), ("hazard-log", None)]
    assert listed[0]["must_hold"] == SAFETY_CASE["must_hold"]
    assert (listed[0]["max_bytes"], listed[1]["max_bytes"]) == (100_000, 4 << 20)
    read = startup.call("GET", f"/v1/pilots/{pilot['id']}/documents/safety-case")
    assert read.content == TEXT
    assert read.headers["content-type"] == "text/markdown; charset=utf-8"
    assert read.headers["content-disposition"] == 'attachment; filename="safety-case.md"'
    assert read.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in read.headers["content-security-policy"]
    assert read.headers["digest"] == sha256(TEXT)
    assert "has no document 'hazard-log'" in startup.call("GET", f"/v1/pilots/{pilot['id']}/documents/hazard-log", 404)["detail"]


@pytest.mark.parametrize(("name", "media_type", "data", "says"), [
    ("safety-case", "application/pdf", b"<html>", "it does not begin as a PDF does"), ("safety-case", "text/markdown", b"", "it is empty"),
    ("safety-case", "text/markdown", b"\xff\xfe#", "it is not UTF-8: byte 0"), ("safety-case", "text/markdown", b"a\x1b[2J", "U+001B at character 1"),
    ("safety-case", "text/markdown", b"ok\x00", "U+0000 at character 2"), ("safety-case", "text/markdown", "a\u009b2J".encode(), "U+009B"),
    ("safety-case", "text/markdown", b"\xed\xa0\x80", "it is not UTF-8"),
    ("safety-case", "text/html", b"<b>", "it is text/html, and must be text/markdown or application/pdf"),
    ("safety-case", "text/plain", b"ok", "it is text/plain, and must be"), ("safety-case", "", b"ok", "it is of no media type"),
    ("hazard-log", "application/json", b"{", "it is not JSON"), ("hazard-log", "application/json", b'{"a": 1, "a": 2}', "a key is given twice"),
    ("hazard-log", "application/json", b"[" * 100_000, "it is not JSON"), ("hazard-log", "application/json", b"NaN", "NaN is not JSON"),
    ("hazard-log", "application/json", '{"a": 1}'.encode("utf-16"), "it is not JSON"),
    ("hazard-lag", "application/json", b"{}", "unknown document 'hazard-lag'"),
])  # fmt: skip
def test_what_is_not_what_it_says_is_refused_and_leaves_nothing(
    lab: Lab, attach: Any, startup: Any, pilot: dict[str, Any], name: str, media_type: str, data: bytes, says: str
) -> None:
    blobs = sorted((lab.settings.home / "blobs").rglob("*"))
    assert says in attach(data, media_type, 422, name)["detail"]
    assert [d["attached"] for d in startup.call("GET", f"/v1/pilots/{pilot['id']}/documents")] == [None, None]
    assert sorted((lab.settings.home / "blobs").rglob("*")) == blobs


@pytest.mark.parametrize("data", [b"%PDF-1.7\n\xff\xfe", b"%PDF-2.0"])
def test_a_pdf_is_taken_by_how_it_begins(attach: Any, data: bytes) -> None:
    assert attach(data, "application/pdf")["media_type"] == "application/pdf"
    assert attach(data, "Application/PDF; version=1.7")["digest"] == sha256(data)


def test_a_document_is_bounded_by_the_specification_while_it_streams(lab: Lab, attach: Any) -> None:
    most = b"x" * 100_000
    assert attach(most)["size"] == 100_000, "more than other bodies may have"
    blobs = sorted((lab.settings.home / "blobs").rglob("*"))
    assert "100000" in attach(most + b"x", expected=413)["detail"]
    drawn = 0

    def endless() -> Any:
        nonlocal drawn
        while drawn < 200:
            drawn += 1
            yield b"x" * 65_536

    assert "100000" in attach(endless(), expected=413)["detail"]
    assert sorted((lab.settings.home / "blobs").rglob("*")) == blobs
    assert "16777216" in attach(b"x" * ((16 << 20) + 1), expected=413)["detail"], "no specification allows more"


def test_until_a_plan_it_is_replaced_and_each_change_is_on_the_pilots_chain_once(lab: Lab, attach: Any, startup: Any, pilot: dict[str, Any]) -> None:
    attach(b"# First")
    attach(b"# First")
    attach(TEXT)
    assert startup.call("GET", f"/v1/pilots/{pilot['id']}/documents/safety-case").content == TEXT
    kinds = kinds_on_chain(lab, pilot)
    assert [b"document-attached" in entry for entry in kinds] == [False, True, True]


def test_a_plan_is_not_proposed_without_what_is_required(attach: Any, startup: Any, authority: Any, pilot: dict[str, Any]) -> None:
    for side in (startup, authority):
        refused = propose(side, pilot, 409)
        assert "safety-case: Safety case is missing: Which hazards were found, and what is done about each of them." in refused["detail"]
        assert "hazard-log: Hazard log is missing" in refused["detail"]
        assert f"livinglab pilot attach {pilot['id']} NAME FILE" in refused["hint"]
    attach(TEXT)
    refused = propose(startup, pilot, 409)
    assert "safety-case" not in refused["detail"]
    assert "hazard-log" in refused["detail"]
    assert startup.call("GET", f"/v1/pilots/{pilot['id']}")["state"] == "submitted"


@pytest.mark.usefixtures("both")
def test_a_plan_freezes_the_digests_and_both_sides_sign_them(attach: Any, startup: Any, authority: Any, pilot: dict[str, Any]) -> None:
    plan = propose(startup, pilot)
    frozen = [{"name": "hazard-log", "media_type": "application/json", "digest": sha256(LOG)},
              {"name": "safety-case", "media_type": "text/markdown", "digest": sha256(TEXT)}]  # fmt: skip
    assert plan["body"]["documents"] == frozen
    assert authority.call("GET", f"/v1/plans/{plan['body']['id']}/body")["documents"] == frozen
    attach(TEXT)  # the same bytes are the same document
    refused = attach(b"# Another", expected=409)
    assert f"frozen by plan {plan['body']['id']}, which is proposed, as {sha256(TEXT)} (text/markdown)" in refused["detail"]
    assert "Propose an amended plan" in refused["hint"]
    agree(plan, startup, authority)
    assert "submit the pilot again" in attach(b"# Another", expected=409)["hint"]
    assert startup.call("GET", f"/v1/pilots/{pilot['id']}/documents/safety-case").content == TEXT
    request_run(startup, plan)


@pytest.mark.usefixtures("both")
def test_an_amended_plan_freezes_another_document(attach: Any, startup: Any, authority: Any, pilot: dict[str, Any]) -> None:
    first = propose(startup, pilot)
    assert f"has plan {first['body']['id']}, which is proposed" in propose(startup, pilot, 409)["detail"]
    authority.call("POST", f"/v1/plans/{first['body']['id']}/state", json={"state": "terminated", "reason": "the safety case is of another car"})
    attach(b"# Another")
    second = propose(startup, pilot)
    assert {d["name"]: d["digest"] for d in second["body"]["documents"]}["safety-case"] == sha256(b"# Another")
    assert agree(second, startup, authority)["state"] == "agreed"
    request_run(startup, second)
    startup.sign(first, "participant", 409)


@pytest.mark.usefixtures("both")
def test_what_a_newer_version_of_the_sandbox_demands_is_not_demanded_of_a_plan_before(
    attach: Any, startup: Any, authority: Any, pilot: dict[str, Any], manifest: dict[str, Any]
) -> None:
    plan = propose(startup, pilot)
    release = authority.call("GET", "/v1/sandboxes/tiny")["document"]
    release["spec"] |= {"version": 2, "required_evidence": [{**SAFETY_CASE, "media_types": ["application/pdf"]}]}
    authority.call("POST", "/v1/sandboxes", 201, json=release)
    assert [d["name"] for d in startup.call("GET", f"/v1/pilots/{pilot['id']}/documents")] == ["safety-case", "hazard-log"]
    agree(plan, startup, authority)
    request_run(startup, plan)
    another = startup.call("POST", "/v1/pilots", 201, json={"manifest": manifest, "image": pilot["image"]})
    assert "must be application/pdf" in attach(TEXT, expected=422, to=another["id"])["detail"]


def test_what_is_attached_must_be_what_the_newest_version_takes(attach: Any, startup: Any, authority: Any, pilot: dict[str, Any]) -> None:
    attach(TEXT)
    release = authority.call("GET", "/v1/sandboxes/tiny")["document"]
    for version, change, says in ((2, {"media_types": ["application/pdf"]}, "it is text/markdown, and must be application/pdf"),
                                  (3, {"max_bytes": 10}, f"it has {len(TEXT)} bytes, and may have 10")):  # fmt: skip
        release["spec"] |= {"version": version, "required_evidence": [{**SAFETY_CASE, **change}]}
        authority.call("POST", "/v1/sandboxes", 201, json=release)
        assert says in propose(startup, pilot, 409)["detail"]


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(("role", "status"), [("authority", 200), ("reviewer", 200), ("auditor", 200), ("operator", 403), ("participant", 404)])
def test_who_reads_a_document(door: Any, pilot: dict[str, Any], role: str, status: int) -> None:
    other = door("another", tiny=role)
    path = f"/v1/pilots/{pilot['id']}/documents"
    other.call("GET", f"{path}/safety-case", status)
    if status == 404:
        other.call("GET", path, 404)
    else:
        assert [d["attached"]["size"] for d in other.call("GET", path)] == [len(TEXT), len(LOG)]


@pytest.mark.parametrize("role", ["authority", "reviewer", "auditor", "operator"])
def test_only_its_own_participant_attaches(door: Any, attach: Any, role: str) -> None:
    attach(TEXT, by=door("another", tiny=role), expected=403)


def test_an_auditor_of_everything_that_is_participant_here_attaches_to_nobody_elses(attach: Any, door: Any) -> None:
    attach(TEXT, by=door("watcher", **{"*": "auditor", "tiny": "participant"}), expected=404)


def test_where_nothing_is_required_the_list_is_empty(door: Any, pilot: dict[str, Any], authority: Any, attach: Any, startup: Any) -> None:
    release = authority.call("GET", "/v1/sandboxes/tiny")["document"]
    release["spec"] |= {"version": 2, "required_evidence": []}
    authority.call("POST", "/v1/sandboxes", 201, json=release)
    assert startup.call("GET", f"/v1/pilots/{pilot['id']}/documents") == []
    assert "Known: none" in attach(TEXT, expected=422)["hint"]
    assert "documents" not in propose(startup, pilot)["body"], "a plan that freezes none has the bytes that it had before there were any"
