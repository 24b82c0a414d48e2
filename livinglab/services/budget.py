"""What a plan's runs may still cost: measured runs, and core-hours of the pilot's own container. What the platform failed costs nothing."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from livinglab.domain.model import Frozen
from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan
from livinglab.domain.run import Cause, Failure, Spent, Step
from livinglab.domain.sandbox import Channel, Release, Role
from livinglab.domain.situation import Situation
from livinglab.ports import Tx

_HOUR = 3_600.0  # seconds


class Budget(Frozen):
    """How much of a plan's budget is used, spoken for by runs that are under way, and left."""

    measured_runs: int = Field(ge=0)
    counted: int = Field(ge=0)
    """Runs that something was disclosed of; see `Run.counts`."""
    under_way: int = Field(ge=0)
    """Runs that are not over, and may come to count."""
    left: int = Field(ge=0)
    core_hours: float | None
    """Of the pilot's container: its cores times its time. None: as many as the runs take."""
    core_hours_used: float = Field(ge=0)
    core_hours_reserved: float = Field(ge=0)
    """The most that the runs under way may still take."""
    core_hours_of_a_run: float = Field(ge=0)
    """The most that another run would take, by its manifest's limits."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why another run does not fit in, each as a clause of a sentence."""
        found = [] if self.left else [f"the plan's {self.measured_runs} measured runs are used or under way"]
        if self.core_hours is not None and self.core_hours_used + self.core_hours_reserved + self.core_hours_of_a_run > self.core_hours:
            used, reserved, most = f"{self.core_hours_used:,.3g}", f"{self.core_hours_reserved:,.3g}", f"{self.core_hours_of_a_run:,.3g}"
            found.append(f"of the plan's {self.core_hours:,.6g} core-hours {used} are used and {reserved} spoken for, and a run may take {most}")
        return tuple(found)


def budget_of(plan: Plan, pilot: Pilot, release: Release, spent: Spent) -> Budget:
    """The budget of a plan whose runs have cost that."""
    asked = pilot.manifest.resources
    of_a_run = asked.cpus * asked.wall_seconds / _HOUR
    return Budget(
        measured_runs=plan.body.measured_runs, counted=spent.counted, under_way=spent.at_stake - spent.counted,
        left=max(0, plan.body.measured_runs - spent.at_stake), core_hours=release.spec.quota.core_hours,
        core_hours_used=spent.core_seconds / _HOUR, core_hours_reserved=spent.under_way * of_a_run, core_hours_of_a_run=of_a_run)  # fmt: skip


def core_seconds(s: Situation, failure: Failure | None, now: datetime) -> float:
    """What a run that is over is charged, cores × seconds: nothing where the platform failed it, or refused it.

    A pilot that was cancelled while it ran is charged until it was seen dead.
    """
    if failure and failure.code != "cancelled" and failure.cause is not Cause.PILOT:
        return 0.0
    cpus = s.pilot.manifest.resources.cpus
    if left := s.done(Step.COLLECT):
        return cpus * _between(datetime.fromisoformat(left["started_at"]), datetime.fromisoformat(left["ended_at"]))
    begun = s.journal.get(Step.EXECUTE)
    if begun is None or "handle" not in begun.data:
        return 0.0
    released = s.done(Step.RELEASE) or {}
    return cpus * _between(begun.at, datetime.fromisoformat(released["seen_dead_at"]) if released.get("seen_dead_at") else now)


def _between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def discloses(release: Release, channels: Iterable[Channel]) -> bool:
    """Would one of these channels carry something of data that are not public to the participant? Then the run counts, whatever fails later."""
    shown = release.spec.disclosure
    return release.spec.data.visibility == "restricted" and any(shown.allows(channel, Role.PARTICIPANT) for channel in channels)


def count(tx: Tx, s: Situation, channels: Iterable[Channel] | None = None) -> None:
    """The run counts from now on, if one of these channels discloses something (None: a measurement is there, so it does)."""
    if channels is not None and not discloses(s.release, channels):
        return  # most often, and at each piece of a log: nothing need be read for it
    run = tx.run(s.run.id) or s.run
    if not run.counts:
        tx.update_run(run.model_copy(update={"counts": True}), run)
