"""Plans: proposed by either side, frozen by digests, in force when both have signed."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import Field

from livinglab.domain.access import Caller, PublicKey
from livinglab.domain.canonical import digest_of
from livinglab.domain.documents import FrozenDocument
from livinglab.domain.errors import Conflict, Forbidden, Invalid, NotFound
from livinglab.domain.model import Frozen, Slug
from livinglab.domain.pilot import Pilot, PilotState
from livinglab.domain.plan import Plan, PlanBody, PlanState, Signature
from livinglab.domain.sandbox import Release, Role
from livinglab.evidence import dsse, statements
from livinglab.ports import Clock, Store, Tx
from livinglab.services.applications import overseen, sees, visible_pilot
from livinglab.services.budget import Budget, budget_of
from livinglab.services.documents import freeze_documents, open_plan
from livinglab.services.ids import new_id
from livinglab.services.once import Once
from livinglab.services.recording import Recorder, Subject
from livinglab.services.sandboxes import newest, parse
from livinglab.services.tags import require


class Proposal(Frozen):
    """What the parties choose; everything else in a plan is frozen from what is registered."""

    pilot: str
    objectives: tuple[str, ...] = Field(min_length=1)
    safeguards: tuple[str, ...] = ()
    valid_from: date
    valid_until: date
    sites: tuple[Slug, ...] | None = None
    measured_runs: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Plans:
    """Proposing, signing and stopping plans."""

    store: Store
    clock: Clock
    recorder: Recorder

    def propose(self, caller: Caller, document: Any, idempotency_key: str | None = None) -> Plan:
        """Freeze a plan for a pilot, from the sandbox's newest release. The same key with the same proposal makes one.

        Raises:
            Invalid: the proposal asks for what the sandbox does not offer.
            NotFound: no such pilot for this caller.
            Conflict: required evidence is missing, the pilot has a plan that is not over, or it is past that; the key was used for another.
        """
        proposal = parse(Proposal, document, "plan")
        now, once = self.clock.now(), Once("plans", idempotency_key, digest_of(proposal))
        with self.store.transaction() as tx:
            if made := once.made(tx, caller):
                return visible_plan(tx, caller, made)
            pilot = visible_pilot(tx, caller, proposal.pilot)
            caller.need(pilot.sandbox, Role.PARTICIPANT, Role.AUTHORITY)
            release, authority = newest(tx, pilot.sandbox)
            self._negotiate(tx, pilot)
            documents = freeze_documents(tx, pilot, release.spec.required_evidence)
            body = freeze(proposal, pilot, release, authority, documents, new_id("pln", now))
            data, digest = body.encode()
            plan = Plan(body=body, digest=digest, created_at=now)
            tx.add_plan(plan, data)
            once.remember(tx, caller, plan.id)
            self.recorder.transition(tx, plan_subject(plan), "plan-proposed", {"plan": digest, "version": body.version, "by": caller.organisation})
        return plan

    def _negotiate(self, tx: Tx, pilot: Pilot) -> None:
        """Bring the pilot into negotiation, unless it is there still because a plan was terminated before it was agreed."""
        current = open_plan(tx, pilot)
        if current:
            msg = f"pilot {pilot.id} has plan {current.id}, which is {current.state}."
            raise Conflict(msg, hint="Another can be proposed once the authority has terminated one that is not agreed.")
        if pilot.state is not PilotState.PLAN_NEGOTIATION:
            tx.update_pilot(pilot.to(PilotState.PLAN_NEGOTIATION), pilot)

    def sign(self, caller: Caller, id_: str, envelope: bytes, if_match: str | None = None) -> Plan:
        """Take one side's signature. The second one brings the plan, and the pilot, into force.

        Raises:
            Invalid: not an envelope over this plan's digest, or the signature does not hold.
            Forbidden: this organisation has no key, or has revoked this one; or this caller is neither side of the plan.
            Conflict: this side has signed already with other bytes, or the plan is past signing; or the other side has revoked its key since it
                signed. Changed: it is not as it was seen.
        """
        with self.store.transaction() as tx:
            plan = visible_plan(tx, caller, id_)
            require(if_match, plan, f"plan {plan.id}")
            role = _side(caller, plan)
            given = plan.signed_by(role)
            if given and given.envelope == envelope.decode(errors="replace"):
                return plan
            if given or plan.state is not PlanState.PROPOSED:
                msg = f"the {role} cannot sign: the plan is {plan.state}" + (f" and was signed with key {given.key_id[:16]}." if given else ".")
                raise Conflict(msg)
            _check_that_keys_hold(tx, plan)
            key_id = self._check_signature(tx, caller, plan, role, envelope)
            signature = Signature(role=role, organisation=caller.organisation, key_id=key_id, envelope=envelope.decode(), at=self.clock.now())
            signed = plan.model_copy(update={"signatures": (*plan.signatures, signature)})
            subject = plan_subject(plan)
            self.recorder.receive(tx, subject, "plan-signed", envelope, {"plan": plan.digest, "role": role, "key": key_id})
            if len(signed.signatures) == 2:  # noqa: PLR2004 - both sides
                signed = self._agree(tx, signed)
            tx.update_plan(signed, plan)
        return signed

    def budget(self, caller: Caller, id_: str) -> Budget:
        """How much of the plan's measured runs and core-hours is used, spoken for, and left."""
        with self.store.transaction(read_only=True) as tx:
            plan = visible_plan(tx, caller, id_)
            pilot, release = tx.pilot(plan.body.pilot), tx.release(plan.body.release)
            assert pilot and release  # noqa: S101, PT018 - stored with the plan
            return budget_of(plan, pilot, release, tx.spent(plan.id))

    def _check_signature(self, tx: Tx, caller: Caller, plan: Plan, role: Role, envelope: bytes) -> str:
        payload, key_ids = dsse.open_envelope(envelope, _signing_keys(tx.keys_of(caller.organisation), envelope, caller.organisation))
        key_id = key_ids[0]
        statements.check_plan_signature(
            payload, plan=plan.id, version=plan.body.version, digest=plan.digest, role=role, organisation=caller.organisation
        )
        if any(s.key_id == key_id for s in plan.signatures):
            msg = "the other side signed with this very key; a plan needs two."
            raise Invalid(msg, where="envelope")
        return key_id

    def _agree(self, tx: Tx, plan: Plan) -> Plan:
        agreed = plan.to(PlanState.AGREED)
        pilot = tx.pilot(plan.body.pilot)
        assert pilot is not None  # noqa: S101 - a foreign key
        active = pilot.to(PilotState.PLAN_AGREED).to(PilotState.ACTIVE)
        tx.update_pilot(active, pilot)
        self.recorder.transition(tx, plan_subject(plan), "plan-agreed", {"plan": plan.digest})
        return agreed

    def stop(self, caller: Caller, id_: str, state: PlanState, reason: str, if_match: str | None = None) -> Plan:
        """Suspend, resume (`agreed`), complete or terminate. Runs that are queued or running are stopped by the worker, which looks.

        Raises:
            Forbidden: only the authority suspends, resumes and terminates; only the parties complete.
            Conflict: the plan's state does not allow it; above all, nobody but the two signatures agrees to a plan.
            Changed: it is not as it was seen, under the tag `if_match`.
        """
        with self.store.transaction() as tx:
            plan = visible_plan(tx, caller, id_)
            require(if_match, plan, f"plan {plan.id}")
            sides = (Role.AUTHORITY, Role.PARTICIPANT) if state is PlanState.COMPLETED else (Role.AUTHORITY,)
            caller.need(plan.body.sandbox, *sides)
            if state is PlanState.AGREED and plan.state is not PlanState.SUSPENDED:
                msg = f"plan {plan.id} is {plan.state}: only a suspended plan is resumed."
                raise Conflict(msg, hint="A proposed plan is agreed when both sides have signed it.")
            changed = plan.to(state)
            tx.update_plan(changed, plan)
            self.recorder.transition(tx, plan_subject(plan), f"plan-{state}", {"plan": plan.digest, "by": caller.organisation, "reason": reason})
        return changed

    def get(self, caller: Caller, id_: str) -> Plan:
        """A plan that this caller may see; `NotFound` for any other."""
        with self.store.transaction(read_only=True) as tx:
            return visible_plan(tx, caller, id_)

    def body(self, caller: Caller, id_: str) -> bytes:
        """The bytes that are signed."""
        with self.store.transaction(read_only=True) as tx:
            data = tx.plan_body(visible_plan(tx, caller, id_).digest)
        assert data is not None  # noqa: S101 - stored with the plan
        return data

    def page(self, caller: Caller, pilot: str | None, after: str | None, limit: int) -> tuple[Plan, ...]:
        """The plans that this caller may see, newest first."""
        with self.store.transaction(read_only=True) as tx:
            return tx.plans(pilot=pilot, organisation=caller.organisation, sandboxes=overseen(caller), after=after, limit=limit)


