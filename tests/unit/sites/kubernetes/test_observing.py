"""What the API server's documents come to: each end told apart, and whose doing it was."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livinglab.domain.run import JobKey
from livinglab.ports import Seen
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.manifests import ANNOTATION_ENDED, COLLECTOR
from tests.unit.sites.kubernetes.test_manifests import ONE, PAIR, pod

KEY = JobKey(attempt="run-a.1", role="pilot")
BEGUN, ENDED = "2030-01-01T00:00:10Z", "2030-01-01T00:00:20Z"
NOW = datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC)
RUNS: dict[str, Any] = {"running": {"startedAt": BEGUN}}


def over(code: int = 0, reason: str = "Completed", seconds: int = 10) -> dict[str, Any]:
    ended = datetime.fromisoformat(BEGUN) + timedelta(seconds=seconds)
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": BEGUN, "finishedAt": f"{ended:%Y-%m-%dT%H:%M:%SZ}"}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def job(told: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "ll-a", "annotations": {ANNOTATION_ENDED: json.dumps(told)} if told else {}}, "spec": {}, "status": status}


def a_pod(phase: str = "Running", states: dict[str, Any] | None = None, deleted: bool = False, spec: Any = ONE, **status: Any) -> dict[str, Any]:
    statuses = [{"name": name, "state": state} for name, state in (states or {}).items()]
    metadata = {"name": "ll-a-x"} | ({"deletionTimestamp": ENDED} if deleted else {})
    return {"metadata": metadata, "spec": {**pod(spec), "nodeName": "n1"}, "status": {"phase": phase, "containerStatuses": statuses, **status}}


def see(*pods: dict[str, Any], told: dict[str, str] | None = None, key: JobKey = KEY) -> Any:
    return observing.observe(key, job(told), pods, NOW)


def test_no_job_is_absent() -> None:
    assert observing.observe(KEY, None, [], NOW).seen is Seen.ABSENT


@pytest.mark.parametrize(("document", "reason", "advice"), [
    (a_pod("Pending"), "", ""),
    (a_pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available."}]),
     "Unschedulable", "No node has room for it at the moment: 0/2 nodes are available."),
    (a_pod("Pending", {"pilot": waits("ImagePullBackOff", "back-off")}), "ImagePullBackOff", "cannot pull its image, and tries again"),
    (a_pod("Pending", {"pilot": waits("ErrImagePull")}), "ErrImagePull", "cannot pull its image"),
    (a_pod("Pending", {"pilot": waits("CreateContainerConfigError")}), "CreateContainerConfigError", "look at the claim"),
    (a_pod("Pending", {"pilot": waits("Whatever")}), "Whatever", "The cluster says Whatever."),
])  # fmt: skip
def test_what_waits_says_for_what(document: dict[str, Any], reason: str, advice: str) -> None:
    seen = see(document)
    assert (seen.seen, seen.reason) == (Seen.PENDING, reason)
    assert advice in seen.advice


def test_a_job_without_a_pod_waits_or_has_failed() -> None:
    assert observing.observe(KEY, job(), [], NOW).seen is Seen.PENDING
    failed = observing.observe(KEY, job(conditions=[{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]), [], NOW)
    assert (failed.seen, failed.exit_code, failed.reason) == (Seen.EXITED, 137, "BackoffLimitExceeded")
    cancelled = observing.observe(KEY, job({"job": "cancelled"}), [], NOW)
    assert (cancelled.seen, cancelled.exit_code, cancelled.limit) == (Seen.EXITED, 137, None)


def test_it_has_ended_once_what_it_left_was_brought_away() -> None:
    waiting = see(a_pod(states={"pilot": over(3, "Error"), COLLECTOR: RUNS}))
    assert (waiting.seen, waiting.reason) == (Seen.RUNNING, "what it left is brought away")
    ended = see(a_pod("Failed", {"pilot": over(3, "Error"), COLLECTOR: over()}))
    assert (ended.seen, ended.exit_code, ended.limit, ended.reason) == (Seen.EXITED, 3, None, "Error")
    assert ended.ended_at
    assert ended.ended_at - ended.started_at == timedelta(seconds=10)


@pytest.mark.parametrize(("document", "told", "limit"), [
    (a_pod("Failed", {"pilot": over(137, "OOMKilled"), COLLECTOR: over()}), None, "memory"),
    (a_pod("Failed", {"pilot": over(0, "OOMKilled"), COLLECTOR: over()}), None, None),  # one of its children was; it ended well
    (a_pod("Failed", {"pilot": over(137, "Error", 600)}, reason="DeadlineExceeded"), None, "wall_seconds"),
    (a_pod("Failed", {"pilot": over(137, "Error")}, reason="DeadlineExceeded"), {"pilot": "log_bytes"}, "log_bytes"),
    (a_pod("Failed", {"pilot": over(137, "Error")}, reason="DeadlineExceeded"), {"pilot": "alone"}, None),
    (a_pod("Failed", {"pilot": over(137, "Error")}, reason="DeadlineExceeded"), {"job": "cancelled"}, None),
    (a_pod("Failed", {"pilot": over(1, "Error"), COLLECTOR: over(1, "Error")}), None, "output_bytes"),
    (a_pod("Succeeded", {"pilot": over(0), COLLECTOR: over(1, "Error")}), None, None),  # full to the brim, and content
    (a_pod("Failed", {"pilot": over(1, "Error"), COLLECTOR: over(137, "Error")}), None, None),
    (a_pod("Failed", reason="Evicted", message='Usage of EmptyDir volume "x" exceeds the limit: emptyDir volume'), None, "output_bytes"),
    (a_pod("Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit."), None, "log_bytes"),
    (a_pod("Failed", reason="Evicted", message='Container pilot exceeded its local ephemeral storage limit "64Mi". '), None, "log_bytes"),
    (a_pod("Failed", reason="Evicted", message='Container drive exceeded its local ephemeral storage limit "64Mi". '), None, None),
])  # fmt: skip
def test_the_limit_that_ended_it(document: dict[str, Any], told: dict[str, str] | None, limit: str | None) -> None:
    seen = see(document, told=told)
    assert (seen.seen, seen.limit) == (Seen.EXITED, limit)
    assert observing.fault_of(job(told), [document]) is None


@pytest.mark.parametrize(("documents", "sentence"), [
    ([a_pod("Failed", reason="Evicted", message="The node was low on resource: memory.")], "node n1 evicted it: The node was low on resource"),
    ([a_pod("Failed", reason="Preempting", message="Preempted in order to admit critical pod")], "it was preempted on node n1"),
    ([a_pod("Failed", {"pilot": over(137, "Error")}, reason="DeadlineExceeded")], "before its containers had their time"),
    ([a_pod("Failed", reason="NodeLost")], "it was lost with node n1: NodeLost."),
    ([a_pod("Failed", conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "for x"}])],
     "the cluster took it off node n1: PreemptionByScheduler. for x"),
    ([a_pod("Running", {"pilot": RUNS}, deleted=True)], "its pod on node n1 was deleted at the cluster, and not by the lab."),
    ([a_pod("Failed", {"pilot": over(128, "StartError"), COLLECTOR: over()})], "node n1 could not start its containers: StartError"),
    ([a_pod("Failed", {"pilot": over(0)}), a_pod("Running", {"pilot": RUNS})], "the cluster began its pod again"),
])  # fmt: skip
def test_what_is_the_clusters_doing_is_told(documents: list[dict[str, Any]], sentence: str) -> None:
    assert see(*documents).seen is Seen.EXITED
    assert sentence in (observing.fault_of(job(), documents) or "")
    assert observing.fault_of(job({"job": "cancelled"}), documents) is None  # the lab's own


@pytest.mark.parametrize(("documents", "told", "sentence"), [
    ([a_pod(states={"pilot": RUNS}, deleted=True)], {"pilot": "wall_seconds"}, "was deleted at the cluster"),
    ([a_pod(states={"pilot": RUNS}), a_pod()], {"pilot": "wall_seconds"}, "began its pod again"),
    ([a_pod("Failed", {"pilot": over(128, "StartError")})], {"pilot": "wall_seconds"}, "could not start"),
    ([a_pod("Failed", {"pilot": over(137, "Error")}, reason="DeadlineExceeded")], {"pilot": "wall_seconds"}, None),
    ([a_pod(states={"pilot": RUNS}, deleted=True)], {"pilot": "log_bytes"}, None),
    ([a_pod(states={"pilot": RUNS}, deleted=True)], {"job": "cancelled"}, None),
])  # fmt: skip
def test_what_was_told_that_its_time_is_over_must_be_seen_to_end_so(
    documents: list[dict[str, Any]], told: dict[str, str], sentence: str | None
) -> None:
    """A node that is lost says nothing: how long the pilot ran on it nobody knows."""
    found = observing.fault_of(job(told), documents)
    assert found is None if sentence is None else sentence in (found or "")


def test_who_is_left_alone_is_ended_once_what_it_wrote_was_brought_away() -> None:
    document = a_pod(states={"pilot": RUNS, "drive": over(), COLLECTOR: RUNS}, spec=PAIR)
    assert observing.passed_limit(PAIR, document, KEY, 1) is None
    document["status"]["containerStatuses"][-1]["state"] = over()
    assert observing.passed_limit(PAIR, document, KEY, 1) == "alone"


def test_a_container_may_run_as_long_as_it_may() -> None:
    document = a_pod(states={"pilot": RUNS, COLLECTOR: RUNS})
    assert observing.passed_limit(ONE, document, KEY, ONE.wall_seconds) is None
    assert observing.passed_limit(ONE, document, KEY, ONE.wall_seconds + 1) == "wall_seconds"


@pytest.mark.parametrize("code", range(16))
def test_the_collectors_exit_code_tells_of_each_container(code: int) -> None:
    document = a_pod("Failed", {"pilot": over(1, "Error"), "drive": over(1, "Error"), COLLECTOR: over(code, "Error")}, spec=PAIR)
    for number, key in enumerate((KEY, JobKey(attempt="run-a.1", role="drive"))):
        assert (see(document, key=key).limit == "output_bytes") is bool(code >> number & 1)
        assert observing.has_sockets(document, key.role) is bool(code >> 2 + number & 1)
