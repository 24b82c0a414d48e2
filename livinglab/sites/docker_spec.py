"""What the Docker Engine is told, and what it says of itself: pure functions over its API's documents."""

from pathlib import Path
from typing import Any

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import IsolationNotProven
from livinglab.domain.isolation import Finding, Property, Resources
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.attest import LAUNCHER, launcher_command
from livinglab.sites.staging import ROLES

LABEL_INSTANCE = "livinglab.instance"
LABEL_KEY = "livinglab.key"
LABEL_SPEC = "livinglab.spec"

GVISOR_PIDS = 64
LOG_ROOM = 16
"""The engine keeps this many times a job's log limit (and 16 MiB) before it rotates: short lines take far more room than they have
bytes. What is rotated counts as over the limit, so a log of hardly anything but empty lines meets it sooner."""


def container_name(instance: str, key: JobKey) -> str:
    """A job's name, the same whoever asks: what makes submitting twice submitting once."""
    return f"livinglab-{instance}-{key.attempt}-{key.role}"


def create_body(instance: str, spec: JobSpec, container: ContainerSpec, image: str, sources: dict[str, Path], launcher: Path) -> dict[str, Any]:
    """The body of `POST /containers/create`: the whole isolation preset.

    Args:
        image: the engine's own id of the image.
        sources: mount target → folder on the engine's machine.
    """
    key = JobKey(attempt=spec.attempt, role=container.role)
    limits, profile = container.resources, spec.profile
    binds = [{"Type": "bind", "Source": str(launcher), "Target": LAUNCHER, "ReadOnly": True}]
    binds += [{"Type": "bind", "Source": str(sources[m.target]), "Target": m.target, "ReadOnly": m.read_only} for m in container.mounts]
    host = {
        "NetworkMode": profile.network,
        "ReadonlyRootfs": profile.read_only_root,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "IpcMode": "private",
        "ShmSize": profile.tmp_bytes,
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={profile.tmp_bytes},mode=1777"},  # noqa: S108 - inside the container
        "Mounts": binds,
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": round(limits.cpus * 1_000_000_000),
        "PidsLimit": limits.pids,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(log_room(container)), "max-file": "2"}},
        "Init": False,
    }
    if spec.runtime:
        host["Runtime"] = spec.runtime
    return {
        "Image": image,
        "Entrypoint": launcher_command(spec, container),
        "Cmd": [],
        "User": f"{profile.uid}:{profile.gid}",
        "WorkingDir": "/",
        "Env": [],
        "Healthcheck": {"Test": ["NONE"]},
        "NetworkDisabled": True,
        "Tty": False,
        "OpenStdin": False,
        "StopSignal": "SIGKILL",
        "Labels": {LABEL_INSTANCE: instance, LABEL_KEY: str(key), LABEL_SPEC: digest_of(spec)},
        "HostConfig": host,
    }


def check_runtime(runtime: str | None, limits: Resources) -> None:
    """`IsolationNotProven` for limits under which gVisor's own threads, which count among the container's, hang it at its start."""
    if runtime == "runsc" and limits.pids < GVISOR_PIDS:
        msg = f"gVisor needs at least {GVISOR_PIDS} processes for itself and the container, and the limit is {limits.pids}"
        raise IsolationNotProven(msg, hint=f"Raise `pids` to {GVISOR_PIDS} in the manifest.")


def log_room(container: ContainerSpec) -> int:
    """Bytes after which the engine rotates a container's log."""
    return LOG_ROOM * container.resources.log_bytes + (16 << 20)


def key_of(summary: dict[str, Any], instance: str) -> JobKey | None:
    """The job behind a container of the engine's list; None unless label and name agree that it is this lab's."""
    attempt, _, role = (summary.get("Labels") or {}).get(LABEL_KEY, "").rpartition(".")
    if role not in ROLES:
        return None
    key = JobKey(attempt=attempt, role=role)
    return key if f"/{container_name(instance, key)}" in (summary.get("Names") or ()) else None


