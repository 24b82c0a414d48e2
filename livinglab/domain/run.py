"""A run and its attempts: append-only, each state knowing which may follow it."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from livinglab.domain.errors import Conflict
from livinglab.domain.model import Frozen, Moment, Slug
from livinglab.domain.verdict import Verdict


class Cause(StrEnum):
    """Whose doing an end was. Only `pilot` faults can cost quota."""

    PILOT = "pilot"
    PLATFORM = "platform"
    POLICY = "policy"


class RunState(StrEnum):
    """Of a run, and of an attempt within it."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    """Measured and judged, whatever the verdict."""
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """May nothing follow?"""
        return not _FOLLOWS[self]

    def may_follow(self, before: "RunState") -> bool:
        """Is the step from `before` to this allowed?"""
        return self in _FOLLOWS[before]


_S = RunState
_FOLLOWS: dict[RunState, frozenset[RunState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLING, _S.REFUSED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.CANCELLING, _S.COMPLETED, _S.FAILED, _S.REFUSED}),
    # A run that completes while a cancel is on its way was not cancelled: it completed.
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.COMPLETED, _S.FAILED, _S.REFUSED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.CANCELLED: frozenset(),
}


class Step(StrEnum):
    """The journal of an attempt, in order. Each is done once; what it did is found again after a crash, never done twice."""

    ADMIT = "admit"
    IMAGES = "images"
    PREPARE = "prepare"
    STAGE = "stage"
    EXECUTE = "execute"
    COLLECT = "collect"
    ATTEST = "attest"
    DECODE = "decode"
    MEASURE = "measure"
    JUDGE = "judge"
    RELEASE = "release"
    SEAL = "seal"


PHASES: dict[str, tuple[Step, ...]] = {
    "admit": (Step.ADMIT,),
    "stage": (Step.IMAGES, Step.PREPARE, Step.STAGE),
    "execute": (Step.EXECUTE, Step.COLLECT, Step.ATTEST),
    "measure": (Step.DECODE, Step.MEASURE),
    "judge": (Step.JUDGE,),
    "seal": (Step.RELEASE, Step.SEAL),
}
"""The steps as operators see them: few, and named as they would name them."""


class Failure(Frozen):
    """Why an attempt did not complete."""

    cause: Cause
    code: str
    """Stable and machine-readable: `exit-code`, `out-of-memory`, `out-of-time`, `log-limit`, `output-limit`, `output-unusable`, …"""
    sentence: str


class Attempt(Frozen):
    """One try at a run. `epoch` grows with every owner; a writer with an older one is refused."""

    run: str
    number: int = Field(ge=1)
    state: RunState = RunState.QUEUED
    step: Step | None = None
    """The last step that was begun."""
    nonce: str
    owner: str | None = None
    epoch: int = 0
    lease_until: Moment | None = None
    failure: Failure | None = None
    cancel_seen_dead_at: Moment | None = None
    verdict: Verdict | None = None
    created_at: Moment
    started_at: Moment | None = None
    """When the pilot's container was started, by the site's clock."""
    ended_at: Moment | None = None

    @property
    def id(self) -> str:
        """`<run>.<number>`."""
        return f"{self.run}.{self.number}"

    def to(self, state: RunState) -> "Attempt":
        """The attempt in its next state; `Conflict` where it may not follow."""
        if not state.may_follow(self.state):
            msg = f"attempt {self.id} is {self.state}; {state} may not follow."
            raise Conflict(msg)
        return self.model_copy(update={"state": state})


class Spent(Frozen):
    """What the runs under a plan, or some of them, have cost it so far."""

    runs: int = Field(ge=0)
    counted: int = Field(ge=0)
    """Runs that something was disclosed of; see `Run.counts`."""
    under_way: int = Field(ge=0)
    """Runs that are not over."""
    at_stake: int = Field(ge=0)
    """Runs that count, or are not over and may."""
    core_seconds: float = Field(ge=0)
    """What the runs that are over were charged."""


class RunCount(Frozen):
    """How many runs a site has in a state, and since when the oldest of them is there."""

    site: str
    state: RunState
    runs: int
    oldest: Moment


class Run(Frozen):
    """One execution of a pilot under a plan at a site."""

    id: str
    plan: str
    plan_digest: str
    pilot: str
    organisation: Slug
    sandbox: Slug
    site: Slug
    ordinal: int = Field(ge=1)
    """Among the runs under this plan: 1 is the first. Sealed, so that trying until it passes is visible."""
    state: RunState = RunState.QUEUED
    attempts: int = Field(default=1, ge=1)
    cancel_requested_by: str | None = None
    cancel_reason: str | None = None
    verdict: Verdict | None = None
    failure: Failure | None = None
    priority: int = Field(default=0, ge=-100, le=100)
    """Of two runs that wait for a place at a site, the one with the higher priority begins first."""
    held_by: str | None = None
    """Who keeps it from beginning; None: nobody."""
    held_reason: str | None = None
    longest_seconds: float = 0.0
    """The most that its containers may take, one after the other: what must fit in before a maintenance window of the site."""
    counts: bool = False
    """Does it count against the plan's measured runs? True from the moment that something derived from hidden data may be disclosed."""
    core_seconds: float = Field(default=0.0, ge=0)
    """What it is charged, once it is over: cores of the pilot's container times seconds."""
    trace: str | None = Field(default=None, exclude_if=lambda trace: trace is None)
    """The `traceparent` of the call that asked for it."""
    created_at: Moment
    ended_at: Moment | None = None

    def to(self, state: RunState) -> "Run":
        """The run in its next state; `Conflict` where it may not follow."""
        if not state.may_follow(self.state):
            msg = f"run {self.id} is {self.state}; {state} may not follow."
            raise Conflict(msg)
        return self.model_copy(update={"state": state})


class Waiting(Frozen):
    """A job in a site's own queue, as it was seen last: the scheduler's words, and what they mean for people."""

    raw: str
    reason: str
    advice: str


JobRole = Literal["prepare", "pilot", "drive", "decode", "measure"]


class JobKey(Frozen):
    """What names a job at a site: an attempt and a role in it. The same key never runs twice."""

    attempt: str
    role: JobRole

    def __hash__(self) -> int:
        """By value, so that keys can be looked up."""
        return hash((self.attempt, self.role))

    def __str__(self) -> str:
        return f"{self.attempt}.{self.role}"


class JournalEntry(Frozen):
    """One step of an attempt as the database keeps it: `intent` before its side effect, `done` after."""

    attempt: str
    step: Step
    status: Literal["intent", "done"]
    data: dict[str, object] = {}
    at: Moment
