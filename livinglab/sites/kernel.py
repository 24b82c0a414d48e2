"""What the kernel itself knows of a container: an engine that is busy, or was killed, may have missed it, and clocks may be set wrong."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

KMSG = Path("/dev/kmsg")
_STARTED = 19
"""Place of the start time (ticks since boot) among the fields of `stat` that follow the name."""
_RECORD = 8192
"""Bytes: longer records there are none."""
# The group stands before the process's name, which is the process's own to choose.
_KILLED = re.compile(rb"oom-kill:constraint=CONSTRAINT_MEMCG,[^\n]*?,oom_memcg=([^,\n]*),")


def killed_for_memory(container: str, log: Path = KMSG) -> bool:
    """Does the kernel remember to have killed something in the group of the container with that id, at the group's own limit?

    False where it does not, or where this process may not ask.
    """
    wanted = container.encode()
    return any(wanted in group for record in _records(log) for group in _KILLED.findall(record))


def age_of(pid: int, container: str, proc: Path = Path("/proc")) -> float | None:
    """Seconds that a container's first process has run, whatever was done to any clock; None if that process cannot be seen from here."""
    try:
        if container not in (proc / str(pid) / "cgroup").read_text():
            return None  # somebody else's: the engine counts its processes in another namespace, or it has ended since
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        up = float((proc / "uptime").read_text().split()[0])
    except OSError:
        return None
    return max(0.0, up - int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK"))


def _records(log: Path) -> Iterator[bytes]:
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(descriptor, _RECORD)
            except BrokenPipeError:
                continue  # overwritten while it was read: the next one is there
            except OSError:
                return  # no more of them just now
            if not record:
                return
            yield record
    finally:
        os.close(descriptor)
