"""Change, remove or reorder anything: it says what, and where."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livinglab.domain.canonical import canonical, parse_json, sha256
from livinglab.domain.errors import Invalid
from livinglab.evidence import dsse, statements
from livinglab.evidence.dossier import DossierContents
from livinglab.evidence.keys import new_key
from livinglab.evidence.ledger import Entry, make_entry
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import Report, verify
from tests.unit.evidence.conftest import AT, ATTEMPT, Case

MEASUREMENTS, VERDICT = f"{ATTEMPT}/measurements.json", f"{ATTEMPT}/verdict.json"


def found(report: Report, where: str, what: str = "") -> bool:
    return any(where in p.where and what in p.what for p in report.problems)


def test_an_honest_dossier_holds_and_tells_what_it_holds(case: Case) -> None:
    report = case.check(head=case.contents.ledger[-1].digest)
    assert report.ok, report.problems
    assert report.facts["signed by"] == {"participant": "startup", "authority": "ministry"}
    assert report.facts["attempts"] == {
        ATTEMPT: {"ordinal": 1, "isolated": True, "verdict": "PASS", "state": "completed", "seen dead": AT.isoformat()}}  # fmt: skip
    assert report.facts["visibility"] == "demonstration"
    assert "none was given" in case.check().facts["head"]


def test_the_same_contents_are_the_same_bytes(case: Case) -> None:
    first = case.write().read_bytes()
    assert case.write().read_bytes() == first


def documents(case: Case, name: str, change: Callable[[Any], Any]) -> DossierContents:
    changed = canonical(change(parse_json(case.contents.documents[name])))
    return replace(case.contents, documents={**case.contents.documents, name: changed})


def better(measurements: dict[str, Any]) -> dict[str, Any]:
    measurements["measurements"][2]["interval"] |= {"lower": 0.995, "upper": 1.005}
    return measurements


def test_an_edited_measurement_is_noticed(case: Case) -> None:
    report = case.check(documents(case, MEASUREMENTS, better))
    assert found(report, f"documents/{MEASUREMENTS}", "no signed statement names these contents")
    assert found(report, "ledger entry 11", "the verdict does not follow")


def test_an_edited_verdict_is_noticed(case: Case) -> None:
    report = case.check(documents(case, VERDICT, lambda v: {**v, "verdict": "FAIL"}))
    assert found(report, f"documents/{VERDICT}", "no signed statement names these contents")


def test_a_document_that_nobody_signed_is_noticed(case: Case) -> None:
    report = case.check(replace(case.contents, documents={**case.contents.documents, f"{ATTEMPT}/praise.json": b"{}"}))
    assert found(report, f"documents/{ATTEMPT}/praise.json", "no signed statement names it")


def test_criteria_that_were_softened_are_noticed(case: Case) -> None:
    release = parse_json(case.contents.release)
    release["spec"]["criteria"][1]["threshold"] = 0.5
    report = case.check(replace(case.contents, release=canonical(release)))
    assert found(report, "release.json", "not the release that the plan names")
    assert found(report, "release.json", "not those that the plan froze")


def test_another_plan_is_noticed(case: Case) -> None:
    plan = parse_json(case.contents.plan) | {"objectives": ["something else"]}
    report = case.check(replace(case.contents, plan=canonical(plan)))
    assert found(report, "ledger entry 1", "not the agreement")
    assert found(report, "plan.json", "no trusted key signed it for the participant")
    assert found(report, "ledger entry 5", "under another plan")


@pytest.mark.parametrize("number", range(13))
def test_an_entry_that_is_gone_is_noticed(case: Case, number: int) -> None:
    entries = [e for i, e in enumerate(case.contents.ledger) if i != number]
    report = case.check(replace(case.contents, ledger=entries))
    assert not report.ok
    assert found(report, "inclusion.json") or found(report, f"ledger entry {number}")


@pytest.mark.parametrize("number", range(12))
def test_entries_in_another_order_are_noticed(case: Case, number: int) -> None:
    entries = list(case.contents.ledger)
    entries[number], entries[number + 1] = entries[number + 1], entries[number]
    report = case.check(replace(case.contents, ledger=entries))
    assert found(report, f"ledger entry {number}", "missing, added or out of order")


def test_an_entry_twice_is_noticed(case: Case) -> None:
    entries = [*case.contents.ledger[:6], *case.contents.ledger[5:]]
    assert found(case.check(replace(case.contents, ledger=entries)), "ledger entry 6", "does not follow")


@pytest.mark.parametrize("number", range(13))
def test_another_body_is_noticed(case: Case, number: int) -> None:
    entries = list(case.contents.ledger)
    entries[number] = replace(entries[number], body=entries[number].body.replace(b"1", b"2"))
    assert found(case.check(replace(case.contents, ledger=entries)), f"ledger entry {number}", "its body is not the one")


def rebuilt(case: Case, change: Callable[[list[dict[str, Any]], list[bytes]], None]) -> DossierContents:
    """The chain again from changed headers and bodies, hashes and all: only signatures and checkpoint can tell."""
    headers, bodies = [e.header for e in case.contents.ledger], [e.body for e in case.contents.ledger]
    change(headers, bodies)
    entries: list[Entry] = []
    for header, body in zip(headers, bodies, strict=True):
        previous = entries[-1].digest if entries else header["previous"]
        kept = {k: header[k] for k in ("chain", "kind", "media_type", "run", "attempt")}
        entries.append(make_entry(**kept, sequence=len(entries), previous=previous, body=body, at=AT + timedelta(seconds=len(entries))))
    return replace(case.contents, ledger=entries)


def test_a_chain_that_was_made_anew_is_noticed_by_signatures_and_checkpoint(case: Case) -> None:
    def drop_the_isolation(headers: list[dict[str, Any]], bodies: list[bytes]) -> None:
        del headers[6], bodies[6]

    report = case.check(rebuilt(case, drop_the_isolation))
    assert found(report, "ledger entry 6", "its statement is bound to sequence 7")
    assert found(report, "inclusion.json", "not under the signed checkpoint")
    assert found(report, f"attempt {ATTEMPT}", "its isolation was not proven")


def test_a_statement_of_the_labs_by_another_key_is_noticed(case: Case) -> None:
    payload = dsse.parse(case.contents.ledger[11].body)[0]

    def forge(_headers: list[dict[str, Any]], bodies: list[bytes]) -> None:
        bodies[11] = case.keys["participant"].sign(payload, dsse.IN_TOTO)

    assert found(case.check(rebuilt(case, forge)), "ledger entry 11", "no signature of a known key holds")


def test_a_party_cannot_make_a_transition_state_a_verdict(case: Case) -> None:
    def pretend(headers: list[dict[str, Any]], bodies: list[bytes]) -> None:
        headers[11]["media_type"], bodies[11] = dsse.IN_TOTO, dsse.parse(bodies[11])[0]

    assert found(case.check(rebuilt(case, pretend)), "ledger entry 11", "may only be a transition")


def test_cutting_off_the_end_is_noticed_with_the_head_and_by_the_checkpoint(case: Case) -> None:
    cut = replace(case.contents, ledger=case.contents.ledger[:-1])
    assert found(case.check(cut, head=case.contents.ledger[-1].digest), "ledger", "entries are missing at the end")
    assert found(case.check(cut), "inclusion.json", "not under the signed checkpoint")


def policy_with(case: Case, of: str, **changes: Any) -> TrustPolicy:
    return TrustPolicy({k: replace(key, **changes) if key.role == of else key for k, key in case.policy.keys.items()})


def test_a_key_that_was_revoked_before_is_not_trusted(case: Case) -> None:
    report = case.check(policy=policy_with(case, "lab", valid_until=AT))
    assert found(report, "ledger entry 5", "was not to be trusted")
    assert found(report, "checkpoint.dsse.json", "no checkpoint of a lab that is trusted")
    assert found(case.check(policy=policy_with(case, "authority", valid_from=AT + timedelta(days=1))), "ledger entry 2", "was not to be trusted")


def test_a_key_in_another_role_is_not_trusted_for_this_one(case: Case) -> None:
    report = case.check(policy=policy_with(case, "authority", role="lab"))
    assert found(report, "plan.json", "no trusted key signed it for the authority")


def test_a_key_of_another_organisation_does_not_sign_for_this_one(case: Case) -> None:
    assert found(case.check(policy=policy_with(case, "participant", organisation="rival")), "ledger entry 1", "it is signed by rival")


def test_one_key_under_two_ids_is_one_key(case: Case) -> None:
    pem = case.keys["lab"].public_pem
    payload, signature = b"{}", case.keys["lab"].private.sign(dsse.pae(dsse.IN_TOTO, b"{}"))
    envelope = json.loads(dsse.envelope(payload, dsse.IN_TOTO, "one", signature))
    envelope["signatures"].append({**envelope["signatures"][0], "keyid": "two"})
    assert len(dsse.open_envelope(json.dumps(envelope).encode(), {"one": pem, "two": pem})[1]) == 1
    with pytest.raises(Invalid, match="twice"):
        TrustPolicy.of([TrustedKey(pem, "lab", "a"), TrustedKey(pem, "authority", "b")])


def test_a_policy_says_which_of_its_keys_cannot_be_used(case: Case, tmp_path: Path) -> None:
    path, small = tmp_path / "trust.json", case.policy.dump()
    for change, what in (({"pem": "nothing"}, r"keys\[1\]: .*not a public key"), ({"role": "king"}, r"keys\[1\]: unknown role 'king'")):
        document = json.loads(small)
        document["keys"][1] |= change
        path.write_text(json.dumps(document))
        with pytest.raises(Invalid, match=what):
            TrustPolicy.load(path)


def repacked(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_a_file_more_or_a_file_less_is_noticed(case: Case) -> None:
    for name in names_in(case.write()):
        report = verify(repacked(case.write(), lambda files, name=name: files.pop(name)), case.policy)  # type: ignore[misc]
        assert not report.ok, name
    report = verify(repacked(case.write(), lambda files: files.update({"extra.txt": b"x"})), case.policy)
    assert found(report, "extra.txt", "does not belong here")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_noticed(case: Case, data: st.DataObject) -> None:
    path = case.write()
    name = data.draw(st.sampled_from(names_in(path)))

    def flip(files: dict[str, bytes]) -> None:
        place = data.draw(st.integers(0, len(files[name]) - 1))
        changed = bytearray(files[name])
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        files[name] = bytes(changed)

    report = verify(repacked(path, flip), case.policy)
    assert not report.ok, name
    assert any(name in p.where or "ledger" in p.where or "manifest" in p.where for p in report.problems) or report.problems


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/../../b", "folder/"])
def test_names_that_lead_out_are_refused(case: Case, name: str) -> None:
    assert found(verify(repacked(case.write(), lambda files: files.update({name: b"x"})), case.policy), name, "not a plain file")


def test_links_names_given_twice_and_bombs_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    path = case.write()
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/shadow")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("plan.json", b"{}")
    report = verify(path, case.policy)
    assert found(report, "link", "not a plain file")
    assert found(report, "plan.json", "twice")
    bomb = repacked(case.write(), lambda files: files.update({"zeros": bytes(8 << 20)}))
    assert bomb.stat().st_size < 1 << 20
    monkeypatch.setattr("livinglab.evidence.archive.MAX_BYTES", 4 << 20)
    assert found(verify(bomb, case.policy), "zeros", "unpacks to more than")


@pytest.mark.parametrize("data", [b"", b"PK", b"[]", b"\x00" * 100])
def test_rubbish_is_a_problem_and_never_an_exception(case: Case, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rubbish.zip"
    path.write_bytes(data)
    assert not verify(path, case.policy).ok
    for name in ("plan.json", "checkpoint.dsse.json", "ledger.json-seq", "inclusion.json", "release.json"):

        def spoil(files: dict[str, bytes], name: str = name) -> None:
            files[name] = data
            files["manifest.json"] = canonical({n: {"size": len(d), "sha256": sha256(d)} for n, d in files.items() if n != "manifest.json"})

        assert not verify(repacked(case.write(), spoil), case.policy).ok


def test_what_is_withheld_is_shown_with_the_digest_that_was_signed(case: Case) -> None:
    kept = {n: d for n, d in case.contents.documents.items() if n != MEASUREMENTS}
    withheld = {**case.contents.withheld, MEASUREMENTS: sha256(case.contents.documents[MEASUREMENTS])}
    report = case.check(replace(case.contents, documents=kept, withheld=withheld))
    assert report.ok, report.problems
    assert "not replayed" in report.facts["attempts"][ATTEMPT]["verdict"]
    lied = replace(case.contents, documents=kept, withheld={**withheld, MEASUREMENTS: sha256(b"other")})
    assert found(case.check(lied), "withheld.json", "not the one that was signed")


def test_a_second_lab_cannot_speak_for_this_one(case: Case, tmp_path: Path) -> None:
    stranger = new_key(tmp_path / "stranger.pem")
    policy = TrustPolicy.of([TrustedKey(stranger.public_pem, "lab", "elsewhere"), *(k for k in case.policy.keys.values() if k.role != "lab")])
    report = case.check(policy=policy)
    assert found(report, "ledger entry 5", "no signature of a known key holds")
    assert found(report, "checkpoint.dsse.json")


def test_statements_are_in_toto_statements(case: Case) -> None:
    payload = dsse.parse(case.contents.ledger[5].body)[0]
    statement = statements.parse_statement(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert all(set(s) == {"name", "digest"} for s in statement["subject"])
