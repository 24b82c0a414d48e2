"""Projecting the outbox to a tracker: its cursor is in the database, so an outage of the tracker costs nothing but time."""

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta

from livinglab.dispatch.owner import owner_is_dead, this_owner
from livinglab.domain.errors import LivingLabError, Unreachable
from livinglab.ports import Clock, Store, Tracker

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BACK_OFF_SECONDS = 5.0
BATCH = 200
LEASE = timedelta(minutes=2)
"""Longer than a record takes: a tracker that is away answers, or is given up, sooner."""
_ENDS = {"run-ended", "attempt-ended"}


@dataclass(frozen=True)
class Projector:
    """Follows the events under a cursor's name, and has every ended attempt recorded, in order, at least once.

    Of several workers one follows, and another takes over when it is gone. A tracker that is away is waited for. A record
    that it cannot take is reported and passed by: it must not hold up all others.
    """

    store: Store
    tracker: Tracker
    clock: Clock
    name: str
    owner: str

    @classmethod
    def of_this_process(cls, store: Store, tracker: Tracker, clock: Clock, name: str) -> "Projector":
        """One that is alive as long as this process is."""
        return cls(store, tracker, clock, name, this_owner())

    def serve(self, stopping: threading.Event) -> None:
        """Project until `stopping`, then what is left, once."""
        while not stopping.is_set():
            stopping.wait(POLL_SECONDS if self.catch_up() else BACK_OFF_SECONDS)
        self.catch_up()

    def catch_up(self) -> bool:
        """Project everything that is there; False if the tracker or the database is away, and the rest has to wait."""
        try:
            while self._project_some():
                pass
        except LivingLabError as error:
            log.warning("the projection %s waits: %s", self.name, error)
            return False
        return True

    def _project_some(self) -> bool:
        with self.store.transaction(read_only=True) as tx:
            if not tx.events(tx.cursor(self.name), 1):
                return False
        if not self._hold():
            return False
        with self.store.transaction(read_only=True) as tx:
            events = tx.events(tx.cursor(self.name), BATCH)
        for event in events:
            if event.kind in _ENDS and event.attempt:
                self._record(event.attempt)
                self._move(event.id)
                if not self._hold():
                    return False
        if events:
            self._move(events[-1].id)
        return len(events) == BATCH

    def _hold(self) -> bool:
        with self.store.transaction() as tx:
            return tx.hold_cursor(self.name, self.owner, self.clock.now(), LEASE, owner_is_dead)

    def _record(self, attempt: str) -> None:
        try:
            self.tracker.record(attempt)
        except Unreachable:
            raise
        except Exception:
            log.exception("the projection %s has no record of attempt %s: it cannot be made", self.name, attempt)

    def _move(self, to: int) -> None:
        with self.store.transaction() as tx:
            tx.move_cursor(self.name, to)
