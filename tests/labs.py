"""A whole lab for tests: real store, real engine, real containers, two parties with keys of their own."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import Lab, lab_signer, open_lab, open_supervisor
from livinglab.cli.sandboxes import _make
from livinglab.dispatch.inline import carry_inline
from livinglab.domain.access import Caller
from livinglab.domain.plan import Plan
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import Report, verify
from livinglab.services.runs import RunRequest
from livinglab.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "sandboxes" / "tiny"
SECRET = bytes(range(32))


@lru_cache
def archive(name: str, context: str) -> Path:
    """An image's archive, built once."""
    built = subprocess.run([ROOT / "infra" / "images" / "build.sh", name, context], check=True, capture_output=True, text=True)
    return Path(built.stdout.strip())


def harness_archive() -> Path:
    return archive("harness-medicine", "sandboxes/medicine/harness")


def pilots_archive() -> Path:
    return archive("pilot-tests", "tests/pilots")


def chunks(path: Path) -> Any:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def manifest(*entrypoint: str, **resources: float) -> dict[str, Any]:
    """A manifest for the tiny sandbox."""
    limits = {"memory": 256 << 20, "cpus": 1, "pids": 32, "wall_seconds": 30, "output_bytes": 1 << 20, "output_files": 8, "log_bytes": 16 << 10}
    return {"name": "tiny", "version": "1", "title": "A tiny pilot", "summary": "For the tests of the lab.", "sandbox": "tiny", "task": "survival",
            "entrypoint": list(entrypoint or ("python3", "/app/tiny.py")), "resources": {**limits, **resources}}  # fmt: skip


def work(home: Path, place: str | None = None) -> int:
    """The exit code of a worker that carries what is queued, and kills itself at that place."""
    return subprocess.run([sys.executable, "-m", "tests.carry", str(home), *([place] if place else [])], check=False, timeout=120).returncode


def starts(attempt: str, since: float) -> Counter[str]:
    """How often each container of an attempt was started since then, by the engine's own record."""
    import docker

    client = docker.APIClient()
    events = client.events(since=int(since), until=int(time.time()) + 1, filters={"event": "start", "label": "livinglab.key"}, decode=True)
    keys = (event["Actor"]["Attributes"]["livinglab.key"] for event in events)
    return Counter(key for key in keys if key.startswith(f"{attempt}."))


