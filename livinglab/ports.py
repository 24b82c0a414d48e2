"""The seams. Services know these and never what stands behind them; `bootstrap` alone chooses.

A property holds for every implementation of a port, and `livinglab.testing` has the suite that shows it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, Self, TypeVar, runtime_checkable

from livinglab.domain.access import CheckpointRow, Document, Event, Identity, Image, LedgerRow, Member, PublicKey, Token, TreeLeaf, Upload
from livinglab.domain.canonical import Digest
from livinglab.domain.isolation import Area, Finding, IsolationProfile, Mount, Resources
from livinglab.domain.model import Frozen, Moment
from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, JobKey, JobRole, JournalEntry, Run, RunCount, RunState, Spent, Step
from livinglab.domain.sandbox import Release
from livinglab.domain.site import SiteRecord
from livinglab.domain.standing import Asked, Standing

T = TypeVar("T")

# --- time and signing -------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The time, in UTC."""

    def now(self) -> datetime:
        """Now, with its zone."""
        ...


class Signer(Protocol):
    """A private key that someone else keeps: it signs, and tells its public half."""

    @property
    def key_id(self) -> str:
        """sha256 of the public key's DER, in hex."""
        ...

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A DSSE envelope, as JSON bytes, over the payload."""
        ...


# --- blobs ------------------------------------------------------------------------------------------------------------


class Artifacts(Protocol):
    """Immutable bytes by digest. Putting the same bytes twice is one blob; a blob appears whole or not at all."""

    def put(self, data: bytes) -> str:
        """Store; return the digest. Durable when it returns."""
        ...

    def put_stream(self, chunks: Iterable[bytes], *, limit: int) -> tuple[str, int]:
        """Store as it comes; return digest and size.

        Raises:
            TooLarge: more than `limit` bytes came; nothing is kept.
        """
        ...

    def scratch(self, chunks: Iterable[bytes], *, limit: int) -> AbstractContextManager[Path]:
        """What comes, in a file that is gone afterwards and is nobody's blob. `TooLarge` as `put_stream`."""
        ...

    def aside(self) -> AbstractContextManager["Aside"]:
        """Blobs that are put there are gone afterwards, unless they were kept."""
        ...

    def drop_unfinished(self, *, older_than: float) -> None:
        """Forget what processes that were killed had not finished, and has not been touched for so many seconds."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Read a blob. `NotFound` if it is not there."""
        ...

    def read(self, digest: str) -> bytes:
        """A whole blob, its digest checked. `NotFound`; `EvidenceBroken` if the bytes changed."""
        ...

    def path(self, digest: str) -> Path:
        """Where the blob lies on this machine, read-only. `NotFound` if it is not there."""
        ...

    def has(self, digest: str) -> bool:
        """Is it there?"""
        ...


class Aside(Artifacts, Protocol):
    """Blobs that nobody but its owner sees yet. It sees all others, too, and takes nothing twice."""

    def keep(self) -> None:
        """Put its blobs beside the others. Durable when it returns."""
        ...


class Parts(Protocol):
    """Bytes that come in parts, by a name; each part is durable when `append` returns, and what came of one that was cut is there, too."""

    def size(self, name: str) -> int:
        """How many bytes are there."""
        ...

    def append(self, name: str, offset: int, chunks: Iterable[bytes], *, limit: int) -> int:
        """Go on at `offset`; how many bytes are there then.

        Raises:
            Conflict: another offset is the next, or another process is at it.
            TooLarge: more than `limit` bytes in all.
        """
        ...

    def path(self, name: str) -> Path:
        """Where they lie on this machine. `NotFound` if nothing is there."""
        ...

    def drop(self, name: str) -> None:
        """Forget them."""
        ...

    def drop_all_but(self, names: Collection[str], *, older_than: float) -> None:
        """Forget all others that nobody has added to for so many seconds."""
        ...


class Images(Protocol):
    """Normalised images among the blobs, as a site needs them."""

    def tag(self, digest: str) -> str:
        """The lab's own name for the image at an engine."""
        ...

    def config(self, digest: str) -> tuple[str, tuple[str, ...]]:
        """The digest of the image's configuration, and those of its layers. `NotFound` if the image is not here."""
        ...

    def export(self, digest: str, out: BinaryIO) -> None:
        """Write the image as an archive that an engine loads."""
        ...


class Vault(Protocol):
    """What an authority entrusted to the site, and to nobody else."""

    def secret(self, commitment: str) -> bytes:
        """The secret behind a commitment, checked against it. `NotFound` if it is not here; `EvidenceBroken` if it does not fit."""
        ...


