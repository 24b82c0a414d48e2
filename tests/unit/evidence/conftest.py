"""A dossier with real keys and a real verdict, made by the package's own functions: what the tampering tests start from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256 as hash_
from hmac import new as hmac_new
from pathlib import Path
from typing import Any

import pytest
import yaml

from livinglab.domain.canonical import canonical, digest_of, sha256
from livinglab.domain.plan import PlanBody
from livinglab.domain.sandbox import DatasetRef, Release, SandboxSpec
from livinglab.domain.verdict import Interval, Measurement, MeasurementFile, judge
from livinglab.evidence import dsse, merkle, statements
from livinglab.evidence.dossier import DossierContents, write_dossier
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.ledger import GENESIS, Entry, make_entry
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import Report, verify

ROOT = Path(__file__).resolve().parents[3]
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
ATTEMPT = "run-1.1"
DSSE = "application/vnd.dsse+json"


def digest(text: str) -> str:
    return sha256(text.encode())


@dataclass
class Case:
    """An honest plan with one measured run; tests change `contents` or the archive, and look again."""

    keys: dict[str, KeySigner]
    policy: TrustPolicy
    contents: DossierContents
    folder: Path

    def write(self, contents: DossierContents | None = None) -> Path:
        path = self.folder / "dossier.zip"
        write_dossier(path, contents or self.contents)
        return path

    def check(self, contents: DossierContents | None = None, *, head: str | None = None, policy: TrustPolicy | None = None) -> Report:
        return verify(self.write(contents), policy or self.policy, head)


class Chain:
    """Builds a chain as the lab does."""

    def __init__(self, plan: str, signer: KeySigner) -> None:
        self.plan = plan
        self.signer = signer
        self.entries: list[Entry] = []

    def add(self, kind: str, body: Callable[[dict[str, Any]], bytes], media_type: str, run: str | None = None, attempt: str | None = None) -> None:
        previous = self.entries[-1].digest if self.entries else GENESIS
        binding = {"chain": self.plan, "sequence": len(self.entries), "previous": previous, "plan": self.plan, "run": run, "attempt": attempt}
        self.entries.append(make_entry(chain=self.plan, sequence=len(self.entries), previous=previous, kind=kind, media_type=media_type,
                                       body=body(binding), run=run, attempt=attempt, at=AT + timedelta(seconds=len(self.entries))))  # fmt: skip

    def transition(self, kind: str, data: dict[str, Any], run: str | None = None) -> None:
        self.add(kind, lambda b: statements.transition(kind=kind, data=data, binding=b), dsse.IN_TOTO, run)

    def state(self, kind: str, about: dict[str, str], predicate: dict[str, Any]) -> None:
        def body(binding: dict[str, Any]) -> bytes:
            return self.signer.sign(statements.lab_statement(kind=kind, about=about, predicate=predicate, binding=binding), dsse.IN_TOTO)

        self.add(kind, body, DSSE, "run-1", ATTEMPT)


def make_release(**changes: Any) -> Release:
    spec = SandboxSpec.model_validate(yaml.safe_load((ROOT / "tests" / "sandboxes" / "tiny" / "sandbox.yaml").read_text()) | changes)
    return Release(spec=spec, harness_image=digest("harness"), participant_data=DatasetRef(digest=digest("participant")),
                   hidden_data=DatasetRef(digest=digest("hidden")), commitment=digest("secret"))  # fmt: skip


def make_plan(release: Release, **changes: Any) -> PlanBody:
    spec = release.spec
    return PlanBody.model_validate({
        "id": "pln-1", "pilot": "plt-1", "participant": "startup", "authority": "ministry", "sandbox": spec.id, "release": release.digest,
        "specification": spec.digest, "criteria": spec.frozen_criteria(3).digest, "isolation": digest_of(spec.isolation),
        "harness_image": release.harness_image, "participant_data": digest("participant"), "hidden_data": digest("hidden"),
        "commitment": release.commitment, "pilot_image": digest("image"), "manifest": digest("manifest"), "measured_runs": 3, "replicates": 200,
        "sites": ["docker"], "objectives": ["to be checked"], "valid_from": "2026-01-01", "valid_until": "2026-12-31", **changes,
    })  # fmt: skip


def make_measurements() -> tuple[Measurement, ...]:
    def interval(lower: float, upper: float) -> Interval:
        return Interval(lower=lower, upper=upper, level=1 - 0.05 / 3, method="bootstrap-percentile")

    counts: dict[str, Any] = {"n": 400, "events": 150, "non_events": 200}
    return (
        Measurement(metric="completeness", value=1.0, **counts),
        Measurement(metric="uno_c", value=0.74, interval=interval(0.70, 0.78), **counts),
        Measurement(metric="observed_expected", value=0.97, interval=interval(0.85, 1.08), **counts),
    )


def make_case(folder: Path, release: Release, plan: PlanBody) -> Case:
    keys = {role: new_key(folder / f"{role}.pem") for role in ("lab", "authority", "participant")}
    owners = {"lab": "the-lab", "authority": "ministry", "participant": "startup"}
    policy = TrustPolicy.of([TrustedKey(keys[role].public_pem, role, owner) for role, owner in owners.items()])
    body, plan_digest = plan.encode()
    measured = canonical(MeasurementFile(measurements=make_measurements()))
    isolation = canonical({"holds": True})
    left = {"pilot": digest("left")}
    judged = judge(release.spec.frozen_criteria(3), make_measurements())
    verdict = canonical(judged)
    results = [{"criterion": r.criterion, "severity": r.severity, "verdict": r.verdict} for r in judged.results]

    chain = Chain(plan.id, keys["lab"])
    chain.transition("plan-proposed", {"plan": plan_digest})
    for role in ("participant", "authority"):
        statement = statements.plan_signature(plan=plan.id, version=1, digest=plan_digest, role=role, organisation=owners[role])
        envelope = keys[role].sign(statement, dsse.IN_TOTO)
        if role == "participant":  # signs with a tool of its own, that writes JSON in lines; it is kept as it came
            envelope = json.dumps(json.loads(envelope), indent=2).encode() + b"\n"
        chain.add("plan-signed", lambda _binding, envelope=envelope: envelope, DSSE)  # type: ignore[misc]
    chain.transition("plan-agreed", {"plan": plan_digest})
    chain.transition("run-queued", {"ordinal": 1, "site": "docker"}, run="run-1")
    chain.state("admission", {"plan": plan_digest, "pilot": plan.pilot_image}, {
        "plan": plan_digest, "image": plan.pilot_image, "manifest": plan.manifest, "criteria": plan.criteria, "release": plan.release,
        "isolation": plan.isolation, "harness": plan.harness_image, "commitment": plan.commitment, "site": "docker", "ordinal": 1,
        "measuredRuns": 3,
        "reusedFrom": None})  # fmt: skip
    chain.state("isolation", {"pilot": plan.pilot_image, "isolation-pilot.json": sha256(isolation)}, {"role": "pilot", "holds": True})
    chain.state("execution", {"left-pilot.json": left["pilot"]}, {"image": plan.pilot_image, "limit": None, "left": left})
    for role in ("decode", "measure"):
        chain.state("isolation", {"harness": plan.harness_image, f"isolation-{role}.json": sha256(isolation)}, {"role": role, "holds": True})
    chain.state("measurement", {"measurements.json": sha256(measured)}, {
        "measurements": sha256(measured), "left": left, "harness": plan.harness_image, "hiddenData": plan.hidden_data,
        "criteria": plan.criteria, "replicates": plan.replicates})  # fmt: skip
    chain.state("verdict", {"verdict.json": sha256(verdict), "measurements.json": sha256(measured), "criteria": plan.criteria},
                {"verdict": "PASS", "criteria": plan.criteria, "results": results})  # fmt: skip
    chain.state("outcome", {"plan": plan_digest}, {
        "state": "completed", "verdict": "PASS", "seenDeadAt": AT.isoformat(), "triedAgain": False})  # fmt: skip

    leaves = [b"another chain's", hmac_new(b"s" * 32, chain.entries[-1].digest.encode(), hash_).digest(), b"a third one's"]
    checkpoint = keys["lab"].sign(statements.checkpoint(size=3, root=merkle.root(leaves).hex(), at=AT + timedelta(minutes=1)), dsse.IN_TOTO)
    contents = DossierContents(
        plan=body, release=canonical(release), ledger=chain.entries,
        documents={f"{ATTEMPT}/measurements.json": measured, f"{ATTEMPT}/verdict.json": verdict,
                   **{f"{ATTEMPT}/isolation-{role}.json": isolation for role in ("pilot", "decode", "measure")}},
        withheld={f"{ATTEMPT}/left-pilot.json": left["pilot"]}, checkpoint=checkpoint, leaf_index=1, leaf_salt=b"s" * 32,
        proof=merkle.inclusion_proof(leaves, 1), public_keys={k.key_id: k.public_pem for k in keys.values()})  # fmt: skip
    return Case(keys=keys, policy=policy, contents=contents, folder=folder)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    release = make_release()
    return make_case(tmp_path, release, make_plan(release))
