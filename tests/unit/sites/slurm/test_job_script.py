"""The job's script before it enters a namespace: who has the claim, and what is made of an earlier try."""

import subprocess
from pathlib import Path

import pytest

import livinglab.sites.slurm
from livinglab.sites.slurm.observing import BROKEN, LOST, NOT_OURS

SCRIPT = Path(livinglab.sites.slurm.__file__).with_name("job.sh")
WENT_ON = 1
"""What `unshare` ends with where it is told no user to become: so far, and no further."""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's folder, as the lab makes it."""
    folder = tmp_path / "jobs" / "ll-a"
    folder.mkdir(parents=True)
    (tmp_path / "ended").mkdir()
    (folder / "job.launch").write_text("ROLES=(pilot)\nRUN_UID=nobody\nRUN_GID=nobody\nAPPTAINER=/bin/true\n")
    return folder


def tried(job: Path, *marks: str) -> None:
    """What an earlier try has left."""
    for mark in marks:
        path = job / "left" / mark
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")


def run(job: Path, id_: str = "7") -> int:
    return subprocess.run(["bash", "-p", SCRIPT, job], env={"SLURM_JOB_ID": id_}, capture_output=True, check=False).returncode


def ended(job: Path) -> bool:
    return (job.parents[1] / "ended" / job.name).exists()


def test_it_is_a_script() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT], capture_output=True, check=False).stderr == b""


def test_it_is_a_good_one() -> None:
    found = subprocess.run(
        ["shellcheck", "--severity=warning", "--exclude=SC1090,SC2086,SC2154", SCRIPT], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_the_first_goes_on_and_so_it_does_after_a_requeue(job: Path) -> None:
    assert run(job) == WENT_ON
    assert (job / "claim").read_text() == "7\n"
    assert (job / "left").is_dir()
    assert run(job) == WENT_ON  # nothing had begun


def test_a_node_that_lacks_something_is_told(job: Path) -> None:
    (job / "job.launch").write_text("ROLES=(pilot)\nRUN_UID=nobody\nRUN_GID=nobody\nAPPTAINER=/opt/apptainer\n")
    assert run(job) == BROKEN
    assert (job / "left" / "broken").read_text() == "it has no /opt/apptainer\n"
    assert ended(job)


def test_the_second_of_the_same_name_ends_at_once(job: Path) -> None:
    run(job)
    assert run(job, "8") == NOT_OURS
    assert (job / "claim").read_text() == "7\n"
    assert {path.name for path in job.iterdir()} == {"job.launch", "claim", "left"}


def test_what_was_cancelled_before_it_began_does_not_begin(job: Path) -> None:
    (job / "cancelled").touch()
    assert run(job) == NOT_OURS
    assert not (job / "left").exists()


def test_a_try_that_came_to_its_end_is_not_made_again(job: Path) -> None:
    tried(job, "pilot/started", "pilot/exit", "end")
    assert run(job) == 0
    assert (job / "left" / "pilot" / "exit").exists()


def test_a_try_that_was_ended_in_good_order_is_made_again(job: Path) -> None:
    tried(job, "pilot/started", "pilot/exit", "terminated", "end")
    (job.parents[1] / "ended" / job.name).touch()
    assert run(job) == WENT_ON
    assert not (job / "left" / "pilot").exists()
    assert not ended(job)


@pytest.mark.parametrize("marks", [("pilot/started",), ("pilot/started", "pilot/exit"), ("measure/started", "terminated")])
def test_a_try_that_left_no_word_is_lost(job: Path, marks: tuple[str, ...]) -> None:
    """It may be running still, on a node that nobody reaches: nothing of what it may write is touched, and nothing is begun."""
    tried(job, *marks)
    assert run(job) == LOST
    assert (job / "lost").exists()
    assert (job / "left" / marks[0]).exists()
    assert ended(job)
    assert run(job) == LOST


def test_what_the_lab_found_lost_does_not_begin(job: Path) -> None:
    (job / "lost").touch()
    assert run(job) == LOST


def test_a_folder_that_cannot_be_written_to_starts_nothing(job: Path) -> None:
    """As on a full scratch: no claim can be made."""
    (job / "claim.7").mkdir()
    assert run(job) == NOT_OURS
    assert not (job / "left").exists()
