"""What slurmrestd says, in each version of its interface.

The answers in `slurmrestd/` were recorded from Slurm 26.05.5, which offers four versions: of the same jobs, at the same time, as the
cluster's operator, who sees everybody's. They are trimmed to what is read and what differs between versions.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.errors import PlatformFault
from livinglab.sites.slurm import rest_bodies as bodies
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Request

RECORDED = Path(__file__).parent / "slurmrestd"
versions = pytest.mark.parametrize("version", bodies.VERSIONS)


def recorded(version: str, name: str) -> bytes:
    return (RECORDED / version / f"{name}.json").read_bytes()


def edited(version: str, name: str, **changes: Any) -> bytes:
    """An answer with one job only, which is changed."""
    answer = json.loads(recorded(version, name))
    answer["jobs"] = [answer["jobs"][0] | changes]
    return json.dumps(answer).encode()


@versions
def test_the_queue_is_understood(version: str) -> None:
    lines = {line.name: line for line in bodies.parse_jobs(recorded(version, "jobs"), "lab")}
    assert {(line.name, line.state, line.reason, line.nodes, line.exit_code, line.restarts) for line in lines.values()} == {
        ("ll-requeued", "PENDING", "BeginTime", "", 0, 1),
        ("ll-done", "COMPLETED", "", "c2", 0, 0),
        ("ll-failed", "FAILED", "NonZeroExitCode", "c2", 3, 0),
        ("ll-killed", "FAILED", "RaisedSignal:9(Killed)", "c1", 137, 0),
        ("ll-cancelled", "CANCELLED", "", "c1", 143, 0),
        ("ll-running", "RUNNING", "", "c1", 0, 0),
        ("ll-held", "PENDING", "JobHeldUser", "", 0, 0),
        ("ll-memory", "OUT_OF_MEMORY", "OutOfMemory", "c1", 253, 0),
        ("ll-never", "CANCELLED", "JobHeldUser", "", 0, 0),
    }
    held, killed = lines["ll-held"], lines["ll-killed"]
    assert (held.started, held.ended) == (None, None)
    assert killed.submitted
    assert killed.started
    assert killed.ended
    assert killed.submitted.tzinfo is UTC


@versions
def test_accounting_is_understood(version: str) -> None:
    lines = bodies.parse_accounting(recorded(version, "accounting"), "lab")
    assert [(line.name, line.state, line.exit_code) for line in lines] == [
        ("ll-requeued", "REQUEUED", 0),
        ("ll-done", "COMPLETED", 0),
        ("ll-failed", "FAILED", 3),
        ("ll-killed", "FAILED", 137),
        ("ll-cancelled", "CANCELLED", 0),
        ("ll-running", "RUNNING", 0),
        ("ll-memory", "OUT_OF_MEMORY", 253),
    ]
    usage = {line.name: dict(line.usage) for line in lines}
    assert usage["ll-memory"]["cpu_seconds"] > 0.2
    assert usage["ll-requeued"]["elapsed_seconds"] == 2
    assert "gpu_seconds" in usage["ll-done"]
    running = next(line for line in lines if line.name == "ll-running")
    assert running.started
    assert running.ended is None


def test_all_versions_say_the_same() -> None:
    first, *others = bodies.VERSIONS
    for version in others:
        assert bodies.parse_jobs(recorded(version, "jobs"), "lab") == bodies.parse_jobs(recorded(first, "jobs"), "lab")
        ended = [[line for line in bodies.parse_accounting(recorded(v, "accounting"), "lab") if line.state != "RUNNING"] for v in (version, first)]
        assert ended[0] == ended[1]


@versions
def test_another_users_job_by_the_same_name_is_not_ours(version: str) -> None:
    for parse, name in ((bodies.parse_jobs, "jobs"), (bodies.parse_accounting, "accounting")):
        ours, theirs = ([line.id for line in parse(recorded(version, name), user) if line.name == "ll-done"] for user in ("lab", "other"))
        assert len(ours) == len(theirs) == 1
        assert ours != theirs


@versions
def test_other_answers_are_understood(version: str) -> None:
    assert bodies.parse_submitted(recorded(version, "submitted")).isdigit()
    assert bodies.parse_ping(recorded(version, "ping")) == ("26.05.5", ("ctl",))
    bodies.parse_done(recorded(version, "submitted"))


@versions
@pytest.mark.parametrize(
    ("name", "words", "number"),
    [
        ("refused", "Batch job submission failed: Invalid partition name specified", 2000),
        ("unknown", "Unable to query jobs: Protocol authentication error", 1007),
    ],
)
def test_what_slurm_says_went_wrong_is_handed_on(version: str, name: str, words: str, number: int) -> None:
    """Whether the answer has what was asked for all the same (an empty list of jobs), or has not."""
    for parse in (bodies.parse_done, bodies.parse_submitted, bodies.parse_ping, lambda body: bodies.parse_jobs(body, "lab")):
        with pytest.raises(bodies.SlurmSaysError, match=words) as said:
            parse(recorded(version, name))
        assert said.value.numbers == {number}


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["RUNNING"], "RUNNING"),
        (["PENDING", "COMPLETING"], "COMPLETING"),  # on its way back into the queue
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["PENDING", "REQUEUED", "REQUEUE_HOLD"], "REQUEUED"),
        (["RUNNING", "CONFIGURING", "POWER_UP_NODE"], "CONFIGURING"),
        (["PENDING", "LAUNCH_FAILED"], "PENDING"),  # squeue does not tell it either
        (["COMPLETED", "NEW_TO_US"], "NEW_TO_US"),  # never a success
    ],
)
def test_a_state_and_its_flags_are_one_word(words: list[str], state: str) -> None:
    (line,) = bodies.parse_jobs(edited("v0.0.45", "jobs", job_state=words), "lab")
    assert line.state == state


def test_numbers_may_be_bare_or_unset_or_infinite() -> None:
    unset = {"set": False, "infinite": False, "number": 0}
    times = {"submit_time": 1_795_581_526, "start_time": unset, "end_time": {"set": False, "infinite": True, "number": 0}}
    (line,) = bodies.parse_jobs(edited("v0.0.42", "jobs", **times), "lab")
    assert (line.submitted, line.started, line.ended) == (datetime.fromtimestamp(1_795_581_526, UTC), None, None)
    unknown = {"return_code": unset, "signal": {"id": unset}}
    assert bodies.parse_jobs(edited("v0.0.42", "jobs", exit_code=unknown), "lab")[0].exit_code is None


def test_a_job_that_was_cancelled_in_the_queue_never_started() -> None:
    (line,) = bodies.parse_accounting(edited("v0.0.45", "accounting", nodes="None assigned"), "lab")
    assert line.started is None
    assert "queue_seconds" not in dict(line.usage)


def test_what_steps_used_is_that_of_the_job() -> None:
    """The test bed meters neither memory nor energy: the shape is that of Slurm's own parser (`STEP_TRES_REQ_MAX`)."""
    answer = json.loads(recorded("v0.0.45", "accounting"))
    job = next(job for job in answer["jobs"] if job["steps"])
    step = job["steps"][0]
    job["steps"] = [
        step | {
            "tres": {"requested": {"max": [{"type": "mem", "name": "", "id": 2, "count": size, "node": "c1", "task": 0}]}},
            "statistics": {"energy": {"consumed": {"set": True, "infinite": False, "number": joules}}},
            "time": {"total": {"seconds": 2, "microseconds": 500_000}},
        }
        for size, joules in ((3 << 20, 5), (7 << 20, 4))
    ]  # fmt: skip
    (line,) = bodies.parse_accounting(json.dumps(answer | {"jobs": [job]}).encode(), "lab")
    usage = dict(line.usage)
    assert (usage["memory_peak_bytes"], usage["energy_joules"], usage["cpu_seconds"]) == (7 << 20, 5, 5.0)


