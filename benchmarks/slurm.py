"""What the lab adds to a job on Slurm, on the test bed, in one process and one sitting.

    PYTHONPATH=. .venv/bin/python benchmarks/slurm.py [JOBS]

Printed: the wall time of a bare `sbatch` of one `apptainer exec` until its end is seen, and of the same container as a job of the
site (inputs pushed, submitted, its end seen, collected), alternating, over the same connection; how long after the job's last
line its end is noticed; what both asked of the controller, by its own count (`sdiag` before and after); submissions a second by
1, 4, 8 and 32 threads; and what one cycle asks of the cluster for 10, 1,000 and 10,000 jobs, with this process's threads and
memory. The largest are on a scheduler that is emulated at its command line.
"""

import re
import resource
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from livinglab.domain.run import JobKey
from livinglab.ports import Seen
from livinglab.sites.shell import Shell
from livinglab.sites.slurm.cli import CommandControl
from livinglab.testing.bench import OUT, collected, key_of, push, spec_of
from tests.contract.benches import SlurmBench, python_image
from tests.fixtures.available import why_missing
from tests.fixtures.slurm import SlurmBed, bed_of_this_machine

POLL = 0.25
COUNTS = (10, 1_000, 10_000)


def quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):.3f} s, p99 {ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]:.3f} s (n = {len(ordered)})"


def bare(bench: SlurmBench, shell: Shell) -> float:
    """The same container by hand, its end looked for once per poll."""
    begun = time.perf_counter()
    sif = bench.site.layout.image(bench.image)
    argv = shlex.join(["apptainer", "--silent", "exec", "--containall", "--cleanenv", "--no-home", "--net", "--network", "none", str(sif),
                       "python3", "-c", "print('hello')"])  # fmt: skip
    script = f"#!/bin/bash\n{argv}\n".encode()
    sbatch = "sbatch --parsable --export=NIL --mem=128M --cpus-per-task=1 --chdir=/ --output=/dev/null --partition=lab"
    job = shell.run(sbatch, stdin=script).decode().strip()
    while shell.run('squeue --noheader --jobs "$1" --states=all --format %T', job).decode().strip() not in ("COMPLETED", "FAILED"):
        time.sleep(POLL)
    return time.perf_counter() - begun


def in_the_lab(bench: SlurmBench, number: int) -> tuple[float, float]:
    """Seconds until it was collected, and from the script's last line until its end was seen."""
    begun, attempt = time.perf_counter(), f"run-{number}.1"
    push(bench, attempt, b"data")
    bench.site.submit(spec_of(bench, attempt, "greet"), key_of(attempt))
    while (seen := bench.site.observe([key_of(attempt)])[key_of(attempt)]).seen is not Seen.EXITED:
        bench.site.wait([key_of(attempt)], timedelta(seconds=1))
    noticed = (datetime.now(UTC) - (seen.ended_at or seen.at)).total_seconds()
    collected(bench, key_of(attempt))
    taken = time.perf_counter() - begun
    bench.site.release(attempt)
    return taken, noticed


@dataclass
class Load:
    """What the lab's account asked of the controller, by the controller's own count."""

    bed: SlurmBed
    requests: int = 0
    milliseconds: float = 0.0

    def _count(self) -> tuple[int, int]:
        said = re.search(r"^\s*lab\s*\(\s*\d+\) count:(\d+)\s.*total_time:(\d+)", self.bed.on("ctl", "sdiag"), re.MULTILINE)
        return (int(said[1]), int(said[2])) if said else (0, 0)

    @contextmanager
    def counted(self) -> Iterator[None]:
        before = self._count()
        yield
        after = self._count()
        self.requests += after[0] - before[0]
        self.milliseconds += (after[1] - before[1]) / 1_000

    def of(self, jobs: int) -> str:
        return f"{self.requests / jobs:.1f} requests, {self.milliseconds / jobs:.1f} ms of slurmctld per job"


