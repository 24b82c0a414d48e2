"""Sized volumes: a tmpfs per job, so that bytes and inodes are bounded while the job runs and not counted afterwards."""

import ctypes
import os
from pathlib import Path

from livinglab.domain.errors import IsolationNotProven, PlatformFault

_NOSUID, _NODEV, _NOEXEC = 2, 4, 8
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount_sized(path: Path, *, size: int, inodes: int, uid: int, gid: int) -> None:
    """Mount a tmpfs at `path`, unless there is one; it outlives the container that writes to it.

    Raises:
        IsolationNotProven: this process may not mount, so the limit could not be enforced.
    """
    path.mkdir(parents=True, exist_ok=True)
    if path.is_mount():
        return
    # One inode for the root folder itself; sizes are in whole pages.
    options = f"size={-(-size // 4096) * 4096},nr_inodes={inodes + 1},uid={uid},gid={gid},mode=0700"
    if _libc.mount(b"livinglab", os.fsencode(path), b"tmpfs", _NOSUID | _NODEV | _NOEXEC, options.encode()):
        reason = os.strerror(ctypes.get_errno())
        msg = f"no sized volume could be mounted at {path} ({reason}), so output could not be bounded"
        raise IsolationNotProven(msg, hint="Run the worker as root on the engine's own machine.")


def unmount(path: Path) -> None:
    """Unmount, if it is mounted. `PlatformFault` if the kernel refuses."""
    if path.is_mount() and _libc.umount2(os.fsencode(path), _DETACH):
        msg = f"{path} could not be unmounted ({os.strerror(ctypes.get_errno())})."
        raise PlatformFault(msg)


def is_full(path: Path) -> bool:
    """Is a sized volume out of bytes or inodes? False where none is mounted."""
    if not path.is_mount():
        return False
    room = os.statvfs(path)
    return room.f_bavail == 0 or room.f_favail == 0
