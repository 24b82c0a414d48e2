"""What the lab asks a cluster for: one Job for each job, written down whole. Pure.

A job's pod has a container for each of the job's, and one of the lab's own, `collector`, which waits until the lab sends it to bring away
what they left. Nothing of the pod may talk to the API server; what a container may write to are volumes in memory, of a fixed size.
"""

import math
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from livinglab.domain.canonical import canonical, digest_of
from livinglab.domain.isolation import Mount, Resources
from livinglab.ports import PARTNER_GRACE, ContainerSpec, JobSpec
from livinglab.sites.attest import LAUNCHER, launcher_command
from livinglab.sites.kubernetes.config import KubernetesSettings, image_reference
from livinglab.sites.scratch import Layout, archive_bytes, whole_pages
from livinglab.sites.staging import SOCKET_BYTES

Json = dict[str, Any]

LABEL_INSTANCE = "livinglab.instance"
ANNOTATION_KEYS, ANNOTATION_SPEC, ANNOTATION_DIGEST = "livinglab/keys", "livinglab/spec", "livinglab/digest"
ANNOTATION_ENDED, ANNOTATION_HELD, ANNOTATION_FAULT = "livinglab/ended", "livinglab/held", "livinglab/fault"
COLLECTOR = "collector"
STORE = PurePosixPath("/lab")
"""Where the claim is mounted in the staging pod."""
CLOSED = PurePosixPath("/.livinglab/closed")
"""Where a container has the file in which the kubelet takes its last words: nobody but root comes there, or a pilot would fill the node's disk."""
BEGIN = "/.livinglab/begin"
"""Where a container has the pipe that the lab's own container reads: the one's command begins once the other is there, which sees the one's end."""
SPARE_SECONDS = 120
"""A pod's own deadline is so much later than a container's time allows, for a lab that does not look."""
_COLLECTOR = {"cpu": "300m", "memory": "64Mi", "ephemeral-storage": "16Mi"}
"""It waits nearly all of its time, but with less it is stopped for most of each 100 ms in which it works, and that is a run's time twice."""


NEWER: dict[str, Any] = {
    "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
    "podReplacementPolicy": "Failed",
    "suspend": False,
}
"""What older clusters drop from a Job without a word, and newer ones keep: a pod that the cluster takes away is not begun once more."""


def job_manifest(settings: KubernetesSettings, layout: Layout, spec: JobSpec, known: Collection[str] = ()) -> Json:
    """The Job; its name tells nothing of what it is for.

    Args:
        known: of what is `NEWER`, that which the cluster knows.
    """
    name = layout.job(spec.keys[0])
    labels = {LABEL_INSTANCE: layout.root.name, "app.kubernetes.io/managed-by": "livinglab"}
    if settings.queue:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    annotations = {ANNOTATION_KEYS: " ".join(map(str, spec.keys)), ANNOTATION_SPEC: canonical(spec).decode(), ANNOTATION_DIGEST: digest_of(spec)}
    template = {"metadata": {"labels": labels}, "spec": _pod(settings, layout, spec, name)}
    job = {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": template} | {name: NEWER[name] for name in known}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels, "annotations": annotations}, "spec": job}


def _pod(settings: KubernetesSettings, layout: Layout, spec: JobSpec, name: str) -> Json:
    profile = spec.profile
    pod: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False, "hostPID": False, "hostIPC": False, "shareProcessNamespace": False,
        "activeDeadlineSeconds": math.ceil(spec.wall_seconds) + SPARE_SECONDS,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": profile.uid, "runAsGroup": profile.gid, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [*(_container(settings, layout, spec, c, name) for c in spec.containers), _collector(settings, layout, spec, name)],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": settings.claim}}, *_volumes(spec)],
        "nodeSelector": {"kubernetes.io/os": "linux"} | settings.node_selector,
    }  # fmt: skip
    if settings.registry.pull_secret:
        pod["imagePullSecrets"] = [{"name": settings.registry.pull_secret}]
    if settings.runtime_class:
        pod["runtimeClassName"] = settings.runtime_class
    if settings.priority_class:
        pod["priorityClassName"] = settings.priority_class
    return pod


