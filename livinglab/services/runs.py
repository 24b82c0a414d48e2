"""Runs: asking for one, stopping one, and how it stands. What it left: `results`."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from livinglab.domain.access import Caller, Event
from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Forbidden, NotFound, Refused
from livinglab.domain.model import Frozen, Slug
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, Cause, Failure, JournalEntry, Run, RunState
from livinglab.domain.sandbox import Channel, Release, Role
from livinglab.domain.site import longest_seconds
from livinglab.ports import Clock, Store, Tx
from livinglab.services.admission import Terms, read_terms, why_not_under
from livinglab.services.applications import overseen, sees
from livinglab.services.ids import new_id
from livinglab.services.once import Once
from livinglab.services.plans import plan_subject, visible
from livinglab.services.queueing import waiting_of
from livinglab.services.recording import Recorder, Subject
from livinglab.services.sandboxes import parse
from livinglab.services.tags import require
from livinglab.services.why import Why, why

WHO_SEES_WHAT = "Its section `disclosure` says who sees what."

_TERMS = 256
"""How many plans' terms are remembered at once."""


class RunRequest(Frozen):
    """A run under a plan, at one of its sites."""

    plan: str
    site: Slug = "docker"


class Looked(Frozen):
    """A run as one caller sees it."""

    run: Run
    attempts: tuple[Attempt, ...]
    shown: dict[Channel, bool]
    """Channel → is it shown to this caller, by the specification that the run was made under?"""


