"""What breaks on the Kubernetes test bed breaks as on a real cluster, and is well again: on a bed that nobody else uses."""

from collections.abc import Iterator

import pytest

from tests.contract.benches import python_image
from tests.fixtures.kubernetes import KubernetesBed, Namespace, new_namespace
from tests.waiting import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

SLEEPS = ("python3", "-c", "import time; time.sleep(600)")


@pytest.fixture
def namespace(fragile_kubernetes: KubernetesBed) -> Iterator[Namespace]:
    with fragile_kubernetes.client() as client:
        yield from new_namespace(fragile_kubernetes, client)


@pytest.fixture(scope="module")
def image(fragile_kubernetes: KubernetesBed, tmp_path_factory: pytest.TempPathFactory) -> str:
    return fragile_kubernetes.push(*python_image(tmp_path_factory.mktemp("image")), "pilots/tests")


def is_ready(namespace: Namespace, node: str) -> str:
    """`True`, `False`, or `Unknown`, as the controllers have it."""
    from kubernetes.client import CoreV1Api

    conditions = CoreV1Api(namespace.client).read_node(node).status.conditions
    return {condition.type: str(condition.status) for condition in conditions}["Ready"]


def runs(namespace: Namespace, job: str, image: str, node: str) -> None:
    namespace.run(job, image, *SLEEPS, node=node)
    namespace.pod(job, lambda pod: pod.status.phase == "Running")


def test_a_job_ends_while_the_api_server_is_dead_and_its_end_is_seen_when_it_is_back(namespace: Namespace, image: str) -> None:
    from kubernetes.client import CoreV1Api
    from urllib3.exceptions import HTTPError

    namespace.run("short", image, "python3", "-c", "import time; time.sleep(2); print('here')")
    namespace.pod("short", lambda pod: pod.status.phase == "Running")
    namespace.bed.act("ctl", "kill", "kube-apiserver")
    with pytest.raises(HTTPError, match="Connection refused"):
        CoreV1Api(namespace.client).list_node()
    until(
        lambda: (
            namespace.bed.on("n1", "ctr", "-n", "k8s.io", "tasks", "ls").count("RUNNING")
            + namespace.bed.on("n2", "ctr", "-n", "k8s.io", "tasks", "ls").count("RUNNING")
            == 0
        )
    )
    namespace.bed.act("ctl", "start", "kube-apiserver")
    assert namespace.said("short") == "here\n"


def test_no_request_is_answered_while_etcd_stands_still(namespace: Namespace) -> None:
    from kubernetes.client import CoreV1Api
    from urllib3.exceptions import HTTPError

    core = CoreV1Api(namespace.client)
    namespace.bed.act("ctl", "pause", "etcd")
    try:
        with pytest.raises(HTTPError, match="Read timed out"):
            core.create_namespaced_config_map(namespace.name, {"metadata": {"name": "slow"}}, _request_timeout=2)
    finally:
        namespace.bed.act("ctl", "resume", "etcd")
    core.create_namespaced_config_map(namespace.name, {"metadata": {"name": "quick"}}, _request_timeout=30)


def test_a_watch_from_long_ago_is_told_that_it_is_gone(namespace: Namespace) -> None:
    from kubernetes.client import ApiException, CoreV1Api
    from kubernetes.watch import Watch

    with pytest.raises(ApiException) as told:
        list(Watch().stream(CoreV1Api(namespace.client).list_namespaced_pod, namespace.name, resource_version="1", timeout_seconds=10))
    assert told.value.status == 410


def test_a_node_whose_kubelet_is_dead_is_lost_and_comes_back(namespace: Namespace, image: str) -> None:
    runs(namespace, "lost", image, "n2")
    namespace.bed.act("n2", "kill", "kubelet")
    try:
        until(lambda: is_ready(namespace, "n2") == "Unknown")
        doomed = namespace.pod("lost", lambda pod: pod.metadata.deletion_timestamp)
        assert doomed.status.phase == "Running"  # as far as anybody knows
    finally:
        namespace.bed.act("n2", "start", "kubelet")
    until(lambda: is_ready(namespace, "n2") == "True")


def test_a_node_that_crashes_loses_its_pods_and_takes_new_ones_when_it_is_back(namespace: Namespace, image: str) -> None:
    from kubernetes.client import CoreV1Api

    runs(namespace, "crashed", image, "n2")
    before = namespace.pod("crashed", lambda _: True).metadata.name
    namespace.bed.crash("n2")
    try:
        until(lambda: is_ready(namespace, "n2") == "Unknown")
        # A node that is back sooner keeps a pod that failed.
        namespace.pod("crashed", lambda pod: pod.metadata.deletion_timestamp)
    finally:
        namespace.bed.boot("n2")
    until(lambda: is_ready(namespace, "n2") == "True")
    until(lambda: before not in {pod.metadata.name for pod in CoreV1Api(namespace.client).list_namespaced_pod(namespace.name).items})
    namespace.run("later", image, "python3", "-c", "print('here')", node="n2")
    assert namespace.said("later") == "here\n"


def test_a_drained_node_gives_its_pods_up_and_takes_no_more(namespace: Namespace, image: str) -> None:
    """A Job of this release counts only the failed pods that it sees: after an eviction it begins another, whatever its `backoffLimit`."""
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(namespace.client)
    runs(namespace, "drained", image, "n2")
    pod = namespace.pod("drained", lambda _: True).metadata.name
    core.patch_node("n2", {"spec": {"unschedulable": True}})
    try:
        # The cluster is older than policy/v1.
        eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}, "deleteOptions": {"gracePeriodSeconds": 0}}
        core.create_namespaced_pod_eviction(pod, namespace.name, eviction)
        namespace.run("refused", image, *SLEEPS, node="n2")
        said = namespace.pod("refused", lambda pod: pod.status.conditions).status.conditions[0]
        assert (said.reason, "were unschedulable" in said.message) == ("Unschedulable", True)
        another = namespace.pod("drained", lambda found: found.metadata.name != pod)
        assert another.status.phase == "Pending"
    finally:
        core.patch_node("n2", {"spec": {"unschedulable": False}})
