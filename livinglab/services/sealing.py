"""The end of an attempt: its final state, its outcome signed, and the lab's checkpoint over every chain that moved."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from livinglab.domain.access import CheckpointRow, TreeLeaf
from livinglab.domain.run import Attempt, Cause, JournalEntry, Run, RunState, Step
from livinglab.domain.situation import Situation
from livinglab.evidence import merkle, statements
from livinglab.ports import Store, Tx
from livinglab.services.budget import core_seconds
from livinglab.services.recording import IN_TOTO, Recorder
from livinglab.services.runs import new_attempt, run_subject

MAX_ATTEMPTS = 3
"""A run that the platform failed is tried again this often in all."""


@dataclass(frozen=True)
class Sealing:
    """Final states and checkpoints. Needs a recorder that signs."""

    store: Store
    recorder: Recorder

    def seal(self, s: Situation) -> None:
        """Write the final state of the attempt and, unless the platform failed it and may try again, of its run. One transaction."""
        now = self.recorder.clock.now()
        released = s.done(Step.RELEASE) or {}
        with self.store.transaction() as tx:
            attempt, run = tx.attempt(s.attempt.id) or s.attempt, tx.run(s.run.id) or s.run
            if attempt.state.final:
                return
            state = final_state(attempt)
            if state is RunState.CANCELLED and attempt.state is not RunState.CANCELLING:
                attempt = attempt.to(RunState.CANCELLING)
            dead_at = datetime.fromisoformat(released["seen_dead_at"]) if state is RunState.CANCELLED else None
            ended = Attempt.model_validate(attempt.to(state).model_dump() | {
                "ended_at": now, "verdict": (s.done(Step.JUDGE) or {}).get("verdict"), "cancel_seen_dead_at": dead_at})  # fmt: skip
            tx.update_attempt(ended, s.attempt.epoch)
            tx.write_journal(JournalEntry(attempt=attempt.id, step=Step.SEAL, status="done", at=now), s.attempt.epoch)
            again = self._try_again(tx, s, ended, run)
            if not again:
                over = {"failure": ended.failure, "verdict": ended.verdict, "ended_at": now, "core_seconds": core_seconds(s, ended.failure, now)}
                tx.update_run(run.model_copy(update=over).to(state), run)
            self._state_outcome(tx, s, ended, again=again, seen_dead_at=released.get("seen_dead_at"), counts=run.counts)
            self.checkpoint(tx)

    def _try_again(self, tx: Tx, s: Situation, ended: Attempt, run: Run) -> bool:
        """The next attempt, if the platform failed this one. What a pilot has already and provably done is not done again:
        a harness that failed is retried on the same sealed outputs."""  # noqa: D205, D209
        failure = ended.failure
        if failure is None or failure.cause is not Cause.PLATFORM or ended.number >= MAX_ATTEMPTS or run.state is RunState.CANCELLING:
            return False
        successor = new_attempt(run, ended.number + 1, self.recorder.clock.now())
        tx.add_attempt(successor)
        if s.done(Step.ATTEST):
            for step in (Step.PREPARE, Step.STAGE, Step.EXECUTE, Step.COLLECT, Step.ATTEST):
                entry = s.journal.get(step)
                if entry:
                    data = {"reused_from": s.attempt.id, **entry.data}  # of a third attempt, too, it is the first
                    tx.write_journal(entry.model_copy(update={"attempt": successor.id, "data": data}), successor.epoch)
        tx.update_run(run.model_copy(update={"attempts": successor.number}), run)
        return True

    def _state_outcome(self, tx: Tx, s: Situation, ended: Attempt, *, again: bool, seen_dead_at: str | None, counts: bool) -> None:
        subject = run_subject(s.run, attempt=ended.id)
        failure = ended.failure.model_dump(mode="json") if ended.failure else None
        predicate = {
            "state": ended.state, "verdict": ended.verdict, "failure": failure, "attempt": ended.number, "ordinal": s.run.ordinal,
            "seenDeadAt": seen_dead_at, "triedAgain": again, "counts": counts,
        }  # fmt: skip
        self.recorder.state(tx, subject, "outcome", {"plan": s.plan.digest}, predicate)
        self.recorder.tell(tx, subject, "attempt-ended" if again else "run-ended", {
            "state": ended.state, "verdict": ended.verdict, "sentence": ended.failure.sentence if ended.failure else None})  # fmt: skip

    def checkpoint(self, tx: Tx) -> None:
        """Add the head of every chain that moved to the Merkle log, blinded, and sign the log's new root."""
        signer = self.recorder.signer
        assert signer is not None  # noqa: S101 - the worker's recorder
        log = _frontier(tx)
        for chain, head in tx.chains_changed():
            salt = secrets.token_bytes(32)
            leaf = TreeLeaf(index=log.size, chain=chain, head=head, salt=salt, leaf=blind(salt, head))
            tx.add_leaf(leaf)
            log = log.append(leaf.leaf)
        root, now = log.root(), self.recorder.clock.now()
        envelope = signer.sign(statements.checkpoint(size=log.size, root=root.hex(), at=now), IN_TOTO)
        tx.add_checkpoint(CheckpointRow(size=log.size, root=root, frontier=log.to_bytes(), envelope=envelope, at=now))


def _frontier(tx: Tx) -> merkle.Frontier:
    """The log as its newest checkpoint left it; from its leaves, where a checkpoint was written before frontiers were kept."""
    newest = tx.checkpoint()
    if newest is None:
        return merkle.Frontier()
    if newest.size and not newest.frontier:
        return merkle.Frontier.of(leaf.leaf for leaf in tx.tree())
    return merkle.Frontier.from_bytes(newest.size, newest.frontier)


def blind(salt: bytes, head: str) -> bytes:
    """A chain's head as the log shows it: who does not hold the salt learns nothing, not even that two leaves are one chain's."""
    return hmac.new(salt, head.encode(), hashlib.sha256).digest()


def final_state(attempt: Attempt) -> RunState:
    """What an attempt ends as, from how it failed, or that it did not."""
    failure = attempt.failure
    if failure is None:
        return RunState.COMPLETED
    if failure.code == "cancelled":
        return RunState.CANCELLED
    return RunState.REFUSED if failure.cause is Cause.POLICY else RunState.FAILED
