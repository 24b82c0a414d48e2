"""Checking a dossier with public keys alone: no server, no database, no network, and none of the lab's other parts.

Every problem says what and where. Hostile input is a problem too, never an exception.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from livinglab.domain.canonical import canonical, parse_json, sha256
from livinglab.domain.errors import EvidenceBroken, LivingLabError
from livinglab.domain.families import task_family
from livinglab.evidence import dossier as names
from livinglab.evidence import dsse, merkle, statements
from livinglab.evidence.archive import Unreadable, read_archive
from livinglab.evidence.attempts import Runs, Stated, Told
from livinglab.evidence.keys import key_id_of
from livinglab.evidence.ledger import GENESIS, Entry, Header, Problem, check_link, read_sequence
from livinglab.evidence.policy import PREDICATES, TrustPolicy
from livinglab.evidence.receipt import check_receipt
from livinglab.evidence.required import check_required

_KIND_OF = {predicate: kind for kind, predicate in statements.KINDS.items()}
_NEEDED = (names.PLAN, names.RELEASE, names.LEDGER, names.CHECKPOINT, names.PROOF, names.WITHHELD)
_FIXED = frozenset({*_NEEDED, names.PAGE, names.METADATA, names.MANIFEST})
_BOUND = itemgetter("chain", "sequence", "previous", "run", "attempt")
_NO_DOCUMENTS = frozenset({"plan", "pilot", "harness", "criteria"})
"""What statements are about, besides the documents of their attempt."""


@dataclass
class Report:
    """What was found. `facts` says what holds, for people; `problems` everything that does not."""

    problems: list[Problem] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing was wrong."""
        return not self.problems

    def add(self, where: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(where, what))


