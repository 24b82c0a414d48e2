"""Jobs that wait in a site's own queue: what they wait for is kept, and the site is told whose turn it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from livinglab.domain.run import Attempt, JournalEntry, Step, Waiting
from livinglab.domain.site import SiteRecord, Window
from livinglab.domain.situation import Situation
from livinglab.ports import Clock, JobSpec, Observation, Queueing, Site, Store

_UNTOLD = {"held": False, "priority": 0}
"""What a site takes a job for of which it was told nothing."""
_AWAY = "Its next job would reach into the site's maintenance"


@dataclass(frozen=True)
class Maintenance:
    """The windows of a site, as they are registered at this moment."""

    store: Store
    clock: Clock
    site: str

    def keeps_off(self, spec: JobSpec) -> Window | None:
        """The one into which the job would reach if it began now."""
        record = self._record()
        return record.keeps_off(self.clock.now(), spec.wall_seconds) if record else None

    def turns_at(self, spec: JobSpec) -> datetime | None:
        """When that will have another answer; None where no window lies ahead."""
        record = self._record()
        return record.turns_at(self.clock.now(), spec.wall_seconds) if record else None

    def _record(self) -> SiteRecord | None:
        with self.store.transaction(read_only=True) as tx:
            return tx.site(self.site)


class PostponedError(Exception):
    """Nothing was begun: the site is away for maintenance, or away too soon. `until` is when to look again."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until.isoformat())
        self.until = until


def heed_queue(site: Site, s: Situation, data: Mapping[str, Any], pending: Observation | None, window: Window | None) -> dict[str, Any]:
    """A step's data in the journal as it follows from an observation of its job; the same data where nothing changed.

    Of a run's hold and priority, and of maintenance, the site is told here, once per change.

    Args:
        pending: the job as it was seen waiting; None where it does not wait.
        window: the maintenance into which it would reach if it began now.
    """
    words = _words(pending, window).model_dump() if pending else None
    kept = {**data, "waiting": words} if words != data.get("waiting") else dict(data)
    wish = {"held": s.run.held_by is not None or window is not None, "priority": s.run.priority}
    told = data.get("told", _UNTOLD)
    if pending and isinstance(site, Queueing) and wish != told:
        if wish["held"] != told["held"]:
            (site.hold if wish["held"] else site.let_go)(s.attempt.id)
        if wish["priority"] != told["priority"]:
            site.prioritise(s.attempt.id, s.run.priority)
        kept["told"] = wish
    return kept


def _words(pending: Observation, window: Window | None) -> Waiting:
    advice = f"{_AWAY} {window.times}. It is held there, and let go once the window is over." if window else pending.advice
    return Waiting(raw=pending.raw, reason=pending.reason, advice=advice)


def postponed(window: Window) -> dict[str, Any]:
    """A step's data in the journal while its job is not submitted because of maintenance."""
    return {"waiting": Waiting(raw="", reason="", advice=f"{_AWAY} {window.times}.").model_dump()}


def waiting_of(attempt: Attempt, journal: Mapping[Step, JournalEntry]) -> Waiting | None:
    """The job that the attempt's step waits for, where a site has it and has not started it."""
    entry = journal.get(attempt.step) if attempt.step else None
    words = entry.data.get("waiting") if entry and entry.status == "intent" else None
    return Waiting.model_validate(words) if words else None
