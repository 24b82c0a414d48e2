"""Jobs that are submitted at a time: their folders are real, the scheduler is a list."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from livinglab.domain.errors import Conflict, PlatformFault, Unreachable
from livinglab.sites.shell import Failed, local_shell
from livinglab.sites.slurm.control import Line, Request
from livinglab.sites.slurm.sharing import Patience
from livinglab.sites.slurm.submitting import Job, MissingError, Submissions, Submitted
from tests.fixtures.slurm import busy

TOOLS = PurePosixPath("/tools")


class Scheduler:
    """Takes what it is given, unless `refuses` says otherwise. A task of an array is a line of its own."""

    def __init__(self, array_size: int = 10) -> None:
        self.array_size = array_size
        self.asked: list[Request] = []
        self.lines: list[Line] = []
        self.refuses: Exception | None = None

    def submit(self, request: Request) -> str:
        self.asked.append(request)
        if self.refuses:
            raise self.refuses
        id_ = str(len(self.asked))
        tasks = [(f"{id_}_{n}", f"{request.name}.{n}") for n in range(request.tasks)] or [(id_, request.name)]
        self.lines += [Line(id=own, name=name, state="PENDING") for own, name in tasks]
        return id_


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.sif").touch()
    return tmp_path


@pytest.fixture
def submissions(root: Path, scheduler: Scheduler) -> Submissions:
    return again(root, scheduler)


def again(root: Path, scheduler: Any) -> Submissions:
    """As another process has it."""

    def lines(names: Mapping[str, set[str]]) -> dict[str, list[Line]]:
        return {job: [line for line in scheduler.lines if line.name in own] for job, own in names.items()}

    return Submissions(local_shell(), scheduler, PurePosixPath(root), lines, Patience())


def job(root: Path, n: int, *, cores: int = 1, spec: bytes = b"digest", needed: tuple[str, ...] = ("images/x.sif",)) -> Job:
    return Job(request=Request(name=f"ll-{n}", script="", cores=cores, mebibytes=64, minutes=3), files={"spec": spec, "keys": b"k\n"},
               needed=tuple(PurePosixPath(root) / name for name in needed), partners=(f"ll-{n}-partner",), tools=TOOLS)  # fmt: skip


def together(submissions: Submissions, jobs: list[Job]) -> list[Submitted | Exception]:
    def submit(job: Job) -> Submitted | Exception:
        try:
            return submissions.submit(job)
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        with busy(submissions):
            answers = []
            for count, one in enumerate(jobs, 1):  # in this order
                answers.append(pool.submit(submit, one))
                while len(submissions._waiting) < count:
                    time.sleep(0.001)
        return [answer.result() for answer in answers]


def test_one_is_a_job_of_its_own(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    assert submissions.submit(job(root, 1)) == Submitted("1", created=True)
    (request,) = scheduler.asked
    assert (request.name, request.tasks) == ("ll-1", 0)
    assert request.script.endswith(f"'/tools/job.sh' '{root}/jobs/ll-1'\n")
    assert (root / "jobs/ll-1/keys").read_text() == "k\n"
    assert (root / "jobs/ll-1-partner/spec").read_text() == "digest"
    assert submissions.submit(job(root, 1)) == again(root, scheduler).submit(job(root, 1)) == Submitted("1", created=False)


def test_those_that_are_alike_are_one_array_of_as_many_as_may_be(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    answers = together(submissions, [job(root, n, cores=1 + (n == 3)) for n in range(13)])
    assert sorted(request.tasks for request in scheduler.asked) == [0, 2, 10]
    assert len({answer.id for answer in answers if isinstance(answer, Submitted)}) == 13
    array = max(scheduler.asked, key=lambda request: request.tasks)
    assert array.script.startswith("#!/bin/bash -p\njobs=(ll-0 ll-1 ll-2 ll-4 ")
    assert (root / "jobs/ll-4/slurm").read_text() == f"{array.name}.3\n"
    assert not list((root / "jobs").glob("new.*"))
    assert together(again(root, scheduler), [job(root, n, cores=1 + (n == 3)) for n in range(13)]) == [
        Submitted(answer.id, created=False) for answer in answers if isinstance(answer, Submitted)
    ]


def test_none_are_made_where_none_may_be(root: Path) -> None:
    scheduler = Scheduler(array_size=1)
    assert together(again(root, scheduler), [job(root, n) for n in range(3)]) == [Submitted(str(n), created=True) for n in (1, 2, 3)]
    assert {request.tasks for request in scheduler.asked} == {0}


def test_each_has_its_own_fault(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    submissions.submit(job(root, 1))
    (root / "jobs/ll-2").mkdir()  # what is left of one whose folder was removed
    (root / "jobs/ll-4").mkdir()
    (root / "jobs/ll-4/spec").write_text("digest")
    (root / "jobs/ll-4/claim").write_text("17_3\n")
    jobs = [job(root, 1, spec=b"other"), job(root, 2), job(root, 3, needed=("images/x.sif", "data/y")), job(root, 4), job(root, 5)]
    conflict, broken, missing, begun, fine = together(submissions, jobs)
    assert isinstance(conflict, Conflict)
    assert isinstance(broken, PlatformFault)
    assert isinstance(missing, MissingError)
    assert missing.path == PurePosixPath(root) / "data/y"
    assert begun == Submitted("17_3", created=False)
    assert fine == Submitted("2", created=True)
    assert not (root / "jobs/ll-3").exists()


@pytest.mark.parametrize("error", [Unreachable("away"), Failed("no", 1, "Invalid account")])
def test_nobody_is_left_without_an_answer(root: Path, scheduler: Scheduler, submissions: Submissions, error: Exception) -> None:
    scheduler.refuses = error
    answers = together(submissions, [job(root, n) for n in range(3)])
    assert [type(answer) for answer in answers] == [type(error)] * 3
    assert [request.tasks for request in scheduler.asked] == ([3] if isinstance(error, Unreachable) else [3, 0, 0, 0])


def test_one_that_had_several_names_is_found_by_each(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    """Its first array was heard of late."""
    scheduler.refuses = Unreachable("away")
    together(submissions, [job(root, n) for n in range(2)])
    first = scheduler.asked[0].name
    scheduler.refuses = None
    together(again(root, scheduler), [job(root, n) for n in range(2)])
    assert (root / "jobs/ll-0/slurm").read_text().split() == [f"{first}.0", f"{scheduler.asked[1].name}.0"]
    scheduler.lines = [Line(id="77_1", name=f"{first}.1", state="PENDING")]
    assert again(root, scheduler).submit(job(root, 1)) == Submitted("77_1", created=False)


def test_a_full_scratch_starts_nothing(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    (root / "jobs").chmod(0o500)
    (root / "jobs").rename(root / "elsewhere")
    with pytest.raises(Failed):
        submissions.submit(job(root, 1))
    assert scheduler.asked == []


def test_many_threads_each_get_their_own(root: Path, scheduler: Scheduler, submissions: Submissions) -> None:
    answers: dict[int, Submitted] = {}

    def submit(n: int) -> None:
        answers[n] = submissions.submit(job(root, n))

    for thread in (threads := [threading.Thread(target=submit, args=(n,)) for n in range(60)]):
        thread.start()
    for thread in threads:
        thread.join()
    by_id = {line.id: line.name for line in scheduler.lines}
    for n, answer in answers.items():
        names = (root / f"jobs/ll-{n}/slurm").read_text().split() if (root / f"jobs/ll-{n}/slurm").exists() else [f"ll-{n}"]
        assert by_id[answer.id] in names
    assert len({answer.id for answer in answers.values()}) == 60


@pytest.fixture(autouse=True)
def _nobody_waits(submissions: Submissions) -> Iterator[None]:
    yield
    assert not submissions._waiting
