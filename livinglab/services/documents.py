"""Required evidence: the documents that a sandbox demands of a pilot, as its participant attaches them and a plan freezes them."""

from collections.abc import Iterable
from dataclasses import dataclass

from livinglab.domain.access import Caller, Document
from livinglab.domain.canonical import sha256
from livinglab.domain.documents import FrozenDocument, MediaType, RequiredDocument, check_content
from livinglab.domain.errors import Conflict, Forbidden, Invalid, NotFound, unknown_name
from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan, PlanState
from livinglab.domain.sandbox import Role
from livinglab.ports import Artifacts, Store, Tx
from livinglab.services.applications import subject_of, visible_pilot
from livinglab.services.recording import Recorder
from livinglab.services.sandboxes import newest

_READERS = (Role.AUTHORITY, Role.REVIEWER, Role.AUDITOR)


@dataclass(frozen=True)
class Documents:
    """Documents of pilots. Whoever sees a pilot sees their digests; bytes are for its participant and those who judge it."""

    store: Store
    artifacts: Artifacts
    recorder: Recorder

    def attach(self, caller: Caller, pilot_id: str, name: str, media_type: str, chunks: Iterable[bytes]) -> Document:
        """Take a document in as it streams, in place of what the name held. The same bytes twice is once.

        Raises:
            NotFound: no such pilot for this caller. Forbidden: it is not this participant's.
            Invalid: the sandbox demands no such document, or the bytes are not one; `TooLarge` where there are too many.
            Conflict: a plan froze other bytes.
        """
        with self.store.transaction(read_only=True) as tx:
            demanded, _plan = self._demanded(tx, _own_pilot(tx, caller, pilot_id), name)
        kind = demanded.check_kind(media_type)
        with self.artifacts.scratch(chunks, limit=demanded.max_bytes) as path:
            data = path.read_bytes()
        check_content(data, kind, where=name)
        document = Document(subject=pilot_id, name=name, media_type=kind, digest=sha256(data), size=len(data))
        self.artifacts.put(data)
        with self.store.transaction() as tx:
            pilot = _own_pilot(tx, caller, pilot_id)
            demanded, plan = self._demanded(tx, pilot, name)
            demanded.check_kind(kind, len(data))
            before = attached(tx, pilot).get(name)
            if before == document:
                return document
            if plan:
                raise _frozen(pilot, plan, name)
            tx.put_document(document)
            self.recorder.transition(tx, subject_of(pilot), "document-attached", {
                "name": name, "digest": document.digest, "media_type": kind, "size": document.size,
                "in_place_of": before.digest if before else None})  # fmt: skip
        return document

    def _demanded(self, tx: Tx, pilot: Pilot, name: str) -> tuple[RequiredDocument, Plan | None]:
        demands, plan = demands_on(tx, pilot)
        for demanded in demands:
            if demanded.name == name:
                return demanded, plan
        raise unknown_name("document", name, [d.name for d in demands], where="name")

    def listed(self, caller: Caller, pilot_id: str) -> tuple[tuple[RequiredDocument, Document | None], ...]:
        """What is demanded of a pilot, and what is attached for it."""
        with self.store.transaction(read_only=True) as tx:
            pilot = visible_pilot(tx, caller, pilot_id)
            there = attached(tx, pilot)
            return tuple((demanded, there.get(demanded.name)) for demanded in demands_on(tx, pilot)[0])

    def content(self, caller: Caller, pilot_id: str, name: str) -> tuple[Document, bytes]:
        """A document as it was attached.

        Raises:
            NotFound: no such pilot for this caller, or nothing attached under that name.
            Forbidden: this caller sees digests only.
        """
        with self.store.transaction(read_only=True) as tx:
            pilot = visible_pilot(tx, caller, pilot_id)
            if not may_read(caller, pilot.organisation, pilot.sandbox):
                msg = f"the contents of a pilot's documents are for its participant and for the {', '.join(_READERS)} of {pilot.sandbox!r}."
                raise Forbidden(msg)
            document = attached(tx, pilot).get(name)
        if document is None:
            msg = f"pilot {pilot_id} has no document {name!r}."
            raise NotFound(msg)
        return document, self.artifacts.read(document.digest)


def attached(tx: Tx, pilot: Pilot) -> dict[str, Document]:
    """A pilot's documents, by name."""
    return {document.name: document for document in tx.documents(pilot.id)}


def open_plan(tx: Tx, pilot: Pilot) -> Plan | None:
    """The pilot's plan that is not over; there is one at most."""
    plans = tx.plans(pilot=pilot.id, organisation=pilot.organisation, sandboxes=(), after=None, limit=1_000)
    return next((plan for plan in plans if not plan.state.final), None)


def demands_on(tx: Tx, pilot: Pilot) -> tuple[tuple[RequiredDocument, ...], Plan | None]:
    """What is demanded of the pilot, by its open plan's release or else by the newest, and that plan."""
    plan = open_plan(tx, pilot)
    release = tx.release(plan.body.release) if plan else None
    return (release or newest(tx, pilot.sandbox)[0]).spec.required_evidence, plan


def freeze_documents(tx: Tx, pilot: Pilot, demands: Iterable[RequiredDocument]) -> tuple[FrozenDocument, ...]:
    """What a plan freezes; `Conflict` names everything that is missing or is not what is demanded, and how to attach it."""
    there, demanded = attached(tx, pilot), sorted(demands, key=lambda d: d.name)
    lacking = [problem for d in demanded if (problem := _why_not(d, there.get(d.name)))]
    if lacking:
        msg = f"pilot {pilot.id} lacks required evidence. {' '.join(lacking)}"
        hint = f"Its participant attaches it: livinglab pilot attach {pilot.id} NAME FILE, or PUT /v1/pilots/{pilot.id}/documents/NAME."
        raise Conflict(msg, hint=hint)
    return tuple(FrozenDocument(name=d.name, media_type=MediaType(there[d.name].media_type), digest=there[d.name].digest) for d in demanded)


def _why_not(demanded: RequiredDocument, document: Document | None) -> str | None:
    """A sentence on what is wrong with what is attached, or missing."""
    if document is None:
        return f"{demanded.name}: {demanded.title} is missing: {demanded.must_hold.rstrip('.')}."
    try:
        demanded.check_kind(document.media_type, document.size)
    except Invalid as error:
        return error.message
    return None


def may_read(caller: Caller, organisation: str, sandbox: str) -> bool:
    """Are the bytes of that organisation's documents for this caller? Operators carry runs; what a pilot's documents say is not theirs to read."""
    return caller.organisation == organisation or caller.role_in(sandbox) in _READERS


def _own_pilot(tx: Tx, caller: Caller, id_: str) -> Pilot:
    """The caller's own pilot, a participant seeing no other: an authority does not bring the evidence that it demands."""
    pilot = visible_pilot(tx, caller, id_)
    caller.need(pilot.sandbox, Role.PARTICIPANT)
    return pilot


def _frozen(pilot: Pilot, plan: Plan, name: str) -> Conflict:
    signed = next(f"{d.digest} ({d.media_type})" for d in plan.body.documents if d.name == name)
    msg = f"{name} of pilot {pilot.id} is frozen by plan {plan.id}, which is {plan.state}, as {signed}."
    again = f"once the authority has terminated {plan.id}, attach the other document and propose again."
    if plan.state is not PlanState.PROPOSED:
        again = "submit the pilot again, attach the other document to that, and propose a plan for it: what both sides signed stays as it is."
    return Conflict(msg, hint=f"Propose an amended plan: {again}")
