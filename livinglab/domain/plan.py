"""A plan: what participant and authority agreed, frozen by digests and signed by both."""

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from livinglab.domain.canonical import Digest, canonical, sha256
from livinglab.domain.documents import FrozenDocument
from livinglab.domain.errors import Conflict
from livinglab.domain.model import Frozen, Moment, Slug
from livinglab.domain.sandbox import Role


class PlanBody(Frozen):
    """What is signed: its RFC 8785 bytes, once, and those bytes are kept. An amendment is the next version and names the digest before it."""

    id: str
    version: int = Field(default=1, ge=1)
    previous: Digest | None = None
    pilot: str
    participant: Slug
    authority: Slug
    sandbox: Slug
    release: Digest
    """The sandbox's specification, harness image, data and commitment, in one digest."""
    specification: Digest
    criteria: Digest
    isolation: Digest
    harness_image: Digest
    participant_data: Digest
    hidden_data: Digest
    commitment: Digest
    pilot_image: Digest
    manifest: Digest
    documents: tuple[FrozenDocument, ...] = Field(default=(), exclude_if=lambda documents: not documents)
    """The required evidence, by name; left out where the specification requires none."""
    measured_runs: int = Field(ge=1, le=100)
    replicates: int = Field(ge=200)
    sites: tuple[Slug, ...] = Field(min_length=1)
    objectives: tuple[str, ...] = Field(min_length=1)
    safeguards: tuple[str, ...] = ()
    valid_from: date
    valid_until: date

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.participant == self.authority:
            msg = f"{self.participant} cannot be both sides of a plan"
            raise ValueError(msg)
        if self.valid_until < self.valid_from:
            msg = f"valid_until {self.valid_until} is before valid_from {self.valid_from}"
            raise ValueError(msg)
        if (self.version == 1) != (self.previous is None):
            msg = "version 1 has no `previous`, every later version names it"
            raise ValueError(msg)
        return self

    def encode(self) -> tuple[bytes, str]:
        """The bytes to keep and sign, and their digest."""
        data = canonical(self)
        return data, sha256(data)


class PlanState(StrEnum):
    """A plan is in force when it is agreed and today is within its dates."""

    PROPOSED = "proposed"
    AGREED = "agreed"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    TERMINATED = "terminated"

    @property
    def final(self) -> bool:
        """May nothing follow?"""
        return not _FOLLOWS[self]

    def may_follow(self, before: "PlanState") -> bool:
        """Is the step from `before` to this allowed?"""
        return self in _FOLLOWS[before]


_FOLLOWS: dict[PlanState, frozenset[PlanState]] = {
    PlanState.PROPOSED: frozenset({PlanState.AGREED, PlanState.TERMINATED}),
    PlanState.AGREED: frozenset({PlanState.SUSPENDED, PlanState.COMPLETED, PlanState.TERMINATED}),
    PlanState.SUSPENDED: frozenset({PlanState.AGREED, PlanState.TERMINATED}),
    PlanState.COMPLETED: frozenset(),
    PlanState.TERMINATED: frozenset(),
}


class Signature(Frozen):
    """One side's envelope over a plan's digest, as it was received."""

    role: Role
    organisation: Slug
    key_id: str
    envelope: str
    """The DSSE envelope, as text, byte for byte."""
    at: Moment


class Plan(Frozen):
    """A plan as the lab keeps it. `digest` is of the stored bytes of `body`."""

    body: PlanBody
    digest: Digest
    state: PlanState = PlanState.PROPOSED
    signatures: tuple[Signature, ...] = ()
    created_at: Moment

    @property
    def id(self) -> str:
        """The plan's id."""
        return self.body.id

    def signed_by(self, role: Role) -> Signature | None:
        """That side's signature, if it is there."""
        return next((s for s in self.signatures if s.role is role), None)

    def why_not_in_force(self, today: date) -> tuple[str, ...]:
        """Every reason why nothing may run under it today; empty when it is in force."""
        reasons = [f"the {role} has not signed the plan" for role in (Role.PARTICIPANT, Role.AUTHORITY) if not self.signed_by(role)]
        if not reasons and self.state is not PlanState.AGREED:
            reasons.append(f"the plan is {self.state}")
        if today < self.body.valid_from:
            reasons.append(f"the plan begins on {self.body.valid_from}")
        if today > self.body.valid_until:
            reasons.append(f"the plan ended on {self.body.valid_until}")
        return tuple(reasons)

    def to(self, state: PlanState) -> "Plan":
        """The plan in its next state; `Conflict` where it may not follow."""
        if not state.may_follow(self.state):
            msg = f"plan {self.id} is {self.state}; {state} may not follow."
            raise Conflict(msg)
        return self.model_copy(update={"state": state})
