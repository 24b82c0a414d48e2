"""Forgeries by those who hold a dossier, and by a lab that signs what does not follow: the chain is made anew each time, and all of it is signed."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.canonical import canonical, parse_json, sha256
from livinglab.evidence import dsse, merkle, statements
from livinglab.evidence.dossier import DossierContents
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.ledger import GENESIS, Entry, Problem, make_entry
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import Report, verify
from livinglab.services.sealing import blind
from tests.unit.evidence.conftest import AT, ATTEMPT, DSSE, Case, digest
from tests.unit.evidence.test_verify import found, repacked

# --- a middleman: no key at all -----------------------------------------------------------------------------------------


def listed(case: Case, change: Callable[[dict[str, bytes]], object]) -> Report:
    """The archive with other files, and a manifest that lists them as they are."""

    def both(files: dict[str, bytes]) -> None:
        change(files)
        files["manifest.json"] = canonical({n: {"size": len(d), "sha256": sha256(d)} for n, d in files.items() if n != "manifest.json"})

    return verify(repacked(case.write(), both), case.policy)


@pytest.mark.parametrize(
    "name", ["praise.html", "PLAN.JSON", "ledger/000099.body.json", "ledger/note.txt", "./plan.json", "keys/lab.pem", "plan.json "]
)
def test_a_file_that_no_dossier_has_is_noticed_even_where_the_manifest_lists_it(case: Case, name: str) -> None:
    assert found(listed(case, lambda files: files.update({name: b"{}"})), name, "it does not belong here")


def test_a_key_under_the_name_of_another_is_noticed(case: Case, tmp_path: Path) -> None:
    name = f"keys/{case.keys['lab'].key_id}.pem"
    report = listed(case, lambda files: files.update({name: new_key(tmp_path / "stranger.pem").public_pem}))
    assert found(report, name, "not the key that its name says")


@pytest.mark.parametrize(("name", "data"), [("report.html", b"<h1>PASS</h1>"), ("ro-crate-metadata.json", b"{}")])
def test_a_page_that_says_something_else_than_the_evidence_is_noticed(case: Case, name: str, data: bytes) -> None:
    assert found(listed(case, lambda files: files.update({name: data})), name, "not what this version of the lab makes of the evidence")


def test_documents_that_are_neither_there_nor_withheld_are_noticed(case: Case) -> None:
    without = {name: data for name, data in case.contents.documents.items() if "isolation" in name}
    report = case.check(replace(case.contents, documents=without))
    assert found(report, f"documents/{ATTEMPT}/verdict.json", "it is missing")
    assert found(report, f"documents/{ATTEMPT}/measurements.json", "it is missing")


def test_withheld_documents_of_an_attempt_that_never_was_are_noticed(case: Case) -> None:
    report = case.check(replace(case.contents, withheld={**case.contents.withheld, "run-9.1/verdict.json": digest("x")}))
    assert found(report, "withheld.json", "run-9.1/verdict.json")


def stored(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("change", [
    lambda data: stored(other=b"x")[:36] + data,  # a file before, for programs that read from the start
    lambda data: data + b"x" * 50, lambda data: data[:-2] + b"\4\0<b>!", lambda data: data.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\0\x08", 1),
    lambda data: data[:14] + b"\0\0\0\0" + data[18:],  # another checksum in the file's own header
])  # fmt: skip
def test_an_archive_in_which_other_programs_see_other_files_is_refused(case: Case, change: Callable[[bytes], bytes]) -> None:
    path = case.write()
    path.write_bytes(change(path.read_bytes()))
    assert found(verify(path, case.policy), "dossier.zip", "")


def test_an_unusual_compression_is_refused_and_raises_nothing(case: Case) -> None:
    path = case.write()
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        broken = bytearray(path.read_bytes())
        broken[60:75] = b"\xff" * 15
        path.write_bytes(broken)
        assert found(verify(path, case.policy), "plan.json", "not a plain file")


def test_what_a_stranger_wrote_does_not_move_the_cursor() -> None:
    assert str(Problem("\x1b[2J\u202eok", "\ud800 ü\n✓ holds")) == "\\x1b[2J\\u202eok: \\ud800 ü\\n✓ holds"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), '{"a": 1}'.encode("utf-32-le"), b'{"a": NaN}', b'{"a": -Infinity}',
                                  b'"\xed\xa0\x80"'])  # fmt: skip
def test_json_that_others_would_read_otherwise_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|utf-8|Expecting|BOM"):
        parse_json(data)


# --- a lab that lies: its own key, over a chain made to order ---------------------------------------------------------------


@dataclass
class Draft:
    """An entry before it is made: statements as predicate and subjects, envelopes of the parties as they came."""

    kind: str
    run: str | None
    attempt: str | None
    predicate: dict[str, Any] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    envelope: bytes = b""
    at: datetime | None = None


def drafts_of(case: Case) -> list[Draft]:
    drafts = []
    for entry in case.contents.ledger:
        header, draft = entry.header, Draft(entry.header["kind"], entry.header["run"], entry.header["attempt"])
        signed = header["media_type"] == DSSE
        if draft.kind == "plan-signed":
            draft.envelope = entry.body
        else:
            statement = parse_json(dsse.parse(entry.body)[0] if signed else entry.body)
            draft.predicate = statement["predicate"]
            draft.about = {s["name"]: "sha256:" + s["digest"]["sha256"] for s in statement["subject"]}
        drafts.append(draft)
    return drafts


def made(case: Case, drafts: list[Draft], signer: KeySigner | None = None) -> DossierContents:
    """A chain of these, under a checkpoint: every hash and every signature is right."""
    lab, entries, plan = signer or case.keys["lab"], list[Entry](), case.contents.ledger[0].header["chain"]
    for number, d in enumerate(drafts):
        previous = entries[-1].digest if entries else GENESIS
        binding = {"chain": plan, "sequence": number, "previous": previous, "plan": plan, "run": d.run, "attempt": d.attempt}
        body, media_type = d.envelope, DSSE
        if d.kind in statements.KINDS:
            body = lab.sign(statements.lab_statement(kind=d.kind, about=d.about, predicate=d.predicate, binding=binding), dsse.IN_TOTO)
        elif not body:
            body, media_type = statements.transition(kind=d.kind, data=d.predicate.get("data", {}), binding=binding), dsse.IN_TOTO
        at = d.at or AT + timedelta(seconds=number)
        entries.append(make_entry(chain=plan, sequence=number, previous=previous, kind=d.kind, media_type=media_type, body=body, run=d.run,
                                  attempt=d.attempt, at=at))  # fmt: skip
    leaf = blind(b"s", entries[-1].digest)
    checkpoint = case.keys["lab"].sign(statements.checkpoint(size=1, root=merkle.root([leaf]).hex(), at=AT + timedelta(hours=1)), dsse.IN_TOTO)
    return replace(case.contents, ledger=entries, checkpoint=checkpoint, leaf_index=0, leaf_salt=b"s", proof=[])


Change = Callable[[list[Draft]], object]


def lie(case: Case, change: Change) -> Report:
    drafts = drafts_of(case)
    change(drafts)
    return case.check(made(case, drafts))


def without(*numbers: int) -> Change:
    def change(drafts: list[Draft]) -> None:
        drafts[:] = [d for i, d in enumerate(drafts) if i not in numbers]

    return change


def stating(number: int, **changes: Any) -> Change:
    return lambda drafts: drafts[number].predicate.update(changes)


def moved(number: int, to: int) -> Change:
    return lambda drafts: drafts.insert(to, drafts.pop(number))


def inserted(at: int, *kinds: str) -> Change:
    def change(drafts: list[Draft]) -> None:
        drafts[at:at] = [Draft(kind, None, None) for kind in kinds]

    return change


def test_the_honest_chain_made_anew_holds(case: Case) -> None:
    report = lie(case, lambda _drafts: None)
    assert report.ok, report.problems


PROPOSED, SIGNED, AGREED, QUEUED, ADMITTED, ISOLATED, EXECUTED, DECODED, MEASURING, MEASURED, JUDGED, OVER = 0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12


@pytest.mark.parametrize(("change", "where", "what"), [
    (without(ISOLATED), f"attempt {ATTEMPT}", "isolation was not proven"), (without(DECODED), f"attempt {ATTEMPT}", "isolation was not proven"),
    (without(MEASURING), f"attempt {ATTEMPT}", "isolation was not proven"),
    (stating(DECODED, holds=False), f"attempt {ATTEMPT}", "isolation was not proven"),
    (stating(DECODED, holds="yes"), f"attempt {ATTEMPT}", "isolation was not proven"),
    (stating(ISOLATED, role="decode"), f"attempt {ATTEMPT}", "isolation was not proven"),
    (moved(DECODED, JUDGED), "ledger entry 10", "before isolation was looked at"),
    (without(MEASURED), "ledger entry 10", "judges measurements that are not those"),
    (without(EXECUTED), "ledger entry 9", "is not what the pilot"), (without(ADMITTED), f"attempt {ATTEMPT}", "without having been admitted"),
    (without(ADMITTED, ISOLATED, EXECUTED, DECODED, MEASURING, MEASURED), f"attempt {ATTEMPT}", "without having been admitted"),
    (without(QUEUED), "ledger entry 4", "no run run-1 was asked for"), (stating(ADMITTED, ordinal=2), "ledger entry 5", "as number 2 before it"),
    (stating(QUEUED, data={"ordinal": 2}), "ledger", "the runs are numbered [2]"), (moved(QUEUED, ADMITTED), "ledger entry 4", "no run run-1"),
    (stating(ADMITTED, site="cellar"), "ledger entry 5", "the site 'cellar'"), (without(AGREED), "ledger entry 4", "the plan is not agreed"),
    (moved(SIGNED, OVER), "ledger entry 4", "the plan is not agreed"),
    (inserted(QUEUED, "plan-suspended"), "ledger entry 6", "the plan is not agreed"),
    (stating(MEASURED, hiddenData=digest("easy")), "ledger entry 10", "measures with hiddenData"),
    (stating(MEASURED, harness=digest("kind")), "ledger entry 10", "measures with harness"),
    (stating(MEASURED, replicates=1), "ledger entry 10", "replicates 1"),
    (stating(MEASURED, left={"pilot": digest("better")}), "ledger entry 10", "is not what the pilot"),
    (stating(MEASURED, measurements=digest("better")), "ledger entry 10", "names two different measurements"),
    (stating(EXECUTED, left={"pilot": digest("better")}), "ledger entry 7", "two different things that were left"),
    (stating(EXECUTED, image=digest("another")), "ledger entry 7", "the plan says"),
    (stating(OVER, verdict="FAIL"), "ledger entry 12", "claims the verdict FAIL"),
    (without(JUDGED), "ledger entry 11", "claims the verdict PASS"),
    (moved(JUDGED, OVER), f"attempt {ATTEMPT}", "something is stated after its outcome"),
    (stating(JUDGED, results=[]), "ledger entry 11", "per criterion do not follow"),
    (moved(MEASURED, JUDGED), f"attempt {ATTEMPT}", "once and in order"),
    (stating(OVER, state="failed"), "ledger entry 12", "what has a verdict is completed"),
    (stating(ADMITTED, measuredRuns=30), "ledger entry 5", "admits measuredRuns 30"),
    (lambda d: d[MEASURED].about.update({"measurements.json": digest("better")}), "ledger entry 11", "an earlier statement gives another digest"),
    (lambda d: d.insert(JUDGED, d[JUDGED]), f"attempt {ATTEMPT}", "once and in order"),
    (lambda d: setattr(d[ADMITTED], "at", AT + timedelta(days=365)), "ledger entry 5", "the plan is valid from"),
])  # fmt: skip
def test_what_a_lab_signs_and_does_not_follow_is_noticed(case: Case, change: Change, where: str, what: str) -> None:
    report = lie(case, change)
    assert found(report, where, what), report.problems


def test_a_plan_that_was_suspended_and_resumed_admits(case: Case) -> None:
    assert lie(case, inserted(QUEUED, "plan-suspended", "plan-agreed")).ok


def another_run(drafts: list[Draft], number: int) -> list[Draft]:
    """The run again as another one, up to its measurement; what it left is withheld."""
    again = []
    for d in drafts[QUEUED : MEASURED + 1]:
        predicate = json.loads(json.dumps(d.predicate)) | ({"ordinal": number} if d.kind == "admission" else {})
        if d.kind == "run-queued":
            predicate["data"]["ordinal"] = number
        again.append(replace(d, run=f"run-{number}", attempt=f"run-{number}.1" if d.attempt else None, predicate=predicate))
    return again


def test_more_measured_runs_than_the_plan_allows_are_noticed(case: Case) -> None:
    def with_runs(most: int) -> Report:
        drafts = drafts_of(case)
        drafts += [d for number in range(2, most + 1) for d in another_run(drafts, number)]
        contents = made(case, drafts)
        named = {f"{d.attempt}/{name}": value for d in drafts if d.attempt for name, value in d.about.items() if "." in name}
        return case.check(replace(contents, withheld={n: v for n, v in named.items() if n not in contents.documents}))

    assert with_runs(3).ok
    assert found(with_runs(4), "ledger", "4 runs were measured or count as such, and the plan allows 3")


def second_attempt(drafts: list[Draft], *, reused: str | None, tried_again: bool = True) -> list[Draft]:
    """The first attempt fails in its harness; the second measures what the first one's pilot left."""
    queued, admitted, isolated, executed = drafts[QUEUED : EXECUTED + 1]
    failed = replace(drafts[OVER], predicate=drafts[OVER].predicate | {"state": "failed", "verdict": None, "triedAgain": tried_again})
    again = [replace(admitted, predicate=admitted.predicate | {"reusedFrom": reused}), *drafts[DECODED:]]
    return [*drafts[:QUEUED], queued, admitted, isolated, executed, failed, *(replace(d, attempt="run-1.2") for d in again)]