@dataclass(frozen=True)
class Runs:
    """Runs as the outside sees them. What happens within one is the engine's."""

    store: Store
    clock: Clock
    recorder: Recorder
    _terms: dict[str, Terms] = field(default_factory=dict)
    """Plan's digest → what it froze."""

    def request(self, caller: Caller, document: Any, idempotency_key: str, trace: str | None = None) -> Run:
        """Queue a run. The same key with the same request answers with the same run; `trace` is the call's `traceparent`.

        Raises:
            Refused: admission says no; `reasons` has every failed demand. The refusal is recorded.
            Conflict: the key was used for another request.
        """
        request = parse(RunRequest, document, "run")
        once = Once("runs", idempotency_key, digest_of(request))
        with self.store.transaction() as tx:
            asked = tx.asked(caller.organisation, once.what, idempotency_key, request.plan, request.site)
            if made := once.made_by(asked.before):
                return visible_run(tx, caller, made)
            plan, standing = visible(caller, asked.plan, request.plan), asked.standing
            caller.need(plan.body.sandbox, Role.PARTICIPANT, Role.AUTHORITY)
            now, terms = self.clock.now(), self._terms_of(tx, plan)
            reasons = why_not_under(terms, standing, tx, plan, request.site, now.date())
            run: Run | None = None
            if reasons or terms is None:
                self.recorder.transition(tx, plan_subject(plan), "run-refused", {"by": caller.organisation, "reasons": list(reasons)})
            else:
                run = self._queue(tx, Run(
                    id=new_id("run", now), plan=plan.id, plan_digest=plan.digest, pilot=plan.body.pilot, organisation=plan.body.participant,
                    sandbox=plan.body.sandbox, site=request.site, ordinal=standing.spent.runs + 1, created_at=now, trace=trace,
                    longest_seconds=longest_seconds(terms.pilot.manifest, terms.release.spec)))  # fmt: skip
                once.remember(tx, caller, run.id)
        if run is None:
            msg = "the run may not start"
            raise Refused(msg, reasons=reasons)
        return run

    def _terms_of(self, tx: Tx, plan: Plan) -> Terms | None:
        """What the plan froze, remembered: thousands of runs are asked for under it. Before one starts, the engine looks once more for itself."""
        known = self._terms.get(plan.digest)
        if known is None:
            known = read_terms(tx, plan)
            if known and not known.reasons:
                if len(self._terms) >= _TERMS:
                    self._terms.clear()
                self._terms[plan.digest] = known
        return known

    def _queue(self, tx: Tx, run: Run) -> Run:
        tx.add_run(run, new_attempt(run, 1, run.created_at))
        self.recorder.transition(tx, run_subject(run), "run-queued", {"ordinal": run.ordinal, "site": run.site})
        return run

    def cancel(self, caller: Caller, id_: str, reason: str, if_match: str | None = None) -> Run:
        """Ask for the end of a run. It is over when its containers were seen dead; asking twice is asking once.

        Args:
            if_match: the tag under which the run was seen (see `look`), here and below.

        Raises:
            Conflict: the run is over. Changed: it is not as it was seen.
        """
        with self.store.transaction() as tx:
            run = visible_run(tx, caller, id_)
            self._require_seen(tx, caller, run, if_match)
            if caller.organisation != run.organisation:
                caller.need(run.sandbox, Role.AUTHORITY, Role.OPERATOR)
            if run.state is RunState.CANCELLING:
                return run
            if run.state.final:
                msg = f"run {run.id} is over: it is {run.state}."
                raise Conflict(msg)
            return request_cancel(tx, self.recorder, run, caller.organisation, reason)

    def hold(self, caller: Caller, id_: str, reason: str, if_match: str | None = None) -> Run:
        """Keep a run from beginning, or its job from starting where that waits in the site's own queue. Holding twice is once.

        Raises:
            Conflict: it runs already, or is over.
        """
        with self.store.transaction() as tx:
            run, governs = self._own_or_governed(tx, caller, id_, if_match)
            if run.held_by == caller.organisation or (run.held_by and not governs):
                return run
            site = tx.site(run.site)
            if run.state is not RunState.QUEUED and not (run.state is RunState.RUNNING and site and site.has_queue):
                msg = f"run {run.id} cannot be held any more: it is {run.state}."
                raise Conflict(msg, hint="`livinglab cancel` stops it.")
            held = run.model_copy(update={"held_by": caller.organisation, "held_reason": reason})
            return self._change(tx, held, run, "run-held", {"by": caller.organisation, "reason": reason})

    def let_go(self, caller: Caller, id_: str, if_match: str | None = None) -> Run:
        """Undo a hold; a run that nobody holds is left as it is.

        Raises:
            Forbidden: whoever oversees the sandbox holds it.
        """
        with self.store.transaction() as tx:
            run, governs = self._own_or_governed(tx, caller, id_, if_match)
            if run.held_by is None:
                return run
            if not governs and run.held_by != caller.organisation:
                msg = f"run {run.id} is held by {run.held_by}, who alone lets it go."
                raise Forbidden(msg)
            free = run.model_copy(update={"held_by": None, "held_reason": None})
            return self._change(tx, free, run, "run-let-go", {"by": caller.organisation})

    def prioritise(self, caller: Caller, id_: str, priority: int, if_match: str | None = None) -> Run:
        """Change the turn of a run: the higher priority (−100 to 100) begins first.

        Raises:
            Forbidden: a participant puts its own runs back, and no run forward.
            Conflict: the run is over.
        """
        with self.store.transaction() as tx:
            run, governs = self._own_or_governed(tx, caller, id_, if_match)
            if run.priority == priority:
                return run
            if priority > run.priority and not governs:
                msg = f"a participant does not raise the priority of a run ({run.priority})."
                raise Forbidden(msg, hint="The sandbox's authority and the lab's operators do.")
            if run.state.final:
                msg = f"run {run.id} is over: it is {run.state}."
                raise Conflict(msg)
            other = parse(Run, run.model_dump() | {"priority": priority}, "run")
            return self._change(tx, other, run, "run-priority", {"by": caller.organisation, "priority": priority, "before": run.priority})

    def _own_or_governed(self, tx: Tx, caller: Caller, id_: str, if_match: str | None) -> tuple[Run, bool]:
        """The run, and whether the caller governs the sandbox's runs, its own organisation's or not; `Forbidden` for anybody else."""
        run = visible_run(tx, caller, id_)
        governs = caller.role_in(run.sandbox) in (Role.AUTHORITY, Role.OPERATOR)
        if not governs and caller.organisation != run.organisation:
            caller.need(run.sandbox, Role.AUTHORITY, Role.OPERATOR)
        self._require_seen(tx, caller, run, if_match)
        return run, governs

    def _require_seen(self, tx: Tx, caller: Caller, run: Run, if_match: str | None) -> None:
        if if_match is not None:
            require(if_match, _looked(tx, caller, run), f"run {run.id}")

    def _change(self, tx: Tx, after: Run, before: Run, kind: str, data: Mapping[str, object]) -> Run:
        tx.update_run(after, before)
        self.recorder.transition(tx, run_subject(after), kind, data)
        return after

    def get(self, caller: Caller, id_: str) -> tuple[Run, tuple[Attempt, ...]]:
        """A run that this caller may see, with its attempts; `NotFound` for any other."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            return run, tx.attempts(run.id)

    def look(self, caller: Caller, id_: str) -> Looked:
        """The same, with what of it is shown to this caller."""
        with self.store.transaction(read_only=True) as tx:
            return _looked(tx, caller, visible_run(tx, caller, id_))

    def page(self, caller: Caller, plan: str | None, after: str | None, limit: int) -> tuple[Run, ...]:
        """The runs that this caller may see, newest first."""
        with self.store.transaction(read_only=True) as tx:
            return tx.runs(plan=plan, organisation=caller.organisation, sandboxes=overseen(caller), after=after, limit=limit)

    def journal(self, caller: Caller, id_: str) -> tuple[JournalEntry, ...]:
        """The steps of a run's newest attempt, in order."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            entries = tx.journal(tx.attempts(run.id)[-1].id)
        return tuple(entries[step] for step in entries)

    def events(self, caller: Caller, id_: str, after: int, limit: int = 100) -> tuple[Event, ...]:
        """What happened since the event `after`, oldest first."""
        with self.store.transaction(read_only=True) as tx:
            visible_run(tx, caller, id_)
            return tx.events(after, limit, run=id_)

    def why(self, caller: Caller, id_: str) -> Why:
        """Why the run stands where it stands, for whoever may see it."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            ahead = tx.ahead(run) if run.state is RunState.QUEUED else 0
            attempts = tx.attempts(run.id)
            waiting = waiting_of(attempts[-1], tx.journal(attempts[-1].id))
            return why(run, attempts, self.clock.now(), site=tx.site(run.site), ahead=ahead, waiting=waiting)


def new_attempt(run: Run, number: int, at: datetime) -> Attempt:
    """A fresh attempt, with a nonce of its own."""
    return Attempt(run=run.id, number=number, nonce=secrets.token_hex(16), created_at=at)


def request_cancel(tx: Tx, recorder: Recorder, run: Run, by: str, reason: str) -> Run:
    """Turn a run to `cancelling`; one that nobody has begun is cancelled at once, since there is nothing to see dead."""
    attempt = tx.attempts(run.id)[-1]
    cancelling = run.to(RunState.CANCELLING).model_copy(update={"cancel_requested_by": by, "cancel_reason": reason})
    subject = run_subject(run)
    tx.update_run(cancelling, run)
    recorder.transition(tx, subject, "run-cancelling", {"by": by, "reason": reason})
    if attempt.owner is None and not tx.journal(attempt.id):
        failure = Failure(cause=Cause.POLICY, code="cancelled", sentence=f"Cancelled by {by} before anything was started: {reason}")
        now = recorder.clock.now()
        over = {"failure": failure, "ended_at": now}
        tx.update_attempt(attempt.to(RunState.CANCELLING).to(RunState.CANCELLED).model_copy(update=over), attempt.epoch)
        cancelled = cancelling.to(RunState.CANCELLED).model_copy(update=over)
        tx.update_run(cancelled, cancelling)
        recorder.transition(tx, subject, "run-cancelled", {"sentence": failure.sentence, "seen_dead_at": None})
        return cancelled
    return cancelling


def visible_run(tx: Tx, caller: Caller, id_: str) -> Run:
    """The run, if it exists for this caller; `NotFound` otherwise, whichever it was."""
    run = tx.run(id_)
    if run is None or not sees(caller, run.organisation, run.sandbox):
        msg = f"there is no run {id_!r}."
        raise NotFound(msg)
    return run


def require_channel(tx: Tx, caller: Caller, run: Run, channel: Channel) -> Release:
    """The plan's release; `Forbidden` if its disclosure rules keep that channel from this caller's role."""
    release = release_of(tx, run)
    role = caller.role_in(run.sandbox)
    if role is None or not release.spec.disclosure.allows(channel, role):
        msg = f"the specification of {run.sandbox!r} does not show {channel} to {role or 'this organisation'}."
        raise Forbidden(msg, hint=WHO_SEES_WHAT)
    return release


def _looked(tx: Tx, caller: Caller, run: Run) -> Looked:
    disclosure, role = release_of(tx, run).spec.disclosure, caller.role_in(run.sandbox)
    shown = {channel: role is not None and disclosure.allows(channel, role) for channel in Channel}
    hidden = {"owner": None, "lease_until": None, "epoch": 0, "nonce": ""}  # who carries it is nobody's to see, and changes while nothing does
    attempts = tuple(attempt.model_copy(update=hidden) for attempt in tx.attempts(run.id))
    return Looked(run=run, attempts=attempts, shown=shown)


def release_of(tx: Tx, run: Run) -> Release:
    """The release that a run was made under."""
    plan = tx.plan(run.plan)
    release = tx.release(plan.body.release) if plan else None
    if release is None:
        msg = f"the release that run {run.id} was made under is not there."
        raise NotFound(msg)
    return release


def run_subject(run: Run, attempt: str | None = None) -> Subject:
    """The plan's chain, about this run."""
    return Subject(chain=run.plan, organisation=run.organisation, sandbox=run.sandbox, plan=run.plan, run=run.id, attempt=attempt)
