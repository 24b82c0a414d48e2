"""A Kubernetes cluster that breaks under the lab's jobs: nothing is lost, nothing doubled, and each fault is named as what it was."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.errors import Conflict, PlatformFault, Unreachable
from livinglab.ports import Seen
from livinglab.sites.attest import attest
from livinglab.sites.kubernetes import api as api_module
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.testing.bench import collected, ended, key_of, push, running, spec_of, until
from tests.contract.benches import KubernetesBench
from tests.fixtures.kubernetes import KubernetesBed, new_lab, push_tools, write_kubeconfig  # fmt: skip
from tests.fixtures.webhook import refusing_webhook
from tests.hostile import KEY, begin, spec_for
from tests.waiting import until as eventually

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

SHORT = ("python3", "-c", "import time; print('here', flush=True); time.sleep(3); open('/out/a.txt', 'w').write('data')")
LONG = ("python3", "-c", "import time; print('here', flush=True); time.sleep(600)")


@pytest.fixture(scope="module")
def settings(fragile_kubernetes: KubernetesBed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesSettings]:
    folder = tmp_path_factory.mktemp("cluster")
    with fragile_kubernetes.client() as client:
        yield from new_lab(fragile_kubernetes, client, push_tools(fragile_kubernetes, folder), folder)


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], settings: KubernetesSettings) -> Iterator[KubernetesBench]:
    bench = KubernetesBench(tmp_path / "bench", *engine_image, settings)
    yield bench
    bench.close()


@pytest.fixture
def core(fragile_kubernetes: KubernetesBed) -> "Iterator[CoreV1Api]":
    """An administrator's hand."""
    from kubernetes.client import CoreV1Api

    with fragile_kubernetes.client() as client:
        yield CoreV1Api(client)


def start(bench: KubernetesBench, argv: tuple[str, ...] = SHORT, **limits: float) -> None:
    begin(bench, argv, **limits)


def seen(bench: KubernetesBench) -> Any:
    return bench.site.observe([KEY])[KEY]


def ran_once(bench: KubernetesBench) -> None:
    """It ended well, with what it left, and under the isolation that was asked for."""
    ended(bench, KEY)
    outcome = collected(bench, KEY)
    assert (outcome.exit_code, outcome.log_path.read_text()) == (0, "here\n")
    assert [(f.path, f.size) for f in outcome.outputs] == [("a.txt", 4)]
    spec = spec_for(bench, SHORT)
    attestation = attest(spec.profile, spec, outcome.report, outcome.site_view, outcome.exit_code)
    assert attestation.holds, attestation.reasons


def fault(bench: KubernetesBench) -> str:
    """Whose fault it was, once it has ended."""
    until(bench.site, KEY, lambda found: found.seen is Seen.EXITED)
    with pytest.raises(PlatformFault) as told:
        collected(bench, KEY)
    return told.value.message


@contextmanager
def apart(bed: KubernetesBed, machine: str, service: str, verb: str, back: str) -> Iterator[None]:
    bed.act(machine, verb, service)
    try:
        yield
    finally:
        bed.act(machine, back, service)


# --- the control plane ------------------------------------------------------------------------------------------------


def test_an_api_server_that_dies_is_waited_for(bench: KubernetesBench, fragile_kubernetes: KubernetesBed) -> None:
    """The job ends meanwhile; nobody takes it for lost, and its end is seen afterwards."""
    start(bench)
    running(bench, KEY)
    with apart(fragile_kubernetes, "ctl", "kube-apiserver", "kill", "start"):
        eventually(lambda: seen(bench).seen is Seen.UNREACHABLE)
        assert "does not answer" in seen(bench).reason
        with pytest.raises(Unreachable):
            bench.again().submit(spec_for(bench, SHORT), KEY)
        time.sleep(3)  # its own time: it ends while nobody can be told
    ran_once(bench)
    assert bench.site.owned() == {KEY}


