"""How Jobs are changed, on clusters that know more than the test bed's and on those that do not."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.jobs import Jobs
from livinglab.sites.kubernetes.manifests import NEWER, job_manifest
from tests.unit.sites.kubernetes.server import Answer, Json, Server
from tests.unit.sites.kubernetes.test_manifests import LAYOUT, ONE, SETTINGS
from tests.waiting import until

OLD = ("backoffLimit", "completions", "parallelism", "template")


@pytest.fixture
def jobs(server: Server) -> Jobs:
    return Jobs(Api(server.kubeconfig), "lab", "mine")


def cluster(server: Server, *fields: str) -> None:
    """It answers a change with what it made of it, of the fields that it knows."""

    def answer(method: str, path: str, _token: str) -> Answer:
        if method == "GET":
            return 200, json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()
        body = server.sent[-1]
        spec = {name: value for name, value in body.get("spec", {}).items() if name in fields}
        return 200, json.dumps({"metadata": {"name": "a", "resourceVersion": "2"} | body.get("metadata", {}), "spec": spec}).encode()

    server.answer = answer


@pytest.mark.parametrize(("fields", "known"), [
    (OLD, set()),
    ((*OLD, "suspend"), {"suspend"}),  # 1.21 and newer
    ((*OLD, *NEWER), set(NEWER)),
])  # fmt: skip
def test_what_a_cluster_knows_is_found_by_showing_it_a_job(server: Server, jobs: Jobs, fields: tuple[str, ...], known: set[str]) -> None:
    cluster(server, *fields)
    assert jobs.keeps(job_manifest(SETTINGS, LAYOUT, ONE, NEWER), NEWER) == known
    assert [(method, "dryRun=All" in path) for method, path, _ in server.asked] == [("POST", True)]  # and none is made
    assert server.sent[0]["metadata"] == {"generateName": "discovery-"}


def a_job(**spec: Any) -> Json:
    return {"metadata": {"name": "a", "annotations": {}}, "spec": spec, "status": {}}


@pytest.mark.parametrize(("job", "held", "free"), [
    (a_job(parallelism=1, suspend=False), {"suspend": True}, {"suspend": False}),
    (a_job(parallelism=1), {"parallelism": 0}, {"parallelism": 1}),
])  # fmt: skip
def test_a_job_is_held_as_its_cluster_can(server: Server, jobs: Jobs, job: Json, held: Json, free: Json) -> None:
    cluster(server, *OLD, "suspend")
    jobs.hold(job)
    jobs.let_go(job)
    assert [sent["spec"] for sent in server.sent] == [held, free]
    assert [sent["metadata"]["annotations"] for sent in server.sent] == [{"livinglab/held": "true"}, {"livinglab/held": None}]


def pod(name: str, node: str, phase: str = "Running") -> Json:
    return {"metadata": {"name": name}, "spec": {"nodeName": node} if node else {}, "status": {"phase": phase}}


def paths(server: Server) -> Iterator[str]:
    return (path.rpartition("/")[2] for _, path, _ in server.asked)


@pytest.mark.parametrize(("pods", "changed"), [
    ([pod("p", "n1")], ["a", "p"]),  # why, then the pod's deadline: the node says when it is done
    ([pod("p", "")], ["a", "a"]),  # no node has it: no pods are asked for
    ([pod("p", "n1", "Failed")], ["a", "a"]),
    ([], ["a", "a"]),
])  # fmt: skip
def test_a_job_is_stopped_where_it_is(server: Server, jobs: Jobs, pods: list[Json], changed: list[str]) -> None:
    cluster(server, *OLD)
    jobs.stop(a_job(parallelism=1), pods, "cancelled")
    assert list(paths(server)) == changed
    assert server.sent[0]["metadata"]["annotations"] == {"livinglab/ended": '{"job": "cancelled"}'}
    assert server.sent[1]["spec"] in ({"activeDeadlineSeconds": 1}, {"parallelism": 0})


def one_pod(name: str, owner: str, state: str = "running") -> Json:
    owners = [{"kind": "Job", "name": "a", "uid": owner}] if owner else []
    metadata = {"name": name, "uid": name, "labels": {"job-name": "a"}, "creationTimestamp": "2030-01-01T00:00:00Z", "ownerReferences": owners}
    status = {"phase": "Running", "containerStatuses": [{"name": "pilot", "state": {state: {"reason": "so"}}}]}
    return {"metadata": {**metadata, "resourceVersion": "1"}, "spec": {"nodeName": "n1"}, "status": status}


def has(server: Server, pods: list[Json]) -> None:
    """It lists the Job `a`, and these pods."""

    def answer(_method: str, path: str, _token: str) -> Answer:
        job = {"metadata": {"name": "a", "uid": "new", "annotations": {}, "resourceVersion": "1"}, "spec": {}, "status": {}}
        return 200, json.dumps({"metadata": {"resourceVersion": "1"}, "items": [job] if "/jobs" in path else pods}).encode()

    server.answer = answer


def names(jobs: Jobs) -> list[str]:
    return [found["metadata"]["name"] for found in jobs.known(["a"])["a"][1]]


def test_pods_of_an_earlier_job_of_the_same_name_are_not_its_own(server: Server, jobs: Jobs) -> None:
    has(server, [one_pod("p-old", "old"), one_pod("p-new", "new"), one_pod("p-none", "")])
    assert names(jobs) == ["p-new"]


@pytest.mark.parametrize("told", [True, False])
def test_a_pod_that_began_and_is_no_more_is_not_forgotten_for_the_one_in_its_stead(server: Server, jobs: Jobs, told: bool) -> None:
    """Nobody need have looked while it was being deleted: the server tells of its end, or lists what there is anew."""
    first, second, goes = one_pod("p-1", "new"), one_pod("p-2", "new", "waiting"), threading.Event()
    has(server, [first])
    gone = [{"type": "DELETED", "object": first}, {"type": "ADDED", "object": second}]
    too_old = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}

    def stream() -> Iterator[Json]:
        goes.wait(30)
        yield from gone if told else [too_old]

    server.stream = stream
    assert names(jobs) == ["p-1"]
    has(server, [second])
    goes.set()
    until(lambda: len(names(jobs)) == 2)
    job, pods = jobs.known(["a"])["a"]
    assert names(jobs) == ["p-1", "p-2"]
    assert "began its pod again (the first was deleted)" in str(observing.fault_of(job, pods))
    jobs.forget(["a"])
    assert names(jobs) == ["p-2"]


@pytest.mark.parametrize("pod", [one_pod("p-1", "new", "waiting"), {**one_pod("p-1", "new"), "status": {"phase": "Succeeded"}}])
def test_a_pod_that_had_not_begun_or_was_over_is_not_missed(server: Server, jobs: Jobs, pod: Json) -> None:
    has(server, [pod])
    assert names(jobs) == ["p-1"]
    has(server, [])
    server.stream = lambda: iter([{"type": "DELETED", "object": pod}])
    until(lambda: not names(jobs))
