"""Runs: asking for one, stopping one, and reading what became of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from livinglab.domain.access import Caller, Document, Event
from livinglab.domain.canonical import digest_of, parse_json
from livinglab.domain.disclosure import is_sealed, may_read
from livinglab.domain.errors import Conflict, Forbidden, NotFound, PlatformFault, Refused
from livinglab.domain.model import Frozen, Slug
from livinglab.domain.plan import Plan
from livinglab.domain.replay import REPLAY_LIMIT, Replay
from livinglab.domain.run import Attempt, Cause, Failure, JournalEntry, Run, RunState
from livinglab.domain.sandbox import Channel, Release, Role
from livinglab.domain.site import longest_seconds
from livinglab.domain.situation import usage_of
from livinglab.domain.verdict import Measurement, MeasurementFile, SetVerdict
from livinglab.evidence.receipt import Receipt
from livinglab.ports import Artifacts, Clock, Store, Tx
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

_WHO_SEES_WHAT = "Its section `disclosure` says who sees what."

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
    artifacts: Artifacts
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

    def log(self, caller: Caller, id_: str, role: str, offset: int, limit: int) -> bytes:
        """Log bytes of the newest attempt's pilot (or another of its containers, for those who oversee)."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.LOGS)
            if role != "pilot" and not caller.oversees(run.sandbox):
                msg = "only those who oversee the sandbox read the harness's logs."
                raise Forbidden(msg)
            return tx.read_log(tx.attempts(run.id)[-1].id, role, offset, limit)

    def receipt(self, caller: Caller, id_: str) -> Receipt:
        """The entry that says how the run ended, for whoever may see it.

        Raises:
            Conflict: it is not over.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            if not run.state.final:
                msg = f"run {run.id} is not over: it is {run.state}."
                raise Conflict(msg, hint="A receipt is given for the end of a run.")
            row = next(row for row in reversed(tx.ledger(run.plan)) if parse_json(row.entry)["run"] == run.id)
        return Receipt(run=run.id, plan=run.plan, ordinal=run.ordinal, state=run.state, verdict=run.verdict, counts=run.counts,
                       sequence=row.sequence, digest=row.digest, entry=row.entry.decode(), body=row.body.decode())  # fmt: skip

    def verdict(self, caller: Caller, id_: str) -> tuple[SetVerdict, bool]:
        """The verdict, and whether values are withheld from this caller.

        Raises:
            NotFound: the run has no verdict (yet); the message says how it stands.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            release = require_channel(tx, caller, run, Channel.VERDICT)
            document = self._document(tx, run, "verdict.json")
        verdict = SetVerdict.model_validate_json(self.artifacts.read(document.digest))
        role = caller.role_in(run.sandbox)
        if role and release.spec.disclosure.allows(Channel.MEASUREMENTS, role):
            return verdict, False
        hidden = tuple(r.model_copy(update={"measurement": None}) for r in verdict.results)
        return verdict.model_copy(update={"results": hidden}), True

    def measurements(self, caller: Caller, id_: str) -> tuple[Measurement, ...]:
        """What the harness measured; `Forbidden` for those whom the specification shows categories only."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.MEASUREMENTS)
            document = self._document(tx, run, "measurements.json")
        return MeasurementFile.model_validate_json(self.artifacts.read(document.digest)).measurements

    def usage(self, caller: Caller, id_: str) -> dict[str, dict[str, dict[str, float]]]:
        """What the containers of each attempt used, attempt → role → name → figure; `Forbidden` for those whom the specification does not show it."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.USAGE)
            return {attempt.id: usage_of(tx.journal(attempt.id)) for attempt in tx.attempts(run.id)}

    def replay(self, caller: Caller, id_: str) -> Replay:
        """The worst moments of a driven run; `Forbidden` for those whom the specification shows no plots.

        Raises:
            NotFound: the run left none (yet).
            PlatformFault: what the harness wrote is none.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.PLOTS)
            document = self._document(tx, run, "measure/replay.json")
        try:
            if document.size <= REPLAY_LIMIT:
                return Replay.model_validate_json(self.artifacts.read(document.digest))
            fault = f"it has more than {REPLAY_LIMIT} bytes"
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        msg = f"the harness's replay of run {run.id} is not what it should be: {fault}."
        raise PlatformFault(msg)

    def why(self, caller: Caller, id_: str) -> Why:
        """Why the run stands where it stands, for whoever may see it."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            ahead = tx.ahead(run) if run.state is RunState.QUEUED else 0
            attempts = tx.attempts(run.id)
            waiting = waiting_of(attempts[-1], tx.journal(attempts[-1].id))
            return why(run, attempts, self.clock.now(), site=tx.site(run.site), ahead=ahead, waiting=waiting)

    def documents(self, caller: Caller, id_: str) -> tuple[tuple[Document, bool], ...]:
        """What the newest attempt left, and whether this caller may read it: what may be read, and what the chain names."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            disclosure = _release(tx, run).spec.disclosure
            found = ((d, may_read(disclosure, caller, run.sandbox, d.name)) for d in tx.documents(tx.attempts(run.id)[-1].id))
            return tuple((document, readable) for document, readable in found if readable or is_sealed(document.name))

    def content(self, caller: Caller, id_: str, name: str) -> tuple[Document, Path]:
        """A document of the run, and where its bytes are.

        Raises:
            NotFound: the run left none of that name, or none that exists for this caller.
            Forbidden: the specification keeps it from this caller's role, who sees its digest.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            if not may_read(_release(tx, run).spec.disclosure, caller, run.sandbox, name):
                if is_sealed(name):
                    msg = f"the specification of {run.sandbox!r} does not show {name} to {caller.role_in(run.sandbox) or 'this organisation'}."
                    raise Forbidden(msg, hint=_WHO_SEES_WHAT)
                msg = f"run {run.id} has no document {name!r} that this role sees."
                raise NotFound(msg, hint=_WHO_SEES_WHAT)
            document = self._document(tx, run, name)
        return document, self.artifacts.path(document.digest)

    def _document(self, tx: Tx, run: Run, name: str) -> Document:
        for attempt in reversed(tx.attempts(run.id)):
            for document in tx.documents(attempt.id):
                if document.name == name:
                    return document
        msg = f"run {run.id} has no {name.rpartition('/')[2].removesuffix('.json')}: it is {run.state}."
        raise NotFound(msg, hint=run.failure.sentence if run.failure else None)


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
    release = _release(tx, run)
    role = caller.role_in(run.sandbox)
    if role is None or not release.spec.disclosure.allows(channel, role):
        msg = f"the specification of {run.sandbox!r} does not show {channel} to {role or 'this organisation'}."
        raise Forbidden(msg, hint=_WHO_SEES_WHAT)
    return release


def _looked(tx: Tx, caller: Caller, run: Run) -> Looked:
    disclosure, role = _release(tx, run).spec.disclosure, caller.role_in(run.sandbox)
    shown = {channel: role is not None and disclosure.allows(channel, role) for channel in Channel}
    hidden = {"owner": None, "lease_until": None, "epoch": 0, "nonce": ""}  # who carries it is nobody's to see, and changes while nothing does
    attempts = tuple(attempt.model_copy(update=hidden) for attempt in tx.attempts(run.id))
    return Looked(run=run, attempts=attempts, shown=shown)


def _release(tx: Tx, run: Run) -> Release:
    plan = tx.plan(run.plan)
    release = tx.release(plan.body.release) if plan else None
    if release is None:
        msg = f"the release that run {run.id} was made under is not there."
        raise NotFound(msg)
    return release


def run_subject(run: Run, attempt: str | None = None) -> Subject:
    """The plan's chain, about this run."""
    return Subject(chain=run.plan, organisation=run.organisation, sandbox=run.sandbox, plan=run.plan, run=run.id, attempt=attempt)
