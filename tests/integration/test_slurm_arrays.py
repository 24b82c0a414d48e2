"""Jobs that several threads submit at a time: they travel together, are one job array, and each is still a job of its own."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.domain.run import JobKey
from livinglab.ports import Handle, JobSpec, Observation, Seen
from livinglab.sites.shell import Failed, local_shell
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Line, Request
from livinglab.sites.slurm.site import SlurmSite
from livinglab.testing.bench import OUT, collected, ended, key_of, push, spec_of
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed, busy
from tests.hostile import spec_for
from tests.waiting import until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

WRITES = ("python3", "-c", "open('/out/a.txt', 'w').write('data')")
SETTINGS = SlurmSettings(scratch=Path("/scratch"), partition="lab")
CLOSED = SETTINGS.model_copy(update={"partition": "exclusive"})
"""A partition that is down in these tests: what is submitted to it waits."""


@dataclass
class Watched(CommandControl):
    """Keeps what was submitted. `before` and `after` are called around each submission."""

    bed: SlurmBed
    settings: SlurmSettings
    asked: list[Request] = field(default_factory=list)
    before: Callable[[Request], None] = lambda _request: None
    after: Callable[[Request], None] = lambda _request: None

    def __post_init__(self) -> None:
        super().__init__(self.bed.local(), self.settings)

    def submit(self, request: Request) -> str:
        self.asked.append(request)
        self.before(request)
        id_ = super().submit(request)
        self.after(request)
        return id_


@pytest.fixture
def control(slurm_bed: SlurmBed) -> Watched:
    return Watched(slurm_bed, SETTINGS)


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed, control: Watched) -> Iterator[SlurmBench]:
    bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.local(), local_shell(["/nowhere"]), control=control, settings=control.settings)
    bench.site.ensure_image(bench.image)
    yield bench
    bench.close()


@pytest.fixture
def closed(slurm_bed: SlurmBed, control: Watched) -> Iterator[None]:
    """Everything waits in the queue."""
    control.settings = control._settings = CLOSED
    slurm_bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=DOWN")
    yield
    slurm_bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=UP")


def specs(bench: SlurmBench, count: int, argv: tuple[str, ...] = WRITES) -> list[JobSpec]:
    return [spec_for(bench, argv).model_copy(update={"attempt": f"run-{n}.1"}) for n in range(count)]


def together(site: SlurmSite, these: Collection[JobSpec]) -> list[Handle | Exception]:
    """Submit them all, none before all are there; what each has for an answer."""

    def submit(spec: JobSpec) -> Handle | Exception:
        try:
            return site.submit(spec, spec.keys[0])
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error

    for spec in these:
        site.push(spec.attempt, "inputs", {})
    submissions = site._submissions
    with ThreadPoolExecutor(len(these)) as pool:
        with busy(submissions):
            answers = [pool.submit(submit, spec) for spec in these]
            until(lambda: len(submissions._waiting) >= len(these) or all(a.done() for a in answers), pause=0.01)
        return [answer.result() for answer in answers]


def see(site: SlurmSite, these: Collection[JobSpec]) -> list[Observation]:
    seen = site.observe([spec.keys[0] for spec in these])
    return [seen[spec.keys[0]] for spec in these]


def lines(control: CommandControl, handles: Collection[Handle | Exception]) -> list[Line]:
    """Of those that the controller knows, in the order of the handles."""
    known = {line.id: line for line in control.queue()}
    return [known[handle.id] for handle in handles if isinstance(handle, Handle) and handle.id in known]


def task_of(handle: Handle | Exception) -> int:
    assert isinstance(handle, Handle)
    return int(handle.id.partition("_")[2])


def told(bed: SlurmBed, handle: Handle | Exception) -> tuple[str, str]:
    """Why the cluster says that it waits, and how nice it is."""
    assert isinstance(handle, Handle)
    words = bed.on("login", "scontrol", "show", "job", "--oneliner", handle.id, user="lab").split()
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    return fields["Reason"], fields["Nice"]


def test_jobs_that_are_alike_are_one_array_and_each_has_its_own_end(bench: SlurmBench, control: Watched) -> None:
    these = [*specs(bench, 6), *specs(bench, 7, ("python3", "-c", "raise SystemExit(3)"))[6:]]
    handles = together(bench.site, these)
    assert [(request.tasks, request.name.startswith("ll-")) for request in control.asked] == [(7, True)]
    assert all(isinstance(handle, Handle) and handle.created for handle in handles)
    assert len({handle.id for handle in handles if isinstance(handle, Handle)}) == 7
    for spec, handle in zip(these, handles, strict=True):
        for site in (bench.site, bench.again()):
            again = site.submit(spec, spec.keys[0])
            assert isinstance(handle, Handle)
            assert (again.id, again.created) == (handle.id, False)
        exit_code = 3 if spec is these[6] else 0
        assert ended(bench, spec.keys[0]).exit_code == exit_code
        outcome = collected(bench, spec.keys[0])
        assert [(f.path, f.size) for f in outcome.outputs] == ([("a.txt", 4)] if spec is not these[6] else [])
        assert outcome.usage["queue_seconds"] >= 0
    assert len(control.asked) == 1
    assert all(o.seen is Seen.EXITED for o in bench.again().observe([spec.keys[0] for spec in these]).values())


def test_what_asks_for_something_else_is_another_job(bench: SlurmBench, control: Watched) -> None:
    big = spec_for(bench, WRITES, memory=256 << 20).model_copy(update={"attempt": "run-big.1"})
    pair = spec_of(bench, "run-pair.1", "greet", mounts=(OUT,)).model_copy(update={"attempt": "run-pair.1"})
    handles = together(bench.site, [*specs(bench, 2), big, pair])
    assert sorted(request.tasks for request in control.asked)[:1] == [0]
    assert sum(request.tasks or 1 for request in control.asked) == 4
    assert {request.mebibytes for request in control.asked} >= {256}
    for handle in handles:
        assert isinstance(handle, Handle)
        assert ended(bench, handle.key).exit_code == 0


@pytest.mark.usefixtures("closed")
def test_one_of_an_array_is_held_moved_and_let_go_by_itself(bench: SlurmBench, slurm_bed: SlurmBed) -> None:
    these = specs(bench, 5)
    handles = together(bench.site, these)
    site = bench.again()
    site.hold(these[1].attempt)
    site.prioritise(these[3].attempt, -50)
    assert [told(slurm_bed, handle) for handle in handles] == [("PartitionDown", "1000"), ("JobHeldUser", "1000"), ("PartitionDown", "1000"),
                                                               ("PartitionDown", "1500"), ("PartitionDown", "1000")]  # fmt: skip
    assert all(seen.seen is Seen.PENDING for seen in see(site, these))
    site.let_go(these[1].attempt)
    assert told(slurm_bed, handles[1])[0] != "JobHeldUser"


@pytest.mark.usefixtures("closed")
def test_of_tasks_that_wait_one_is_cancelled_and_the_others_go_on(bench: SlurmBench, control: Watched, slurm_bed: SlurmBed) -> None:
    """Of such a task Slurm keeps no record; and of those that are left, in regular distances, `squeue --array` would forget one."""
    unordered = specs(bench, 14)
    handles = together(bench.site, unordered)
    these = sorted(unordered, key=lambda spec: task_of(handles[unordered.index(spec)]))
    assert all(seen.seen is Seen.PENDING for seen in see(bench.site, these))
    for spec in these[1::2]:
        bench.site.cancel(spec.keys[0], timedelta(0))
    assert len(lines(control, handles)) == 7
    for site in (bench.site, bench.again()):
        site._queue.look(fresh=True)  # what was seen before is of before
        assert [seen.seen for seen in see(site, these)] == [Seen.PENDING, Seen.EXITED] * 7
    slurm_bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=UP")
    for spec in these[::2]:
        assert ended(bench, spec.keys[0]).exit_code == 0
    cancelled = collected(bench, these[1].keys[0])
    assert (cancelled.exit_code, cancelled.limit, cancelled.report) == (137, None, None)


@pytest.mark.usefixtures("closed")
def test_a_waiting_task_that_an_operator_cancels_is_told_to_be_that(bench: SlurmBench, slurm_bed: SlurmBed) -> None:
    these = specs(bench, 3)
    handles = together(bench.site, these)
    assert isinstance(handles[1], Handle)
    slurm_bed.on("login", "scancel", handles[1].id, user="lab")
    site = bench.again()
    assert [seen.seen for seen in see(site, these)] == [Seen.PENDING, Seen.EXITED, Seen.PENDING]
    with pytest.raises(PlatformFault, match="somebody cancelled the job at the cluster, and it was not the lab"):
        collected(bench, these[1].keys[0])


def test_an_array_whose_submission_never_arrived_is_submitted_again(bench: SlurmBench, control: Watched) -> None:
    def cut(_request: Request) -> None:
        msg = "the connection was cut"
        raise Unreachable(msg)

    these = specs(bench, 4)
    control.before = cut
    assert all(isinstance(answer, Unreachable) for answer in together(bench.site, these))
    control.before = lambda _request: None
    handles = together(bench.again(), these)
    assert all(isinstance(handle, Handle) and handle.created for handle in handles)
    assert [request.tasks for request in control.asked] == [4, 4]
    assert [ended(bench, spec.keys[0]).exit_code for spec in these] == [0] * 4


def test_an_array_whose_answer_was_not_heard_is_found(bench: SlurmBench, control: Watched) -> None:
    def deaf(_request: Request) -> None:
        msg = "the answer was not heard"
        raise Unreachable(msg)

    these = specs(bench, 4)
    control.after = deaf
    assert all(isinstance(answer, Unreachable) for answer in together(bench.site, these))
    control.after = lambda _request: None
    handles = together(bench.again(), these)
    assert [isinstance(handle, Handle) and handle.created for handle in handles] == [False] * 4
    assert len(control.asked) == 1
    assert [ended(bench, spec.keys[0]).exit_code for spec in these] == [0] * 4


def test_where_an_array_is_refused_each_is_a_job_of_its_own(bench: SlurmBench, control: Watched) -> None:
    def refuse(request: Request) -> None:
        if request.tasks:
            msg = "sbatch says no"
            raise Failed(msg, 1, "Invalid job array specification")

    control.before = refuse
    these = specs(bench, 3)
    handles = together(bench.site, these)
    assert [request.tasks for request in control.asked] == [3, 0, 0, 0]
    assert all(isinstance(handle, Handle) and "_" not in handle.id for handle in handles)
    assert [ended(bench, spec.keys[0]).exit_code for spec in these] == [0] * 3


def test_one_that_lacks_something_keeps_none_of_the_others(bench: SlurmBench, control: Watched) -> None:
    these = specs(bench, 3)
    bare = spec_for(bench, WRITES).model_copy(update={"attempt": "run-bare.1"})
    broken = bare.model_copy(update={"containers": (bare.containers[0].model_copy(update={"argv": ("false",)}),)})
    push(bench, "run-bare.1", b"data")
    bench.site.submit(bare, bare.keys[0])
    handles = together(bench.site, [*these, broken])
    assert [type(handle).__name__ for handle in handles] == ["Handle"] * 3 + ["Conflict"]
    assert [request.tasks for request in control.asked] == [0, 3]
    assert ended(bench, key_of("run-bare.1")).exit_code == 0
    assert [ended(bench, JobKey(attempt=spec.attempt, role="pilot")).exit_code for spec in these] == [0] * 3


def test_one_that_has_ended_meanwhile_keeps_no_other_from_being_cancelled(slurm_bed: SlurmBed) -> None:
    def state(job: str) -> str:
        return slurm_bed.on("login", "squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", user="lab").strip()

    submit = "cd / && sbatch --parsable --wrap 'sleep 600' --output=/dev/null --partition=lab"
    first, second = (slurm_bed.on("login", "bash", "-c", submit, user="lab").strip() for _ in range(2))
    control = CommandControl(slurm_bed.local(), SETTINGS)
    control.cancel([first])
    until(lambda: state(first) == "CANCELLED")
    control.cancel([first])
    control.cancel([first, second])
    until(lambda: state(second) == "CANCELLED")