@dataclass
class Parties:
    """A lab with a sandbox registered (the tiny one, if none is named), an authority and a participant."""

    lab: Lab
    authority: Caller
    participant: Caller
    keys: dict[Role, KeySigner]
    image: str
    sandbox: Path = TINY

    @classmethod
    def gather(cls, home: Path, *, sandbox: Path = TINY, harness: Path | None = None, pilots: Path | None = None, **settings: Any) -> "Parties":
        lab = open_lab(Settings(home=home, **settings))
        name = yaml.safe_load((sandbox / "sandbox.yaml").read_text())["id"]
        parties = cls(
            lab=lab,
            authority=Caller(organisation="ministry", roles={name: Role.AUTHORITY}, token="t1"),
            participant=Caller(organisation="startup", roles={name: Role.PARTICIPANT}, token="t2"),
            keys={role: new_key(home / "party-keys" / f"{role}.pem") for role in (Role.AUTHORITY, Role.PARTICIPANT)},
            image="",
            sandbox=sandbox,
        )
        for caller, role in ((parties.authority, Role.AUTHORITY), (parties.participant, Role.PARTICIPANT)):
            lab.access.register_key(caller, parties.keys[role].public_pem.decode())
        parties._register(harness or harness_archive())
        parties.image = lab.images.upload(parties.participant, chunks(pilots or pilots_archive())).digest
        return parties

    def _register(self, archive_: Path) -> None:
        vault = FileVault(self.lab.settings.vault_path)
        secret, commitment = vault.new_secret(SECRET)
        scratch = self.lab.settings.home / "make"
        _make(self.sandbox / "data" / "make.py", scratch, secret)
        harness = self.lab.images.upload(self.authority, chunks(archive_))
        release = {
            "spec": yaml.safe_load((self.sandbox / "sandbox.yaml").read_text()), "harness_image": harness.digest, "commitment": commitment,
            "participant_data": vault.add(scratch / "participant").model_dump(), "hidden_data": vault.add(scratch / "hidden").model_dump(),
        }  # fmt: skip
        shutil.rmtree(scratch)
        self.lab.sandboxes.register(self.authority, json.loads(json.dumps(release)))

    def plan(self, *entrypoint: str, signed: bool = True, dates: tuple[str, str] = ("2020-01-01", "2099-12-31"), **resources: Any) -> Plan:
        """A plan for a fresh pilot."""
        return self.plan_for(manifest(*entrypoint, **resources), signed=signed, dates=dates)

    def plan_for(
        self, document: dict[str, Any], *, signed: bool = True, dates: tuple[str, str] = ("2020-01-01", "2099-12-31"),
        evidence: dict[str, tuple[str, bytes]] | None = None,
    ) -> Plan:  # fmt: skip
        """A plan for a pilot with this manifest, and with required evidence: name → media type and bytes."""
        pilot = self.lab.applications.submit(self.participant, document, self.image)
        for name, (media_type, data) in (evidence or {}).items():
            self.lab.documents.attach(self.participant, pilot.id, name, media_type, [data])
        plan = self.lab.plans.propose(
            self.participant, {"pilot": pilot.id, "objectives": ["to be tested"], "valid_from": dates[0], "valid_until": dates[1]}
        )
        if signed:
            self.sign(plan, Role.PARTICIPANT)
            plan = self.sign(plan, Role.AUTHORITY)
        return plan

    def sign(self, plan: Plan, role: Role, key: KeySigner | None = None) -> Plan:
        caller = self.authority if role is Role.AUTHORITY else self.participant
        return self.lab.plans.sign(caller, plan.id, self.envelope(plan, role, key))

    def envelope(self, plan: Plan, role: Role, key: KeySigner | None = None) -> bytes:
        organisation = plan.body.authority if role is Role.AUTHORITY else plan.body.participant
        statement = statements.plan_signature(plan=plan.id, version=plan.body.version, digest=plan.digest, role=role, organisation=organisation)
        return (key or self.keys[role]).sign(statement, dsse.IN_TOTO)

    def request(self, plan: Plan, key: str | None = None) -> Run:
        return self.lab.runs.request(self.participant, RunRequest(plan=plan.id).model_dump(), key or f"key-{plan.id}-{datetime.now(UTC).timestamp()}")

    def carry_all(self, boundary: Callable[[str], None] | None = None) -> None:
        """Carry everything that is queued, in this process."""
        supervisor = open_supervisor(self.lab, "docker", boundary=boundary)
        supervisor.serve(lambda attempt: carry_inline(supervisor, attempt), until_idle=True)

    def run(self, *entrypoint: str, **resources: Any) -> Run:
        """A plan, a run under it, carried to its end."""
        run = self.request(self.plan(*entrypoint, **resources))
        self.carry_all()
        return self.state(run)

    def verified(self, plan: Plan, dossier: Path) -> Report:
        """What a stranger finds who checks the plan's dossier."""
        self.lab.dossiers.write(self.authority, plan.id, dossier)
        trusted = [TrustedKey(lab_signer(self.lab.settings).public_pem, "lab", "lab"),
                   TrustedKey(self.keys[Role.AUTHORITY].public_pem, "authority", "ministry"),
                   TrustedKey(self.keys[Role.PARTICIPANT].public_pem, "participant", "startup")]  # fmt: skip
        return verify(dossier, TrustPolicy.of(trusted))

    def state(self, run: Run) -> Run:
        return self.lab.runs.get(self.authority, run.id)[0]
