"""Everything that is known of an attempt, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, JobKey, JobRole, JournalEntry, Run, Step
from livinglab.domain.sandbox import Release

_JOBS: dict[Step, JobRole] = {Step.PREPARE: "prepare", Step.COLLECT: "pilot", Step.DECODE: "decode", Step.MEASURE: "measure"}
"""Step → the container whose outcome it keeps."""


def usage_of(journal: Mapping[Step, JournalEntry]) -> dict[str, dict[str, float]]:
    """What the containers of an attempt used, role → name → figure, as the site measured it (see `ports.Outcome.usage`).

    Outputs that were taken over from an earlier attempt cost this one nothing, and are that one's.
    """
    used: dict[str, dict[str, float]] = {}
    for step, role in _JOBS.items():
        entry = journal.get(step)
        data: dict[str, Any] = dict(entry.data) if entry and entry.status == "done" else {}
        if "reused_from" not in data:
            used |= {who: dict(left["usage"]) for who, left in ((role, data), ("drive", data.get("drive"))) if left and left.get("usage")}
    return used


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

    @property
    def next_step(self) -> Step:
        """The first step that is not done. A failed attempt has only its release and its seal before it."""
        for step in (Step.RELEASE, Step.SEAL) if self.attempt.failure else Step:
            if step is Step.PREPARE and not self.release.spec.harness.prepare:
                continue
            if step is Step.DECODE and self.release.spec.family.interactive:
                continue  # there is no table: what is measured was written down by the harness
            if self.done(step) is None:
                return step
        return Step.SEAL