def test_a_watch_from_too_long_ago_is_begun_anew(bench: KubernetesBench, fragile_kubernetes: KubernetesBed) -> None:
    start(bench)
    running(bench, KEY)
    for watched in (bench.site._jobs._jobs, bench.site._jobs._pods):
        with watched._changed:
            watched._version = "1"
    fragile_kubernetes.act("ctl", "kill", "kube-apiserver")
    fragile_kubernetes.act("ctl", "start", "kube-apiserver")
    ran_once(bench)


def test_a_store_that_stands_still_loses_and_doubles_nothing(
    bench: KubernetesBench, fragile_kubernetes: KubernetesBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission whose answer never came may have been heard: it is asked for again, and found."""
    start(bench)
    running(bench, KEY)
    monkeypatch.setattr(api_module, "_READ", 2.0)
    another = spec_of(bench, "run-b.1", "greet")
    push(bench, "run-b.1", b"data")
    site = bench.again()
    _ = site._tools, site._known_fields(another)
    with apart(fragile_kubernetes, "ctl", "etcd", "pause", "resume"), pytest.raises(Unreachable):
        site._jobs.create(_job_of(site, another))
    monkeypatch.undo()
    eventually(lambda: _submitted(site, another))
    ran_once(bench)
    ended(bench, key_of("run-b.1"))
    assert collected(bench, key_of("run-b.1")).exit_code == 0
    assert len(bench.site._jobs.listed()) == 2


def _job_of(site: Any, spec: Any) -> dict[str, Any]:
    from livinglab.sites.kubernetes.manifests import job_manifest

    return job_manifest(site.settings, site.layout, spec, site._known_fields(spec))


def _submitted(site: Any, spec: Any) -> bool:
    try:
        site.submit(spec, spec.keys[0])
    except Unreachable:
        return False
    return True


def test_an_answer_that_was_not_heard(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the worker were killed between its intent and the handle."""
    bench.site.ensure_image(bench.image)
    push(bench, KEY.attempt, b"data")
    real = bench.site._api.create

    def deaf(path: str, body: dict[str, Any], **query: object) -> dict[str, Any]:
        made = real(path, body, **query)
        if query:
            return made
        msg = "nobody heard it"
        raise Unreachable(msg)

    monkeypatch.setattr(bench.site._api, "create", deaf)
    with pytest.raises(Unreachable, match="nobody heard it"):
        bench.site.submit(spec_for(bench, SHORT), KEY)
    again = bench.again()
    assert not again.submit(spec_for(bench, SHORT), KEY).created
    with pytest.raises(Conflict):
        again.submit(spec_for(bench, LONG), KEY)
    ran_once(bench)


def test_an_account_whose_token_is_not_taken_any_more(bench: KubernetesBench, core: "CoreV1Api", fragile_kubernetes: KubernetesBed) -> None:
    """The lab waits; once somebody renewed the kubeconfig it goes on by itself."""
    start(bench)
    running(bench, KEY)
    namespace = bench.settings.namespace
    core.delete_namespaced_service_account("worker", namespace)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "worker"}})
    fragile_kubernetes.act("ctl", "kill", "kube-apiserver")  # it would remember the token for a few seconds, and keep its watches
    fragile_kubernetes.act("ctl", "start", "kube-apiserver")
    eventually(lambda: "does not know who asks" in seen(bench).reason)
    assert seen(bench).seen is Seen.UNREACHABLE
    write_kubeconfig(fragile_kubernetes, core.api_client, namespace, bench.settings.kubeconfig)
    ran_once(bench)


# --- what the cluster does with a pod ---------------------------------------------------------------------------------


def pod_of(bench: KubernetesBench) -> dict[str, Any]:
    _, (pod,) = bench.site._jobs.known([bench.site.layout.job(KEY)])[bench.site.layout.job(KEY)]
    return pod


