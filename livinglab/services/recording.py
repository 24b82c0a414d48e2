"""Every change leaves its trace in the transaction that makes it: an entry in the chain, and an event for whoever follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livinglab.domain.access import Event, LedgerRow
from livinglab.domain.errors import LivingLabError
from livinglab.evidence import statements
from livinglab.evidence.ledger import GENESIS, make_entry
from livinglab.ports import Clock, Signer, Tx

DSSE = "application/vnd.dsse+json"
IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Subject:
    """What a change is about. `chain` is the plan's id where there is a plan."""

    chain: str
    organisation: str
    sandbox: str
    plan: str | None = None
    run: str | None = None
    attempt: str | None = None


@dataclass(frozen=True)
class Recorder:
    """Writes ledger and outbox. With a signer (the worker) it signs what it states; without (the API) a later checkpoint covers it."""

    clock: Clock
    signer: Signer | None = None

    def transition(self, tx: Tx, subject: Subject, kind: str, data: Mapping[str, object]) -> None:
        """State a change of state, unsigned, and tell it."""
        self._append(tx, subject, kind, lambda sequence, previous: (
            statements.transition(kind=kind, data=dict(data), binding=_binding(subject, sequence, previous)), IN_TOTO))  # fmt: skip
        self.tell(tx, subject, kind, data)

    def receive(self, tx: Tx, subject: Subject, kind: str, envelope: bytes, data: Mapping[str, object]) -> None:
        """Keep a party's envelope as it came, and tell it."""
        self._append(tx, subject, kind, lambda _sequence, _previous: (envelope, DSSE))
        self.tell(tx, subject, kind, data)

    def state(self, tx: Tx, subject: Subject, kind: str, about: dict[str, str], predicate: Mapping[str, object]) -> str:
        """State something under the lab's signature; return the entry's digest.

        Args:
            about: what the statement is about, name → digest.
            predicate: as the kind demands, see `evidence.statements`.
        """
        signer = self.signer
        if signer is None:
            msg = "this process holds no key of the lab, so it states nothing."
            raise LivingLabError(msg)

        def body(sequence: int, previous: str) -> tuple[bytes, str]:
            statement = statements.lab_statement(kind=kind, about=about, predicate=dict(predicate), binding=_binding(subject, sequence, previous))
            return signer.sign(statement, IN_TOTO), DSSE

        return self._append(tx, subject, kind, body)

    def tell(self, tx: Tx, subject: Subject, kind: str, data: Mapping[str, object]) -> None:
        """An event in the outbox, without an entry in the chain."""
        tx.emit(Event(kind=kind, organisation=subject.organisation, sandbox=subject.sandbox, plan=subject.plan, run=subject.run,
                      attempt=subject.attempt, data=dict(data), at=self.clock.now()))  # fmt: skip

    def _append(self, tx: Tx, subject: Subject, kind: str, body: Callable[[int, str], tuple[bytes, str]]) -> str:
        head = tx.ledger_head(subject.chain)
        sequence, previous = (head[0] + 1, head[1]) if head else (0, GENESIS)
        data, media_type = body(sequence, previous)
        entry = make_entry(chain=subject.chain, sequence=sequence, previous=previous, kind=kind, media_type=media_type, body=data,
                           run=subject.run, attempt=subject.attempt, at=self.clock.now())  # fmt: skip
        tx.append_ledger(LedgerRow(chain=subject.chain, sequence=sequence, digest=entry.digest, entry=entry.data, body=data))
        return entry.digest


def _binding(subject: Subject, sequence: int, previous: str) -> dict[str, Any]:
    """Where a statement stands: nobody can move it to another run or place."""
    return {"chain": subject.chain, "sequence": sequence, "previous": previous, "plan": subject.plan, "run": subject.run, "attempt": subject.attempt}
