"""What is asked of a cluster keeps to the current schemas of Kubernetes, and to what a pod of the lab's may be."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from livinglab.domain.canonical import digest_of
from livinglab.domain.isolation import IsolationProfile, Mount, Resources
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.manifests import COLLECTOR, NEWER, STORE, job_manifest, needed
from livinglab.sites.scratch import Layout
from tests.labs import ROOT

DIGEST = "sha256:" + "1" * 64
SETTINGS = KubernetesSettings.model_validate({
    "kubeconfig": "/k", "namespace": "livinglab", "claim": "lab", "tools": f"registry:5000/tools@{DIGEST}", "runtime_class": "no-network",
    "registry": {"url": "https://registry:5000", "host": "registry:5000", "pull_secret": "pull"}, "queue": "pilots", "priority_class": "low",
    "node_selector": {"disk": "fast"},
})  # fmt: skip
LAYOUT = Layout(STORE, "lab", b"\1" * 32)
VERSIONS = ("1.28", "1.30", "1.32")


def container(role: str, *mounts: Mount, **limits: float) -> ContainerSpec:
    return ContainerSpec.model_validate({"role": role, "image": DIGEST, "argv": ("python3", "x.py"), "mounts": mounts,
                                         "resources": Resources.model_validate(limits)})  # fmt: skip


IN, OUT = Mount(area="inputs", target="/in"), Mount(area="outputs", target="/out", read_only=False)
DATA, SOCKET = Mount(area="hidden", target="/hidden", dataset="sha256:" + "2" * 64), Mount(area="socket", target="/socket", read_only=False)
ONE = JobSpec(
    attempt="run-a.1", containers=(container("pilot", IN, OUT, gpus=2, cpus=1.5, memory=1 << 30),), profile=IsolationProfile(), nonce="5a" * 16
)
PAIR = ONE.model_copy(update={"containers": (container("pilot", SOCKET), container("drive", DATA, SOCKET, OUT))})


def manifest(spec: JobSpec) -> dict[str, Any]:
    return job_manifest(SETTINGS, LAYOUT, spec)


def pod(spec: JobSpec) -> dict[str, Any]:
    return dict(manifest(spec)["spec"]["template"]["spec"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("spec", [ONE, PAIR], ids=["one", "pair"])
def test_it_keeps_to_the_schema(spec: JobSpec, version: str) -> None:
    kubernetes_validate.validate(manifest(spec), version, strict=True)
    kubernetes_validate.validate(job_manifest(SETTINGS, LAYOUT, spec, NEWER), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_administrators_apply_keeps_to_the_schema(version: str) -> None:
    documents = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "lab.yaml").read_text()))
    assert len(documents) == 7
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("spec", [ONE, PAIR], ids=["one", "pair"])
def test_no_container_is_more_than_restricted(spec: JobSpec) -> None:
    """Pod Security Standards, `restricted`; and beyond: a root that is read only, no account's token, nothing shared."""
    body = pod(spec)
    assert body["securityContext"] == {"runAsUser": 65_532, "runAsGroup": 65_532, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not any(body[name] for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "enableServiceLinks",
                                           "automountServiceAccountToken"))  # fmt: skip
    assert {kind for volume in body["volumes"] for kind in volume} == {"name", "persistentVolumeClaim", "emptyDir"}
    for each in body["containers"]:
        assert each["securityContext"] == {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
                                           "capabilities": {"drop": ["ALL"]}}  # fmt: skip
        assert "@sha256:" in each["image"]
        assert not {"env", "envFrom", "ports", "lifecycle", "livenessProbe", "stdin", "tty"} & each.keys()


def test_requests_are_limits() -> None:
    for each in pod(ONE)["containers"]:
        assert each["resources"]["requests"] == each["resources"]["limits"]
    pilot = pod(ONE)["containers"][0]["resources"]["limits"]
    assert pilot == {"cpu": "1500m", "memory": str(1 << 30), "ephemeral-storage": str(64 << 20), "nvidia.com/gpu": "2"}


def test_a_pilot_may_write_to_volumes_in_memory_and_to_nothing_else() -> None:
    body = pod(PAIR)
    volumes = {volume["name"]: volume for volume in body["volumes"]}
    for each in body["containers"][:-1]:
        for mount in each["volumeMounts"]:
            assert mount.get("readOnly") or volumes[mount["name"]]["emptyDir"]["medium"] == "Memory"
    (stored,) = (mount for mount in body["containers"][-1]["volumeMounts"] if mount["name"] == "store")
    assert (body["containers"][-1]["name"], stored["readOnly"]) == (COLLECTOR, False)
    assert stored["subPath"].endswith(f"jobs/{manifest(PAIR)['metadata']['name']}")


def test_two_that_live_together_share_a_folder_for_sockets_and_nothing_else() -> None:
    pilot, drive, _ = pod(PAIR)["containers"]
    own = [{(mount["name"], mount.get("subPath")) for mount in each["volumeMounts"]} for each in (pilot, drive)]
    shared = own[0] & own[1]
    assert {name for name, _ in shared if name != "store"} == {"socket"}
    assert {path.rpartition("/")[2] for name, path in shared if name == "store"} == {"launcher", "closed"}


def test_nothing_tells_what_it_is_for() -> None:
    """Names are opaque; what the lab must know of a job is an annotation of it."""
    job = manifest(ONE)
    assert "run-a" not in json.dumps({**job, "metadata": {**job["metadata"], "annotations": {}}})
    assert job["metadata"]["annotations"]["livinglab/digest"] == digest_of(ONE)
    assert JobSpec.model_validate_json(job["metadata"]["annotations"]["livinglab/spec"]) == ONE
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "pilots"


def test_what_must_be_there_before() -> None:
    assert needed(LAYOUT, PAIR) == [LAYOUT.dataset("sha256:" + "2" * 64)]
    assert needed(LAYOUT, ONE) == [LAYOUT.area("run-a.1", "inputs")]
    assert all(Path(path).is_relative_to(LAYOUT.root) for path in needed(LAYOUT, ONE))


def test_nothing_of_a_command_is_taken_for_a_variable() -> None:
    spec = ONE.model_copy(update={"containers": (ONE.containers[0].model_copy(update={"argv": ("echo", "$(HOME)", "$$", "$x")}),)})
    assert pod(spec)["containers"][0]["command"][-4:] == ["echo", "$$(HOME)", "$$$$", "$$x"]


def test_what_a_cluster_does_not_know_is_not_asked_of_it() -> None:
    assert set(NEWER) & set(manifest(ONE)["spec"]) == set()
    assert set(job_manifest(SETTINGS, LAYOUT, ONE, ["suspend"])["spec"]) - set(manifest(ONE)["spec"]) == {"suspend"}
