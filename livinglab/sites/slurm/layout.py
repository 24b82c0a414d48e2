"""What lies where on a cluster's scratch, and what a job's folder says to `job.sh`. Names tell nothing of what they stand for.

::

    <root>/bin/<digest>/       launcher, job.sh, apptainer.conf, seccomp.json
    <root>/images/<digest>.sif
    <root>/data/<digest>/      datasets of the vault
    <root>/attempts/<name>/<area>/
    <root>/jobs/<name>/        keys, spec.json, job.launch, <role>.launch, claim, cancelled, left/
    <root>/ended/<name>        made when a job ends, for those who wait
"""

import math
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from livinglab.domain.canonical import canonical, digest_of
from livinglab.domain.isolation import Area
from livinglab.ports import PARTNER_GRACE, ContainerSpec, JobSpec
from livinglab.sites.attest import LAUNCHER, launcher_command
from livinglab.sites.scratch import Layout, archive_bytes, whole_pages
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.staging import SOCKET_BYTES, SOCKET_INODES

SCRATCH = ("/dev",)
"""Besides `/tmp` and `/dev/shm`, a container under Apptainer may write to its own small `/dev`."""
_SPARE_SECONDS = 120
"""A job may take this much longer than its containers: the scheduler ends it only if the script could not."""


def job_files(layout: Layout, settings: SlurmSettings, spec: JobSpec, tools: PurePosixPath) -> dict[str, bytes]:
    """What a job's folder holds when it is submitted, by name."""
    socket = any(m.area == "socket" for c in spec.containers for m in c.mounts)
    job = {
        "ROLES": [str(c.role) for c in spec.containers], "RUN_UID": spec.profile.uid, "RUN_GID": spec.profile.gid,
        "TMP_BYTES": spec.profile.tmp_bytes,
        "SOCKET_BYTES": SOCKET_BYTES if socket else 0, "SOCKET_INODES": SOCKET_INODES,
        "GRACE_SECONDS": f"{PARTNER_GRACE.total_seconds():g}", "APPTAINER": str(settings.apptainer),
        "CONFIG": str(tools / "apptainer.conf"), "SECCOMP": str(tools / "seccomp.json"),
    }  # fmt: skip
    files = {
        "keys": "".join(f"{key}\n" for key in spec.keys).encode(),
        "spec": digest_of(spec).encode(),
        "spec.json": canonical(spec),
        "job.launch": _assignments(job),
    }
    return files | {f"{c.role}.launch": _assignments(_container(layout, settings, spec, c, tools)) for c in spec.containers}


def _container(layout: Layout, settings: SlurmSettings, spec: JobSpec, container: ContainerSpec, tools: PurePosixPath) -> dict[str, object]:
    limits = container.resources
    binds = [f"{tools / 'launcher'}:{LAUNCHER}:ro"]
    for mount in container.mounts:
        source = source_of(layout, spec.attempt, mount.area, mount.dataset)
        binds.append(f"{source}:{mount.target}" + (":ro" if mount.read_only else ""))
    return {
        "CORES": math.ceil(limits.cpus), "MEBIBYTES": limits.memory >> 20, "SIF": str(layout.image(container.image)),
        "WALL_SECONDS": f"{limits.wall_seconds:.3f}", "LOG_BYTES": limits.log_bytes,
        "OUT_BYTES": whole_pages(limits.output_bytes), "OUT_FILES": limits.output_files, "ARCHIVE_BYTES": archive_bytes(limits), "BINDS": binds,
        "GPUS": ["--nv"] if limits.gpus else [], "GRES": f"{settings.gpu}:{limits.gpus}" if limits.gpus else "none",
        "COMMAND": launcher_command(spec, container, scratch=SCRATCH, wait=True),
    }  # fmt: skip


def source_of(layout: Layout, attempt: str, area: Area, dataset: str | None) -> str:
    """Where a mount's folder lies on a node; what the job makes itself begins with `@`."""
    if area == "outputs":
        return "@out"
    if area == "socket":
        return "@socket"
    return str(layout.dataset(dataset) if dataset else layout.area(attempt, area))


def sources_of(layout: Layout, spec: JobSpec) -> list[PurePosixPath]:
    """What must lie at the cluster before a job starts: its images, its datasets, and the areas that were pushed."""
    mounts = [m for c in spec.containers for m in c.mounts if m.dataset or m.area not in ("outputs", "socket")]
    folders = {layout.dataset(m.dataset) if m.dataset else layout.area(spec.attempt, m.area) for m in mounts}
    return sorted(folders | {layout.image(c.image) for c in spec.containers})


def _assignments(values: Mapping[str, object]) -> bytes:
    """As bash reads them; every value is quoted."""
    lines = [f"{name}=({' '.join(shlex.quote(str(v)) for v in value)})" if isinstance(value, list) else f"{name}={shlex.quote(str(value))}"
             for name, value in values.items()]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def cores(spec: JobSpec) -> int:
    """A scheduler gives whole cores."""
    return sum(math.ceil(c.resources.cpus) for c in spec.containers)


def mebibytes(spec: JobSpec) -> int:
    """What is asked for, in the scheduler's unit, never more than the containers' limits."""
    return sum(c.resources.memory >> 20 for c in spec.containers)


def minutes(spec: JobSpec) -> int:
    """The scheduler's own time limit, behind the script's."""
    return math.ceil((spec.wall_seconds + _SPARE_SECONDS) / 60)
