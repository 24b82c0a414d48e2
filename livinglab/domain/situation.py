"""Everything that is known of an attempt, side by side."""

from dataclasses import dataclass
from typing import Any

from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, JobKey, JobRole, JournalEntry, Run, Step
from livinglab.domain.sandbox import Release


@dataclass(frozen=True)
class Situation:
    """All that the database says about an attempt, read in one transaction."""

    run: Run
    attempt: Attempt
    plan: Plan
    pilot: Pilot
    release: Release
    journal: dict[Step, JournalEntry]

    def key(self, role: JobRole) -> JobKey:
        """That job's key."""
        return JobKey(attempt=self.attempt.id, role=role)

    def done(self, step: Step) -> dict[str, Any] | None:
        """What a step left, if it is done."""
        entry = self.journal.get(step)
        return dict(entry.data) if entry and entry.status == "done" else None
