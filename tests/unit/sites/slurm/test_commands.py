"""Slurm's command line: what is said to it, and what is made of its answers, good and broken."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from livinglab.domain.errors import PlatformFault
from livinglab.sites.slurm import commands
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Line, Request

PLAIN = SlurmSettings(scratch=Path("/scratch"))
REQUEST = Request(name="ll-1", script="#!/bin/bash\n", cores=2, mebibytes=512, minutes=12)


def options(settings: SlurmSettings, request: Request = REQUEST) -> list[str]:
    command = commands.sbatch(settings, request)
    return command[command.index("sbatch") :]


def test_a_job_takes_nothing_of_the_submitter_along() -> None:
    said = options(PLAIN)
    assert {"--export=NIL", "--chdir=/", "--input=/dev/null", "--output=/dev/null", "--error=/dev/null"} <= set(said)
    assert {"--job-name=ll-1", "--cpus-per-task=2", "--mem=512M", "--time=12", "--nodes=1", "--ntasks=1", "--requeue"} <= set(said)
    assert not any(word.startswith(("--partition", "--account", "--qos", "--constraint", "--reservation", "--gres")) for word in said)


def test_what_the_operator_settled_is_asked_for() -> None:
    settings = SlurmSettings(scratch=Path("/s"), partition="p", account="a.b", qos="q", constraint="x&(y|z)", reservation="r_1", gpu="gpu:a100")
    said = options(settings, Request(name="ll-1", script="", cores=1, mebibytes=32, minutes=1, gpus=2))
    assert {"--partition=p", "--account=a.b", "--qos=q", "--constraint=x&(y|z)", "--reservation=r_1", "--gres=gpu:a100:2"} <= set(said)


@pytest.mark.parametrize(("field", "value"), [
    ("partition", "a b"), ("partition", "--help"), ("account", "a,b"), ("qos", ""), ("reservation", "a\nb"), ("constraint", "a b"),
    ("constraint", "$(id)"), ("gpu", "cpu"), ("gpu", "gpu:a b"), ("scratch", "relative"), ("scratch", "/a b"), ("scratch", "/a/../b"),
    ("scratch", "/a'b"), ("apptainer", "apptainer"),
])  # fmt: skip
def test_odd_words_are_no_settings(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        SlurmSettings.model_validate({"scratch": "/scratch"} | {field: value})


@pytest.mark.parametrize(("priority", "nice"), [(0, 1_000), (100, 0), (-100, 2_000)])
def test_a_priority_never_asks_for_a_privilege(priority: int, nice: int) -> None:
    assert commands.nice(priority) == nice
    assert f"--nice={nice}" in options(PLAIN, Request(name="ll-1", script="", cores=1, mebibytes=32, minutes=1, priority=priority))


@pytest.mark.parametrize(("answer", "id_"), [("17\n", "17"), ("17;bed\n", "17"), ("  17 \n", "17")])
def test_a_jobs_id_is_read(answer: str, id_: str) -> None:
    assert commands.submitted(answer) == id_


@pytest.mark.parametrize("answer", ["", "\n", "Submitted batch job 17\n", "17_1\n", "-1\n", ";bed", "17 18"])
def test_what_is_no_id_is_a_fault(answer: str) -> None:
    with pytest.raises(PlatformFault, match="no job's id"):
        commands.submitted(answer)


# --- the queue --------------------------------------------------------------------------------------------------------

RUNNING = "41|RUNNING|c1|0:0|1|2026-11-25T04:43:04|2026-11-25T04:43:05|2026-11-25T05:00:00|None|ll-a|\n"
PENDING = "42|PENDING||0:0|0|2026-11-25T04:43:04|N/A|N/A|ReqNodeNotAvail, UnavailableNodes:c[1-2]|ll-b|\n"
FAILED = "43|FAILED|c2|3:0|0|2026-11-25T04:43:04|2026-11-25T04:43:05|2026-11-25T04:43:06|NonZeroExitCode|ll-c|\n"


def test_the_queue_is_read() -> None:
    running, pending, failed = commands.queued(RUNNING + PENDING + FAILED)
    assert running == Line(id="41", name="ll-a", state="RUNNING", nodes="c1", exit_code=0, restarts=1,
                           submitted=datetime(2026, 11, 25, 4, 43, 4, tzinfo=UTC), started=datetime(2026, 11, 25, 4, 43, 5, tzinfo=UTC),
                           ended=datetime(2026, 11, 25, 5, tzinfo=UTC))  # fmt: skip
    assert (pending.state, pending.reason, pending.nodes, pending.started) == ("PENDING", "ReqNodeNotAvail, UnavailableNodes:c[1-2]", "", None)
    assert (failed.exit_code, failed.reason) == (3, "NonZeroExitCode")


def test_tasks_that_wait_are_one_line_and_each_is_a_job() -> None:
    base = "|PENDING||0:0|0|2026-11-25T04:43:04|N/A|N/A|Priority|ll-array|\n"
    lines = commands.queued(f"211_[0,2-3,10-18:4%2]{base}211_7{base}{RUNNING}211{base}")
    assert [line.id for line in lines] == ["211_0", "211_2", "211_3", "211_10", "211_14", "211_18", "211_7", "41", "211"]
    assert [line.name for line in lines][-4:] == ["ll-array.18", "ll-array.7", "ll-a", "ll-array"]
    assert {line.reason for line in lines if line.id != "41"} == {"Priority"}


def test_nothing_is_no_fault() -> None:
    assert commands.queued("") == commands.queued("\n") == commands.accounted("") == ()


@pytest.mark.parametrize("name", ["a|b", "a\nb", "a\n|b|c", "a\n\nb", "a\r\x0b\x0c\x1c\x85\u2028b", "|", "a\n44", "a\nRUNNING|ll-b", "$(id)", "41"])
def test_others_may_call_their_jobs_what_they_like(name: str) -> None:
    """Of the same account, so they are in the queue; none of them hides one of ours, or is taken for one."""
    strange = f"40|RUNNING|c1|0:0|0|2026-11-25T04:43:04|N/A|N/A|None|{name}|\n"
    found = commands.queued(RUNNING + strange + PENDING)
    assert {line.id for line in found if line.name.startswith("ll-")} == {"41", "42"}
    assert {line.id: line.state for line in found} == {"41": "RUNNING", "40": "RUNNING", "42": "PENDING"}


@pytest.mark.parametrize("answer", [
    "slurm_load_jobs error: Unexpected message received\n",
    RUNNING[:20],
    "41|RUNNING|c1\n",
    "JOBID|STATE|NODELIST\n",
    "welcome to the cluster\n" + RUNNING,
])  # fmt: skip
def test_what_is_no_queue_is_a_fault(answer: str) -> None:
    """Above all it is no empty one: a job that is not seen would be submitted again."""
    with pytest.raises(PlatformFault, match="fields that were asked for"):
        commands.queued(answer)


@pytest.mark.parametrize(("text", "code"), [
    ("0:0", 0), ("3:0", 3), ("0:9", 137), ("0:15", 143), ("96:0", 96), ("0", 0), ("768", 3), ("9", 137), ("24576", 96), ("", None),
    ("N/A", None), (":", None),
])  # fmt: skip
def test_exit_statuses(text: str, code: int | None) -> None:
    """As `CODE:SIGNAL`, or as wait(2) has it."""
    (line,) = commands.queued(f"41|FAILED|c1|{text}|0|N/A|N/A|N/A|None|ll-a|\n")
    assert line.exit_code == code


# --- accounting -------------------------------------------------------------------------------------------------------

JOB = ("41|ll-a|COMPLETED|c1|0:0|2026-11-25T04:43:00|2026-11-25T04:43:05|2026-11-25T04:45:05|120|01:01:05.250||0|"
       "billing=1,cpu=1,gres/gpu=2,mem=128M,node=1|1\n")  # fmt: skip
BATCH = "41.batch|batch|COMPLETED|c1|0:0|2026-11-25T04:43:05|2026-11-25T04:43:05|2026-11-25T04:45:05|120|00:01.5|2048K|77|cpu=1|1\n"
STEP = "41.0|bash|OUT_OF_MEMORY|c1|0:125|2026-11-25T04:43:05|2026-11-25T04:43:05|2026-11-25T04:45:05|120|00:01.5|1M|12|cpu=1|1\n"


def test_accounting_is_read_with_its_steps() -> None:
    (line,) = commands.accounted(JOB + BATCH + STEP)
    assert (line.id, line.name, line.state, line.nodes, line.exit_code, line.restarts) == ("41", "ll-a", "COMPLETED", "c1", 0, 1)
    assert dict(line.usage) == {"cpu_seconds": 3_665.25, "elapsed_seconds": 120.0, "queue_seconds": 5.0, "gpu_seconds": 240.0,
                                "memory_peak_bytes": float(2 << 20), "energy_joules": 77.0}  # fmt: skip


def test_each_try_of_a_requeued_job_is_a_line() -> None:
    first = JOB.replace("COMPLETED", "NODE_FAIL")
    assert [line.state for line in commands.accounted(first + BATCH + JOB + BATCH)] == ["NODE_FAIL", "COMPLETED"]


def test_a_task_has_a_name_of_its_own_in_accounting_too() -> None:
    waiting = JOB.replace("41|", "41_[2-5]|").replace("COMPLETED", "PENDING")
    task, batch = (text.replace("41", "41_1", 1) for text in (JOB, BATCH))
    (line,) = commands.accounted(waiting + task + batch)
    assert (line.id, line.name, dict(line.usage)["memory_peak_bytes"]) == ("41_1", "ll-a.1", float(2 << 20))


def test_who_cancelled_is_kept() -> None:
    (line,) = commands.accounted(JOB.replace("COMPLETED", "CANCELLED by 2000"))
    assert line.state == "CANCELLED by 2000"


def test_accounting_that_knows_little_is_read_too() -> None:
    (line,) = commands.accounted("41|ll-a|PENDING|None assigned|0:0|2026-11-25T04:43:00|Unknown|Unknown||INVALID||18446744073709551614||\n")
    assert (line.started, line.ended, line.restarts, dict(line.usage)) == (None, None, 0, {"cpu_seconds": 0.0, "elapsed_seconds": 0.0})


@pytest.mark.parametrize("answer", ["41|ll-a|COMPLETED\n", "sacct: error\n"])
def test_what_is_no_accounting_is_a_fault(answer: str) -> None:
    with pytest.raises(PlatformFault, match="fields that were asked for"):
        commands.accounted(answer)


@pytest.mark.parametrize(("text", "seconds"), [
    ("00:00:00", 0), ("00:01.500", 1.5), ("01:02:03", 3_723), ("2-00:00:01", 172_801), ("10:00", 600), ("", 0), ("UNLIMITED", 0), ("INVALID", 0),
])  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert commands.duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("17", 17), ("3K", 3_072), ("1.5M", 1.5 * (1 << 20)), ("2G", 2 << 30), ("1T", 1 << 40), ("", 0),
                                            ("K", 0), ("-1K", 0), ("nanK", 0)])  # fmt: skip
def test_sizes(text: str, size: float) -> None:
    assert commands.size(text) == size


@pytest.mark.parametrize("text", ["", "Unknown", "N/A", "None", "2026-11-25", "2026-13-01T00:00:00", "NONE"])
def test_a_time_that_is_not_known_is_none(text: str) -> None:
    assert commands.moment(text) is None


def test_what_is_asked_names_what_is_ours() -> None:
    assert "--name=ll-a,ll-b" in commands.sacct({"ll-b", "ll-a"})
    assert "--duplicates" in commands.sacct({"ll-a"})
    assert "--name=ll-a,ll-b" in commands.sacct({"ll-b.7", "ll-b.12", "ll-a"})
    assert commands.scancel({"17_3", "12"})[-4:] == ["scancel", "--me", "12", "17_3"]
    assert "--me" in commands.squeue()
    assert commands.update("17", Nice=3)[-4:] == ["scontrol", "update", "JobId=17", "Nice=3"]
    for command in (commands.sbatch(PLAIN, REQUEST), commands.squeue(), commands.sacct({"ll-a"}), commands.scancel({"17"})):
        assert {"TZ=UTC", "LC_ALL=C"} <= set(command)