def test_a_node_that_crashes_takes_its_job_along(bench: KubernetesBench, fragile_kubernetes: KubernetesBed) -> None:
    stager = bench.site._api.get(f"/api/v1/namespaces/{bench.settings.namespace}/pods/stager-0")["spec"]["nodeName"]
    (node,) = {"n1", "n2"} - {stager}
    bench.settings = bench.settings.model_copy(update={"node_selector": {"kubernetes.io/hostname": node}})
    bench.site = bench.again()
    start(bench, LONG)
    running(bench, KEY)
    fragile_kubernetes.crash(node)
    try:
        said = fault(bench)
    finally:
        fragile_kubernetes.boot(node)
    assert node in said
    assert "NodeNotReady" in said or "TaintManagerEviction" in said or "began its pod again" in said


def test_a_node_that_is_taken_out_of_the_cluster(bench: KubernetesBench, core: "CoreV1Api", fragile_kubernetes: KubernetesBed) -> None:
    """Its pods are swept away as nobody's, after a while: once the lab, which knew of nothing, has said that time is over; or others are made."""
    start(bench, LONG, wall_seconds=15)
    running(bench, KEY)
    node = pod_of(bench)["spec"]["nodeName"]
    fragile_kubernetes.act(node, "kill", "kubelet")  # else it would enter itself again
    core.delete_node(node)
    try:
        until(bench.site, KEY, lambda found: found.seen is Seen.EXITED)
        said = fault(bench)
    finally:
        fragile_kubernetes.act(node, "start", "kubelet")
    assert "deleted at the cluster" in said or "could not start its containers" in said or "began its pod again" in said
    eventually(lambda: all(is_ready(core, name) for name in ("n1", "n2")))