# --- sites ------------------------------------------------------------------------------------------------------------


class ContainerSpec(Frozen):
    """One container of a job: the lab's image by digest, the lab's argv, nothing from the image's own metadata."""

    role: JobRole
    image: Digest
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...]
    resources: Resources


class JobSpec(Frozen):
    """One or more containers that live and die together, under one profile. With several, an area `socket` is shared by them.

    The job is submitted under the key of its first container; each is observed and collected under its own. When one has
    ended, the site ends the others after a moment's grace; cancelling one cancels all.
    `nonce` binds the probe's report to this job; it is a secret until the report is in.
    """

    attempt: str
    containers: tuple[ContainerSpec, ...]
    profile: IsolationProfile
    nonce: str
    runtime: str | None = None
    """A site's runtime other than its default (`runsc`)."""

    @property
    def keys(self) -> tuple[JobKey, ...]:
        """Each container's, the first of which is the job's own."""
        return tuple(JobKey(attempt=self.attempt, role=container.role) for container in self.containers)

    @property
    def wall_seconds(self) -> float:
        """The most that it may take once it has begun."""
        return max(container.resources.wall_seconds for container in self.containers)

    def only(self, role: JobRole) -> Self:
        """What was demanded of one container."""
        return self.model_copy(update={"containers": tuple(c for c in self.containers if c.role == role)})


PARTNER_GRACE = timedelta(seconds=2)
"""How long a container may go on after one that it lives together with has ended: enough to write down what it saw."""


class Handle(Frozen):
    """What a site calls a job. `created` is False when an earlier submit of the same key was found and attached to."""

    key: JobKey
    id: str
    created: bool


class Seen(StrEnum):
    """What an observation saw."""

    PENDING = "pending"
    RUNNING = "running"
    EXITED = "exited"
    ABSENT = "absent"
    """The backend answered, and the job is not there."""
    UNREACHABLE = "unreachable"
    """Nobody answered: nothing is known."""


Limit = Literal["wall_seconds", "memory", "log_bytes", "output_bytes", "pids"]


class Observation(Frozen):
    """A job as it was seen, once. `raw` and `reason` are the backend's own words."""

    key: JobKey
    seen: Seen
    raw: str = ""
    reason: str = ""
    at: Moment
    started_at: Moment | None = None
    ended_at: Moment | None = None
    exit_code: int | None = None
    limit: Limit | None = None
    """The limit that ended it, where one did."""
    advice: str = ""
    """For people: what the backend's reason means, and what to do about it."""

    @property
    def away(self) -> bool:
        """Did the site not answer? Where it has a word of its own for the job's state, it did."""
        return self.seen is Seen.UNREACHABLE and not self.raw


class OutputFile(Frozen):
    """A regular file that a container left in its outputs, already copied to `Outcome.outputs_dir`."""

    path: str
    size: int
    digest: str


class Outcome(Frozen):
    """What is left of a job. Nothing in it was believed: sizes are bounded, links were not followed."""

    key: JobKey
    exit_code: int
    limit: Limit | None
    started_at: Moment
    ended_at: Moment
    report: bytes | None
    """The launcher's line, as it stood first in the log."""
    site_view: tuple[Finding, ...]
    log_path: Path
    log_bytes: int
    log_truncated: bool
    outputs: tuple[OutputFile, ...]
    outputs_dir: Path
    output_problem: str | None = None
    """Why the outputs cannot be used (a link, a device, too large), as a sentence; then `outputs` is empty."""
    usage: dict[str, float] = {}
    """As far as the site measures it: `wall_seconds` from the container's start to its end, `cpu_seconds` of all its processes, user and system;
    `memory_peak_bytes`; of the job that it is part of, by the scheduler's accounts: `queue_seconds` from submission to start, `elapsed_seconds`,
    `gpu_seconds` (GPUs × seconds that they were assigned), `energy_joules` of its nodes. What is not measured is left out, never zero."""


