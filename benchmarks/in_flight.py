"""A worker with 10, 1,000 and 10,000 attempts in flight, each of which waits for its job on a Slurm cluster.

    PYTHONPATH=. .venv/bin/python benchmarks/in_flight.py [COUNTS]

The engine, the supervisor, the site and the database (SQLite) are the real ones; the cluster is emulated at its command line, where
every job waits in the queue. Printed for each count: how long it takes until all are claimed and parked; then, over ten seconds in which
nothing happens, the commands to the cluster and the transactions a second, and the share of a core; threads and memory; and how long after
a person's cancelling of a run its attempt is advanced.
"""

import contextlib
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from livinglab.bootstrap import SystemClock
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.run import JobKey, JournalEntry, RunState, Step
from livinglab.ports import Progress, Store
from livinglab.services.engine import Engine
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Cluster
from livinglab.sites.slurm.site import SlurmSite
from tests.unit.services.test_engine import World, make_world

COUNTS = (10, 1_000, 10_000)
QUIET_SECONDS = 10.0
STEPS = (Step.ADMIT, Step.IMAGES, Step.PREPARE, Step.STAGE)


@dataclass
class Emulated:
    """A cluster that answers squeue with every job of ours, all waiting, and says that each has its folder."""

    lines: bytes = b""
    asked: int = 0

    def run(self, script: str, *arguments: str, stdin: Any = b"", out: Any = None, timeout: float = 60) -> bytes:  # noqa: ARG002
        self.asked += 1
        if "squeue" in arguments:
            return self.lines
        if "ended" in script and "known" in script:
            time.sleep(float(arguments[1]))  # nothing ends
            return b""
        names = stdin.decode().split() if isinstance(stdin, bytes) else []
        return "".join(f"{name}\tthere\t1\n" for name in names).encode()


@dataclass
class Counted:
    """The store, counting."""

    store: Store
    transactions: int = 0

    @contextlib.contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Any]:
        self.transactions += 1
        with self.store.transaction(read_only=read_only) as tx:
            yield tx


@dataclass(frozen=True)
class Timed(Engine):
    """The engine, remembering who was advanced last and when."""

    advanced: dict[str, float] = field(default_factory=dict)

    def advance(self, attempt_id: str, epoch: int) -> Progress:
        progress = super().advance(attempt_id, epoch)
        self.advanced[attempt_id] = time.perf_counter()
        return progress


def fill(world: World, site: SlurmSite, cluster: Emulated, count: int) -> list[str]:
    """So many runs whose pilot's job waits at the cluster; their ids."""
    run = world.request()
    (_, (attempt, *_)) = world.look(run)
    runs, lines = [], []
    with world.lab.store.transaction() as tx:
        first = tx.run(run.id)
        assert first
        for n in range(count):
            one = first.model_copy(update={"id": f"run-{n:026}", "ordinal": n + 2, "state": RunState.RUNNING})
            mine = attempt.model_copy(update={"run": one.id, "state": RunState.RUNNING, "step": Step.EXECUTE})
            tx.add_run(one, mine)
            at = world.lab.clock.now()
            for step in STEPS:
                tx.write_journal(JournalEntry(attempt=mine.id, step=step, status="done", data={"outputs": {}}, at=at), 0)
            intent = {"handle": str(n), "created": True}
            tx.write_journal(JournalEntry(attempt=mine.id, step=Step.EXECUTE, status="intent", data=intent, at=at), 0)
            lines.append(f"{n + 1}|PENDING||0|0|2026-01-01T00:00:00|N/A|N/A|Priority|{site.layout.job(JobKey(attempt=mine.id, role='pilot'))}|\n")
            runs.append(one.id)
    world.lab.runs.cancel(world.participant, run.id, "not of the measurement")
    cluster.lines = "".join(lines).encode()
    return runs


@dataclass
class Bench:
    """A worker and what stands around it."""

    folder: Path
    count: int

    def __post_init__(self) -> None:
        self.world, self.cluster = make_world(self.folder, {}), Emulated()
        settings = SlurmSettings(scratch=Path("/scratch"))
        site = SlurmSite(name="docker", instance="lab", root=self.folder / "work", vault=self.folder, launcher=Path(__file__),
                         images=None, clock=SystemClock(),  # type: ignore[arg-type]
                         cluster=Cluster(settings, self.cluster, CommandControl(self.cluster, settings)))  # fmt: skip
        self.runs = fill(self.world, site, self.cluster, self.count)
        self.store = Counted(self.world.lab.store)
        own = {"site": site, "store": self.store, "recorder": replace(self.world.engine.recorder, clock=SystemClock())}
        self.engine = Timed(**{**vars(self.world.engine), **own})
        self.supervisor = Supervisor(store=self.store, engine=self.engine, clock=SystemClock(), slots=2, in_flight=20_000)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self.supervisor.serve, args=(lambda attempt: carry_inline(self.supervisor, attempt),))
        thread.start()
        try:
            yield
        finally:
            self.supervisor.stopping.set()
            thread.join()

    def claimed(self) -> float:
        """Seconds until each was advanced, and looked at by the one who looks after all."""
        begun = time.perf_counter()
        while len(self.engine.advanced) < self.count or len(self.supervisor._lookout._signs) < self.count - 2:
            time.sleep(0.05)
        return time.perf_counter() - begun

    def quiet(self) -> str:
        asked, transactions, cpu, begun = self.cluster.asked, self.store.transactions, time.process_time(), time.perf_counter()
        time.sleep(QUIET_SECONDS)
        seconds = time.perf_counter() - begun
        rates = [(self.cluster.asked - asked) / seconds, (self.store.transactions - transactions) / seconds, (time.process_time() - cpu) / seconds]
        return "{:.1f} commands and {:.1f} transactions a second, {:.0%} of a core".format(*rates)

    def until_heeded(self) -> float:
        """Seconds from a person's cancelling of a run to its attempt's next step; the median of five."""
        late = []
        for run in self.runs[:: max(1, self.count // 5)][:5]:
            asked = time.perf_counter()
            self.world.lab.runs.cancel(self.world.participant, run, "measured")
            while self.engine.advanced[f"{run}.1"] < asked:
                time.sleep(0.002)
            late.append(self.engine.advanced[f"{run}.1"] - asked)
        return statistics.median(late)


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        bench = Bench(Path(folder), count)
        with bench.at_work():
            claimed, quiet = bench.claimed(), bench.quiet()
            threads, memory = threading.active_count(), int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20
            heeded = bench.until_heeded()
    print(f"{count:6,} in flight: claimed and parked in {claimed:.1f} s; then {quiet}; {threads} threads, {memory} MiB;"
          f" from a cancel to the next step {heeded:.2f} s")  # fmt: skip


if __name__ == "__main__":
    for number in [int(word) for word in sys.argv[1:]] or COUNTS:
        measure(number)
