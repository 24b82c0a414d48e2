"""Jobs that wait in a site's own queue: what they wait for is kept, and the site is told whose turn it is."""

from collections.abc import Mapping
from typing import Any

from livinglab.domain.run import Attempt, JournalEntry, Step, Waiting
from livinglab.domain.situation import Situation
from livinglab.ports import Observation, Queueing, Site

_UNTOLD = {"held": False, "priority": 0}
"""What a site takes a job for of which it was told nothing."""


def heed_queue(site: Site, s: Situation, data: Mapping[str, Any], pending: Observation | None) -> dict[str, Any]:
    """A step's data in the journal as it follows from an observation of its job; the same data where nothing changed.

    Of a run's hold and priority the site is told here, once per change of either.

    Args:
        pending: the job as it was seen waiting; None where it does not wait.
    """
    words = Waiting(raw=pending.raw, reason=pending.reason, advice=pending.advice).model_dump() if pending else None
    kept = {**data, "waiting": words} if words != data.get("waiting") else dict(data)
    wish = {"held": s.run.held_by is not None, "priority": s.run.priority}
    told = data.get("told", _UNTOLD)
    if pending and isinstance(site, Queueing) and wish != told:
        if wish["held"] != told["held"]:
            (site.hold if wish["held"] else site.let_go)(s.attempt.id)
        if wish["priority"] != told["priority"]:
            site.prioritise(s.attempt.id, s.run.priority)
        kept["told"] = wish
    return kept


def waiting_of(attempt: Attempt, journal: Mapping[Step, JournalEntry]) -> Waiting | None:
    """The job that the attempt's step waits for, where a site has it and has not started it."""
    entry = journal.get(attempt.step) if attempt.step else None
    words = entry.data.get("waiting") if entry and entry.status == "intent" else None
    return Waiting.model_validate(words) if words else None