class Site(Protocol):
    """A place that computes. The database is the truth about runs; a site is asked, and answers for what is there now.

    Every method may raise `Unreachable` (transient; `observe` answers `Seen.UNREACHABLE` instead).
    """

    name: str

    def ensure_image(self, digest: str) -> str:
        """Make the image ready; return the site's derived id. Built once however many ask at the same time. `Invalid` if it cannot be used."""
        ...

    def has_dataset(self, digest: str) -> bool:
        """Is that dataset in the site's vault?"""
        ...

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """Place files (name → local source) for an attempt, read-only, in place of whatever that area held. Idempotent."""
        ...

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        """Find or create: the same key never runs twice, not after a crash and not from two processes at once.

        Raises:
            Conflict: the key exists with another specification.
            IsolationNotProven: the site cannot enforce what the profile demands (nothing was started).
        """
        ...

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """One backend query for all of them. Ends, on the way, what passed its limits."""
        ...

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """Return when one of them may have changed, at the latest after `timeout`. A hint: `observe` stays the truth."""
        ...

    def cancel(self, key: JobKey, grace: timedelta) -> None:
        """Ask it to end. Idempotent; done only when it is observed dead."""
        ...

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """Log bytes from `offset` on (after the launcher's line), at most `limit`; empty when there are none (yet)."""
        ...

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """Copy what an ended job left to a folder of ours. Idempotent until `release`. `Conflict` while it lives, `NotFound` if absent."""
        ...

    def release(self, attempt: str) -> None:
        """Remove everything of an attempt: containers, volumes, pushed areas. Idempotent; only after what was collected is durable."""
        ...

    def owned(self) -> set[JobKey]:
        """What is ours out there: orphans are found by it."""
        ...


class Demand(Frozen):
    """What a site must be like for the lab, and is."""

    what: str
    demanded: str
    seen: str
    holds: bool
    hint: str = ""
    """What to do where it does not hold."""
    needed: bool = True
    """Not needed: the site works without, less well."""


@runtime_checkable
class Inspectable(Protocol):
    """A site that can say how it is set up, besides what a container on it sees."""

    def inspect(self) -> tuple[Demand, ...]:
        """Every demand, in the order in which one would mend them."""
        ...


@runtime_checkable
class Queueing(Protocol):
    """What a site with a queue of its own does besides. Idempotent; a job that does not wait, or not any more, is left as it is."""

    def hold(self, attempt: str) -> None:
        """Keep the waiting job of that attempt from starting. `Unreachable`."""
        ...

    def let_go(self, attempt: str) -> None:
        """Undo `hold`. `Unreachable`."""
        ...

    def prioritise(self, attempt: str, priority: int) -> None:
        """Give the waiting job of that attempt a priority (−100 to 100; 0 is what everybody has). `Unreachable`."""
        ...


# --- the database -----------------------------------------------------------------------------------------------------