def retried(case: Case, **how: Any) -> Report:
    contents = made(case, second_attempt(drafts_of(case), **how))
    pilots = f"{ATTEMPT}/isolation-pilot.json"
    documents = {n if n == pilots else n.replace("run-1.1", "run-1.2"): d for n, d in contents.documents.items()}
    return case.check(replace(contents, documents=documents))


def test_outputs_that_are_measured_again_are_those_that_the_first_attempt_left(case: Case) -> None:
    report = retried(case, reused=ATTEMPT)
    assert report.ok, report.problems
    assert report.facts["attempts"]["run-1.2"]["isolated"]
    assert found(retried(case, reused=None), "attempt run-1.2", "isolation was not proven")
    assert found(retried(case, reused=None), "ledger entry 12", "is not what the pilot of attempt run-1.2")
    assert found(retried(case, reused="run-7.1"), "ledger entry 9", "no attempt of this run")
    assert found(retried(case, reused=ATTEMPT, tried_again=False), "attempt run-1.2", "did not end in being tried again")


def test_an_attempt_that_is_left_out_is_noticed(case: Case) -> None:
    def rename(drafts: list[Draft]) -> None:
        for d in drafts:
            d.attempt = d.attempt and "run-1.2"

    assert found(lie(case, rename), "run run-1", "some are missing")