def site_view(inspected: dict[str, Any], container: ContainerSpec, user: str, sources: dict[str, Path], launcher: Path) -> tuple[Finding, ...]:
    """What the engine says that it enforces, one finding per property.

    Args:
        user: `uid:gid` as demanded.
        sources: mount target → folder on the engine's machine, as they were asked for.
    """
    host, config, limits = inspected["HostConfig"], inspected["Config"], container.resources
    options = host.get("SecurityOpt") or []
    env = [pair.partition("=")[0] for pair in config.get("Env") or []]
    networks = sorted((inspected.get("NetworkSettings") or {}).get("Networks") or {})
    shared = [f"{name} {host[name]}" for name in ("PidMode", "UTSMode", "UsernsMode") if host.get(name)]
    shared += [f"IpcMode {host['IpcMode']}"] if host.get("IpcMode") not in ("private", "none") else []
    devices = [f"{name} {host[name]}" for name in ("Devices", "DeviceRequests", "DeviceCgroupRules") if host.get(name)]
    nano_cpus = round(limits.cpus * 1_000_000_000)
    checks: list[tuple[Property, str, str, bool]] = [
        ("network", "none", f"mode {host.get('NetworkMode')}, networks {networks}", host.get("NetworkMode") == "none" and networks in ([], ["none"])),
        ("root", "read-only", f"ReadonlyRootfs {host.get('ReadonlyRootfs')}", host.get("ReadonlyRootfs") is True),
        ("user", user, str(config.get("User")), config.get("User") == user and not host.get("GroupAdd")),
        ("capabilities", "none", f"drop {host.get('CapDrop')}, add {host.get('CapAdd')}, privileged {host.get('Privileged')}, shared {shared}",
         host.get("CapDrop") == ["ALL"] and not host.get("CapAdd") and not host.get("Privileged") and not shared),
        ("no_new_privileges", "true", ", ".join(options), any(o.startswith("no-new-privileges") and not o.endswith("false") for o in options)),
        ("seccomp", "the runtime's filter", f"{host.get('Runtime')}, {', '.join(options)}", not any(o.startswith("seccomp") for o in options)),
        ("memory", str(limits.memory), f"{host.get('Memory')}, with swap {host.get('MemorySwap')}",
         host.get("Memory") == limits.memory == host.get("MemorySwap") and not host.get("OomKillDisable")),
        ("cpu", str(nano_cpus), str(host.get("NanoCpus")), host.get("NanoCpus") == nano_cpus),
        ("pids", str(limits.pids), str(host.get("PidsLimit")), host.get("PidsLimit") == limits.pids),
        ("environment", "nothing but the engine's own", " ".join(env), set(env) <= {"PATH"}),
        ("mounts", *_mounts_view(inspected, container, sources, launcher)),
        ("gpus", str(limits.gpus), ", ".join(devices) or "no device", limits.gpus == 0 and not devices),
    ]  # fmt: skip
    return tuple(Finding(property=name, demanded=demanded, seen=seen, witness="engine", holds=holds) for name, demanded, seen, holds in checks)


def _mounts_view(inspected: dict[str, Any], container: ContainerSpec, sources: dict[str, Path], launcher: Path) -> tuple[str, str, bool]:
    """Demanded, seen, holds. Sources are compared and not told: they are the site's own affair."""
    demanded = {LAUNCHER: (str(launcher), False), **{m.target: (str(sources[m.target]), not m.read_only) for m in container.mounts}}
    seen = {str(m.get("Destination")): (str(m.get("Source")), bool(m.get("RW"))) for m in inspected.get("Mounts") or []}
    host = inspected["HostConfig"]
    extra = [name for name in ("Binds", "VolumesFrom") if host.get(name)]
    extra += [] if set(host.get("Tmpfs") or {}) <= {"/tmp"} else ["Tmpfs"]  # noqa: S108 - inside the container
    return _told(demanded), " ".join([_told(seen), *extra]), seen == demanded and not extra


def _told(mounts: dict[str, tuple[str, bool]]) -> str:
    return ", ".join(f"{target} {'rw' if writable else 'ro'}" for target, (_, writable) in sorted(mounts.items()))
