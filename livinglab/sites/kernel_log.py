"""The kernel's own word on whom it killed for want of memory: an engine that is busy, or was killed itself, may have missed it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

KMSG = Path("/dev/kmsg")
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
