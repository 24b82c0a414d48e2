"""The conformance suite can fail: for every clause there is a site that breaks it, and is caught by it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import LivingLabError, PlatformFault, Unreachable
from livinglab.domain.isolation import Area
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, Handle, JobSpec, Limit, Observation, Outcome, OutputFile, Seen
from livinglab.testing.conformance import SiteConformance
from livinglab.testing.fakes import FakeContainer, FakeSite
from tests.contract.benches import FakeBench

Broken = type[FakeSite]


def changed_outcome(**changes: Any) -> Broken:
    class Changed(FakeSite):
        def collect(self, key: JobKey, into: Path) -> Outcome:
            return super().collect(key, into).model_copy(update=changes)

    return Changed


def changed_observation(when: Callable[[Observation], bool], **changes: Any) -> Broken:
    class Changed(FakeSite):
        def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
            seen = super().observe(keys)
            return {key: o.model_copy(update=changes) if when(o) else o for key, o in seen.items()}

    return Changed


class LosesOutputs(FakeSite):
    def collect(self, key: JobKey, into: Path) -> Outcome:
        outcome = super().collect(key, into)
        return outcome.model_copy(update={"outputs": tuple(OutputFile(path=f.path, size=0, digest=f.digest) for f in outcome.outputs)})


class StartsAgain(FakeSite):
    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        job = self.backend.jobs.get(key)
        if job and job.ended_at:
            del self.backend.jobs[key]
        return super().submit(spec, key)


class ForgetsToAttach(FakeSite):
    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        return super().submit(spec, key).model_copy(update={"created": True})


class TakesAnySpecification(FakeSite):
    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        self.backend.digests[key] = digest_of(spec)
        return super().submit(spec, key)


class RemembersInMemory(FakeSite):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.mine: set[JobKey] = set()

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        self.mine.add(key)
        return super().submit(spec, key)

    def owned(self) -> set[JobKey]:
        return super().owned() & self.mine


class TakesSilenceForAbsence(FakeSite):
    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        return {key: o.model_copy(update={"seen": Seen.ABSENT}) if o.seen is Seen.UNREACHABLE else o for key, o in super().observe(keys).items()}


class SeesTheFirstOnly(FakeSite):
    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        seen = super().observe(keys)
        first = seen[next(iter(keys))]
        return {key: first.model_copy(update={"key": key}) for key in keys}


class TakesLossForAnEnd(FakeSite):
    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        seen = super().observe(keys)
        return {key: o.model_copy(update={"seen": Seen.EXITED, "exit_code": 0}) if o.seen is Seen.ABSENT else o for key, o in seen.items()}


class KillsWhileWaiting(FakeSite):
    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        super().wait(keys, timeout)
        for key in keys:
            self.cancel(key, timedelta(0))


class CollectsTheLiving(FakeSite):
    def collect(self, key: JobKey, into: Path) -> Outcome:
        job = self.backend.jobs[key]
        if job.ended_at is None:
            job.end(0, self.clock.now())
        return super().collect(key, into)


class CancelsOnce(FakeSite):
    def cancel(self, key: JobKey, grace: timedelta) -> None:
        if self.calls["cancel"] or key not in self.backend.jobs:
            msg = "there is nothing to cancel."
            raise PlatformFault(msg)
        super().cancel(key, grace)


class NoLimits(FakeSite):
    def _end_if_over(self, container: FakeContainer, now: Any) -> Limit | None:
        return None


class RemembersLimitsInMemory(FakeSite):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.limits: dict[JobKey, Limit | None] = {}

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        seen = super().observe(keys)
        self.limits |= {key: o.limit for key, o in seen.items()}
        return seen

    def collect(self, key: JobKey, into: Path) -> Outcome:
        return super().collect(key, into).model_copy(update={"limit": self.limits.get(key)})


class KeepsAllOutput(FakeSite):
    def _run(self, container: FakeContainer) -> int | None:
        limits = container.spec.resources
        container.spec = container.spec.model_copy(update={"resources": limits.model_copy(update={"output_bytes": 4 * limits.output_bytes})})
        return super()._run(container)


class LogsFromTheStart(FakeSite):
    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        return super().logs(key, 0, limit)


class LogsAtTheEnd(FakeSite):
    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        job = self.backend.jobs.get(key)
        return super().logs(key, offset, limit) if job and job.ended_at else b""


class CollectsOnce(FakeSite):
    def collect(self, key: JobKey, into: Path) -> Outcome:
        outcome = super().collect(key, into)
        self.backend.jobs[key].outputs = {}
        return outcome


class ReleasesByPrefix(FakeSite):
    def release(self, attempt: str) -> None:
        for key in self.owned():
            if key.attempt.startswith(attempt):
                super().release(key.attempt)


class OwnsEverything(FakeSite):
    others: set[JobKey] = set()

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        self.others.add(key)
        return super().submit(spec, key)

    def owned(self) -> set[JobKey]:
        return super().owned() | self.others


class PushesOnce(FakeSite):
    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        if (attempt, area) not in self.backend.areas:
            super().push(attempt, area, files)


class PushesAnywhere(FakeSite):
    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        self.backend.areas[attempt, area] = {}


class MountsNothing(FakeSite):
    def _files(self, spec: JobSpec, container: ContainerSpec) -> dict[str, bytes]:
        return {}


class HasEveryDataset(FakeSite):
    def has_dataset(self, digest: str) -> bool:
        return True


class HasEveryImage(FakeSite):
    def ensure_image(self, digest: str) -> str:
        return f"fake-{digest}"


class CancelsOneOfTwo(NoLimits):
    def cancel(self, key: JobKey, grace: timedelta) -> None:
        self.backend.jobs[key].end(137, self.clock.now())


class Hangs(FakeSite):
    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        msg = "no answer."
        raise Unreachable(msg)


CATCHES: dict[str, list[Broken]] = {
    "test_a_job_runs_and_what_it_left_is_collected": [LosesOutputs, changed_outcome(exit_code=1), Hangs],
    "test_the_same_key_never_runs_twice": [StartsAgain, ForgetsToAttach],
    "test_two_processes_that_submit_at_once_start_one_job": [ForgetsToAttach],
    "test_a_key_that_names_another_specification_is_a_conflict": [TakesAnySpecification],
    "test_after_a_crash_a_job_is_found_again": [RemembersInMemory],
    "test_absent_is_told_from_unreachable": [TakesSilenceForAbsence, TakesLossForAnEnd, Hangs],
    "test_many_are_observed_at_once": [SeesTheFirstOnly],
    "test_a_job_that_was_lost_is_absent": [TakesLossForAnEnd],
    "test_waiting_ends_with_the_job_or_with_the_time": [KillsWhileWaiting],
    "test_what_lives_cannot_be_collected": [CollectsTheLiving],
    "test_an_exit_code_is_kept": [changed_outcome(exit_code=0), changed_observation(lambda o: o.seen is Seen.EXITED, exit_code=0)],
    "test_cancelling_is_a_request_that_can_be_made_twice": [CancelsOnce],
    "test_a_job_that_takes_too_long_is_ended": [NoLimits, RemembersLimitsInMemory],
    "test_a_job_that_talks_too_much_is_ended": [NoLimits, RemembersLimitsInMemory, changed_outcome(log_truncated=False)],
    "test_outputs_are_bounded_while_they_are_written": [KeepsAllOutput, RemembersLimitsInMemory],
    "test_the_log_is_read_from_any_offset": [LogsFromTheStart],
    "test_the_log_of_a_living_job_can_be_followed": [LogsAtTheEnd],
    "test_collecting_twice_gives_the_same": [CollectsOnce],
    "test_a_link_among_the_outputs_makes_them_unusable": [changed_outcome(output_problem=None)],
    "test_releasing_removes_an_attempt_and_no_other": [ReleasesByPrefix],
    "test_only_what_is_ours_is_owned": [OwnsEverything],
    "test_pushing_again_replaces_an_area": [PushesOnce],
    "test_a_pushed_file_stays_in_its_area": [PushesAnywhere],
    "test_inputs_cannot_be_written": [MountsNothing],
    "test_a_dataset_is_mounted_by_its_digest": [HasEveryDataset, MountsNothing],
    "test_an_area_that_is_not_there_starts_nothing": [MountsNothing],
    "test_an_image_is_built_once": [HasEveryImage],
    "test_the_report_is_bound_to_the_job": [changed_outcome(report=b"livinglab-launcher/1 {} 00\n"), changed_outcome(report=None)],
    "test_the_site_says_how_it_enforces_each_property": [changed_outcome(site_view=())],
    "test_two_containers_share_a_socket_and_an_end": [NoLimits],
    "test_two_containers_are_cancelled_together": [CancelsOneOfTwo],
}


def test_every_clause_has_a_site_that_breaks_it() -> None:
    clauses = {name for name, _ in inspect.getmembers(SiteConformance, inspect.isfunction) if name.startswith("test_")}
    assert clauses == CATCHES.keys()


@pytest.mark.parametrize(("clause", "broken"), [(clause, broken) for clause, sites in CATCHES.items() for broken in sites])
def test_a_broken_site_is_caught(clause: str, broken: Broken, tmp_path: Path) -> None:
    arguments = {"name": "../a.txt"} if clause == "test_a_pushed_file_stays_in_its_area" else {}
    getattr(SiteConformance(), clause)(FakeBench(tmp_path / "sound"), **arguments)
    with pytest.raises((AssertionError, LivingLabError, pytest.fail.Exception)):
        getattr(SiteConformance(), clause)(FakeBench(tmp_path / "broken", make=broken), **arguments)
