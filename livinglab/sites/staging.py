"""A site's work folder: what was pushed for an attempt, what is known of its jobs, and locks between processes of one machine."""

import fcntl
import filecmp
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from livinglab.domain.errors import Invalid
from livinglab.domain.isolation import Area
from livinglab.domain.model import Frozen
from livinglab.domain.run import JobKey, JobRole
from livinglab.ports import ContainerSpec

ROLES: tuple[JobRole, ...] = get_args(JobRole)
SOCKET_BYTES, SOCKET_INODES = 1 << 20, 64
"""The sized volume of a folder for sockets."""
_ATTEMPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class JobRecord(Frozen):
    """What makes a container ours, and what its limits are. Written before the container is created."""

    container: ContainerSpec
    together: tuple[JobRole, ...]
    """The roles of the job's containers, its own among them: they live and die together."""
    user: str
    """`uid:gid`, as the profile demands."""


@dataclass(frozen=True)
class Staging:
    """`<root>/<attempt>/`: `areas/<area>`, `<role>.json` (the record), `<role>.report`, `<role>.killed`, `<role>/out` (the sized volume)."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        # Its parents may be closed to others: the engine mounts as root, and a container sees the folder that is mounted.
        self.root.chmod(0o711)

    def folder(self, attempt: str) -> Path:
        """An attempt's folder. `Invalid` for a name that is no plain file name."""
        if not _ATTEMPT.fullmatch(attempt) or attempt in ("locks", ".", "..") or attempt.startswith("load-"):
            msg = f"{attempt!r} cannot name an attempt."
            raise Invalid(msg, hint="Letters, digits, '_', '.' and '-' are expected.")
        return self.root / attempt

    def area(self, attempt: str, area: Area) -> Path:
        """Where an area's files lie."""
        return self.folder(attempt) / "areas" / area

    def outputs(self, key: JobKey) -> Path:
        """Where a job's sized volume is mounted."""
        return self.folder(key.attempt) / key.role / "out"

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """Place files for an attempt, read-only and readable by all, in place of whatever the area held.

        The same files once more change nothing: a supervisor that wakes up late must not pull them away from a container.
        """
        folder = self.area(attempt, area)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{area}.", dir=folder.parent))
        for name, source in files.items():
            target = fresh / check_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(source, target)
        for path in (fresh, *(p for p in fresh.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        with self.locked(f"attempt-{attempt}"):
            stale = fresh if _same(fresh, folder) else folder
            shutil.rmtree(stale, ignore_errors=True)
            if stale is folder:
                fresh.rename(folder)

    # --- records -------------------------------------------------------------------------------------------------------

    def record(self, key: JobKey) -> JobRecord | None:
        """What was written down of a job before its container was created."""
        data = self._read(key, "json")
        return JobRecord.model_validate_json(data) if data else None

    def write_record(self, key: JobKey, record: JobRecord) -> None:
        """Whole or not at all."""
        self._write(key, "json", record.model_dump_json().encode())

    def report(self, key: JobKey) -> bytes | None:
        """The launcher's line, if it was kept while the job ran."""
        return self._read(key, "report")

    def write_report(self, key: JobKey, line: bytes) -> None:
        """Keep the launcher's line: a flood of log may wash it away."""
        self._write(key, "report", line)

    def unheard(self, key: JobKey) -> bool:
        """Had the engine kept nothing of what the launcher wrote when that was looked for, long after it must have written?"""
        return self._read(key, "unheard") is not None

    def write_unheard(self, key: JobKey) -> None:
        """Keep that."""
        self._write(key, "unheard", b"")

    def killed(self, key: JobKey) -> bool:
        """Has the lab itself ended it, or set out to?"""
        return self.killed_for(key) is not None

    def killed_for(self, key: JobKey) -> str | None:
        """The limit for which the lab has ended it; empty: for something else; None: it has not."""
        why = self._read(key, "killed")
        return why.decode() if why is not None else None

    def write_kill(self, key: JobKey, limit: str = "") -> None:
        """Write down that the lab ends it, and for which limit. What was written first stays."""
        if not self.killed(key):
            self._write(key, "killed", limit.encode())

    def recorded(self) -> set[JobKey]:
        """Every job that has a record."""
        found = glob.iglob("*/*.json", root_dir=self.root)  # noqa: PTH207 - passes over what others remove meanwhile; `Path.glob` raises
        paths = (path for path in map(Path, found) if path.stem in ROLES)
        return {JobKey(attempt=path.parent.name, role=path.stem) for path in paths}  # type: ignore[arg-type]

    def _read(self, key: JobKey, kind: str) -> bytes | None:
        try:
            return (self.folder(key.attempt) / f"{key.role}.{kind}").read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, key: JobKey, kind: str, data: bytes) -> None:
        folder = self.folder(key.attempt)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        Path(file.name).replace(folder / f"{key.role}.{kind}")

    # --- locks ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """One thread of one process of this machine at a time; the lock goes when the process does."""
        (self.root / "locks").mkdir(exist_ok=True)
        descriptor = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def remove(self, attempt: str) -> None:
        """Everything of an attempt. Its volumes must have been unmounted."""
        shutil.rmtree(self.folder(attempt), ignore_errors=True)
        (self.root / "locks" / f"attempt-{attempt}").unlink(missing_ok=True)


def dataset_in(vault: Path, digest: str) -> Path:
    """Where a dataset lies in a vault: a folder named by the hexadecimal digits of its digest."""
    return vault / digest.removeprefix("sha256:")


def check_name(name: str) -> str:
    """The name of a file that is pushed; `Invalid` if it leads out of its area."""
    if not name or name.startswith("/") or ".." in name.split("/") or "\n" in name or "\\" in name:
        msg = f"{name!r} leads out of its area."
        raise Invalid(msg)
    return name


def _same(one: Path, other: Path) -> bool:
    """Do two folders hold the same names and contents?"""
    names = [{p.relative_to(folder) for p in folder.rglob("*")} for folder in (one, other)]
    return other.is_dir() and names[0] == names[1] and all(filecmp.cmp(one / n, other / n, shallow=False) for n in names[0] if (one / n).is_file())


def _place(source: Path, target: Path) -> None:
    """Hard-linked where that is the same to a reader in a container: blobs are readable by all and never change."""
    mode = source.stat().st_mode & 0o777
    if mode == 0o444:  # noqa: PLR2004 - r--r--r--
        try:
            os.link(source, target)
        except OSError:
            pass  # another file system
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(0o444)
