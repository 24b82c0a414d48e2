"""Both sides of a plan in one process, over a lab that has nobody else: for rehearsals and tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from livinglab.artifacts.placing import place_data
from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import Lab, lab_signer, open_supervisor
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.access import Caller
from livinglab.domain.errors import Invalid
from livinglab.domain.plan import Plan
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Release, Role
from livinglab.evidence.agreement import sign_plan
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.services.ids import new_id
from livinglab.services.runs import RunRequest

LAB, SITE = "lab", "docker"
_CHUNK = 1 << 20

Evidence = dict[str, tuple[str, bytes]]
"""Required document → media type and bytes."""


@dataclass
class Parties:
    """An authority and a participant of one sandbox, with keys of their own, at a lab whose settings and store are in this process."""

    lab: Lab
    authority: Caller
    participant: Caller
    keys: dict[Role, KeySigner]
    site: str = SITE
    """Where their runs are carried."""

    @classmethod
    def meet(cls, lab: Lab, sandbox: str, *, authority: str = "authority", participant: str = "participant") -> Self:
        """Make a key for each side, and register it."""
        parties = cls(
            lab=lab,
            authority=Caller(organisation=authority, roles={sandbox: Role.AUTHORITY}, token=authority),
            participant=Caller(organisation=participant, roles={sandbox: Role.PARTICIPANT}, token=participant),
            keys={role: new_key(lab.settings.home / "party-keys" / f"{role}.pem") for role in (Role.AUTHORITY, Role.PARTICIPANT)},
        )
        for role, key in parties.keys.items():
            lab.access.register_key(parties.caller(role), key.public_pem.decode())
        return parties

    def caller(self, role: Role) -> Caller:
        """Who acts as this side."""
        return self.authority if role is Role.AUTHORITY else self.participant

    def upload(self, role: Role, archive: Path) -> str:
        """The digest of an image's archive, once it was taken in; `Invalid` with its path where it is not."""
        try:
            return self.lab.images.upload(self.caller(role), chunks(archive)).digest
        except Invalid as error:
            raise type(error)(error.message, where=str(archive), hint=error.hint) from error

    def register(self, spec: dict[str, Any], harness: str, script: Path, secret: bytes | None = None) -> Release:
        """Place the data that `script` makes, and register the sandbox with them and with the harness of that digest."""
        bindings = place_data(FileVault(self.lab.settings.vault_path), script, secret)
        return self.lab.sandboxes.register(self.authority, {"spec": spec, "harness_image": harness, **bindings})

    def propose(self, manifest: dict[str, Any], image: str, objective: str, evidence: Evidence) -> Plan:
        """A plan, for today and tomorrow, for a pilot that is brought with this manifest, image and required evidence."""
        pilot, today = self.lab.applications.submit(self.participant, manifest, image), self.lab.clock.now().date()
        for name, (media_type, data) in evidence.items():
            self.lab.documents.attach(self.participant, pilot.id, name, media_type, [data])
        days = {"valid_from": today.isoformat(), "valid_until": (today + timedelta(days=1)).isoformat()}
        return self.lab.plans.propose(self.participant, {"pilot": pilot.id, "objectives": [objective], **days})

    def sign(self, plan: Plan, *roles: Role) -> Plan:
        """Let these sides (both, if none is named) agree to the plan."""
        for role in roles or (Role.PARTICIPANT, Role.AUTHORITY):
            plan = self.lab.plans.sign(self.caller(role), plan.id, sign_plan(plan.body, role, self.keys[role]))
        return plan

    def request(self, plan: Plan, key: str | None = None) -> Run:
        """Ask for a run; the same `key` twice is one run."""
        return self.lab.runs.request(
            self.participant, RunRequest(plan=plan.id, site=self.site).model_dump(), key or new_id("key", self.lab.clock.now())
        )

    def supervisor(self, boundary: Callable[[str], None] | None = None) -> Supervisor:
        """What carries the runs of this lab."""
        return open_supervisor(self.lab, self.site, boundary=boundary)

    def carry_all(self, boundary: Callable[[str], None] | None = None) -> None:
        """Carry everything that is queued, in this process."""
        carry(self.supervisor(boundary))

    def write_dossier(self, plan: str, path: Path) -> TrustPolicy:
        """Write a plan's dossier as the authority sees it; whom to trust to check it."""
        self.lab.dossiers.write(self.authority, plan, path)
        sides = [TrustedKey(key.public_pem, role.value, self.caller(role).organisation) for role, key in self.keys.items()]
        return TrustPolicy.of([TrustedKey(lab_signer(self.lab.settings).public_pem, LAB, LAB), *sides])


def carry(supervisor: Supervisor) -> None:
    """Carry what is queued until nothing is left, or until the supervisor is told to stop."""
    supervisor.serve(lambda attempt: carry_inline(supervisor, attempt), until_idle=True)


def chunks(path: Path) -> Iterator[bytes]:
    """A file, as it is uploaded."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
