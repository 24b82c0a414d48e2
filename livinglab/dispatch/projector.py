"""Projecting the outbox to a tracker: its cursor is in the database, so an outage of the tracker costs nothing but time."""

import logging
import threading
from dataclasses import dataclass

from livinglab.domain.errors import LivingLabError
from livinglab.ports import Store, Tracker

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BACK_OFF_SECONDS = 5.0
BATCH = 200
_ENDS = {"run-ended", "attempt-ended"}


@dataclass(frozen=True)
class Projector:
    """Follows the events under a cursor's name, and has every ended attempt recorded, in order, at least once."""

    store: Store
    tracker: Tracker
    name: str

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
            position = tx.cursor(self.name)
            events = tx.events(position, BATCH)
        for event in events:
            if event.kind in _ENDS and event.attempt:
                self.tracker.record(event.attempt)
                self._move(event.id)
        if events:
            self._move(events[-1].id)
        return len(events) == BATCH

    def _move(self, to: int) -> None:
        with self.store.transaction() as tx:
            tx.move_cursor(self.name, to)