class Tx(Protocol):
    """One transaction. Whatever is written is visible to others all at once, or not at all.

    What the database refuses may be told with the next question, or at the end: before the commit in any case.
    """

    # access
    def add_token(self, token: Token) -> None: ...
    def token_by_hash(self, hash_: str) -> Token | None: ...
    def tokens(self) -> tuple[Token, ...]: ...
    def revoke_token(self, id_: str, at: datetime) -> bool: ...
    def put_member(self, member: Member) -> None:
        """A new one, or in place of the one of that identity."""

    def member(self, identity: Identity) -> Member | None: ...
    def members(self) -> tuple[Member, ...]: ...
    def add_key(self, key: PublicKey) -> PublicKey:
        """The key as it was registered first. `Conflict` if another organisation holds it, or this one has revoked it."""
        ...

    def revoke_key(self, organisation: str, key_id: str, at: datetime) -> PublicKey | None:
        """The key, revoked when it was the first time; None if the organisation has no such key."""
        ...

    def key(self, key_id: str) -> PublicKey | None: ...
    def keys_of(self, organisation: str) -> tuple[PublicKey, ...]: ...

    # uploads: known to the organisation that uploaded, and to nobody else
    def add_image(self, organisation: str, image: Image) -> None: ...
    def image(self, digest: str) -> Image | None: ...
    def images_of(self, organisation: str) -> tuple[Image, ...]: ...
    def has_uploaded(self, organisation: str, digest: str) -> bool: ...

    # uploads in parts
    def put_upload(self, upload: Upload) -> None:
        """A new one, or in place of the one of that id."""

    def upload(self, id_: str) -> Upload | None: ...
    def uploads(self) -> tuple[Upload, ...]: ...
    def remove_upload(self, id_: str) -> None: ...

    # idempotency keys, scoped to the organisation and to what it asks for
    def idempotent(self, organisation: str, what: str, key: str) -> tuple[str, str] | None:
        """(digest of the request, id of what it made), if the key was used."""
        ...

    def remember(self, organisation: str, what: str, key: str, request: str, made: str) -> None: ...

    # sandboxes
    def add_release(self, release: Release, authority: str, document: bytes, at: datetime) -> None:
        """`Conflict` if that sandbox and version exist with another digest."""
        ...

    def release(self, digest: str) -> Release | None: ...
    def release_document(self, digest: str) -> bytes | None: ...
    def sandbox(self, id_: str) -> tuple[Release, str] | None:
        """The newest release and the authority's organisation."""
        ...

    def sandboxes(self, after: str | None, limit: int) -> tuple[tuple[Release, str], ...]: ...

    # sites
    def add_site(self, site: SiteRecord) -> None:
        """`Conflict` if the name is taken."""
        ...

    def site(self, name: str) -> SiteRecord | None: ...
    def sites(self) -> tuple[SiteRecord, ...]: ...
    def update_site(self, site: SiteRecord, before: SiteRecord) -> None:
        """`Conflict` if it is no longer as `before`."""
        ...

    def remove_site(self, name: str) -> None: ...
    def tally(self, site: str) -> Mapping[RunState, int]:
        """How many runs of a site are in which state."""
        ...

    # pilots, plans
    def add_pilot(self, pilot: Pilot) -> None: ...
    def pilot(self, id_: str) -> Pilot | None: ...
    def update_pilot(self, pilot: Pilot, before: Pilot) -> None:
        """`Conflict` if the stored state is no longer `before.state`."""
        ...

    def pilots(self, *, organisation: str | None, sandboxes: Collection[str] | None, after: str | None, limit: int) -> tuple[Pilot, ...]:
        """Newest first. Seen are those of `organisation` and those of `sandboxes` (None: all of either kind)."""
        ...

    def add_plan(self, plan: Plan, body: bytes) -> None: ...
    def plan(self, id_: str) -> Plan | None:
        """Its newest version."""
        ...

    def plan_body(self, digest: str) -> bytes | None: ...
    def update_plan(self, plan: Plan, before: Plan) -> None: ...
    def plans(
        self, *, pilot: str | None, organisation: str | None, sandboxes: Collection[str] | None, after: str | None, limit: int
    ) -> tuple[Plan, ...]: ...

    # runs and attempts
    def add_run(self, run: Run, attempt: Attempt) -> None: ...
    def run(self, id_: str) -> Run | None: ...
    def update_run(self, run: Run, before: Run) -> None: ...
    def runs(
        self, *, plan: str | None, organisation: str | None, sandboxes: Collection[str] | None, after: str | None, limit: int
    ) -> tuple[Run, ...]: ...
    def runs_under(self, plan: str) -> tuple[Run, ...]:
        """All runs under a plan, by ordinal."""
        ...

    def spent(self, plan: str, without: str | None = None) -> Spent:
        """What the runs under a plan have cost it, but for the run `without`."""
        ...

    def standing(self, plan: str, pilot: str, site: str, without: str | None = None) -> Standing:
        """The same, with how pilot and site stand."""
        ...

    def asked(self, organisation: str, what: str, key: str, plan: str, site: str) -> Asked:
        """All that decides about a run which is asked for: one question, since every run waits for its answer with the writers' lock in hand."""
        ...

    def runs_before(self, organisation: str, sandbox: str, created_at: datetime) -> int:
        """How many runs that organisation had in that sandbox before, across plans."""
        ...

    def run_counts(self) -> tuple[RunCount, ...]:
        """How many runs each site has in each state, of all of them."""

    def held(self, site: str) -> int:
        """How many queued runs of a site are held."""
        ...

    def queue(self, site: str, limit: int) -> tuple[Run, ...]:
        """Queued runs of a site, in the order of their turn.

        That is by priority; then in fair shares, so that of two organisations the one comes first that has fewer attempts under way there, with
        its own that come before; then the oldest.
        """
        ...

    def ahead(self, run: Run) -> int:
        """How many queued runs of its site come before it, without those that are held."""
        ...

    def add_attempt(self, attempt: Attempt) -> None: ...
    def attempt(self, id_: str) -> Attempt | None: ...
    def attempts(self, run: str) -> tuple[Attempt, ...]: ...
    def update_attempt(self, attempt: Attempt, epoch: int) -> None:
        """Raises `StaleEpoch` if the stored epoch is not `epoch`."""
        ...

    def claim(self, site: str, owner: str, now: datetime, lease: timedelta, dead: Callable[[str], bool], most: int = 1) -> tuple[Attempt, ...]:
        """The next attempts of the site, taken over by `owner` with the next epoch; `most` of them at most.

        Those are next that were begun, then the others by their turn (see `queue`), of all that are not final and that nobody owns: no owner,
        lease over, or `dead(owner)`. Two callers never get the same one.

        One that was never begun has to wait while its run is held, and while the site is draining, away, or away too soon for it;
        not where its run is to be cancelled.
        """
        ...

    def renew(self, held: Mapping[str, int], until: datetime) -> frozenset[str]:
        """Attempts, each with the epoch that its holder has: leased until then. Those that are at another epoch by now are left, and returned."""
        ...

    # journal
    def journal(self, attempt: str) -> Mapping[Step, JournalEntry]: ...
    def write_journal(self, entry: JournalEntry, epoch: int) -> None:
        """Insert, or replace an intent (by a fuller one, or by done). Raises `StaleEpoch`; `Conflict` if the step is done with other data."""
        ...

    # outbox, documents, logs
    def emit(self, event: Event) -> None: ...
    def events(self, after: int, limit: int, *, run: str | None = None, organisation: str | None = None,
               sandboxes: Collection[str] | None = None) -> tuple[Event, ...]: ...  # fmt: skip
    def last_event(self) -> int:
        """The newest event's id; 0 if there is none."""
        ...

    def cursor(self, name: str) -> int: ...
    def move_cursor(self, name: str, to: int) -> None: ...
    def hold_cursor(self, name: str, owner: str, now: datetime, lease: timedelta, dead: Callable[[str], bool]) -> bool:
        """Is the cursor `owner`'s from now on? Not while another holds it whose lease is not over and who is not dead."""
        ...

    def add_document(self, document: Document) -> None:
        """Idempotent; `Conflict` if the name holds another digest."""
        ...

    def put_document(self, document: Document) -> None:
        """In place of whatever the name held."""
        ...

    def documents(self, subject: str) -> tuple[Document, ...]: ...
    def append_log(self, attempt: str, role: str, offset: int, data: bytes) -> None:
        """Bytes that start at `offset`; what is already there is left as it is, and beyond a gap nothing is kept."""
        ...

    def read_log(self, attempt: str, role: str, offset: int, limit: int) -> bytes: ...
    def log_size(self, attempt: str, role: str) -> int: ...

    # ledger
    def ledger_head(self, chain: str) -> tuple[int, str] | None:
        """(sequence, digest) of the newest entry. Locks the chain until the transaction ends."""
        ...

    def append_ledger(self, row: LedgerRow) -> None:
        """`Conflict` if the sequence is not the next one."""
        ...

    def ledger(self, chain: str) -> tuple[LedgerRow, ...]: ...
    def chains_changed(self) -> tuple[tuple[str, str], ...]:
        """(chain, head digest) of those whose head is not yet a leaf of the Merkle log."""
        ...

    def tree(self) -> tuple[TreeLeaf, ...]: ...
    def add_leaf(self, leaf: TreeLeaf) -> None: ...
    def add_checkpoint(self, row: CheckpointRow) -> None: ...
    def checkpoint(self) -> CheckpointRow | None: ...