def freeze(proposal: Proposal, pilot: Pilot, release: Release, authority: str, documents: tuple[FrozenDocument, ...], id_: str) -> PlanBody:
    """Everything that a run will be held to, by digest; `Invalid` where the proposal asks for more than the sandbox offers."""
    spec = release.spec
    measured_runs = proposal.measured_runs or spec.quota.measured_runs
    if measured_runs > spec.quota.measured_runs:
        msg = f"{measured_runs} measured runs are more than the sandbox's {spec.quota.measured_runs}."
        raise Invalid(msg, where="measured_runs")
    sites = proposal.sites or spec.sites
    strange = sorted(set(sites) - set(spec.sites))
    if strange:
        msg = f"the sandbox does not run at {', '.join(strange)}."
        raise Invalid(msg, where="sites", hint=f"It runs at {', '.join(spec.sites)}.")
    if proposal.valid_until < proposal.valid_from:
        msg = f"{proposal.valid_until} is before {proposal.valid_from}."
        raise Invalid(msg, where="valid_until")
    if pilot.organisation == authority:
        msg = f"{authority} is the sandbox's authority: it does not oversee a pilot of its own."
        raise Invalid(msg, where="pilot")
    return PlanBody(
        id=id_, pilot=pilot.id, participant=pilot.organisation, authority=authority, sandbox=spec.id, release=release.digest,
        specification=spec.digest, criteria=spec.frozen_criteria(measured_runs).digest, isolation=digest_of(spec.isolation),
        harness_image=release.harness_image, participant_data=release.participant_data.digest, hidden_data=release.hidden_data.digest,
        commitment=release.commitment, pilot_image=pilot.image, manifest=pilot.manifest.digest, documents=documents, measured_runs=measured_runs,
        replicates=spec.harness.replicates, sites=sites, objectives=proposal.objectives, safeguards=proposal.safeguards,
        valid_from=proposal.valid_from, valid_until=proposal.valid_until)  # fmt: skip


