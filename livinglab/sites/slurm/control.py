"""The seam to the scheduler: asking for jobs and looking at them. Two stand behind it, the command line and slurmrestd."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from livinglab.sites.shell import Shell
from livinglab.sites.slurm.config import SlurmSettings


@dataclass(frozen=True)
class Request:
    """A job as it is asked for: nothing in it says what it is for."""

    name: str
    script: str = field(repr=False)
    cores: int
    mebibytes: int
    minutes: int
    gpus: int = 0
    priority: int = 0
    """From −100 to 100; 0 is what the site gives everybody."""
    tasks: int = 0
    """As a job array of so many, each of which asks for all of this; 0 for a job of its own."""


@dataclass(frozen=True)
class Line:
    """A job as the scheduler sees it, in its own words."""

    id: str
    """Of an array's task: `ARRAY_TASK`."""
    name: str
    """Of an array's task: see `task_name`."""
    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: int | None = None
    restarts: int = 0
    submitted: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    usage: tuple[tuple[str, float], ...] = ()
    """What accounting knows: `cpu_seconds`, `memory_peak_bytes`, `energy_joules`, `gpu_seconds`, `queue_seconds`, `elapsed_seconds`."""


def task_name(array: str, task: int) -> str:
    """What the lab calls a task of a job array, all of which have one name at the scheduler."""
    return f"{array}.{task}"


class Control(Protocol):
    """A scheduler. Every call may raise `Unreachable` (nothing is known) and `Failed` (it said no)."""

    @property
    def array_size(self) -> int:
        """The most tasks that an array may have; 1 where none are to be made."""
        ...

    def submit(self, request: Request) -> str:
        """Submit; the job's id. Not idempotent: whoever calls looks the name up first, and after any error."""
        ...

    def queue(self) -> tuple[Line, ...]:
        """Every job of the lab's account that the controller still knows, ended ones too: one query."""
        ...

    def accounted(self, names: Collection[str]) -> tuple[Line, ...]:
        """What accounting knows of jobs of these names, the newest last, requeued runs of one job included: one query."""
        ...

    def cancel(self, ids: Collection[str]) -> None:
        """Ask for the end of these jobs, as they were just seen. Those that have ended meanwhile are none of its business."""
        ...

    def hold(self, ids: Collection[str]) -> None:
        """Keep waiting jobs from starting."""
        ...

    def let_go(self, ids: Collection[str]) -> None:
        """Undo `hold`."""
        ...

    def prioritise(self, id_: str, priority: int) -> None:
        """Give a waiting job another priority, as in `Request`."""
        ...

    def config(self) -> str:
        """How the scheduler is set up, as `scontrol show config` says it."""
        ...


@dataclass(frozen=True)
class Cluster:
    """A cluster as the lab reaches it: files and commands over the shell, jobs over the scheduler."""

    settings: SlurmSettings
    shell: Shell
    control: Control
