"""Holding attempts: claiming them, keeping the lease, and carrying each in a thread of its own, a bounded number at a time."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from livinglab.dispatch.owner import owner_is_dead, this_owner
from livinglab.domain.errors import StaleEpoch, Unreachable
from livinglab.domain.run import Attempt
from livinglab.ports import Clock, Progress, Store
from livinglab.services.engine import Engine

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
WAIT = timedelta(seconds=1)
"""The longest wait for a job's end before looking again, and so the longest until a cancel is noticed."""
BACK_OFF = 1.0
IDLE = 0.1

Carry = Callable[[Attempt], None]
"""Carries one attempt until it is over, or until this process should stop."""


@dataclass
class Supervisor:
    """Claims the attempts of one site and carries at most `slots` of them at a time."""

    store: Store
    engine: Engine
    clock: Clock
    slots: int
    owner: str = field(default_factory=this_owner)
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, carry: Carry, *, until_idle: bool = False) -> None:
        """Claim and carry until `stopping` is set (or, `until_idle`, until nothing is left); returns when every carrier has come back."""
        carriers: list[threading.Thread] = []
        while not self.stopping.is_set():
            carriers = [c for c in carriers if c.is_alive()]
            attempt = self._claim() if len(carriers) < self.slots else None
            if attempt:
                carrier = threading.Thread(target=self._carry_safely, args=(carry, attempt), name=f"attempt-{attempt.id}")
                carrier.start()
                carriers.append(carrier)
            elif until_idle and not carriers:
                break
            else:
                self.stopping.wait(IDLE)
        for carrier in carriers:
            carrier.join()

    def _claim(self) -> Attempt | None:
        try:
            with self.store.transaction() as tx:
                return tx.claim(self.engine.site.name, self.owner, self.clock.now(), LEASE, owner_is_dead)
        except Unreachable as error:
            log.warning("the database is away: %s", error)
            self.stopping.wait(BACK_OFF)
            return None

    def _carry_safely(self, carry: Carry, attempt: Attempt) -> None:
        try:
            with self.lease(attempt):
                carry(attempt)
        except StaleEpoch as error:
            log.warning("let go of %s: %s", attempt.id, error)
        except Exception:
            # Not lost: the attempt stays where its journal says, and is claimed again once the lease is over.
            log.exception("attempt %s was dropped", attempt.id)

    @contextmanager
    def lease(self, attempt: Attempt) -> Iterator[None]:
        """Renew the lease in the background for as long as the attempt is carried."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE.total_seconds() / 3):
                try:
                    with self.store.transaction() as tx:
                        tx.renew(attempt.id, attempt.epoch, self.clock.now() + LEASE)
                except Unreachable as error:
                    log.warning("could not renew the lease of %s: %s", attempt.id, error)
                except StaleEpoch:
                    return

        thread = threading.Thread(target=renew, name=f"lease-{attempt.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()

    def steps(self, attempt: Attempt, go_on: Callable[[], bool] = lambda: True) -> Iterator[Progress]:
        """Advance while `go_on()`, until the attempt is over or this process should stop; each value is where it stands.

        A backend that is away is waited for: nothing is known, so nothing is decided.
        """
        while not self.stopping.is_set():
            try:
                if not go_on():
                    return
                progress = self.engine.advance(attempt.id, attempt.epoch)
            except Unreachable as error:
                log.warning("attempt %s waits: %s", attempt.id, error)
                self.stopping.wait(BACK_OFF)
                continue
            yield progress
            if progress.done:
                return
            if progress.waiting:
                self._wait(progress)

    def _wait(self, progress: Progress) -> None:
        try:
            self.engine.site.wait(progress.waiting, WAIT)
        except Unreachable:
            self.stopping.wait(BACK_OFF)
