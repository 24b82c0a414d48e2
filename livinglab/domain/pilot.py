"""A pilot: what a participant brings, and the states that it goes through."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from livinglab.domain.canonical import Digest, digest_of
from livinglab.domain.errors import Conflict
from livinglab.domain.isolation import Resources
from livinglab.domain.model import Frozen, Moment, Slug


class PilotManifest(Frozen):
    """`pilot.yaml`. The entrypoint comes from here, never from the image: image metadata is untrusted."""

    kind: Literal["Pilot"] = "Pilot"
    name: Slug
    version: str = Field(min_length=1, max_length=40)
    title: str = Field(min_length=3, max_length=200)
    summary: str = Field(min_length=10)
    sandbox: Slug
    task: str
    entrypoint: tuple[str, ...] = Field(min_length=1, max_length=64)
    """argv of the pilot inside its image; inputs are under `/in`, outputs go to `/out`."""
    resources: Resources = Resources()
    model_card: str | None = None
    contact: str | None = None

    @property
    def digest(self) -> str:
        """RFC 8785 digest of the manifest."""
        return digest_of(self)


class PilotState(StrEnum):
    """The life of a pilot (EU AI Act, Articles 57 to 61; draft implementing rules of 2025)."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    ELIGIBLE = "eligible"
    INELIGIBLE = "ineligible"
    SCORED = "scored"
    SELECTED = "selected"
    REJECTED = "rejected"
    PLAN_NEGOTIATION = "plan_negotiation"
    PLAN_AGREED = "plan_agreed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    COMPLETING = "completing"
    COMPLETED = "completed"
    TERMINATED = "terminated"
    PROOF_ISSUED = "proof_issued"
    EXIT_REPORT_ISSUED = "exit_report_issued"
    PUBLISHED = "published"
    FOLLOW_UP = "follow_up"
    ARCHIVED = "archived"

    @property
    def final(self) -> bool:
        """May nothing follow?"""
        return not _FOLLOWS[self]

    def may_follow(self, before: "PilotState") -> bool:
        """Is the step from `before` to this one of the life above?"""
        return self in _FOLLOWS[before]


_S = PilotState
_FOLLOWS: dict[PilotState, frozenset[PilotState]] = {
    _S.DRAFT: frozenset({_S.SUBMITTED}),
    # Without a board (legal.selection: none) a submitted pilot goes straight to negotiation.
    _S.SUBMITTED: frozenset({_S.ELIGIBLE, _S.INELIGIBLE, _S.PLAN_NEGOTIATION}),
    _S.ELIGIBLE: frozenset({_S.SCORED}),
    _S.INELIGIBLE: frozenset({_S.SUBMITTED}),
    _S.SCORED: frozenset({_S.SELECTED, _S.REJECTED}),
    _S.SELECTED: frozenset({_S.PLAN_NEGOTIATION}),
    _S.REJECTED: frozenset({_S.SCORED}),
    _S.PLAN_NEGOTIATION: frozenset({_S.PLAN_AGREED, _S.TERMINATED}),
    _S.PLAN_AGREED: frozenset({_S.ACTIVE, _S.TERMINATED}),
    _S.ACTIVE: frozenset({_S.SUSPENDED, _S.COMPLETING, _S.TERMINATED}),
    _S.SUSPENDED: frozenset({_S.ACTIVE, _S.TERMINATED}),
    _S.COMPLETING: frozenset({_S.COMPLETED, _S.TERMINATED}),
    _S.COMPLETED: frozenset({_S.PROOF_ISSUED}),
    _S.TERMINATED: frozenset({_S.EXIT_REPORT_ISSUED}),
    _S.PROOF_ISSUED: frozenset({_S.EXIT_REPORT_ISSUED}),
    _S.EXIT_REPORT_ISSUED: frozenset({_S.PUBLISHED, _S.FOLLOW_UP}),
    _S.PUBLISHED: frozenset({_S.FOLLOW_UP}),
    _S.FOLLOW_UP: frozenset({_S.ARCHIVED}),
    _S.ARCHIVED: frozenset(),
}


class Pilot(Frozen):
    """A pilot as the lab keeps it."""

    id: str
    organisation: Slug
    sandbox: Slug
    manifest: PilotManifest
    image: Digest
    state: PilotState = PilotState.SUBMITTED
    created_at: Moment

    def to(self, state: PilotState) -> "Pilot":
        """The pilot in its next state.

        Raises:
            Conflict: that state may not follow; the message names those that may.
        """
        if not state.may_follow(self.state):
            allowed = ", ".join(sorted(_FOLLOWS[self.state])) or "none"
            msg = f"pilot {self.id} is {self.state}; {state} may not follow (may: {allowed})."
            raise Conflict(msg)
        return self.model_copy(update={"state": state})
