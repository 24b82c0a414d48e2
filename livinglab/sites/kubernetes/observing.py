"""What a Job and its pod, as the API server has them, come to. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from livinglab.domain.run import JobKey
from livinglab.ports import JobSpec, Limit, Observation, Seen
from livinglab.sites.kubernetes.manifests import ANNOTATION_ENDED, ANNOTATION_FAULT, ANNOTATION_HELD, COLLECTOR, SPARE_SECONDS

Json = Mapping[str, Any]

KILLED = 137
_NODE_LOST = ("NodeLost", "NodeAffinity", "Terminated", "NodeShutdown", "Shutdown")
_PREEMPTED = ("Preempting", "Preempted", "PreemptionByScheduler")
_NOT_STARTED = ("StartError", "ContainerCannotRun")
"""Of a container: never its command's doing, for the launcher is what is started. A pod that is begun once more ends so: the launcher is gone."""
_OVER = re.compile(r"emptyDir volume|ephemeral local storage usage exceeds|Container (?P<role>\S+) exceeded its local ephemeral storage limit")
"""Of an eviction: the pod's own doing. What it writes to a node's disk is its log; all else that it may write to is in memory."""

DELETED = "was deleted at the cluster, and not by the lab."
"""How a fault ends that the pod itself does not explain."""

_ADVICE: dict[str, str] = {
    "ErrImagePull": "A node cannot pull its image: the registry does not answer, or does not let the node in (`pull_secret`).",
    "ImagePullBackOff": "A node cannot pull its image, and tries again: the registry does not answer, or does not let the node in (`pull_secret`).",
    "InvalidImageName": "The registry's name in this site's settings cannot be that of an image: correct them.",
    "CreateContainerConfigError": "A node lacks something that the pod mounts: the cluster's administrators look at the claim.",
    "CreateContainerError": "A node's runtime could not make the container: the cluster's administrators look at the node.",
    "ContainerCreating": "Its node pulls images and mounts volumes.",
    "PodInitializing": "Its node makes it ready.",
    "Held": "It is held by the lab.",
    "Suspended": "It is suspended; a queue or an administrator lets it go on.",
}


def observe(key: JobKey, job: Json | None, pods: Sequence[Json], now: datetime, refused: str = "") -> Observation:
    """One container as it stands.

    Args:
        pods: the Job's, the oldest first.
        refused: why the cluster makes no pod of it, if it told.
    """
    if job is None:
        return Observation(key=key, seen=Seen.ABSENT, at=now)
    if not pods:
        return _without_pod(key, job, now, refused)
    pod = pods[0]
    status, raw = container_status(pod, key.role), str(pod["status"].get("phase", "Unknown"))
    state = (status or {}).get("state", {})
    done, gone = state.get("terminated"), is_over(pod) or fault_of(job, pods) is not None
    if (done or gone) and (gone or not collector_waits(pod)):
        started, ended = (moment((done or {}).get(name)) for name in ("startedAt", "finishedAt"))
        return Observation(key=key, seen=Seen.EXITED, raw=raw, reason=_reason(pod, done), at=now, started_at=started, ended_at=ended,
                           exit_code=int((done or {}).get("exitCode", KILLED)), limit=limit_of(key, job, pod))  # fmt: skip
    if done or state.get("running"):
        reason = "what it left is brought away" if done else ""
        return Observation(key=key, seen=Seen.RUNNING, raw=raw, reason=reason, at=now, started_at=moment((done or state["running"]).get("startedAt")))
    reason, message = waits_for(pod, status)
    return Observation(key=key, seen=Seen.PENDING, raw=raw, reason=reason, at=now, advice=advice(reason, message))


def _without_pod(key: JobKey, job: Json, now: datetime, refused: str) -> Observation:
    failed = next((c for c in job["status"].get("conditions", []) if c["type"] == "Failed" and c["status"] == "True"), None)
    if failed or "job" in told_ends(job) or fault_of(job, ()):
        reason = str((failed or {}).get("reason", "ended by the lab"))
        return Observation(key=key, seen=Seen.EXITED, raw="Job", reason=reason, at=now, exit_code=KILLED, ended_at=now)
    if is_held(job):
        return Observation(key=key, seen=Seen.PENDING, raw="Job", reason="Held", at=now, advice=_ADVICE["Held"])
    if job["spec"].get("suspend"):
        return Observation(key=key, seen=Seen.PENDING, raw="Job", reason="Suspended", at=now, advice=_ADVICE["Suspended"])
    reason, said = ("FailedCreate", f"The cluster makes no pod of it: {refused.rstrip('.')}.") if refused else ("", "")
    return Observation(key=key, seen=Seen.PENDING, raw="Job", reason=reason, at=now, advice=said)