def is_ready(core: "CoreV1Api", node: str) -> bool:
    from kubernetes.client import ApiException

    try:
        conditions = core.read_node(node).status.conditions or []
    except ApiException:
        return False
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def test_a_drained_node(bench: KubernetesBench, core: "CoreV1Api") -> None:
    start(bench, LONG)
    running(bench, KEY)
    pod = pod_of(bench)["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}, "deleteOptions": {"gracePeriodSeconds": 0}}
    core.create_namespaced_pod_eviction(pod, bench.settings.namespace, eviction)
    said = fault(bench)
    assert "could not start its containers" in said or "deleted at the cluster" in said or "began its pod again" in said


def test_a_pod_that_is_begun_once_more_begins_nothing(bench: KubernetesBench, core: "CoreV1Api") -> None:
    """A second pod is made, after the first has written that it began: it may not write that again."""
    start(bench, ("python3", "-c", "import time; open('/out/begun', 'w'); print('here', flush=True); time.sleep(600)"))
    running(bench, KEY)
    first = pod_of(bench)["metadata"]["name"]
    core.delete_namespaced_pod(first, bench.settings.namespace, grace_period_seconds=0)
    name = bench.site.layout.job(KEY)
    eventually(lambda: [p for p in bench.site._jobs._pods.look([name]).get(name, []) if p["metadata"]["name"] != first and observing.is_over(p)])
    (second,) = bench.site._jobs._pods.look([name])[name]
    assert bench.site._collector.log(second, KEY, 0, 1000) == b""
    assert "began its pod again" in fault(bench)


def test_a_job_that_makes_room_for_another_is_told_from_one_that_fails(bench: KubernetesBench, core: "CoreV1Api") -> None:
    bench.settings = bench.settings.model_copy(update={"priority_class": "scavenge"})
    bench.site = bench.again()
    start(bench, LONG)
    running(bench, KEY)
    node = pod_of(bench)["spec"]["nodeName"]
    container = {"name": "main", "image": bench.settings.tools, "command": ["sleep", "600"], "resources": {"requests": {"cpu": "1600m"}}}
    greedy = {"containers": [container],
              "priorityClassName": "urgent", "nodeSelector": {"kubernetes.io/hostname": node}, "imagePullSecrets": [{"name": "pull"}]}  # fmt: skip
    core.create_namespaced_pod(bench.settings.namespace, {"metadata": {"name": "urgent"}, "spec": greedy})
    try:
        assert "Preempted" in fault(bench)
    finally:
        core.delete_namespaced_pod("urgent", bench.settings.namespace, grace_period_seconds=0)


# --- what keeps a job waiting -----------------------------------------------------------------------------------------


def waits_with(bench: KubernetesBench, words: str) -> None:
    until(bench.site, KEY, lambda found: found.seen is Seen.PENDING and words in found.advice)


def test_a_namespace_whose_quota_is_exhausted(bench: KubernetesBench, core: "CoreV1Api") -> None:
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    core.create_namespaced_resource_quota(bench.settings.namespace, quota)
    eventually(lambda: core.read_namespaced_resource_quota("full", bench.settings.namespace).status.used)
    start(bench)
    waits_with(bench, "exceeded quota: full")
    core.delete_namespaced_resource_quota("full", bench.settings.namespace)
    ran_once(bench)


def test_a_namespace_that_takes_no_more_jobs(bench: KubernetesBench, core: "CoreV1Api") -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    core.create_namespaced_resource_quota(bench.settings.namespace, quota)
    eventually(lambda: core.read_namespaced_resource_quota("few", bench.settings.namespace).status.used)
    with pytest.raises(Unreachable, match="quota is exhausted"):
        start(bench)
    core.delete_namespaced_resource_quota("few", bench.settings.namespace)
    eventually(lambda: _submitted(bench.site, spec_for(bench, SHORT)))
    ran_once(bench)


@contextmanager
def refused_by_webhook(bed: KubernetesBed, core: "CoreV1Api", folder: Path, namespace: str, resource: tuple[str, str], words: str) -> Iterator[None]:
    """Whatever of that kind is made in the namespace."""
    from kubernetes.client import AdmissionregistrationV1Api

    gateway = bed.on("ctl", "sh", "-c", "ip route show default").split()[2]
    with refusing_webhook(folder, gateway, words) as reached:
        core.patch_namespace(namespace, {"metadata": {"labels": {"refused": "yes"}}})
        group, name = resource
        rules = [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [name]}]
        webhook = {"name": "policy.example.org", "clientConfig": reached, "rules": rules, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                   "namespaceSelector": {"matchLabels": {"refused": "yes"}}}  # fmt: skip
        admission = AdmissionregistrationV1Api(core.api_client)
        admission.create_validating_webhook_configuration({"metadata": {"name": "policy"}, "webhooks": [webhook]})
        try:
            yield
        finally:
            admission.delete_validating_webhook_configuration("policy")
            core.patch_namespace(namespace, {"metadata": {"labels": {"refused": None}}})


def test_an_admission_webhook_that_refuses_the_job(
    bench: KubernetesBench, core: "CoreV1Api", fragile_kubernetes: KubernetesBed, tmp_path: Path
) -> None:
    """It will refuse it again: that is nothing to wait for."""
    namespace = bench.settings.namespace
    with refused_by_webhook(fragile_kubernetes, core, tmp_path, namespace, ("batch", "jobs"), "no jobs on a Sunday"):
        eventually(lambda: _refusal(bench))
        assert "an admission webhook of the cluster's refuses" in _refusal(bench)
        assert "no jobs on a Sunday" in _refusal(bench)
    eventually(lambda: not _refusal(bench))
    ran_once(bench)


def _refusal(bench: KubernetesBench) -> str:
    try:
        start(bench)
    except PlatformFault as error:
        return error.message
    return ""


def test_an_admission_webhook_that_refuses_the_pod(
    bench: KubernetesBench, core: "CoreV1Api", fragile_kubernetes: KubernetesBed, tmp_path: Path
) -> None:
    """Whoever may change that is told, and the cluster tries again by itself."""
    namespace = bench.settings.namespace
    with refused_by_webhook(fragile_kubernetes, core, tmp_path, namespace, ("", "pods"), "no such pods here"):
        start(bench)
        waits_with(bench, "no such pods here")
    ran_once(bench)


def test_no_node_has_room(bench: KubernetesBench) -> None:
    start(bench, cpus=64.0)
    waits_with(bench, "Insufficient cpu")