def verify(path: Path, policy: TrustPolicy, head: str | None = None, receipts: Iterable[bytes] = ()) -> Report:
    """Check everything that a dossier claims.

    Args:
        policy: whom to trust, from outside of the dossier.
        head: the digest of the chain's newest entry, if the reader has it from elsewhere. Without it, entries cut off at
            the end cannot be noticed, as long as what is left ends at an older checkpoint.
        receipts: what the lab gave at the end of runs; the chain must hold each.
    """
    report = Report()
    try:
        check = _Check(report, policy, read_archive(path, report.add))
        check.everything(head)
        report.problems += [problem for receipt in receipts for problem in check_receipt(receipt, check.entries)]
    except Unreadable:
        pass
    except (LivingLabError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        report.add(str(path), f"it is not a dossier that can be understood ({type(error).__name__}: {str(error)[:200]})")
    return report


class _Check:
    def __init__(self, report: Report, policy: TrustPolicy, files: dict[str, bytes]) -> None:
        self.report = report
        self.policy = policy
        self.files = files
        self.digests = {name: sha256(data) for name, data in files.items()}
        self.documents = {name.removeprefix("documents/"): data for name, data in files.items() if name.startswith("documents/")}
        self.keys = {role: policy.of_role(role) for role in PREDICATES}
        self.stated: list[Stated] = []
        """What the lab signed, in order."""
        self.kinds: list[str] = []
        """Of the chain's entries; empty where there is none."""
        self.labs: set[str] = set()
        """The organisations whose keys signed as the lab."""

    def everything(self, head: str | None) -> None:
        self._check_manifest()
        for name in _NEEDED:
            if name not in self.files:
                self.report.add(name, "it is missing")
        if any(p.what == "it is missing" for p in self.report.problems):
            raise Unreadable
        self.withheld = parse_json(self.files[names.WITHHELD])
        self.plan = parse_json(self.files[names.PLAN])
        self.plan_digest = self.digests[names.PLAN]
        self.release = parse_json(self.files[names.RELEASE])
        self.entries = self._entries()
        self._check_chain()
        self._check_plan()
        try:
            self._check_checkpoint()
        except EvidenceBroken as error:
            self.report.add(error.where or names.CHECKPOINT, error.what)
        if len(self.labs) > 1:
            self.report.add("ledger", f"several labs signed it ({', '.join(sorted(self.labs))}): one does not speak for another")
        self._check_runs()
        self._check_documents()
        self.report.problems += check_required(self.plan, self.release["spec"], self.files, self.withheld)
        self._check_head(head)
        self.report.facts["entries"] = len(self.entries)
        if self.plan.get("documents"):
            self.report.facts["required evidence"] = {d["name"]: d["digest"] for d in self.plan["documents"]}
        self.report.facts["visibility"] = self.release["spec"]["data"]["visibility"]
        self._check_names()
        self._check_pages()

    def _check_manifest(self) -> None:
        if self.files.get(names.MANIFEST) == names.manifest(self._besides(names.MANIFEST), self.digests):
            return  # made again, it is the same, so nothing is missing, added, changed or not canonical
        manifest = parse_json(self.files.get(names.MANIFEST, b"{}"))
        listed = {**manifest, names.MANIFEST: None}
        for name in sorted(set(listed) - set(self.files)):
            self.report.add(name, "it is missing")
        for name in sorted(set(self.files) - set(listed)):
            self.report.add(name, "it does not belong here: the manifest does not list it")
        for name, wanted in manifest.items():
            if name in self.files and self.digests[name] != wanted["sha256"]:
                self.report.add(name, "its contents are not those that the manifest lists")
        if canonical(manifest) != self.files.get(names.MANIFEST):
            self.report.add(names.MANIFEST, "it is missing, or not canonical")

    def _besides(self, *left_out: str) -> dict[str, bytes]:
        files = dict(self.files)
        for name in left_out:
            files.pop(name, None)
        return files

    def _check_names(self) -> None:
        """The manifest is signed by nobody, so what it lists is not thereby a part of the evidence."""
        keys = {f"keys/{key_id}.pem": key_id for key_id in self.policy.keys}
        for name, key_id in keys.items():
            if name in self.files and key_id_of(self.files[name]) != key_id:
                self.report.add(name, "it is not the key that its name says")
        for name in sorted(self.files.keys() - _FIXED - keys.keys()):
            if not name.startswith(("documents/", names.REQUIRED)):
                self.report.add(name, "it does not belong here: no part of a dossier, and no key of somebody trusted, has this name")

    def _check_pages(self) -> None:
        """What people and other programs read says what the evidence says: it is made again, and compared."""
        contents = names.DossierContents(
            plan=self.files[names.PLAN], release=self.files[names.RELEASE], ledger=self.entries, documents=self.documents, withheld=self.withheld,
            checkpoint=b"", leaf_index=0, leaf_salt=b"", proof=[])  # fmt: skip
        made = names.pages(contents, self._besides(names.PAGE, names.METADATA, names.MANIFEST))
        for name, data in made.items():
            if self.files.get(name) != data:
                self.report.add(name, "it is not what this version of the lab makes of the evidence: do not read it as such")

    def _entries(self) -> list[Entry]:
        try:
            texts = read_sequence(self.files[names.LEDGER])
        except ValueError as error:
            self.report.add(names.LEDGER, str(error))
            raise Unreadable from error
        if len(texts) % 2:
            self.report.add(f"ledger entry {len(texts) // 2}", "its body is missing")
            texts.append(b"")
        return [Entry(data=data, digest=sha256(data), body=body) for data, body in zip(texts[::2], texts[1::2], strict=True)]

    def _check_chain(self) -> None:
        """Each entry: is it one, does it follow the one before it, and is its body what it may be at this place?"""
        previous, chain = GENESIS, self.plan["id"]
        for number, entry in enumerate(self.entries):
            try:
                header = entry.read()
            except (ValueError, RecursionError) as error:
                self.report.add(f"ledger entry {number}", f"not an entry ({error})")
                self.kinds.append("")
            else:
                self.report.problems += check_link(header, number, previous, chain, sha256(entry.body))
                self.kinds.append(header.kind)
                self._check_body(number, header, entry.body)
            previous = entry.digest

    # --- what is signed, and by whom -----------------------------------------------------------------------------------

    def _check_body(self, number: int, header: Header, body: bytes) -> None:
        where = f"ledger entry {number}"
        try:
            at = datetime.fromisoformat(header.at)
            if header.media_type == dsse.IN_TOTO:
                statement = statements.parse_statement(body, where)
                if statement["predicateType"] != statements.TRANSITION or statement["predicate"]["kind"] != header.kind:
                    self.report.add(where, f"an unsigned statement may only be a transition of kind {header.kind!r}")
                self._check_binding(where, header, statement["predicate"]["binding"])
                return
            if header.kind == "plan-signed":
                return  # checked with the plan
            statement = self._open(where, body, "lab", at)
            kind = _KIND_OF.get(statement["predicateType"])
            if kind is None or kind != header.kind:
                self.report.add(where, f"it is filed as {header.kind!r}, and states {statement['predicateType']!r}")
                return
            predicate = statement["predicate"]
            binding = predicate.pop("binding")  # needed no more, and there are thousands
            self._check_binding(where, header, binding)
            subjects = {s["name"]: "sha256:" + s["digest"]["sha256"] for s in statement["subject"]}
            self.stated.append(Stated(number, kind, str(binding["attempt"]), binding["run"], predicate, subjects, at))
        except EvidenceBroken as error:
            self.report.add(error.where or where, error.what)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self.report.add(where, f"it cannot be understood ({type(error).__name__}: {str(error)[:100]})")

    def _open(self, where: str, envelope: bytes, role: str, at: datetime) -> dict[str, Any]:
        """The statement, if a key of that role, valid then, signed it for a predicate that the role may sign."""
        payload, signed = dsse.open_envelope(envelope, self.keys[role], where)
        key = self.policy.keys[signed[0]]
        if not key.holds_at(at):
            raise EvidenceBroken(f"the key {signed[0][:16]}… was not to be trusted on {at:%Y-%m-%d %H:%M}", where=where)
        statement = statements.parse_statement(payload, where)
        predicate = statement["predicateType"]
        if predicate not in PREDICATES[role]:
            raise EvidenceBroken(f"a {role} may not sign {predicate!r}", where=where)
        self.labs.add(key.organisation)
        return statement

    def _check_binding(self, where: str, header: Header, binding: dict[str, Any]) -> None:
        stands = (header.chain, header.sequence, header.previous, header.run, header.attempt)
        if _BOUND(binding) == stands:
            return
        for name, place in zip(("chain", "sequence", "previous", "run", "attempt"), stands, strict=True):
            if binding[name] != place:
                self.report.add(where, f"its statement is bound to {name} {binding[name]!r}, and it stands at {place!r}")

    def _check_plan(self) -> None:
        """Both sides signed exactly these bytes, each with a key of its own."""
        signers: dict[str, str] = {}
        for number in [number for number, kind in enumerate(self.kinds) if kind == "plan-signed"]:
            where = f"ledger entry {number}"
            try:
                signers |= self._plan_signer(where, self.entries[number])
            except EvidenceBroken as error:
                self.report.add(where, error.what)
            except (ValueError, KeyError, TypeError) as error:
                self.report.add(where, f"it cannot be understood ({error})")
        for role in ("participant", "authority"):
            if role not in signers:
                self.report.add(names.PLAN, f"no trusted key signed it for the {role}")
        if len(set(signers.values())) != len(signers):
            self.report.add(names.PLAN, "both sides signed with one key")
        if self.plan["participant"] == self.plan["authority"]:
            self.report.add(names.PLAN, f"{self.plan['participant']} is both sides of it")
        if self.digests[names.RELEASE] != self.plan["release"]:
            self.report.add(names.RELEASE, "it is not the release that the plan names")
        self.report.facts["signed by"] = {role: self.policy.keys[key].organisation for role, key in signers.items()}

    def _plan_signer(self, where: str, entry: Entry) -> dict[str, str]:
        """Role → key id of a side's signature over this plan."""
        payload, signed = dsse.open_envelope(entry.body, {**self.keys["participant"], **self.keys["authority"]}, where)
        key = self.policy.keys[signed[0]]
        if not key.holds_at(datetime.fromisoformat(entry.header["at"])):
            self.report.add(where, f"the key {signed[0][:16]}… was not to be trusted then")
        side = self.plan["participant" if key.role == "participant" else "authority"]
        if key.organisation != side:
            self.report.add(where, f"it is signed by {key.organisation}; the plan's {key.role} is {side}")
        statements.check_plan_signature(payload, plan=self.plan["id"], version=self.plan["version"], digest=self.plan_digest, role=key.role,
                                        organisation=key.organisation)  # fmt: skip
        return {key.role: signed[0]}

    def _check_checkpoint(self) -> None:
        where = names.CHECKPOINT
        payload, signed = dsse.open_envelope(self.files[where], self.keys["lab"], where)
        statement = statements.parse_statement(payload, where)
        predicate = statement["predicate"]
        key, at = self.policy.keys[signed[0]], datetime.fromisoformat(predicate["at"])
        if statement["predicateType"] != statements.CHECKPOINT or not key.holds_at(at):
            self.report.add(where, "it is no checkpoint of a lab that is trusted")
        self.labs.add(key.organisation)
        proof = parse_json(self.files[names.PROOF])
        leaf = hmac.new(bytes.fromhex(proof["salt"]), self._head().encode(), hashlib.sha256).digest()
        path = [bytes.fromhex(node) for node in proof["path"]]
        if not merkle.verify_inclusion(leaf, proof["leaf_index"], predicate["size"], path, bytes.fromhex(predicate["root"])):
            self.report.add(names.PROOF, "the chain, as it is here, is not under the signed checkpoint")
        self.report.facts["checkpoint"] = {"at": predicate["at"], "size": predicate["size"]}

    def _head(self) -> str:
        return self.entries[-1].digest if self.entries else ""

    def _check_head(self, head: str | None) -> None:
        if head is None:
            self.report.facts["head"] = f"{self._head()} (none was given to compare: entries cut off at the end would not be noticed)"
        elif head != self._head():
            self.report.add("ledger", f"it ends at {self._head()}, and {head} was expected: entries are missing at the end, or it is another chain")
        else:
            self.report.facts["head"] = head

    # --- what follows from what ----------------------------------------------------------------------------------------

    def _check_runs(self) -> None:
        """Each attempt: admitted under this plan before anything else; isolated; measured; and judged as the criteria demand."""
        attempts: dict[str, Told] = {}
        for s in self.stated:
            told = attempts.get(s.attempt)
            if told is None:
                told = attempts[s.attempt] = Told(s.attempt, str(s.run))
            if told.run != s.run:
                self.report.add(s.where, f"it is about attempt {told.name}, and not of run {told.run}")
            told.statements.append(s)
        spec = self.release["spec"]
        interactive = task_family(spec["task"]).interactive if isinstance(spec["task"], str) else bool(spec["task"].get("protocol"))
        runs = Runs(self.plan, self.plan_digest, bool(spec["harness"]["prepare"]), interactive, self.entries, self.kinds, attempts)
        self.report.facts["attempts"] = {name: self._check_attempt(runs, told) for name, told in attempts.items()}
        self.report.problems += runs.problems()

    def _check_attempt(self, runs: Runs, told: Told) -> dict[str, Any]:
        fact: dict[str, Any] = {}
        for s in told.all_of("admission"):
            fact["ordinal"] = s.predicate["ordinal"]
        fact["isolated"] = runs.isolated(told)
        for s in told.all_of("verdict"):
            fact["verdict"] = self._replay(s.where, told.name, s.predicate, s.subjects)
        for s in told.all_of("outcome"):
            fact |= {"state": s.predicate["state"], "seen dead": s.predicate["seenDeadAt"]}
        return fact

    def _replay(self, where: str, attempt: str, predicate: dict[str, Any], subjects: dict[str, str]) -> str:
        """Judge again from criteria and measurements; every byte of the verdict must come out as it was signed."""
        from livinglab.domain.sandbox import SandboxSpec
        from livinglab.domain.verdict import Measurement, judge

        if subjects.get("criteria") != self.plan["criteria"] or predicate["criteria"] != self.plan["criteria"]:
            self.report.add(where, "it judges by other criteria than the plan's")
        measured = self.files.get(f"documents/{attempt}/measurements.json")
        if measured is None:
            return f"{predicate['verdict']} (the measurements are withheld: not replayed)"
        spec = SandboxSpec.model_validate(self.release["spec"])
        criteria = spec.frozen_criteria(self.plan["measured_runs"])
        if criteria.digest != self.plan["criteria"]:
            self.report.add(names.RELEASE, "its criteria are not those that the plan froze")
        measurements = tuple(Measurement.model_validate(m) for m in parse_json(measured)["measurements"])
        replayed = judge(criteria, measurements)
        if sha256(canonical(replayed)) != subjects.get("verdict.json") or replayed.verdict != predicate["verdict"]:
            self.report.add(
                where, f"the verdict does not follow: the criteria and measurements give {replayed.verdict}, {predicate['verdict']} is claimed"
            )
        if predicate["results"] != [{"criterion": r.criterion, "severity": r.severity, "verdict": r.verdict} for r in replayed.results]:
            self.report.add(where, "the verdicts that it states per criterion do not follow from criteria and measurements")
        return str(predicate["verdict"])

    def _check_documents(self) -> None:
        """Every document is one that a signed statement names, by digest, and every one that is named is here, or withheld."""
        named, documents = self._named(), self.documents
        for name in documents:
            if named.get(name) != self.digests[f"documents/{name}"]:
                self.report.add(f"documents/{name}", "no signed statement names these contents" if name in named else "no signed statement names it")
        attempts = {name.partition("/")[0] for name in named}
        for name, digest in self.withheld.items():
            if named.get(name, digest) != digest:
                self.report.add(names.WITHHELD, f"the digest that it gives for {name} is not the one that was signed")
            if name.partition("/")[0] not in attempts and not name.startswith(names.REQUIRED):
                self.report.add(names.WITHHELD, f"it lists {name}, of an attempt that nothing is stated about")
        for name in named:
            if name.partition("/")[2] not in _NO_DOCUMENTS and name not in documents and name not in self.withheld:
                self.report.add(f"documents/{name}", "it is missing: a signed statement names it, and it is not listed as withheld")
        self.report.facts["withheld"] = len(self.withheld)

    def _named(self) -> dict[str, str]:
        """`<attempt>/<name>` → digest, of everything that a signed statement is about."""
        named: dict[str, str] = {}
        for s in self.stated:
            for subject, digest in s.subjects.items():
                name = f"{s.attempt}/{subject}"
                if named.setdefault(name, digest) != digest:
                    self.report.add(s.where, f"an earlier statement gives another digest for {name}")
        return named
