"""Pilots: bringing one in, and who may see it."""

from dataclasses import dataclass
from typing import Any

from livinglab.domain.access import Caller
from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Invalid, NotFound
from livinglab.domain.isolation import Resources
from livinglab.domain.pilot import Pilot, PilotManifest
from livinglab.domain.sandbox import Role, SandboxSpec
from livinglab.ports import Clock, Store, Tx
from livinglab.services.ids import new_id
from livinglab.services.once import Once
from livinglab.services.recording import Recorder, Subject
from livinglab.services.sandboxes import newest, parse


@dataclass(frozen=True)
class Applications:
    """Pilots as participants bring them."""

    store: Store
    clock: Clock
    recorder: Recorder

    def submit(self, caller: Caller, manifest: Any, image: str, idempotency_key: str | None = None) -> Pilot:
        """Bring a pilot into a sandbox, with an image that this organisation uploaded. The same key with the same request brings one.

        Raises:
            Invalid: the manifest, or an image that this organisation has not uploaded (a digest that others know is unknown here).
            Forbidden: not a participant of that sandbox.
            NotFound: no such sandbox.
            Conflict: the key was used for another request.
        """
        parsed = parse(PilotManifest, manifest, "manifest")
        caller.need(parsed.sandbox, Role.PARTICIPANT)
        once = Once("pilots", idempotency_key, digest_of({"manifest": parsed.digest, "image": image}))
        with self.store.transaction() as tx:
            if made := once.made(tx, caller):
                return visible_pilot(tx, caller, made)
            release, _authority = newest(tx, parsed.sandbox)
            check_fits(parsed, release.spec)
            if not tx.has_uploaded(caller.organisation, image):
                msg = f"{caller.organisation} has uploaded no image {image}."
                raise Invalid(msg, where="image", hint="Upload the archive first: POST /v1/images.")
            now = self.clock.now()
            pilot = Pilot(
                id=new_id("plt", now), organisation=caller.organisation, sandbox=parsed.sandbox, manifest=parsed, image=image, created_at=now
            )
            tx.add_pilot(pilot)
            once.remember(tx, caller, pilot.id)
            self.recorder.transition(tx, subject_of(pilot), "pilot-submitted", {"pilot": pilot.id, "manifest": parsed.digest, "image": image})
        return pilot

    def get(self, caller: Caller, id_: str) -> Pilot:
        """A pilot that this caller may see; `NotFound` for any other."""
        with self.store.transaction(read_only=True) as tx:
            return visible_pilot(tx, caller, id_)

    def page(self, caller: Caller, after: str | None, limit: int) -> tuple[Pilot, ...]:
        """The pilots that this caller may see, newest first."""
        with self.store.transaction(read_only=True) as tx:
            return tx.pilots(organisation=caller.organisation, sandboxes=overseen(caller), after=after, limit=limit)


def check_fits(manifest: PilotManifest, spec: SandboxSpec) -> None:
    """`Invalid` where a manifest is for another sandbox, asks for another task, or for more than the sandbox's quota."""
    if manifest.sandbox != spec.id:
        msg = f"the manifest is for sandbox {manifest.sandbox!r}, and this one is {spec.id!r}."
        raise Invalid(msg, where="sandbox")
    if manifest.task != spec.family.name:
        msg = f"the sandbox measures {spec.family.name!r}, not {manifest.task!r}."
        raise Invalid(msg, where="task")
    for name in Resources.model_fields:
        asked, most = getattr(manifest.resources, name), getattr(spec.quota.pilot_resources, name)
        if asked > most:
            msg = f"{asked:g} is more than the sandbox allows ({most:g})."
            raise Invalid(msg, where=f"resources.{name}")


def overseen(caller: Caller) -> frozenset[str] | None:
    """The sandboxes in which the caller sees every organisation's pilots; None: all of them."""
    if caller.oversees("*"):
        return None
    return frozenset(s for s in caller.roles if caller.oversees(s))


def visible_pilot(tx: Tx, caller: Caller, id_: str) -> Pilot:
    """The pilot, if it exists for this caller; `NotFound` otherwise, whichever it was."""
    pilot = tx.pilot(id_)
    if pilot is None or not sees(caller, pilot.organisation, pilot.sandbox):
        msg = f"there is no pilot {id_!r}."
        raise NotFound(msg)
    return pilot


def sees(caller: Caller, organisation: str, sandbox: str) -> bool:
    """Does what belongs to that organisation in that sandbox exist for this caller?"""
    return caller.organisation == organisation or caller.oversees(sandbox)


def subject_of(pilot: Pilot) -> Subject:
    """A pilot's own chain, before there is a plan."""
    return Subject(chain=pilot.id, organisation=pilot.organisation, sandbox=pilot.sandbox)
