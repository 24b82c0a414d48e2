"""Looking after attempts that wait for their jobs: all of them at once, so that a thousand cost hardly more than one."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livinglab.domain.errors import Unreachable
from livinglab.domain.run import Attempt, JobKey
from livinglab.ports import Clock, Observation, Seen, Site, Store
from livinglab.services.reach import Reach

log = logging.getLogger(__name__)

WAIT = timedelta(seconds=1)
"""The longest wait for a job's end before looking again, and so the longest until a cancel is noticed."""
BACK_OFF = 1.0
TENDED = 32
"""Of those that nothing has happened to but that run, or wait for another reason than before, so many at most are advanced after each look,
the longest unattended first: their logs are pulled, and what they wait for is written down."""
SWEEP = 300.0
"""Nobody is left unattended for longer than so many seconds, whatever was overlooked."""
_BREATH = 0.05
_EVENTS = 500
_STOPS = frozenset({"plan-suspended", "plan-terminated"})
_WINDOWS = frozenset({"site-window-added", "site-window-removed"})

_Sign = tuple[tuple[str, str, str], ...]


@dataclass(eq=False)
class _Parked:
    attempt: Attempt
    keys: tuple[JobKey, ...]
    by: datetime | None
    woken: asyncio.Future[None]
    since: float = field(default_factory=time.monotonic)
    watched: bool = False

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Lookout:
    """Attempts of one site that wait hold no thread: those that are parked at the same time are watched together.

    Each of a few threads waits for a lot of them, and for what came meanwhile after that. Of a lot of several, the site is asked
    once for all, and so is the database for what people did to their runs.

    Args:
        eyes: threads that wait; `width` is how many.
        reach: where it is told whether the site answers.
    """

    def __init__(self, site: Site, store: Store, clock: Clock, eyes: Executor, width: int, reach: Reach) -> None:
        self._reach = reach
        self._site, self._store, self._clock, self._eyes, self._width = site, store, clock, eyes, width
        self._parked: dict[tuple[str, int], _Parked] = {}
        self._signs: dict[tuple[str, int], _Sign] = {}
        self._new, self._stopped = asyncio.Event(), asyncio.Event()
        self._cursor: int | None = None

    # --- for those that wait --------------------------------------------------------------------------------------------

    async def until_news(self, attempt: Attempt, keys: tuple[JobKey, ...], by: datetime | None = None) -> None:
        """Return when one of the attempt's jobs may have changed, or its run, or it is its turn to be looked at, or the time is `by`.

        At once after `stop`.
        """
        if self._stopped.is_set():
            return
        own = (attempt.id, attempt.epoch)
        parked = self._parked[own] = _Parked(attempt, keys, by, asyncio.get_running_loop().create_future())
        self._new.set()
        try:
            await parked.woken
        finally:
            self._parked.pop(own, None)

    async def pause(self, seconds: float) -> None:
        """Sleep, at most until `stop`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return

    def wake(self, attempt: Attempt) -> None:
        """Whatever its jobs do: it was taken over."""
        if parked := self._parked.get((attempt.id, attempt.epoch)):
            parked.wake()

    def forget(self, attempt: Attempt) -> None:
        """It is carried no longer."""
        self._signs.pop((attempt.id, attempt.epoch), None)

    def stop(self) -> None:
        """Wake everybody, now and from now on."""
        self._stopped.set()
        for parked in self._parked.values():
            parked.wake()

    # --- watching -------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Watch, until cancelled."""
        await asyncio.gather(*(self._watch() for _ in range(self._width)))

    async def _watch(self) -> None:
        while True:
            lot = [parked for parked in self._parked.values() if not (parked.watched or parked.woken.done())]
            if not lot:
                self._new.clear()
                await self._new.wait()
                continue
            for parked in lot:
                parked.watched = True
            begun = time.monotonic()
            try:
                news = await asyncio.get_running_loop().run_in_executor(self._eyes, self._look, lot)
            except Unreachable as error:
                log.warning("%d attempts wait: %s", len(lot), error)
                await self.pause(BACK_OFF)
                news = lot if len(lot) == 1 else []
            except Exception:
                log.exception("%d attempts could not be looked after", len(lot))
                await self.pause(BACK_OFF)
                news = lot
            for parked in lot:
                parked.watched = False
            for parked in news:
                parked.wake()
            if len(news) < len(lot):
                self._new.set()
                await self.pause(max(0.0, _BREATH - (time.monotonic() - begun)))

    def _look(self, lot: list[_Parked]) -> list[_Parked]:
        """Wait for a change; those that something happened to. One that is alone finds out for itself what."""
        keys = [key for parked in lot for key in parked.keys]
        try:
            self._site.wait(keys, WAIT)
        except Unreachable as error:
            self._reach.lost(error)
            raise
        if len(lot) == 1:
            return lot
        seen = self._site.observe(keys)
        self._tell(seen.values())
        return self._choose(lot, seen, self._touched(lot))

    def _tell(self, seen: Collection[Observation]) -> None:
        away = [job.reason for job in seen if job.away]
        if len(away) == len(seen):
            self._reach.lost(Unreachable(away[0]))
        elif not away:
            self._reach.found()

    def _choose(self, lot: list[_Parked], seen: Mapping[JobKey, Observation], touched: Collection[str]) -> list[_Parked]:
        now, today, news, others = time.monotonic(), self._clock.now(), [], []
        for parked in lot:
            own, jobs = (parked.attempt.id, parked.attempt.epoch), [seen[key] for key in parked.keys]
            states = {job.seen for job in jobs}
            sign = tuple((job.seen.value, job.raw, job.reason) for job in jobs)
            if states & {Seen.EXITED, Seen.ABSENT} or parked.attempt.run in touched:
                news.append(parked)
            elif Seen.UNREACHABLE in states:
                continue  # nothing is known, so nothing is decided
            elif parked.by and parked.by <= today:
                news.append(parked)
            elif self._signs.get(own) != sign or now - parked.since > (WAIT.total_seconds() if Seen.RUNNING in states else SWEEP):
                others.append((parked, sign))
        for parked, sign in sorted(others, key=lambda other: other[0].since)[:TENDED]:
            self._signs[parked.attempt.id, parked.attempt.epoch] = sign
            news.append(parked)
        return news

    def _touched(self, lot: Iterable[_Parked]) -> set[str]:
        """Runs that somebody wants something of since the last look: their end, another place in the queue, or that of their plan or site."""
        touched: set[str] = set()
        with self._store.transaction(read_only=True) as tx:
            if self._cursor is None:
                self._cursor = tx.last_event()
            while events := tx.events(self._cursor, _EVENTS):
                self._cursor = events[-1].id
                touched |= {event.run for event in events if event.run and event.attempt is None}
                for plan in {event.plan for event in events if event.plan and event.kind in _STOPS}:
                    touched |= {run.id for run in tx.runs_under(plan)}
                if any(event.kind in _WINDOWS and event.data.get("site") == self._site.name for event in events):
                    touched |= {parked.attempt.run for parked in lot}
        return touched
