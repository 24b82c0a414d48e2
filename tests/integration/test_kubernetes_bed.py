"""The Kubernetes test bed itself: what the tests of the cluster's site take for granted is so, and what it lacks is known."""

from typing import Any

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from tests.contract.benches import python_image
from tests.fixtures.kubernetes import KubernetesBed, Namespace

pytestmark = pytest.mark.kubernetes

DEVICES = "print(*(line.split(':')[0].strip() for line in list(open('/proc/self/net/dev'))[2:]))"
REACHES = f"""
import socket, sys
{DEVICES}
for target in sys.argv[1:]:
    host, port = target.split(':')
    try:
        socket.create_connection((host, int(port)), timeout=5)
        print('reached')
    except OSError as error:
        print(type(error).__name__, error.errno)
"""
LISTENS = "import socket; s = socket.create_server(('0.0.0.0', 8000)); print('ready', flush=True)\nwhile True: s.accept()"


@pytest.fixture(scope="module")
def pushed(kubernetes_bed: KubernetesBed, tmp_path_factory: pytest.TempPathFactory) -> tuple[FileArtifacts, str]:
    artifacts, digest = python_image(tmp_path_factory.mktemp("image"))
    kubernetes_bed.push(artifacts, digest, "pilots/tests")
    return artifacts, digest


@pytest.fixture(scope="module")
def image(pushed: tuple[FileArtifacts, str]) -> str:
    """An image of the lab's with Python, as a pod calls it."""
    return f"registry:5000/pilots/tests@{pushed[1]}"


@pytest.fixture
def listener(namespace: Namespace, image: str) -> str:
    """Address and port of a pod on the second node that takes connections."""
    namespace.run("listener", image, "python3", "-c", LISTENS, node="n2")
    pod = namespace.pod("listener", lambda pod: pod.status.phase == "Running" and pod.status.pod_ip)
    return f"{pod.status.pod_ip}:8000"


def waiting(pod: Any) -> Any:
    """Why a pod's container waits; nothing where it does not."""
    return pod.status.container_statuses and pod.status.container_statuses[0].state.waiting


def ended(pod: Any) -> Any:
    """How a pod's container ended; nothing where it has not."""
    return pod.status.container_statuses and pod.status.container_statuses[0].state.terminated


def test_two_nodes_are_ready(kubernetes_bed: KubernetesBed) -> None:
    from kubernetes.client import CoreV1Api

    with kubernetes_bed.client() as client:
        nodes = CoreV1Api(client).list_node().items
    ready = {node.metadata.name: {condition.type: condition.status for condition in node.status.conditions}["Ready"] for node in nodes}
    assert ready == {"n1": "True", "n2": "True"}


def test_an_image_is_pulled_by_the_labs_digest_with_a_secret_and_a_job_completes(
    namespace: Namespace, pushed: tuple[FileArtifacts, str], image: str
) -> None:
    namespace.run("works", image, "python3", "-c", "print('here')")
    assert namespace.said("works") == "here\n"
    status = namespace.pod("works", lambda _: True).status.container_statuses[0]
    assert status.image_id.endswith(pushed[1])


def test_without_the_secret_nothing_is_pulled(namespace: Namespace, pushed: tuple[FileArtifacts, str]) -> None:
    image = namespace.bed.push(*pushed, "pilots/private")
    namespace.run("locked-out", image, "true", imagePullSecrets=[])
    why = waiting(namespace.pod("locked-out", lambda pod: waiting(pod) and waiting(pod).reason == "ErrImagePull"))
    assert "401 Unauthorized" in why.message


def test_limits_are_control_groups_of_the_kernels(namespace: Namespace, image: str) -> None:
    files = ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    namespace.run("limited", image, "python3", "-c", "import sys; print(*(open('/sys/fs/cgroup/' + f).read().strip() for f in sys.argv[1:]))", *files)
    assert namespace.said("limited").split() == [str(128 << 20), "50000", "100000"]
    assert namespace.pod("limited", lambda _: True).status.qos_class == "Guaranteed"


def test_a_container_that_takes_more_memory_than_its_limit_is_oom_killed(namespace: Namespace, image: str) -> None:
    namespace.run("greedy", image, "python3", "-c", "bytearray(512 << 20)[::4096] = b'x' * (512 << 8)")
    assert (ended(namespace.pod("greedy", ended)).reason, ended(namespace.pod("greedy", ended)).exit_code) == ("OOMKilled", 137)


