"""How Jobs are changed, on clusters that know more than the test bed's and on those that do not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.jobs import Jobs
from livinglab.sites.kubernetes.manifests import NEWER, job_manifest
from tests.unit.sites.kubernetes.server import Answer, Json, Server
from tests.unit.sites.kubernetes.test_manifests import LAYOUT, ONE, SETTINGS

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


def test_pods_of_an_earlier_job_of_the_same_name_are_not_its_own(server: Server, jobs: Jobs) -> None:
    def one_pod(name: str, owner: str) -> Json:
        owners = [{"kind": "Job", "name": "a", "uid": owner}] if owner else []
        metadata = {"name": name, "labels": {"job-name": "a"}, "creationTimestamp": "2030-01-01T00:00:00Z", "ownerReferences": owners}
        return {"metadata": {**metadata, "resourceVersion": "1"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}

    def answer(_method: str, path: str, _token: str) -> Answer:
        if "watch=" in path:
            return 200, b""
        job = {"metadata": {"name": "a", "uid": "new", "resourceVersion": "1"}, "spec": {}, "status": {}}
        items = [job] if "/jobs" in path else [one_pod("p-old", "old"), one_pod("p-new", "new"), one_pod("p-none", "")]
        return 200, json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()

    server.answer = answer
    _, pods = jobs.known(["a"])["a"]
    assert [found["metadata"]["name"] for found in pods] == ["p-new"]