def is_held(job: Json) -> bool:
    """Does the lab keep it from beginning?"""
    return ANNOTATION_HELD in job["metadata"].get("annotations", {})


def told_ends(job: Json) -> dict[str, str]:
    """Why the lab ended a container, by its role; and `job` where it ended all of it."""
    return dict(json.loads(job["metadata"].get("annotations", {}).get(ANNOTATION_ENDED, "{}")))


def is_given_up(job: Json) -> bool:
    """Was a fault of the cluster's written down?"""
    return ANNOTATION_FAULT in job["metadata"].get("annotations", {})


def is_over(pod: Json) -> bool:
    """Will nothing of it run any more?"""
    return pod["status"].get("phase") in ("Failed", "Succeeded")


def terminated(pod: Json, role: str) -> Json | None:
    """How a container ended; None where it has not."""
    found: Json | None = ((container_status(pod, role) or {}).get("state") or {}).get("terminated")
    return found


def runs(pod: Json, role: str) -> bool:
    """Is a container at work?"""
    return not is_over(pod) and bool(((container_status(pod, role) or {}).get("state") or {}).get("running"))


def counts(pod: Json) -> bool:
    """Is it more than a pod that was deleted before anything of it began? The cluster makes another, and that is none the worse."""
    return has_begun(pod) or not pod["metadata"].get("deletionTimestamp")


def has_begun(pod: Json) -> bool:
    """Has any of its containers begun?"""
    states = [container.get("state") or {} for container in pod["status"].get("containerStatuses", [])]
    return is_over(pod) or any(state.get("running") or state.get("terminated") for state in states)


def was_cut_off(pod: Json) -> bool:
    """Was it at work when it was seen last? One that is deleted without any grace is never seen as being deleted."""
    return has_begun(pod) and not is_over(pod)


def deleted(pod: Json) -> dict[str, Any]:
    """One that is no more; since when is not known, and asked by nobody."""
    return {**pod, "metadata": {"deletionTimestamp": pod["metadata"]["creationTimestamp"], **pod["metadata"]}}


def collector_waits(pod: Json) -> bool:
    """Has the lab's own container not ended yet?"""
    return not is_over(pod) and terminated(pod, COLLECTOR) is None


def passed_limit(spec: JobSpec, pod: Json, key: JobKey, lasted: float) -> str | None:
    """Why a container that has run for so many seconds must be ended: its time, or that it is left alone and what it wrote was brought away."""
    limits = next(container.resources for container in spec.containers if container.role == key.role)
    if lasted > limits.wall_seconds:
        return "wall_seconds"
    return "alone" if terminated(pod, COLLECTOR) else None


def limit_of(key: JobKey, job: Json, pod: Json) -> Limit | None:
    """The limit that ended it."""
    told, status, done = told_ends(job), pod["status"], terminated(pod, key.role) or {}
    if (mine := told.get(key.role)) in ("wall_seconds", "log_bytes"):
        return mine  # type: ignore[return-value]
    if done.get("reason") == "OOMKilled" and done.get("exitCode"):
        return "memory"
    if status.get("reason") == "DeadlineExceeded" and not told:
        return "wall_seconds"  # the kubelet's own look, where nobody else looked in time
    if status.get("reason") == "Evicted" and (over := _OVER.search(str(status.get("message", "")))):
        if over["role"] not in (None, key.role):
            return None  # its partner's
        return "output_bytes" if over[0].startswith("emptyDir") else "log_bytes"
    return "output_bytes" if done.get("exitCode") and _was_full(pod, key.role) else None


def _was_full(pod: Json, role: str) -> bool:
    """Was there no room left in the volume for a container's outputs?"""
    return _collector_told(pod, role, 0)


def has_sockets(pod: Json, role: str) -> bool:
    """Is a socket among a container's outputs?"""
    return _collector_told(pod, role, 1)


