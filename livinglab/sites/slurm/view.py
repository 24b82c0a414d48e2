"""What `job.sh` saw of a container from outside, as the site's own findings. Pure."""

import math
from collections.abc import Collection, Iterable

from livinglab.domain.isolation import Finding, Property, Witness
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.attest import LAUNCHER, SCRATCH
from livinglab.sites.slurm.layout import SCRATCH as RUNTIMES

_NAMESPACES = ("net", "pid", "ipc", "uts")
_RUNTIMES_NAMES = {"PATH", "HOME", "PWD", "LANG", "PS1", "PROMPT_COMMAND", "LD_LIBRARY_PATH"}
_KERNELS = ("/proc", "/sys", "/dev")
_DRIVERS = ("/.singularity.d/libs", "/usr/bin/nvidia-")
"""Where Apptainer mounts what belongs to a GPU."""
_UNLIMITED = math.inf


def site_view(text: str, spec: JobSpec, container: ContainerSpec) -> tuple[Finding, ...]:
    """One finding per property; none where the script saw nothing, which the judge then refuses."""
    if not text:
        return ()
    seen: dict[str, list[str]] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        seen.setdefault(kind, []).append(rest)
    status = {name: value.split() or ["?"] for name, _, value in (line.partition(":") for line in seen.get("status", []))}
    limits, ids = container.resources, [str(spec.profile.uid), str(spec.profile.gid)]
    interfaces = [line.partition(":")[0].strip() for line in seen.get("interface", []) if ":" in line]
    apart = _apart(seen.get("ns", []))
    capabilities = {name: status.get(name, ["?"])[0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    groups = _groups(seen.get("cgroup", []))
    memory = min(groups.get("memory.limit_in_bytes", [_UNLIMITED]) + groups.get("memory.max", [_UNLIMITED]))
    cores = min(groups.get("cpuset.cpus", [_UNLIMITED]) + groups.get("cpuset.cpus.effective", [_UNLIMITED]))
    names = {name for name in seen.get("environment", []) if name}
    strange = sorted(n for n in names if n not in _RUNTIMES_NAMES and not n.startswith(("APPTAINER_", "SINGULARITY_")))
    checks: list[tuple[Property, str, str, Witness, bool]] = [
        ("network", "none", f"interfaces {interfaces}, apart {sorted(apart)}", "engine", interfaces == ["lo"] and "net" in apart),
        ("root", "read-only", *_root(seen.get("mount", []))),
        ("user", ":".join(ids), ":".join(status.get(k, ["?"])[0] for k in ("Uid", "Gid")), "engine",
         status.get("Uid") == [ids[0]] * 4 and status.get("Gid") == [ids[1]] * 4),
        ("capabilities", "none", f"{capabilities}, apart {sorted(apart)}", "engine",
         all(set(v) == {"0"} for v in capabilities.values()) and apart >= set(_NAMESPACES)),
        ("no_new_privileges", "1", " ".join(status.get("NoNewPrivs", ["?"])), "engine", status.get("NoNewPrivs") == ["1"]),
        ("seccomp", "2 (filter)", " ".join(status.get("Seccomp", ["?"])), "engine", status.get("Seccomp") == ["2"]),
        ("memory", str(limits.memory), f"{memory:.0f}", "cgroup", memory <= limits.memory),
        ("cpu", f"{math.ceil(limits.cpus)} cores", f"{cores:.0f}", "cgroup", cores <= math.ceil(limits.cpus)),
        ("pids", str(limits.pids), *_pids(groups, seen.get("rlimit", []), limits.pids)),
        ("environment", "nothing but the runtime's own", " ".join(sorted(names)), "engine", not strange),
        ("mounts", *_mounts(seen.get("mount", []), container)),
        ("gpus", str(limits.gpus), *_gpus(seen.get("gpus", []), limits.gpus)),
    ]  # fmt: skip
    return tuple(
        Finding(property=name, demanded=demanded, seen=seen_, witness=witness, holds=holds) for name, demanded, seen_, witness, holds in checks
    )


def _apart(lines: Iterable[str]) -> set[str]:
    """The namespaces that are not the node's own."""
    words = (line.split() for line in lines)
    return {word[0] for word in words if len(word) == 3 and word[1] != word[2]}  # noqa: PLR2004 - name, inside, outside


def _groups(lines: Iterable[str]) -> dict[str, list[float]]:
    """File → its values up to the root; sets of cores are counted."""
    found: dict[str, list[float]] = {}
    for line in lines:
        name, _, value = line.strip().partition(" ")
        number = _count(value.strip()) if name.startswith("cpuset") else _number(value.strip())
        found.setdefault(name, []).append(number)
    return found


def _number(text: str) -> float:
    return float(text) if text.isdigit() else _UNLIMITED


def _count(text: str) -> float:
    try:
        ends = [[int(n) for n in part.split("-")] for part in text.split(",") if part]
    except ValueError:
        return _UNLIMITED
    return sum(end[-1] - end[0] + 1 for end in ends) or _UNLIMITED


def _pids(groups: dict[str, list[float]], rlimits: Iterable[str], limit: int) -> tuple[str, Witness, bool]:
    most = min(groups.get("pids.max", [_UNLIMITED]))
    if most <= limit:
        return f"{most:.0f}", "cgroup", True
    hard = next((words[3] for words in map(str.split, rlimits) if words[:2] == ["Max", "processes"] and len(words) > 3), "unlimited")  # noqa: PLR2004 - soft, hard
    return f"at most {hard} by resource limit", "rlimit", _number(hard) <= limit


def _gpus(lines: Collection[str], asked: int) -> tuple[str, Witness, bool]:
    """What the scheduler says that it gave, by its own numbers. That no other is open, the probe tries."""
    given = [number for line in lines for number in line.split(",") if number]
    return f"{len(given)} ({','.join(given) or 'none'})", "scheduler", len(given) == asked and bool(lines)


def _mount_lines(lines: Iterable[str]) -> list[tuple[str, bool, str]]:
    """Point, read-only, kind of file system; a line that cannot be read is a mount that nobody asked for."""
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6:  # noqa: PLR2004 - proc(5): the options are the sixth
            found.append(("(unknown)", False, ""))
            continue
        options = set(fields[5].split(",")) | (set(kind[2].split(",")) if len(kind) > 2 and kind[0] == "overlay" else set())  # noqa: PLR2004
        found.append((fields[4], "ro" in options, kind[0] if kind else ""))
    return found


def _root(lines: Iterable[str]) -> tuple[str, Witness, bool]:
    roots = [read_only for point, read_only, _ in _mount_lines(lines) if point == "/"]
    return ("read-only" if roots and roots[-1] else "writable"), "engine", bool(roots) and roots[-1]


def _mounts(lines: Iterable[str], container: ContainerSpec) -> tuple[str, str, Witness, bool]:
    """Every mount below the kernel's own folders is the runtime's; every other one was asked for, and is as it was asked for."""
    demanded = {LAUNCHER: True, **{m.target: m.read_only for m in container.mounts}, **dict.fromkeys((*SCRATCH, *RUNTIMES), False)}
    seen = {point: read_only for point, read_only, _ in _mount_lines(lines) if point != "/"}
    drivers = {p for p, read_only in seen.items() if container.resources.gpus and read_only and p.startswith(_DRIVERS)}
    known = {*demanded, *_KERNELS, *drivers}
    strange = {p for p in seen if p not in known and not p.startswith(tuple(f"{k}/" for k in _KERNELS))}
    kept = all(point in seen and (seen[point] or not read_only) for point, read_only in demanded.items())
    told = ", ".join(
        f"{point} {'ro' if read_only else 'rw'}" for point, read_only in sorted(seen.items()) if not point.startswith(("/proc/", "/sys/"))
    )
    asked = ", ".join(f"{point} {'ro' if read_only else 'rw'}" for point, read_only in sorted(demanded.items()))
    return asked, told, "engine", kept and not strange