def test_the_newest_common_version_is_chosen() -> None:
    document = json.loads((RECORDED / "openapi.json").read_bytes())
    assert bodies.choose_version(json.dumps(document).encode()) == "v0.0.45"
    for version in ("v0.0.45", "v0.0.44"):
        document["paths"] = {path: {} for path in document["paths"] if not path.startswith(f"/slurmdb/{version}/")}
    assert bodies.choose_version(json.dumps(document).encode()) == "v0.0.43"


def test_no_common_version_is_told_with_both_sides() -> None:
    paths: dict[str, object] = {path: {} for version in ("v0.0.39", "v0.0.46") for path in (f"/slurm/{version}/jobs/", f"/slurmdb/{version}/jobs/")}
    with pytest.raises(PlatformFault, match=r"offers v0\.0\.39, v0\.0\.46 .* speaks v0\.0\.42, v0\.0\.43, v0\.0\.44, v0\.0\.45"):
        bodies.choose_version(json.dumps({"paths": paths}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>a proxy's page</html>",
        b"[]",
        b'{"errors": []}',
        b'{"jobs": [{"job_id": 1}]}',
        edited("v0.0.45", "jobs", job_state=[]),
        edited("v0.0.45", "jobs", submit_time="yesterday"),
        edited("v0.0.45", "jobs", exit_code=None),
        recorded("v0.0.45", "jobs")[:-100],
    ],
    ids=["empty", "page", "list", "no jobs", "half a job", "no state", "no number", "no exit code", "cut"],
)
def test_an_answer_of_another_shape_is_a_fault(body: bytes) -> None:
    with pytest.raises(PlatformFault, match="not of the shape"):
        bodies.parse_jobs(body, "lab")


def test_a_job_is_asked_for_as_sbatch_would_ask() -> None:
    settings = SlurmSettings(scratch=Path("/scratch"), partition="lab", account="pilots", constraint="plain", reservation="r", gpu="gpu:a100")
    job = bodies.build_job(settings, Request(name="ll-x", script="#!/bin/bash\n", cores=2, mebibytes=300, minutes=7, gpus=1, priority=-5))["job"]
    assert isinstance(job, dict)
    expected = {
        "name": "ll-x", "cpus_per_task": 2, "tres_per_task": "cpu=2", "nice": 1050, "requeue": True,
        "memory_per_node": {"set": True, "infinite": False, "number": 300},
        "time_limit": {"set": True, "infinite": False, "number": 7}, "partition": "lab", "account": "pilots", "constraints": "plain",
        "reservation": "r", "tres_per_node": "gres/gpu:a100:1", "standard_output": "/dev/null",
    }  # fmt: skip
    assert {name: job[name] for name in expected} == expected
    assert "qos" not in job
