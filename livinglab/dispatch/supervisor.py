"""Holding attempts: claiming them, keeping their leases, and advancing those that can go on, a bounded number at a time."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from livinglab.dispatch.lookout import BACK_OFF, Lookout
from livinglab.dispatch.owner import owner_is_dead, this_owner
from livinglab.domain.errors import NoRoom, StaleEpoch, Unreachable
from livinglab.domain.run import Attempt, Step
from livinglab.monitoring.logs import about
from livinglab.ports import Clock, Progress, Store
from livinglab.services.engine import Engine

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""Renewed three times as often. A dead worker's attempts are taken over at once on the same machine, and after so long on another."""
IDLE = 0.1
FULL = 5.0
"""Seconds before it is tried whether there is room again: what was begun may have been large."""
_AT_SITE = frozenset({Step.COLLECT, Step.RELEASE})
"""Steps that were not done unless the site has answered."""
_CLAIMED_AT_ONCE = 50

Carry = Callable[[Attempt], Awaitable[None]]
"""Carries one attempt until it is over, or until this process should stop."""

T = TypeVar("T")


@dataclass
class Supervisor:
    """Claims the attempts of one site and carries at most `in_flight` of them (as many as `slots`, where that is 0).

    One that waits for its job is a coroutine and nothing more; `slots` threads do the steps of those that can go on.
    """

    store: Store
    engine: Engine
    clock: Clock
    slots: int
    in_flight: int = 0
    owner: str = field(default_factory=this_owner)
    stopping: threading.Event = field(default_factory=threading.Event)
    _held: dict[tuple[str, int], Attempt] = field(default_factory=dict, init=False)
    _hands: Executor = field(init=False)
    _lookout: Lookout = field(init=False)

    def serve(self, carry: Carry, *, until_idle: bool = False) -> None:
        """Claim and carry until `stopping` is set (or, `until_idle`, until nothing is left); returns when every carrier has come back."""
        asyncio.run(self._serve(carry, until_idle=until_idle))

    async def _serve(self, carry: Carry, *, until_idle: bool) -> None:
        with (
            ThreadPoolExecutor(self.slots, "step") as self._hands,
            ThreadPoolExecutor(self.slots, "lookout") as eyes,
            ThreadPoolExecutor(2, "desk") as desk,
        ):
            self._lookout = Lookout(self.engine.site, self.store, self.clock, eyes, self.slots, self.engine.reach)
            background = [asyncio.create_task(self._lookout.serve()), asyncio.create_task(self._renew(desk))]
            try:
                await self._claim_and_carry(carry, desk, until_idle=until_idle)
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    async def _claim_and_carry(self, carry: Carry, desk: Executor, *, until_idle: bool) -> None:
        carried: set[asyncio.Task[None]] = set()
        while not self.stopping.is_set():
            nothing_in_hand = not carried
            room = (self.in_flight or self.slots) - len(carried)
            claimed = await _in(desk, self._claim, min(room, _CLAIMED_AT_ONCE)) if room else ()
            for attempt in claimed:
                task = asyncio.create_task(self._carry_safely(carry, attempt), name=f"attempt-{attempt.id}")
                carried.add(task)
                task.add_done_callback(carried.discard)
            if not claimed:
                if until_idle and nothing_in_hand:
                    break
                await asyncio.sleep(IDLE)
        self._lookout.stop()
        await asyncio.gather(*carried)

    def _claim(self, most: int) -> tuple[Attempt, ...]:
        try:
            with self.store.transaction() as tx:
                return tx.claim(self.engine.site.name, self.owner, self.clock.now(), LEASE, owner_is_dead, most)
        except Unreachable as error:
            log.warning("the database is away: %s", error)
            self.stopping.wait(BACK_OFF)
            return ()

    async def _carry_safely(self, carry: Carry, attempt: Attempt) -> None:
        own = (attempt.id, attempt.epoch)
        self._held[own] = attempt
        try:
            await carry(attempt)
        except StaleEpoch as error:
            log.warning("let go of %s: %s", attempt.id, error)
        except Exception:
            # Not lost: the attempt stays where its journal says, and is claimed again once the lease is over.
            log.exception("attempt %s was dropped", attempt.id)
        finally:
            self._held.pop(own, None)
            self._lookout.forget(attempt)

    # --- leases --------------------------------------------------------------------------------------------------------

    async def _renew(self, desk: Executor) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            held = list(self._held.values())
            lost = await _in(desk, self._renew_all, held) if held else ()
            for attempt in held:
                if attempt.id in lost:
                    self._held.pop((attempt.id, attempt.epoch), None)
                    self._lookout.wake(attempt)

    def _renew_all(self, held: Sequence[Attempt]) -> Collection[str]:
        """Those that another supervisor has taken over."""
        try:
            with self.store.transaction() as tx:
                return tx.renew({attempt.id: attempt.epoch for attempt in held}, self.clock.now() + LEASE)
        except Unreachable as error:
            log.warning("could not renew %d leases: %s", len(held), error)
            return ()

    # --- steps ---------------------------------------------------------------------------------------------------------

    async def steps(self, attempt: Attempt, go_on: Callable[[], bool] = lambda: True) -> AsyncIterator[Progress]:
        """Advance while `go_on()`, until the attempt is over or this process should stop; each value is where it stands.

        A backend that is away is waited for: nothing is known, so nothing is decided.
        """
        while not self.stopping.is_set():
            try:
                progress = await _in(self._hands, self._advance, attempt, go_on)
            except Unreachable as error:
                log.warning("attempt %s waits: %s", attempt.id, error)
                await self._lookout.pause(FULL if isinstance(error, NoRoom) else BACK_OFF)
                continue
            if progress is None:
                return
            yield progress
            if progress.done:
                return
            if progress.waiting:
                await self._lookout.until_news(attempt, progress.waiting, progress.by)
            elif progress.by:
                await self._lookout.pause(max(0.0, (progress.by - self.clock.now()).total_seconds()))

    def _advance(self, attempt: Attempt, go_on: Callable[[], bool]) -> Progress | None:
        with about(run=attempt.run, attempt=attempt.id, site=self.engine.site.name):
            if not go_on():
                return None
            try:
                progress = self.engine.advance(attempt.id, attempt.epoch)
            except Unreachable as error:
                self.engine.reach.lost(error)
                raise
            if progress.waiting or progress.step in _AT_SITE:
                self.engine.reach.found()
            return progress


async def _in(executor: Executor, do: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, do, *arguments)