def test_an_organisation_that_agrees_with_itself_is_noticed(case: Case) -> None:
    plan = canonical(parse_json(case.contents.plan) | {"participant": "ministry"})
    drafts = drafts_of(case)
    for number, role in ((SIGNED, "participant"), (SIGNED + 1, "authority")):
        statement = statements.plan_signature(plan="pln-1", version=1, digest=sha256(plan), role=role, organisation="ministry")
        drafts[number].envelope = case.keys[role].sign(statement, dsse.IN_TOTO)
    drafts[ADMITTED].predicate["plan"] = drafts[ADMITTED].about["plan"] = drafts[OVER].about["plan"] = sha256(plan)
    policy = TrustPolicy({k: replace(key, organisation="ministry") if key.role == "participant" else key for k, key in case.policy.keys.items()})
    report = case.check(replace(made(case, drafts), plan=plan), policy=policy)
    assert [str(problem) for problem in report.problems] == ["plan.json: ministry is both sides of it"]


def test_a_second_lab_that_is_trusted_too_does_not_speak_for_the_first(case: Case, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other.pem")
    policy = TrustPolicy.of([*case.policy.keys.values(), TrustedKey(other.public_pem, "lab", "another-lab")])
    report = case.check(made(case, drafts_of(case), other), policy=policy)
    assert found(report, "ledger", "several labs signed it (another-lab, the-lab)")
