"""The parts of a lab that a campaign breaks, and how each is broken and mended."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from livinglab.sites.tmpfs import mount_sized, unmount
from tests.disks import empty, fill
from tests.fixtures.available import postgres_binaries
from tests.fixtures.engine import OwnEngine
from tests.fixtures.kubernetes import KubernetesBed
from tests.fixtures.postgres import as_somebody_else
from tests.fixtures.slurm import SlurmBed
from tests.waiting import until

READY_WITHIN = 240.0  # seconds
_DATABASE_DISK = 512 << 20  # bytes


class Part(Protocol):
    """Something that breaks. A fault is `kill`, `stop`, or what else the part can suffer; after `mend` it works as before."""

    @property
    def name(self) -> str: ...
    @property
    def faults(self) -> tuple[str, ...]: ...
    @property
    def site(self) -> str | None:
        """The site whose runs alone it holds up; None: everybody's."""
        ...

    def hurt(self, fault: str) -> None: ...
    def mend(self, fault: str) -> None: ...


@dataclass
class Process:
    """A server or a worker of the lab, in a process group of its own."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    ready: Callable[[], object]
    more: Mapping[str, str] = field(default_factory=dict)
    site: str | None = None
    faults: tuple[str, ...] = ("kill", "stop")
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.running = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                                            env={**os.environ, **self.more}, process_group=0)  # fmt: skip
        try:
            until(self.ready, READY_WITHIN, f"{self.name} is not ready")
        except TimeoutError as error:
            error.add_note((self.folder / f"{self.name}.log").read_text(errors="replace")[-3000:])
            raise

    def send(self, number: signal.Signals) -> None:
        assert self.running
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Return when nothing is left of it."""
        if self.running:
            self.send(signal.SIGCONT)
            self.send(number)
            try:
                self.running.wait(30)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                self.running.wait(30)
            self.send(signal.SIGKILL)

    def hurt(self, fault: str) -> None:
        if fault == "kill":
            self.end(signal.SIGKILL)
        else:
            self.send(signal.SIGSTOP)

    def mend(self, fault: str) -> None:
        if fault == "kill":
            self.start()
        else:
            self.send(signal.SIGCONT)


class Database(Process):
    """PostgreSQL with its own defaults, on a Unix socket and a small disk. What a client was told is on the disk stays, however it ends."""

    def __init__(self) -> None:
        binaries = postgres_binaries()
        assert binaries is not None, "PostgreSQL is not installed"
        self.place = Path(tempfile.mkdtemp(prefix="llpg-", dir="/tmp"))  # a socket's path may have 107 bytes
        before = as_somebody_else(self.place, dies_with_us=False)  # it is started again by threads that end
        self.disk, owner = self.place / "disk", self.place.stat()
        mount_sized(self.disk, size=_DATABASE_DISK, inodes=50_000, uid=owner.st_uid, gid=owner.st_gid)
        data = self.disk / "data"
        options: list[str | Path] = ["-D", data, "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-locale"]
        subprocess.run([*before, binaries / "initdb", *options], check=True, capture_output=True, cwd=self.place)
        asked: list[str | Path] = [binaries / "pg_isready", "-q", "-h", self.place, "-U", "lab"]
        super().__init__(
            "postgresql", [*before, binaries / "postgres", "-D", data, "-k", self.place, "-c", "listen_addresses=", "-c", "max_wal_size=128MB"],
            self.place, lambda: subprocess.run(asked, check=False).returncode == 0, faults=("kill", "stop", "full"))  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://lab@/postgres?host={self.place}"

    def hurt(self, fault: str) -> None:
        if fault == "full":
            fill(self.disk)
        else:
            super().hurt(fault)

    def mend(self, fault: str) -> None:
        if fault != "full":
            super().mend(fault)
            return
        empty(self.disk)
        if self.running is None or self.running.poll() is not None:  # it cannot go on without room for its log
            self.start()
        until(self.ready, READY_WITHIN, "postgresql is not ready")

    def remove(self) -> None:
        self.end(signal.SIGINT)
        unmount(self.disk)
        shutil.rmtree(self.place, ignore_errors=True)


@dataclass
class Engine:
    """A Docker Engine."""

    engine: OwnEngine
    name: str = "dockerd"
    site: str | None = "docker"
    faults: tuple[str, ...] = ("kill", "stop", "full")

    def hurt(self, fault: str) -> None:
        if fault == "kill":
            self.engine.end(signal.SIGKILL)
        elif fault == "full":
            fill(self.engine.data)
        else:
            self.engine.pause(signal.SIGSTOP)

    def mend(self, fault: str) -> None:
        if fault == "kill":
            self.engine.start()
        elif fault == "full":
            empty(self.engine.data)
        else:
            self.engine.pause(signal.SIGCONT)


@dataclass
class Controller:
    """Slurm's."""

    bed: SlurmBed
    name: str = "slurmctld"
    site: str | None = "cluster"
    faults: tuple[str, ...] = ("kill", "stop")

    def hurt(self, fault: str) -> None:
        self.bed.on("ctl", "pkill", "-KILL" if fault == "kill" else "-STOP", "-x", "slurmctld")

    def mend(self, fault: str) -> None:
        if fault == "kill":
            until(lambda: self.bed.on("ctl", "sh", "-c", "pgrep -x slurmctld || true") == "", READY_WITHIN, "slurmctld is not gone")
            self.bed.on("ctl", "machine.sh", "start", "slurmctld")
        else:
            self.bed.on("ctl", "pkill", "-CONT", "-x", "slurmctld")


@dataclass
class ApiServer:
    """Kubernetes'."""

    bed: KubernetesBed
    name: str = "kube-apiserver"
    site: str | None = "kubernetes"
    faults: tuple[str, ...] = ("kill", "stop")

    def hurt(self, fault: str) -> None:
        self.bed.act("ctl", "kill" if fault == "kill" else "pause", "kube-apiserver")

    def mend(self, fault: str) -> None:
        self.bed.act("ctl", "start" if fault == "kill" else "resume", "kube-apiserver")


@dataclass
class Disk:
    """The lab's, which API and workers share; a small one, so that it fills at once."""

    home: Path
    name: str = "disk"
    site: str | None = None
    faults: tuple[str, ...] = ("full",)

    def hurt(self, fault: str) -> None:
        assert fault == "full"
        fill(self.home)

    def mend(self, fault: str) -> None:
        empty(self.home)


@dataclass
class Clock:
    """A worker's, ten minutes wrong, by a library that is loaded before all others (`clock.c`)."""

    library: Path
    told: Path
    name: str
    site: str | None
    faults: tuple[str, ...] = ("ahead", "behind")

    @property
    def more(self) -> dict[str, str]:
        """What the worker is to be started with."""
        self._tell(0)
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET": str(self.told)}

    def hurt(self, fault: str) -> None:
        self._tell(600 if fault == "ahead" else -600)

    def mend(self, fault: str) -> None:
        self._tell(0)

    def _tell(self, seconds: int) -> None:
        """In place: the worker has the file mapped."""
        with os.fdopen(os.open(self.told, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
