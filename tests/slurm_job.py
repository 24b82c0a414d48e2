"""One job at a Slurm test bed, and looks at it."""

from collections.abc import Iterator
from contextlib import contextmanager

from livinglab.ports import Observation, Seen
from livinglab.sites.slurm.control import Line
from livinglab.testing.bench import collected, ended, until
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed
from tests.hostile import KEY, begin

SHORT = ("python3", "-c", "import time; print('here', flush=True); time.sleep(3); open('/out/a.txt', 'w').write('data')")


def start(bench: SlurmBench, argv: tuple[str, ...] = SHORT, **limits: float) -> None:
    begin(bench, argv, **limits)


def see(bench: SlurmBench) -> Observation:
    return bench.site.observe([KEY])[KEY]


def runs(bench: SlurmBench) -> Line:
    """The job's line, once its container is seen at work, and the last look at the queue is not of before that."""
    until(bench.site, KEY, lambda seen: seen.seen is Seen.RUNNING and bench.site.logs(KEY, 0, 10) == b"here\n")
    return line_of(bench)


def line_of(bench: SlurmBench) -> Line:
    lines = [line for line in bench.site._control.queue() if line.name == bench.site.layout.job(KEY)]
    assert len(lines) == 1, lines
    return lines[0]


def node_of(line: Line) -> str:
    """The machine of the bed on which a job runs."""
    return f"c{line.nodes[-1]}"


@contextmanager
def stopped(bed: SlurmBed, service: str) -> Iterator[None]:
    bed.on("ctl", "machine.sh", "stop", service)
    try:
        yield
    finally:
        bed.on("ctl", "machine.sh", "start", service)


def assert_it_ran_well(bench: SlurmBench) -> None:
    assert ended(bench, KEY).exit_code == 0
    assert [(f.path, f.size) for f in collected(bench, KEY).outputs] == [("a.txt", 4)]
    assert bench.times_started(KEY) == 1