def overhead(bench: SlurmBench, bed: SlurmBed, shell: Shell, jobs: int) -> None:
    by_hand, lab, noticed = [], [], []
    loads = Load(bed), Load(bed)
    for number in range(jobs):
        with loads[0].counted():
            by_hand.append(bare(bench, shell))
        with loads[1].counted():
            taken, late = in_the_lab(bench, number)
        lab.append(taken)
        noticed.append(late)
    added = [one - other for one, other in zip(lab, by_hand, strict=True)]
    print(f"bare sbatch and apptainer exec   {quantiles(by_hand)}")
    print(f"the same in the lab, collected   {quantiles(lab)}")
    print(f"added                            {quantiles(added)}")
    print(f"container's end to seen          {quantiles(noticed)}")
    print(f"asked of the controller, bare    {loads[0].of(jobs)}")
    print(f"asked of the controller, lab     {loads[1].of(jobs)}")


def submissions(bench: SlurmBench, bed: SlurmBed) -> None:
    """Into a partition that is down, so that nothing runs meanwhile; with the controller's own count of what it was asked."""
    settings = bench.site.settings
    bench.site.settings = bench.site._control._settings = settings.model_copy(update={"partition": "exclusive"})
    bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=DOWN")
    try:
        for threads in (1, 4, 8, 32):
            numbers = range(threads * 10_000, threads * 10_000 + 200)
            load, begun = Load(bed), time.perf_counter()
            with load.counted(), ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda n: bench.site.submit(spec_of(bench, f"run-{n}.1", "greet", mounts=(OUT,)), key_of(f"run-{n}.1")), numbers))
                taken = time.perf_counter() - begun
            print(f"submissions by {threads:2} threads        {len(numbers) / taken:.0f} a second; {load.of(len(numbers))}")
    finally:
        bed.on("login", "scancel", "--me", user="lab")
        bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=UP")
        bench.site.settings = bench.site._control._settings = settings


class Emulated:
    """A cluster that answers squeue with so many jobs of ours, all waiting, and says that each has its folder."""

    def __init__(self, names: list[str]) -> None:
        self.lines = "".join(f"{n}|PENDING||0|0|2026-01-01T00:00:00|N/A|N/A|Priority|{name}|\n" for n, name in enumerate(names, 1)).encode()
        self.asked = 0

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60) -> bytes:  # noqa: ARG002
        self.asked += 1
        if "squeue" in arguments:
            return self.lines
        if "sacct" in arguments:
            return b""
        names = stdin.decode().split() if isinstance(stdin, bytes) else []
        return "".join(f"{name}\tthere\t1\n" for name in names).encode()


def cycles(bench: SlurmBench) -> None:
    for count in COUNTS:
        keys = [JobKey(attempt=f"run-{n}.1", role="pilot") for n in range(count)]
        emulated = Emulated([bench.site.layout.job(key) for key in keys])
        site = bench._site("work", emulated, CommandControl(emulated, bench.site.settings))
        assert all((o.seen, o.raw) == (Seen.PENDING, "PENDING") for o in site.observe(keys).values())  # their folders are seen once
        time.sleep(POLL * 2)
        emulated.asked, begun = 0, time.perf_counter()
        site.observe(keys)
        taken, memory = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cost = f"{emulated.asked} query, {taken:.3f} s, {threading.active_count()} threads, {memory:.0f} MiB at most"
        print(f"a cycle of {count:6,} jobs             {cost}")


def main(jobs: int) -> None:
    if reason := why_missing("slurm"):
        sys.exit(reason)
    bed = bed_of_this_machine()
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        home = Path(folder)
        shell = bed.ssh(home / "ssh")
        bench = SlurmBench(home / "bench", *python_image(home / "image"), shell, shell)
        try:
            bench.site.ensure_image(bench.image)
            overhead(bench, bed, shell, jobs)
            submissions(bench, bed)
            cycles(bench)
        finally:
            bench.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