def test_a_gpu_that_no_node_has_is_waited_for(bench: KubernetesBench) -> None:
    start(bench, gpus=1)
    waits_with(bench, "Insufficient nvidia.com/gpu")


def test_a_gpu_that_is_only_in_the_books_is_not_believed(bench: KubernetesBench, core: "CoreV1Api") -> None:
    """A node that says it has one, and gives none: the launcher opens none, and executes nothing."""
    change = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "1"}]
    core.patch_node_status("n2", change)
    start(bench, SHORT, gpus=1)
    ended(bench, KEY)
    outcome, spec = collected(bench, KEY), spec_for(bench, SHORT, gpus=1)
    attestation = attest(spec.profile, spec, outcome.report, outcome.site_view, outcome.exit_code)
    assert (outcome.exit_code, outcome.log_path.read_bytes(), attestation.holds) == (97, b"", False)
    assert attestation.report
    assert {finding.property for finding in attestation.report.failed} == {"gpus"}


def test_an_image_that_cannot_be_pulled(bench: KubernetesBench) -> None:
    bench.settings = bench.settings.model_copy(update={"registry": bench.settings.registry.model_copy(update={"host": "registry:1"})})
    bench.site = bench.again()
    start(bench)
    waits_with(bench, "A node cannot pull its image")


def test_what_is_held_waits_and_what_is_let_go_runs(bench: KubernetesBench, fragile_kubernetes: KubernetesBed) -> None:
    start(bench, cpus=64.0)
    waits_with(bench, "Insufficient cpu")
    bench.site.hold(KEY.attempt)
    waits_with(bench, "held by the lab")
    bench.site.hold(KEY.attempt)
    eventually(lambda: not bench.site._known([KEY])[KEY][1])
    bench.again().let_go(KEY.attempt)
    waits_with(bench, "Insufficient cpu")


def test_what_runs_is_not_held(bench: KubernetesBench) -> None:
    start(bench)
    running(bench, KEY)
    bench.site.hold(KEY.attempt)
    ran_once(bench)


# --- clocks -----------------------------------------------------------------------------------------------------------


class Skewed:
    """A clock that goes wrong."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_worker_whose_clock_differs_ends_nothing_early_or_late(bench: KubernetesBench, minutes: int) -> None:
    bench.site.clock = Skewed(timedelta(minutes=minutes))
    start(bench, wall_seconds=30)
    ran_once(bench)
    bench.site.release(KEY.attempt)
    start(bench, LONG, wall_seconds=2)
    began = time.monotonic()
    found = ended(bench, KEY)
    assert (found.limit, time.monotonic() - began < 30) == ("wall_seconds", True)


# --- many -------------------------------------------------------------------------------------------------------------


def test_hundreds_that_wait_are_seen_by_one_look(bench: KubernetesBench, fragile_kubernetes: KubernetesBed) -> None:
    """None is lost and none is doubled while the API server dies; what a look asks does not grow with them."""
    bench.settings = bench.settings.model_copy(update={"node_selector": {"nowhere": "true"}})
    bench.site = bench.again()
    bench.site.ensure_image(bench.image)
    specs = [spec_of(bench, f"run-{n}.1", "greet", mounts=()) for n in range(100)]
    keys = [spec.keys[0] for spec in specs]
    bench.site.submit(specs[0], keys[0])
    _each(specs[1:50], lambda spec: bench.site.submit(spec, spec.keys[0]))
    fragile_kubernetes.act("ctl", "kill", "kube-apiserver")
    fragile_kubernetes.act("ctl", "start", "kube-apiserver")
    _each(specs, lambda spec: eventually(lambda: _submitted(bench.site, spec)))
    assert bench.site.owned() == set(keys)
    eventually(lambda: all(found.seen is Seen.PENDING and "didn't match" in found.advice for found in bench.site.observe(keys).values()), 120)


def _each(specs: list[Any], what: Callable[[Any], object]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(what, specs))
