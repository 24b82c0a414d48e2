"""What a site makes of a scheduler and of folders that change while it looks."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.run import JobKey
from livinglab.ports import Seen
from livinglab.sites.slurm import observing
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Cluster, Line
from livinglab.sites.slurm.site import _LOSE, SlurmSite
from livinglab.testing.fakes import FakeClock

KEY = JobKey(attempt="run-a.1", role="pilot")
BEGUN = {"there": "1", "age": "5", "claim": "7"}
ENDED = BEGUN | {"pilot/exit": "0", "end": "1893456000.5"}


class Scheduler:
    """Both seams: folders and queue are what the test says at that moment."""

    array_size = 1

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.lines: tuple[Line, ...] = ()
        self.accounts: tuple[Line, ...] = ()
        self.looked: Callable[[], None] = lambda: None
        self.name = ""
        self.cancelled: list[str] = []

    def run(self, script: str, *arguments: str, **_more: Any) -> bytes:
        if script == _LOSE:
            self.facts["lost"] = arguments[2]
        if not script.endswith(observing.ASK):
            return b""
        answer = "".join(f"{self.name}\t{name}\t{value}\n" for name, value in self.facts.items())
        self.looked()
        return answer.encode()

    def queue(self) -> tuple[Line, ...]:
        return self.lines

    def accounted(self, names: Collection[str]) -> tuple[Line, ...]:
        return tuple(line for line in self.accounts if line.name in names)

    def cancel(self, ids: Collection[str]) -> None:
        self.cancelled += ids
        self.lines = tuple(replace(line, state="CANCELLED") if line.id in ids else line for line in self.lines)


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def site(tmp_path: Path, scheduler: Scheduler) -> SlurmSite:
    cluster: Any = Cluster(SlurmSettings(scratch=Path("/scratch")), scheduler, scheduler)  # type: ignore[arg-type]
    site = SlurmSite(name="c", instance="lab", root=tmp_path, vault=tmp_path, launcher=tmp_path, images=None, clock=FakeClock(), cluster=cluster)  # type: ignore[arg-type]
    scheduler.name = site.layout.job(KEY)
    return site


def test_a_job_that_ends_while_it_is_looked_at_is_not_taken_for_a_killed_one(site: SlurmSite, scheduler: Scheduler) -> None:
    """Its folder was read before it had an exit code, and the scheduler asked when it had ended."""

    def end() -> None:
        scheduler.lines, scheduler.facts = (Line(id="7", name=scheduler.name, state="COMPLETED"),), ENDED

    scheduler.facts, scheduler.looked = BEGUN, end
    seen = site.observe([KEY])[KEY]
    assert (seen.seen, seen.exit_code) == (Seen.EXITED, 0)


def test_a_task_is_known_by_the_name_that_its_folder_tells(site: SlurmSite, scheduler: Scheduler) -> None:
    scheduler.lines = (Line(id="9_3", name="ll-array.3", state="PENDING", reason="Priority"),)
    scheduler.facts = {"there": "1", "age": "5", "slurm": "ll-gone.1 ll-array.3"}
    seen = site.observe([KEY])[KEY]
    assert (seen.seen, seen.reason) == (Seen.PENDING, "Priority")


@pytest.mark.parametrize(("facts", "queue", "seen"), [
    ({"slurm": "ll-array.3"}, "ll-array.4", Seen.EXITED),  # somebody cancelled it
    ({"slurm": "ll-array.3"}, "ll-array", Seen.EXITED),  # and all the others
    ({"slurm": "ll-array.3", "claim": "9_3"}, "ll-array.4", Seen.ABSENT),  # it had begun
    ({"slurm": "ll-array.3"}, "ll-another.4", Seen.ABSENT),  # nothing is known of its array
    ({"slurm": "ll-gone.1 ll-array.3"}, "ll-array.4", Seen.ABSENT),  # nor of one of two
    ({"slurm": "ll-array.3", "cancelled": ""}, "ll-another.4", Seen.EXITED),  # the lab cancelled it: it cannot begin
    ({"cancelled": ""}, "ll-another.4", Seen.EXITED),
    ({}, "ll-array.4", Seen.ABSENT),
])  # fmt: skip
def test_what_a_job_that_nobody_lists_comes_to(site: SlurmSite, scheduler: Scheduler, facts: dict[str, str], queue: str, seen: Seen) -> None:
    scheduler.lines = (Line(id="9_4", name=queue, state="PENDING"),)
    scheduler.facts = {"there": "1", "age": "500", **facts}
    assert site.observe([KEY])[KEY].seen is seen


def test_accounting_is_asked_about_none_that_the_queue_has(site: SlurmSite, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr(scheduler, "accounted", lambda names: (asked.append(set(names)), ())[1])  # type: ignore[func-returns-value]
    scheduler.lines = (Line(id="9_3", name="ll-array.3", state="RUNNING"),)
    scheduler.facts = {"there": "1", "slurm": "ll-array.3"}
    assert site.observe([KEY])[KEY].seen is Seen.RUNNING
    assert not any(asked)


@pytest.mark.parametrize(("state", "reason", "seen"), [
    ("PENDING", "launch failed requeued held", Seen.EXITED),
    ("REQUEUE_HOLD", "launch_failed_requeued_held", Seen.EXITED),
    ("PENDING", "JobHoldMaxRequeue", Seen.EXITED),
    ("PENDING", "JobHeldAdmin", Seen.PENDING),  # a person did it, and may undo it
    ("PENDING", "Priority", Seen.PENDING),
    ("RUNNING", "JobHoldMaxRequeue", Seen.RUNNING),
])  # fmt: skip
def test_a_job_that_slurm_has_given_up_is_cancelled_and_lost(site: SlurmSite, scheduler: Scheduler, state: str, reason: str, seen: Seen) -> None:
    """What nobody starts any more would wait for ever."""
    scheduler.lines, scheduler.facts = (Line(id="7", name=scheduler.name, state=state, reason=reason),), {"there": "1", "age": "500"}
    site.observe([KEY])
    site._queue.look(fresh=True)  # it is not asked again within a moment
    assert site.observe([KEY])[KEY].seen is seen
    assert ("lost" in scheduler.facts) == (seen is Seen.EXITED)
    assert scheduler.cancelled == ["7"] * (seen is Seen.EXITED)
