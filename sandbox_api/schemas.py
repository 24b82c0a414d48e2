"""What goes over the wire where it is not a domain model itself."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Header, Query
from pydantic import BaseModel, Field

from livinglab.domain.access import Document, PublicKey
from livinglab.domain.canonical import Digest
from livinglab.domain.documents import MediaType, RequiredDocument
from livinglab.domain.model import Moment
from livinglab.domain.plan import PlanState
from livinglab.domain.run import Attempt, Failure, JobRole, Run, RunState, Step
from livinglab.domain.sandbox import Channel, Release, Role
from livinglab.domain.site import Offer, SiteKind, SiteRecord, SiteState, Window
from livinglab.domain.verdict import SetVerdict, Verdict
from sandbox_api import examples

T = TypeVar("T")

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=8, max_length=200, examples=["6f1c9a52-demo-1"])]
"""Asking twice with the same key and the same body is asking once. It belongs to the organisation and to the address."""

CURSOR = "^[a-z0-9-]{1,100}$"
After = Annotated[str | None, Query(description="The cursor of the page before: `next` of its answer.", pattern=CURSOR)]
PageSize = Annotated[int, Query(alias="limit", ge=1, le=200, description="The most entries to answer with.")]


Words = Annotated[str, Field(min_length=3, max_length=2_000)]


class EnvelopeSignature(BaseModel):
    """One signature, in base64, and the id of its key."""

    keyid: str
    sig: str


class Envelope(BaseModel):
    """A DSSE envelope, as `livinglab sign` writes it: what is signed, in base64, beside its type."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [examples.ENVELOPE]}}

    payload: str
    payloadType: str  # noqa: N815 - the specification's name
    signatures: list[EnvelopeSignature] = Field(min_length=1, max_length=16)


class Page(BaseModel, Generic[T]):
    """Some entries, and the cursor of the next page where there is one."""

    items: Sequence[T]
    next: str | None = None


