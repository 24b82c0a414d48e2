"""What the cluster says that it enforces on a pod's container, as the site's own findings. Pure."""

from typing import Any

from livinglab.domain.isolation import Finding, Property, Witness
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.kubernetes.manifests import BEGIN, CLOSED

Json = dict[str, Any]

_SHARED = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")


def site_view(pod: Json, spec: JobSpec, container: ContainerSpec) -> tuple[Finding, ...]:
    """One finding per property, from the pod as the API server has it: what an admission webhook changed is seen here."""
    body = pod["spec"]
    mine = next((c for c in body["containers"] if c["name"] == container.role), None)
    if mine is None:
        return ()
    limits, ids = container.resources, (spec.profile.uid, spec.profile.gid)
    own, whole, given = mine.get("securityContext") or {}, body.get("securityContext") or {}, (mine.get("resources") or {}).get("limits") or {}
    user = tuple(own.get(name, whole.get(name)) for name in ("runAsUser", "runAsGroup"))
    shared = [name for name in _SHARED if body.get(name)]
    capabilities = own.get("capabilities") or {}
    seccomp = (own.get("seccompProfile") or whole.get("seccompProfile") or {}).get("type")
    gpus = sum(int(count) for name, count in given.items() if name.endswith("/gpu"))
    checks: list[tuple[Property, str, str, Witness, bool]] = [
        ("network", "none", f"runtime class {body.get('runtimeClassName')}, host network {bool(body.get('hostNetwork'))}", "engine",
         bool(body.get("runtimeClassName")) and not body.get("hostNetwork")),
        ("root", "read-only", f"readOnlyRootFilesystem {own.get('readOnlyRootFilesystem')}", "engine", own.get("readOnlyRootFilesystem") is True),
        ("user", f"{ids[0]}:{ids[1]}", f"{user[0]}:{user[1]}", "engine", user == ids and not whole.get("supplementalGroups")),
        ("capabilities", "none", f"{capabilities}, privileged {own.get('privileged')}, shared {shared}", "engine",
         capabilities == {"drop": ["ALL"]} and not own.get("privileged") and not shared),
        ("no_new_privileges", "true", f"allowPrivilegeEscalation {own.get('allowPrivilegeEscalation')}", "engine",
         own.get("allowPrivilegeEscalation") is False),
        ("seccomp", "the runtime's filter", str(seccomp), "engine", seccomp == "RuntimeDefault"),
        ("memory", str(limits.memory), str(given.get("memory")), "engine", str(given.get("memory")) == str(limits.memory)),
        ("cpu", f"{round(limits.cpus * 1000)}m", str(given.get("cpu")), "engine", _millicores(str(given.get("cpu"))) == round(limits.cpus * 1000)),
        ("pids", str(limits.pids), f"at most {limits.pids} by resource limit", "rlimit", "rlimit" in spec.profile.witnesses.get("pids", ())),
        ("environment", "nothing but the cluster's own", " ".join(e["name"] for e in mine.get("env") or []), "engine",
         not mine.get("env") and not mine.get("envFrom")),
        ("mounts", *_mounts(mine, container)),
        ("gpus", str(limits.gpus), str(gpus), "engine", gpus == limits.gpus),
    ]  # fmt: skip
    return tuple(
        Finding(property=name, demanded=demanded, seen=seen, witness=witness, holds=holds) for name, demanded, seen, witness, holds in checks
    )


def _millicores(text: str) -> int:
    """`500m` or `1`."""
    number = text.removesuffix("m")
    if not number.replace(".", "", 1).isdigit():
        return -1
    return int(number) if text.endswith("m") else round(float(number) * 1000)


def _mounts(mine: Json, container: ContainerSpec) -> tuple[str, str, Witness, bool]:
    """Of the cluster's own there may be none: no account's token, no configuration, no secret."""
    own = {"/.livinglab/launcher": True, BEGIN: True, str(CLOSED): True, "/tmp": False, "/dev/shm": False}  # noqa: S108 - inside the container
    demanded = own | {mount.target: mount.read_only for mount in container.mounts}
    seen = {mount["mountPath"]: bool(mount.get("readOnly")) for mount in mine.get("volumeMounts") or []}
    return _told(demanded), _told(seen), "engine", seen == demanded and mine.get("terminationMessagePath", "").startswith(str(CLOSED))


def _told(mounts: dict[str, bool]) -> str:
    return ", ".join(f"{path} {'ro' if read_only else 'rw'}" for path, read_only in sorted(mounts.items()))