def _container(settings: KubernetesSettings, layout: Layout, spec: JobSpec, container: ContainerSpec, name: str) -> Json:
    own = layout.root / "jobs" / name
    mounts = [_stored(own / "launcher", LAUNCHER), _stored(own / f"{container.role}.begin", BEGIN), _stored(layout.root / "closed", str(CLOSED))]
    mounts += [_mounted(layout, spec, container, mount) for mount in container.mounts]
    mounts += [{"name": f"tmp-{container.role}", "mountPath": "/tmp"}, {"name": f"shm-{container.role}", "mountPath": "/dev/shm"}]  # noqa: S108
    return {
        "name": container.role,
        "image": image_reference(settings.registry, container.image),
        "imagePullPolicy": "IfNotPresent",
        "command": [word.replace("$", "$$") for word in launcher_command(spec, container, begin=BEGIN)],  # `$(NAME)` would be replaced
        "workingDir": "/",
        "resources": _limits(settings, container.resources),
        "securityContext": _confined(),
        "terminationMessagePath": str(CLOSED / "words"),
        "volumeMounts": mounts,
    }


def _collector(settings: KubernetesSettings, layout: Layout, spec: JobSpec, name: str) -> Json:
    """It sees what each container of the job wrote, and writes to the job's own folder and nowhere else."""
    outputs = [c for c in spec.containers if any(m.area == "outputs" for m in c.mounts)]
    sizes = [f"{c.role}={archive_bytes(c.resources) if c in outputs else 0}" for c in spec.containers]
    mounts = [{"name": f"out-{c.role}", "mountPath": f"/out/{c.role}"} for c in outputs]
    return {
        "name": COLLECTOR,
        "image": settings.tools,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "-p", "/job/collect.sh", f"{PARTNER_GRACE.total_seconds():g}", *sizes],
        "workingDir": "/",
        "resources": {"requests": _COLLECTOR, "limits": _COLLECTOR},
        "securityContext": _confined(),
        "volumeMounts": [_stored(layout.root / "jobs" / name, "/job", read_only=False), *mounts],
    }


def _confined() -> Json:
    return {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def _limits(settings: KubernetesSettings, limits: Resources) -> Json:
    """Requests are the limits: nobody takes what another was promised."""
    asked = {"cpu": f"{round(limits.cpus * 1000)}m", "memory": str(limits.memory), "ephemeral-storage": str(64 << 20)}
    if limits.gpus:
        asked[settings.gpu] = str(limits.gpus)
    return {"requests": asked, "limits": asked}


def _volumes(spec: JobSpec) -> Iterable[Json]:
    for container in spec.containers:
        if any(mount.area == "outputs" for mount in container.mounts):
            yield _in_memory(f"out-{container.role}", whole_pages(container.resources.output_bytes))
        yield _in_memory(f"tmp-{container.role}", spec.profile.tmp_bytes)
        yield _in_memory(f"shm-{container.role}", spec.profile.tmp_bytes)
    if any(mount.area == "socket" for container in spec.containers for mount in container.mounts):
        yield _in_memory("socket", SOCKET_BYTES)


def _in_memory(name: str, size: int) -> Json:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}


def _mounted(layout: Layout, spec: JobSpec, container: ContainerSpec, mount: Mount) -> Json:
    if mount.area == "outputs":
        return {"name": f"out-{container.role}", "mountPath": mount.target}
    if mount.area == "socket":
        return {"name": "socket", "mountPath": mount.target, "readOnly": mount.read_only}
    source = layout.dataset(mount.dataset) if mount.dataset else layout.area(spec.attempt, mount.area)
    return _stored(source, mount.target)


def _stored(path: PurePosixPath, target: str, *, read_only: bool = True) -> Json:
    """A part of the claim, as a container sees it."""
    return {"name": "store", "mountPath": target, "subPath": str(path.relative_to(STORE)), "readOnly": read_only}


def needed(layout: Layout, spec: JobSpec) -> list[PurePosixPath]:
    """The folders that must lie on the claim before the Job is created."""
    mounts = [mount for container in spec.containers for mount in container.mounts if mount.area not in ("outputs", "socket")]
    return sorted({layout.dataset(m.dataset) if m.dataset else layout.area(spec.attempt, m.area) for m in mounts})