@pytest.mark.slow
def test_a_pod_that_writes_more_than_its_ephemeral_storage_is_evicted(namespace: Namespace, image: str) -> None:
    writes = "import time; open('/out/data', 'wb').write(bytes(64 << 20)); time.sleep(600)"
    container = {"name": "main", "image": image, "command": ["python3", "-c", writes], "volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    limits = {"limits": {"memory": "256Mi", "cpu": "500m", "ephemeral-storage": "16Mi"}}
    namespace.run("writer", image, "true", containers=[container | {"resources": limits}], volumes=[{"name": "out", "emptyDir": {}}])
    status = namespace.pod("writer", lambda pod: pod.status.phase == "Failed", seconds=120).status
    assert status.reason == "Evicted"
    assert "ephemeral local storage usage exceeds the total limit of containers 16Mi" in status.message


def test_a_pod_of_no_network_has_a_loopback_device_and_reaches_nothing_that_another_pod_reaches(
    namespace: Namespace, image: str, listener: str
) -> None:
    targets = (listener, namespace.bed.registry_url.removeprefix("https://"), "10.244.1.1:10250")
    namespace.run("open", image, "python3", "-c", REACHES, *targets, node="n1")
    namespace.run("closed", image, "python3", "-c", REACHES, *targets, node="n1", runtimeClassName="no-network")
    assert namespace.said("open").splitlines() == ["lo eth0", "reached", "reached", "reached"]
    assert namespace.said("closed").splitlines() == ["lo", *["OSError 101"] * 3]  # ENETUNREACH


def test_a_network_policy_is_taken_and_not_enforced(namespace: Namespace, image: str, listener: str) -> None:
    """The bed's network plugin enforces none: who relies on a policy here must be found out."""
    from kubernetes.client import NetworkingV1Api

    nothing = {"metadata": {"name": "nothing"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    NetworkingV1Api(namespace.client).create_namespaced_network_policy(namespace.name, nothing)
    namespace.run("denied", image, "python3", "-c", REACHES, listener, node="n1")
    assert namespace.said("denied").splitlines()[1:] == ["reached"]


def test_a_claim_is_one_folder_on_both_nodes(namespace: Namespace, image: str) -> None:
    mount = {"name": "main", "image": image, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod: dict[str, Any] = {"volumes": [namespace.claim("data")], "securityContext": {"runAsUser": 65532, "runAsNonRoot": True}}
    writes = mount | {"command": ["python3", "-c", "open('/data/a.txt', 'w').write('from n1')"]}
    reads = mount | {"command": ["python3", "-c", "print(open('/data/a.txt').read())"]}
    namespace.run("writes", image, "true", containers=[writes], node="n1", **pod)
    assert namespace.said("writes") == ""
    namespace.run("reads", image, "true", containers=[reads], node="n2", **pod)
    assert namespace.said("reads") == "from n1\n"


def test_an_account_may_do_what_its_role_says_and_nothing_else(namespace: Namespace) -> None:
    from kubernetes.client import ApiClient, ApiException, BatchV1Api, Configuration, CoreV1Api, RbacAuthorizationV1Api

    core, rules = CoreV1Api(namespace.client), RbacAuthorizationV1Api(namespace.client)
    core.create_namespaced_service_account(namespace.name, {"metadata": {"name": "worker"}})
    rules.create_namespaced_role(
        namespace.name, {"metadata": {"name": "jobs"}, "rules": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]}
    )
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "jobs"}
    rules.create_namespaced_role_binding(namespace.name, {"metadata": {"name": "jobs"}, "subjects": [subject], "roleRef": role})
    token = core.create_namespaced_service_account_token("worker", namespace.name, {"spec": {"expirationSeconds": 600}}).status.token
    given = namespace.client.configuration
    account = Configuration(host=given.host)
    account.ssl_ca_cert, account.api_key = given.ssl_ca_cert, {"authorization": f"Bearer {token}"}
    with ApiClient(account) as client:
        for _ in range(7):
            assert BatchV1Api(client).list_namespaced_job(namespace.name).items == []
        with pytest.raises(ApiException, match="Forbidden"):
            BatchV1Api(client).list_namespaced_job("default")
        with pytest.raises(ApiException, match="Forbidden"):
            CoreV1Api(client).list_namespaced_secret(namespace.name)
    events = namespace.bed.audit(f"system:serviceaccount:{namespace.name}:worker")
    assert [(event["objectRef"]["resource"], event["responseStatus"]["code"]) for event in events] == [
        *[("jobs", 200)] * 7,
        ("jobs", 403),
        ("secrets", 403),
    ]