class Store(Protocol):
    """The database."""

    def transaction(self, *, read_only: bool = False) -> AbstractContextManager[Tx]:
        """Begin; commit at the end; roll back on any exception. Serialisable: what was read still holds at the commit.

        Raises:
            Unreachable: the database does not answer, or the transaction lost a race after its retries.
        """
        ...

    def ask(self, question: Callable[[Tx], T]) -> T:
        """The answer to one question, without a transaction around it: what is asked more than once may be of several moments.

        Raises:
            Unreachable: the database does not answer.
        """
        ...


# --- tracking, dispatch -----------------------------------------------------------------------------------------------


class Tracker(Protocol):
    """Records; never decides. `record` is idempotent by the attempt's id."""

    def record(self, attempt: str) -> None:
        """Project one finished attempt. `Unreachable` if the server is away: the projector's cursor stays."""
        ...


class Dispatcher(Protocol):
    """Carries attempts through the engine, a bounded number at a time, until told to stop."""

    def serve(self, stop: Callable[[], bool]) -> None:
        """Claim and advance until `stop()`; returns when nothing of ours is in the middle of a step."""
        ...


class Progress(Frozen):
    """Where an attempt stands after one `advance`."""

    step: Step
    done: bool
    """Is the attempt final?"""
    waiting: tuple[JobKey, ...] = ()
    """Jobs whose end is waited for; empty when the next step can begin at once, or at the time of `by`."""
    by: datetime | None = None
    """When to advance again at the latest, whatever happens meanwhile."""
