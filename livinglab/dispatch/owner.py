"""Who holds a lease: a process, told from any other that ever was on any host."""

import os
import socket
from pathlib import Path


def this_owner() -> str:
    """Who this process is: host, pid and start time, so that a recycled pid is not taken for it."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def owner_is_dead(owner: str) -> bool:
    """Is that owner a process of this host that is gone? Of other hosts nothing is known: their lease has to run out."""
    host, pid, started = owner.rsplit(":", 2)
    return host == socket.gethostname() and _started(int(pid)) != started


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone"