def _signing_keys(own: tuple[PublicKey, ...], envelope: bytes, organisation: str) -> dict[str, bytes]:
    """Key id → PEM of those that may sign; `Forbidden` where there was never a key, or the envelope names a revoked one and none of these."""
    if not own:
        msg = f"{organisation} has registered no public key."
        raise Forbidden(msg, hint="Register one: PUT /v1/keys, or `livinglab key register`.")
    keys = {k.key_id: k.pem.encode() for k in own if not k.revoked_at}
    named = {key_id for key_id, _signature in dsse.parse(envelope)[2]}
    revoked = next((k for k in own if k.revoked_at and k.key_id in named), None)
    if revoked and not named & keys.keys():
        msg = f"key {revoked.key_id[:16]} of {organisation} was revoked on {revoked.revoked_at:%Y-%m-%d}: nothing new is signed with it."
        raise Forbidden(msg, hint="Sign with another: `livinglab key new`, then `livinglab key register`.")
    return keys


def _check_that_keys_hold(tx: Tx, plan: Plan) -> None:
    """`Conflict` if a key that signed a plan was revoked since: whoever had it may not be who it was."""
    for signature in plan.signatures:
        key = tx.key(signature.key_id)
        if key is None or key.revoked_at:
            msg = f"the {signature.role}'s key {signature.key_id[:16]} was revoked after it signed: the plan does not come into force."
            raise Conflict(msg, hint="The authority terminates it; then it is proposed and signed anew.")


def _side(caller: Caller, plan: Plan) -> Role:
    if caller.organisation == plan.body.authority and caller.role_in(plan.body.sandbox) is Role.AUTHORITY:
        return Role.AUTHORITY
    if caller.organisation == plan.body.participant and caller.role_in(plan.body.sandbox) is Role.PARTICIPANT:
        return Role.PARTICIPANT
    msg = f"{caller.organisation} is neither side of plan {plan.id}."
    raise Forbidden(msg)


def visible_plan(tx: Tx, caller: Caller, id_: str) -> Plan:
    """The plan, if it exists for this caller; `NotFound` otherwise, whichever it was."""
    return visible(caller, tx.plan(id_), id_)


def visible(caller: Caller, plan: Plan | None, id_: str) -> Plan:
    """The same, of one that was looked for."""
    if plan is None or not sees(caller, plan.body.participant, plan.body.sandbox):
        msg = f"there is no plan {id_!r}."
        raise NotFound(msg)
    return plan


def plan_subject(plan: Plan) -> Subject:
    """The plan's chain."""
    return Subject(chain=plan.id, organisation=plan.body.participant, sandbox=plan.body.sandbox, plan=plan.id)
