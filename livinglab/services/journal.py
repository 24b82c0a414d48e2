"""The durable journal of an attempt: which step is next, and writing down that one was begun or done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from livinglab.domain.access import Document
from livinglab.domain.errors import IsolationNotProven, LivingLabError, NotFound, PilotFault, Refused
from livinglab.domain.run import Attempt, Cause, Failure, JournalEntry, Run, Step
from livinglab.domain.situation import Situation
from livinglab.ports import Store, Tx
from livinglab.services.recording import Recorder, Subject
from livinglab.services.runs import run_subject

Effects = Callable[[Tx, Subject], None]
"""What else a step writes, in the transaction that marks it done."""


@dataclass(frozen=True)
class Journal:
    """Reads and writes under an epoch: a supervisor that was taken over gets `StaleEpoch` at its next write."""

    store: Store
    recorder: Recorder

    def situation(self, attempt_id: str) -> Situation:
        """Everything about an attempt; `NotFound` if it is not there."""
        with self.store.transaction(read_only=True) as tx:
            return read_situation(tx, attempt_id)

    def with_documents(self, attempt_id: str) -> tuple[Situation, tuple[Document, ...]]:
        """The same, and what the attempt left."""
        with self.store.transaction(read_only=True) as tx:
            return read_situation(tx, attempt_id), tx.documents(attempt_id)

    def begin(self, s: Situation, step: Step, data: dict[str, Any], also: Effects | None = None) -> None:
        """Write the intent. `also` may refuse by raising: then nothing was written."""
        with self.store.transaction() as tx:
            subject = run_subject(s.run, attempt=s.attempt.id)
            if also:
                also(tx, subject)
            self._write(tx, s, JournalEntry(attempt=s.attempt.id, step=step, status="intent", data=data, at=self.recorder.clock.now()))
            if step is not s.attempt.step:
                tx.update_attempt(_fresh(tx, s).model_copy(update={"step": step}), s.attempt.epoch)
                self.recorder.tell(tx, subject, "step-begun", {"step": step})

    def note(self, s: Situation, step: Step, data: dict[str, Any], also: Effects | None = None) -> None:
        """Add to an intent (the handle, once there is one)."""
        with self.store.transaction() as tx:
            self._write(tx, s, JournalEntry(attempt=s.attempt.id, step=step, status="intent", data=data, at=self.recorder.clock.now()))
            if also:
                also(tx, run_subject(s.run, attempt=s.attempt.id))

    def finish(self, s: Situation, step: Step, data: dict[str, Any], *, documents: Iterable[Document] = (), also: Effects | None = None,
               failure: Failure | None = None) -> None:  # fmt: skip
        """Mark a step done, with everything that it leaves, in one transaction. A failure ends the attempt's work here."""
        with self.store.transaction() as tx:
            subject = run_subject(s.run, attempt=s.attempt.id)
            for document in documents:
                tx.add_document(document)
            if also:
                also(tx, subject)
            self._write(tx, s, JournalEntry(attempt=s.attempt.id, step=step, status="done", data=data, at=self.recorder.clock.now()))
            self.recorder.tell(tx, subject, "step-done", {"step": step})
            if failure:
                self._fail(tx, s, failure, subject)

    def fail(self, s: Situation, failure: Failure, **more: Any) -> None:
        """Decide that the attempt fails; what remains is to release and to seal. The first reason stands."""
        with self.store.transaction() as tx:
            self._fail(tx, s, failure, run_subject(s.run, attempt=s.attempt.id), **more)

    def _fail(self, tx: Tx, s: Situation, failure: Failure, subject: Subject, **more: Any) -> None:
        attempt = _fresh(tx, s)
        if attempt.failure is None:
            tx.update_attempt(attempt.model_copy(update={"failure": failure, **more}), s.attempt.epoch)
            self.recorder.tell(tx, subject, "attempt-failing", failure.model_dump(mode="json"))

    def _write(self, tx: Tx, s: Situation, entry: JournalEntry) -> None:
        tx.write_journal(entry, s.attempt.epoch)


def _fresh(tx: Tx, s: Situation) -> Attempt:
    attempt = tx.attempt(s.attempt.id)
    if attempt is None:
        msg = f"there is no attempt {s.attempt.id!r}."
        raise NotFound(msg)
    return attempt


def read_situation(tx: Tx, attempt_id: str) -> Situation:
    """Everything about an attempt; `NotFound` if a part of it is missing."""
    attempt = tx.attempt(attempt_id)
    run: Run | None = tx.run(attempt.run) if attempt else None
    plan = tx.plan(run.plan) if run else None
    pilot = tx.pilot(plan.body.pilot) if plan else None
    release = tx.release(plan.body.release) if plan else None
    if attempt is None or run is None or plan is None or pilot is None or release is None:
        msg = f"there is no attempt {attempt_id!r}, or its run, plan, pilot or release is missing."
        raise NotFound(msg)
    return Situation(run=run, attempt=attempt, plan=plan, pilot=pilot, release=release, journal=dict(tx.journal(attempt_id)))


def failure_of(step: Step, error: Exception) -> Failure:
    """Whose doing it was, from the error's type. What nobody foresaw is the platform's."""
    if isinstance(error, IsolationNotProven):
        return Failure(cause=Cause.POLICY, code="isolation-not-proven", sentence=str(error))
    if isinstance(error, Refused):
        return Failure(cause=Cause.POLICY, code="refused", sentence=str(error))
    if isinstance(error, PilotFault):
        return Failure(cause=Cause.PILOT, code="output-unusable", sentence=str(error))
    code = error.code if isinstance(error, LivingLabError) else "internal"
    sentence = str(error) if isinstance(error, LivingLabError) else f"{type(error).__name__} in step {step}; the worker's log has the details."
    return Failure(cause=Cause.PLATFORM, code=code, sentence=sentence)