def page_of(items: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """A page; it names a next one when it is full."""
    return Page(items=items, next=cursor(items[-1]) if len(items) == limit else None)


class SandboxView(BaseModel):
    """A sandbox's newest release."""

    id: str
    version: int
    title: str
    authority: str
    release: Digest
    criteria: Digest
    document: Release


class SiteView(BaseModel):
    """A site, as everybody may see it."""

    name: str
    kind: SiteKind
    state: SiteState
    reason: str = Field(description="Why its state was changed last.")
    offer: Offer
    windows: list[Window]

    @classmethod
    def of(cls, site: SiteRecord) -> "SiteView":
        """The part that is shown."""
        return cls.model_validate(site.model_dump(include=set(cls.model_fields)))


class ImageView(BaseModel):
    """An uploaded image, by the digest that everything else refers to."""

    digest: Digest
    size: int = Field(description="Bytes of its layers, uncompressed.")


class KeyView(BaseModel):
    """A registered public key. Nothing new is signed with one that was revoked."""

    key_id: str
    organisation: str
    pem: str
    created_at: Moment
    revoked_at: Moment | None

    @classmethod
    def of(cls, key: PublicKey) -> "KeyView":
        """As it is kept."""
        return cls.model_validate(key.model_dump())


class PilotSubmission(BaseModel):
    """A pilot: its manifest, and an image that this organisation uploaded."""

    model_config = {"json_schema_extra": {"examples": [{"manifest": examples.MANIFEST, "image": examples.IMAGE["digest"]}]}}

    manifest: dict[str, Any]
    image: Digest


class PlanProposal(BaseModel):
    """What the parties choose. Everything else is frozen from what is registered."""

    model_config = {"json_schema_extra": {"examples": [examples.PROPOSAL]}}

    pilot: str
    objectives: list[Words] = Field(min_length=1)
    safeguards: list[Words] = []
    valid_from: date
    valid_until: date
    sites: list[str] | None = None
    measured_runs: int | None = None


class PlanChange(BaseModel):
    """Suspending, resuming, completing or terminating a plan."""

    model_config = {"json_schema_extra": {"examples": [examples.CHANGE]}}

    state: Literal[PlanState.AGREED, PlanState.SUSPENDED, PlanState.COMPLETED, PlanState.TERMINATED]
    reason: str = Field(min_length=3, max_length=1_000)


class RunSubmission(BaseModel):
    """A run under a plan."""

    model_config = {"json_schema_extra": {"examples": [{"plan": examples.PLAN_ID, "site": "docker"}]}}

    plan: str
    site: str = "docker"


class Cancellation(BaseModel):
    """Why a run is to be stopped."""

    model_config = {"json_schema_extra": {"examples": [{"reason": "The wrong image was submitted."}]}}

    reason: str = Field(default="no reason given", max_length=1_000)


class Hold(BaseModel):
    """Why a run is to wait."""

    model_config = {"json_schema_extra": {"examples": [{"reason": "The data card is being corrected."}]}}

    reason: str = Field(default="no reason given", min_length=3, max_length=1_000)


class Priority(BaseModel):
    """Whose turn comes first: the higher one's."""

    model_config = {"json_schema_extra": {"examples": [{"priority": 10}]}}

    priority: int = Field(ge=-100, le=100)


class AttemptView(BaseModel):
    """An attempt, without what only the worker may know."""

    id: str
    number: int
    state: RunState
    step: Step | None
    failure: Failure | None
    verdict: Verdict | None
    cancel_seen_dead_at: Moment | None
    created_at: Moment
    ended_at: Moment | None

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptView":
        """The part that is shown."""
        return cls(id=attempt.id, **{name: getattr(attempt, name) for name in cls.model_fields if name != "id"})


class RunView(BaseModel):
    """A run, with its attempts."""

    run: Run
    attempts: list[AttemptView]
    shown: dict[Channel, bool]
    """What of the run this caller is shown: the sandbox's disclosure, for its role."""


class UsageView(BaseModel):
    """What one container used, as far as its site measures it."""

    attempt: str
    role: JobRole
    usage: dict[str, float] = Field(description="`wall_seconds`, `cpu_seconds`, `memory_peak_bytes`; of its job, where a scheduler keeps accounts: "
                                    "`queue_seconds`, `elapsed_seconds`, `gpu_seconds`, `energy_joules`.")  # fmt: skip


class StepView(BaseModel):
    """A step of the journal."""

    step: Step
    status: Literal["intent", "done"]
    at: Moment


class VerdictView(BaseModel):
    """The verdict. Where values are withheld from the caller, each result has its category only."""

    verdict: SetVerdict
    values_withheld: bool


class DocumentView(BaseModel):
    """A document of an attempt, by its digest."""

    name: str
    digest: Digest
    size: int
    readable: bool
    """May this caller read it? Of what it may not, it sees the digest that the chain names."""


class PilotDocumentView(BaseModel):
    """A document that is attached to a pilot, by its digest."""

    name: str
    media_type: MediaType
    digest: Digest
    size: int

    @classmethod
    def of(cls, document: Document) -> "PilotDocumentView":
        """The part that is shown."""
        return cls.model_validate(document.model_dump(include=set(cls.model_fields)))


class RequiredDocumentView(BaseModel):
    """A document that the sandbox requires of a pilot, and what is attached for it."""

    name: str
    title: str
    must_hold: str
    media_types: list[MediaType]
    max_bytes: int
    attached: PilotDocumentView | None = None

    @classmethod
    def of(cls, demanded: RequiredDocument, document: Document | None) -> "RequiredDocumentView":
        """Both in one."""
        return cls.model_validate({**demanded.model_dump(), "attached": document and PilotDocumentView.of(document)})


class EntryView(BaseModel):
    """An entry of a plan's chain. `entry` and `body` are the stored bytes, as text."""

    sequence: int
    digest: Digest
    entry: str
    body: str


class Me(BaseModel):
    """As whom the lab knows a caller."""

    organisation: str
    roles: dict[str, Role]
    """By sandbox; `*` is every one."""
    identity: str
    """The token's id; of a member, the issuer and the subject."""


class ProtectedResource(BaseModel):
    """How to come in (RFC 9728, section 2)."""

    resource: str
    authorization_servers: list[str]
    scopes_supported: list[str]
    bearer_methods_supported: list[str] = ["header"]
    livinglab_client: str | None
    """The public client that `livinglab login` is at the provider."""


class UploadBegin(BaseModel):
    """What is going to be sent: an image's archive, as `docker save` writes it."""

    model_config = {"json_schema_extra": {"examples": [{"size": examples.UPLOAD["size"], "digest": examples.UPLOAD["digest"]}]}}

    size: int = Field(ge=1, le=2**53, examples=[104857600])
    digest: Digest
    """Of the archive."""


class UploadView(BaseModel):
    """An upload that is not finished."""

    id: str
    size: int
    digest: Digest
    offset: int
    """How many bytes are there; it goes on with the next."""
