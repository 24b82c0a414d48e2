"""What a job's line at the scheduler and what its script left come to: seen, limit, and whose fault it was."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livinglab.domain.run import JobKey
from livinglab.ports import Seen
from livinglab.sites.slurm import observing
from livinglab.sites.slurm.control import Line
from livinglab.sites.slurm.states import STATES, Phase

KEY = JobKey(attempt="run-a.1", role="pilot")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
THERE = {"there": "1", "age": "5"}
BEGUN = THERE | {"claim": "7", "pilot/started": str((NOW - timedelta(seconds=20)).timestamp())}
ENDED = BEGUN | {"pilot/ended": str((NOW - timedelta(seconds=10)).timestamp()), "pilot/exit": "0",
                 "end": str((NOW - timedelta(seconds=9)).timestamp())}  # fmt: skip


def line(state: str = "COMPLETED", id_: str = "7", **more: Any) -> Line:
    job = Line(id=id_, name="ll-a", state=state, nodes="c1", submitted=NOW - timedelta(minutes=1))
    return replace(job, **more)


# --- seen -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "phase"), STATES.items())
def test_each_state_is_seen_as_what_it_comes_to(state: str, phase: Phase) -> None:
    expected = {Phase.WAITING: Seen.PENDING, Phase.RUNNING: Seen.RUNNING}.get(phase, Seen.EXITED)
    seen = observing.observe(KEY, line(state), ENDED, NOW)
    assert (seen.seen, seen.raw) == (expected, state)


def test_a_state_that_is_not_known_is_waited_for() -> None:
    seen = observing.observe(KEY, line("TRANSCENDED"), ENDED, NOW)
    assert seen.seen is Seen.UNREACHABLE
    assert "TRANSCENDED" in seen.reason


@pytest.mark.parametrize(("facts", "expected"), [
    ({}, Seen.ABSENT),
    (THERE, Seen.PENDING),
    (THERE | {"age": "0"}, Seen.PENDING),
    (THERE | {"age": "61"}, Seen.ABSENT),
    (THERE | {"age": "-300"}, Seen.PENDING),
    (ENDED, Seen.UNREACHABLE),
    (ENDED | {"end": str((NOW + timedelta(minutes=10)).timestamp())}, Seen.UNREACHABLE),
    (ENDED | {"since": "119"}, Seen.UNREACHABLE),
    (ENDED | {"since": "120"}, Seen.ABSENT),
])  # fmt: skip
def test_a_job_that_nobody_knows(facts: dict[str, str], expected: Seen) -> None:
    """Young: the scheduler has not shown it yet. Ended a moment ago, by the clock of the files: accounting has not heard of it yet."""
    assert observing.observe(KEY, None, facts, NOW).seen is expected


def test_times_are_the_nodes_and_else_the_schedulers() -> None:
    own = observing.observe(KEY, line(started=NOW - timedelta(seconds=30), ended=NOW - timedelta(seconds=5)), ENDED, NOW)
    assert (own.started_at, own.ended_at) == (NOW - timedelta(seconds=20), NOW - timedelta(seconds=10))
    schedulers = observing.observe(KEY, line("NODE_FAIL", started=NOW - timedelta(seconds=30), ended=NOW - timedelta(seconds=5)), THERE, NOW)
    assert (schedulers.started_at, schedulers.ended_at) == (NOW - timedelta(seconds=30), NOW - timedelta(seconds=5))


@pytest.mark.parametrize("text", [None, "", "x", "nan", "inf", "1e300", "1.5.2"])
def test_a_stamp_that_is_none(text: str | None) -> None:
    assert observing.stamp(text) is None


# --- whose line it is -------------------------------------------------------------------------------------------------

FIRST, SECOND = line("RUNNING", "7"), line("PENDING", "8", submitted=NOW)


@pytest.mark.parametrize(("lines", "facts", "expected"), [
    ([], BEGUN, None),
    ([FIRST, SECOND], BEGUN, "7"),
    ([FIRST, SECOND], BEGUN | {"claim": "8"}, "8"),
    ([line("FAILED", "8", exit_code=96, submitted=NOW), line("COMPLETED", "7")], BEGUN, "7"),
    ([line("FAILED", "8", exit_code=96, submitted=NOW), line("RUNNING", "7")], THERE, "7"),
    ([line("CANCELLED", "7"), line("PENDING", "8", submitted=NOW)], THERE, "8"),
    ([line("CANCELLED", "7"), line("CANCELLED", "8", submitted=NOW)], THERE, "8"),
    ([line("FAILED", "8", exit_code=96)], THERE, "8"),
    ([line("COMPLETED", "9999", submitted=NOW), line("COMPLETED", "10000", submitted=NOW)], THERE, "10000"),
    ([line("COMPLETED", "7", submitted=None), line("COMPLETED", "6", submitted=NOW)], THERE, "6"),
])  # fmt: skip
def test_of_jobs_of_one_name_one_counts(lines: list[Line], facts: dict[str, str], expected: str | None) -> None:
    for order in (lines, lines[::-1]):
        found = observing.the_line(order, facts)
        assert (found.id if found else None) == expected


def test_of_the_tries_of_one_job_the_last_counts() -> None:
    tries = [line("NODE_FAIL", "7"), line("COMPLETED", "7", submitted=NOW)]
    assert observing.the_line(tries, BEGUN) == tries[1]
    same_second = [line("REQUEUED", "7"), line("COMPLETED", "7")]
    assert observing.the_line(same_second, BEGUN) == same_second[1]


@pytest.mark.parametrize(("tries", "facts", "lost"), [
    (["NODE_FAIL", "PENDING"], BEGUN, True),
    (["NODE_FAIL", "RUNNING"], BEGUN, True),
    (["NODE_FAIL", "PENDING"], THERE, False),  # nothing had begun
    (["PREEMPTED", "RUNNING"], BEGUN, False),
    (["REQUEUED", "RUNNING"], BEGUN, False),
    (["BOOT_FAIL", "RUNNING"], THERE, False),
    (["PREEMPTED", "NODE_FAIL", "PENDING"], BEGUN, True),
    ([], BEGUN, False),
])  # fmt: skip
def test_a_try_that_was_lost_is_found(tries: list[str], facts: dict[str, str], lost: bool) -> None:
    assert observing.lost_before(map(line, tries), facts) is lost


# --- how it ended -----------------------------------------------------------------------------------------------------

KILLED = ENDED | {"pilot/exit": "137"}


@pytest.mark.parametrize(("state", "facts", "code", "limit"), [
    ("COMPLETED", ENDED, 0, None),
    ("COMPLETED", ENDED | {"pilot/exit": "3"}, 3, None),
    ("COMPLETED", KILLED, 137, None),
    ("COMPLETED", KILLED | {"pilot/stopped": "wall_seconds"}, 137, "wall_seconds"),
    ("COMPLETED", KILLED | {"pilot/stopped": "log_bytes"}, 137, "log_bytes"),
    ("COMPLETED", KILLED | {"pilot/stopped": "alone"}, 137, None),
    ("OUT_OF_MEMORY", KILLED, 137, "memory"),
    ("OUT_OF_MEMORY", ENDED, 0, None),  # a child of the container was killed, and it lived with that
    ("OUT_OF_MEMORY", KILLED | {"pilot/stopped": "wall_seconds"}, 137, "wall_seconds"),
    ("COMPLETED", KILLED | {"pilot/oom": ""}, 137, "memory"),  # a step of several
    ("COMPLETED", ENDED | {"pilot/oom": ""}, 0, None),
    ("OUT_OF_MEMORY", KILLED | {"measure/oom": "", "pilot/stopped": "alone"}, 137, None),
    ("TIMEOUT", BEGUN, 137, "wall_seconds"),
    ("COMPLETED", ENDED | {"pilot/exit": "1", "pilot/full": ""}, 1, "output_bytes"),
    ("COMPLETED", ENDED | {"pilot/full": ""}, 0, None),
])  # fmt: skip
def test_the_containers_own_ends_are_no_faults(state: str, facts: dict[str, str], code: int, limit: str | None) -> None:
    seen = observing.observe(KEY, line(state), facts, NOW)
    assert (seen.exit_code, seen.limit) == (code, limit)
    assert observing.fault_of(KEY, line(state), facts) is None


@pytest.mark.parametrize(("state", "facts", "sentence"), [
    ("NODE_FAIL", BEGUN, "lost with its node c1"),
    ("NODE_FAIL", ENDED, "lost with its node c1"),
    ("BOOT_FAIL", THERE, "lost with its node c1"),
    ("PREEMPTED", BEGUN, "lost with its node c1: the cluster says PREEMPTED"),
    ("CANCELLED by 0", BEGUN, "not the lab"),
    ("CANCELLED by 0", BEGUN | {"lost": ""}, "begun on a node that failed"),
    ("CANCELLED by 0", THERE | {"lost": "it could not be started."}, "it could not be started."),
    ("FAILED", BEGUN | {"lost": ""}, "not begun again"),
    ("FAILED", THERE | {"broken": "no file system could be mounted"}, "cannot run the lab's containers: no file system"),
    ("COMPLETED", KILLED | {"broken": "the outputs could not be put aside", "pilot/stopped": "log_bytes"}, "could not be put aside"),
    ("FAILED", BEGUN, "ended before its script did"),
    ("COMPLETED", ENDED | {"pilot/exit": ""}, "ended before its script did"),
    ("COMPLETED", BEGUN | {"pilot/exit": "0"}, "ended before its script did"),
    ("COMPLETED", KILLED | {"pilot/stopped": "terminated"}, "told to end on node c1, and not by the lab"),
    ("COMPLETED", KILLED | {"pilot/stopped": "namespaces"}, "further namespaces"),
    ("TIMEOUT", THERE, "ended before its script did"),  # the container was never started: no limit of its own
])  # fmt: skip
def test_what_is_the_platforms_fault_is_told_so(state: str, facts: dict[str, str], sentence: str) -> None:
    fault = observing.fault_of(KEY, line(state), facts)
    assert sentence in (fault or "")
    assert observing.fault_of(KEY, line(state), facts | {"cancelled": ""}) is None  # whatever befell it, the lab had ended it


def test_a_fault_names_state_and_reason() -> None:
    fault = observing.fault_of(KEY, line("FAILED", reason="NonZeroExitCode", exit_code=95), BEGUN)
    assert "FAILED, NonZeroExitCode" in (fault or "")
    assert "exit code 95" in (fault or "")


def test_a_job_of_two_each_has_its_own_end() -> None:
    measure = JobKey(attempt="run-a.1", role="measure")
    facts = ENDED | {"pilot/exit": "137", "pilot/stopped": "alone", "measure/started": "1", "measure/ended": "2", "measure/exit": "3"}
    assert [observing.exit_code(key, facts) for key in (KEY, measure)] == [137, 3]


# --- what lies there --------------------------------------------------------------------------------------------------


def test_facts_are_read() -> None:
    assert observing.parse_facts("ll-a\tthere\t1\nll-a\tclaim\t7\nll-b\tbroken\ta\tb\nll-c\n") == {
        "ll-a": {"there": "1", "claim": "7"}, "ll-b": {"broken": "a\tb"}, "ll-c": {"": ""}}  # fmt: skip


@pytest.mark.parametrize(("written", "usage"), [
    (b"memory_peak_bytes 1024\ncpu_nanoseconds 2500000000\nnode c1\nrestarts 0\n", {"memory_peak_bytes": 1024.0, "cpu_seconds": 2.5}),
    (b"memory_peak_bytes \ncpu_nanoseconds \nnode c1\n", {}),
    (b"memory_peak_bytes x\ncpu_nanoseconds -1\n", {}),
    (b"\xff\n\n", {}),
    (b"", {}),
])  # fmt: skip
def test_usage_is_read(written: bytes, usage: dict[str, float]) -> None:
    assert observing.parse_usage(written) == pytest.approx(usage)
