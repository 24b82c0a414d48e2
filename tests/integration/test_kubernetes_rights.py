"""What the lab's account at a cluster may do, and what it may not: tried, one request each, with its own token."""

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from livinglab.domain.errors import LivingLabError, PlatformFault
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.execute import PodShell
from tests.fixtures.kubernetes import KubernetesBed
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubernetes.client import ApiClient

pytestmark = pytest.mark.kubernetes

NAME = "{namespace}"
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
FORBIDDEN: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "read secrets": ("GET", "/api/v1/namespaces/{namespace}/secrets", None),
    "read the pull secret": ("GET", "/api/v1/namespaces/{namespace}/secrets/pull", None),
    "make a pod": ("POST", "/api/v1/namespaces/{namespace}/pods", POD),
    "delete the staging pod": ("DELETE", "/api/v1/namespaces/{namespace}/pods/stager-0", None),
    "evict the staging pod": ("POST", "/api/v1/namespaces/{namespace}/pods/stager-0/eviction", {"metadata": {"name": "stager-0"}}),
    "enter a pilot's pod": ("GET", "/api/v1/namespaces/{namespace}/pods/pilots/exec?command=id&stdout=1", None),
    "attach to the staging pod": ("GET", "/api/v1/namespaces/{namespace}/pods/stager-0/attach?stdout=1", None),
    "forward a port": ("GET", "/api/v1/namespaces/{namespace}/pods/stager-0/portforward", None),
    "talk through the staging pod": ("GET", "/api/v1/namespaces/{namespace}/pods/stager-0/proxy/", None),
    "say how a pod is": ("PATCH", "/api/v1/namespaces/{namespace}/pods/stager-0/status", {"status": {"phase": "Failed"}}),
    "add a container to a pod": ("PATCH", "/api/v1/namespaces/{namespace}/pods/stager-0/ephemeralcontainers", {}),
    "change the stager": ("PATCH", "/apis/apps/v1/namespaces/{namespace}/statefulsets/stager", {"spec": {"replicas": 2}}),
    "draw a token": ("POST", "/api/v1/namespaces/{namespace}/serviceaccounts/worker/token", REVIEW),
    "change its account": ("PATCH", "/api/v1/namespaces/{namespace}/serviceaccounts/worker", {"automountServiceAccountToken": True}),
    "widen its role": ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/worker", {"rules": []}),
    "bind itself": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", {"metadata": {"name": "more"}}),
    "open the network": ("DELETE", "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/nothing", None),
    "delete the claim": ("DELETE", "/api/v1/namespaces/{namespace}/persistentvolumeclaims/lab", None),
    "delete all jobs at once": ("DELETE", "/apis/batch/v1/namespaces/{namespace}/jobs", None),
    "say how a job is": ("PATCH", "/apis/batch/v1/namespaces/{namespace}/jobs/none/status", {"status": {}}),
    "read others' jobs": ("GET", "/apis/batch/v1/namespaces/default/jobs", None),
    "make a job elsewhere": ("POST", "/apis/batch/v1/namespaces/kube-system/jobs", {"metadata": {"name": "more"}}),
    "read all jobs": ("GET", "/apis/batch/v1/jobs", None),
    "read nodes": ("GET", "/api/v1/nodes", None),
    "talk to a kubelet": ("GET", "/api/v1/nodes/n1/proxy/pods", None),
    "make a volume": ("POST", "/api/v1/persistentvolumes", {"metadata": {"name": "more"}}),
    "make a namespace": ("POST", "/api/v1/namespaces", {"metadata": {"name": "more"}}),
    "delete its namespace": ("DELETE", "/api/v1/namespaces/{namespace}", None),
    "make a runtime class": ("POST", "/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "more"}, "handler": "runc"}),
}


@pytest.fixture
def api(kubernetes_lab: KubernetesSettings) -> Api:
    return Api(kubernetes_lab.kubeconfig)


@pytest.fixture
def administrator(kubernetes_bed: KubernetesBed) -> "Iterator[ApiClient]":
    with kubernetes_bed.client() as client:
        yield client


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_it_must_not_do_is_refused(api: Api, kubernetes_lab: KubernetesSettings, what: str) -> None:
    method, path, body = FORBIDDEN[what]
    with pytest.raises(PlatformFault, match=r"refuses: .*forbidden"):
        api._asked(method, path.replace(NAME, kubernetes_lab.namespace), {}, body)


def test_nobody_else_may_be_played(api: Api, kubernetes_lab: KubernetesSettings) -> None:
    from kubernetes.client import ApiException, BatchV1Api

    api.client.set_default_header("Impersonate-User", "system:admin")
    with pytest.raises(ApiException, match="cannot impersonate"):
        BatchV1Api(api.client).list_namespaced_job(kubernetes_lab.namespace)


def test_the_stager_is_entered_and_no_other_pod(api: Api, kubernetes_lab: KubernetesSettings) -> None:
    assert PodShell(api, kubernetes_lab.namespace, "stager-0").run("echo here") == b"here\n"
    with pytest.raises(LivingLabError, match=r"403|Forbidden|forbidden"):
        PodShell(api, kubernetes_lab.namespace, "another").run("echo here")


def test_the_stager_has_nothing_that_opens_the_cluster(api: Api, kubernetes_lab: KubernetesSettings) -> None:
    shell = PodShell(api, kubernetes_lab.namespace, "stager-0")
    assert shell.run("ls /var/run/secrets /run/secrets 2>/dev/null || true") == b""
    assert shell.run("id -u").strip() == b"65532"
    assert shell.run("grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status").split()[1::2] == [b"0" * 16, b"1", b"2"]


def refused(api: Api, path: str) -> str:
    with pytest.raises(LivingLabError) as told:
        api.get(path)
    return told.value.message


def test_a_token_that_has_no_account_any_more(kubernetes_lab: KubernetesSettings, administrator: "ApiClient") -> None:
    """Of another account with the same role, so that the others' goes on."""
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(administrator)
    core.create_namespaced_service_account(kubernetes_lab.namespace, {"metadata": {"name": "shortly"}})
    request = {"spec": {"expirationSeconds": 3600, "audiences": ["bed"]}}
    token = core.create_namespaced_service_account_token("shortly", kubernetes_lab.namespace, request).status.token
    document = yaml.safe_load(kubernetes_lab.kubeconfig.read_text())
    document["users"] = [{"name": user["name"], "user": {"token": token}} for user in document["users"]]
    path = kubernetes_lab.kubeconfig.with_name("shortly.kubeconfig")
    path.write_text(yaml.safe_dump(document))
    api = Api(path)
    jobs = f"/apis/batch/v1/namespaces/{kubernetes_lab.namespace}/jobs"
    with pytest.raises(PlatformFault, match="forbidden"):
        api.get(jobs)
    core.delete_namespaced_service_account("shortly", kubernetes_lab.namespace)
    until(lambda: refused(api, jobs).startswith("the API server does not know who asks"))  # it remembers a token for a few seconds
    path.write_text(kubernetes_lab.kubeconfig.read_text())
    assert api.get(jobs)["items"] == []