def _collector_told(pod: Json, role: str, what: int) -> bool:
    """One bit of its exit code (see `collect.sh`)."""
    code = int((terminated(pod, COLLECTOR) or {}).get("exitCode", 0))
    commands = [container["command"] for container in pod["spec"]["containers"] if container["name"] == COLLECTOR]
    roles = [word.partition("=")[0] for command in commands for word in command if "=" in word]
    return 0 < code < 1 << 2 * len(roles) and role in roles and bool(code >> what * len(roles) + roles.index(role) & 1)


def fault_of(job: Json, pods: Sequence[Json]) -> str | None:
    """Why the pod's end was the cluster's doing; None where it has not ended so."""
    if is_given_up(job):
        return str(job["metadata"]["annotations"][ANNOTATION_FAULT])
    told = set(told_ends(job).values())
    if not pods or told - {"wall_seconds"}:
        return None
    if len(pods) > 1:
        return (
            f"the cluster began its pod again ({pods[0]['status'].get('reason') or 'the first was deleted'}), so it is not believed that it ran once."
        )
    return _taken_away(pods[0], was_told=bool(told))


def _taken_away(pod: Json, *, was_told: bool) -> str | None:
    """`was_told`: its node was told that it had its time; what was never heard of that node again may have been lost long before."""
    status, node = pod["status"], pod["spec"].get("nodeName", "(none)")
    reason, said = str(status.get("reason", "")), str(status.get("message", "")).strip()
    if reason == "Evicted":
        return None if _OVER.search(said) else f"node {node} evicted it: {said}"
    if reason == "DeadlineExceeded":
        return (
            None
            if was_told or _had_its_time(pod)
            else f"node {node} ended it by its deadline before its containers had their time: they began too late."
        )
    if reason in _PREEMPTED:
        return f"it was preempted on node {node}: {said or 'others have a higher priority'}"
    if reason in _NODE_LOST:
        return f"it was lost with node {node}: {reason}. {said}".strip()
    if failed := _not_started(pod):
        return f"node {node} could not start its containers: {failed}"
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    if target := conditions.get("DisruptionTarget"):
        return f"the cluster took it off node {node}: {target.get('reason')}. {target.get('message', '')}".strip()
    if pod["metadata"].get("deletionTimestamp") and not is_over(pod):
        return f"its pod on node {node} {DELETED}"
    return None


def _had_its_time(pod: Json) -> bool:
    """Did one of its containers run for as long as it may? By one node's clock, in whole seconds."""
    ends = [(status.get("state") or {}).get("terminated") or {} for status in pod["status"].get("containerStatuses", [])]
    times = [(moment(end.get("startedAt")), moment(end.get("finishedAt"))) for end in ends]
    longest = max(((to - begun).total_seconds() for begun, to in times if begun and to), default=0.0)
    return bool(longest + 1 >= pod["spec"].get("activeDeadlineSeconds", 0) - SPARE_SECONDS)


def _not_started(pod: Json) -> str | None:
    ends = [(status.get("state") or {}).get("terminated") or {} for status in pod["status"].get("containerStatuses", [])]
    failed = next((end for end in ends if end.get("reason") in _NOT_STARTED), None)
    return (str(failed.get("message", "")).strip() or str(failed["reason"])) if failed else None


def container_status(pod: Json, role: str) -> Json | None:
    """What the kubelet says of one container."""
    return next((s for s in pod["status"].get("containerStatuses", []) if s["name"] == role), None)


def waits_for(pod: Json, status: Json | None) -> tuple[str, str]:
    """Why a container has not begun: the cluster's word, and its sentence."""
    waiting = (status or {}).get("state", {}).get("waiting") or {}
    if waiting.get("reason"):
        return str(waiting["reason"]), str(waiting.get("message", ""))
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason", "Unschedulable")), str(condition.get("message", ""))
    return "", ""


def advice(reason: str, message: str) -> str:
    """A sentence on what it waits for, and what to do about it."""
    if reason in ("Unschedulable", "SchedulingGated"):
        return f"No node has room for it at the moment: {message.rstrip('.')}." if message else "No node has room for it at the moment."
    return _ADVICE.get(reason, f"The cluster says {reason}." if reason else "")


def _reason(pod: Json, done: Json | None) -> str:
    return str(pod["status"].get("reason") or (done or {}).get("reason") or "")


def moment(text: str | None) -> datetime | None:
    """A time as Kubernetes writes it: whole seconds, in UTC."""
    if not text:
        return None
    return datetime.fromisoformat(text).astimezone(UTC)
