"""Slurm's daemons go away and come back, the controller with an older memory too: a run waits, goes on, or is told to be the platform's fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.ports import Seen
from livinglab.sites.shell import local_shell
from livinglab.sites.slurm.observing import NOT_OURS
from livinglab.testing.bench import collected, ended, key_of, spec_of, until
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed
from tests.hostile import KEY, spec_for
from tests.slurm_job import SHORT, assert_it_ran_well, line_of, node_of, runs, see, start, stopped
from tests.waiting import until as eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

NOWHERE = local_shell(["/nowhere/to/be/found"])
SPOOL = "/var/spool/slurmctld"


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> Iterator[SlurmBench]:
    bench = SlurmBench(tmp_path / "bench", *engine_image, fragile_bed.local(), NOWHERE)
    yield bench
    bench.close()


def test_a_controller_that_is_started_again_in_the_middle_of_a_run(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    start(bench, bench.argv("linger"))
    runs(bench)
    with stopped(fragile_bed, "slurmctld"):
        eventually(lambda: see(bench).seen is Seen.UNREACHABLE)
        with pytest.raises(Unreachable):
            bench.site.submit(spec_of(bench, "run-b.1", "greet", mounts=()), key_of("run-b.1"))
        with pytest.raises(Unreachable):
            bench.site.cancel(KEY, timedelta(0))
    until(bench.site, KEY, lambda seen: seen.seen is Seen.RUNNING)
    bench.site.release("run-b.1")
    bench.site.cancel(KEY, timedelta(0))
    ended(bench, KEY)
    outcome = collected(bench, KEY)
    assert (outcome.exit_code, outcome.limit) == (137, None)


def test_a_job_that_ends_while_the_controller_is_away(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    start(bench)
    runs(bench)
    with stopped(fragile_bed, "slurmctld"):
        bench.site.wait([KEY], timedelta(seconds=5))
    assert_it_ran_well(bench)


def test_a_job_that_ends_while_accounting_is_away(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """It costs the figures that only accounting has, and they are there again afterwards."""
    with stopped(fragile_bed, "slurmdbd"):
        start(bench)
        assert ended(bench, KEY).exit_code == 0
        away = collected(bench, KEY)
        nobody = key_of("run-nobody.1")
        assert bench.site.observe([nobody])[nobody].seen is Seen.ABSENT  # nothing of it lies at the cluster, so accounting is not asked
    eventually(lambda: "elapsed_seconds" in collected(bench, KEY).usage)
    after = collected(bench, KEY)
    assert away.outputs == after.outputs
    assert "elapsed_seconds" not in away.usage
    assert {name: away.usage[name] for name in ("wall_seconds", "memory_peak_bytes", "cpu_seconds")}.items() <= after.usage.items()


def test_a_job_that_the_controller_has_forgotten(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """Accounting knows it; and where accounting is away too, nothing is known of it."""
    fragile_bed.on("ctl", "sed", "-i", "s/^MinJobAge=.*/MinJobAge=2/", "/etc/slurm/slurm.conf")
    fragile_bed.on("ctl", "scontrol", "reconfigure")
    try:
        start(bench)
        eventually(lambda: see(bench).seen is Seen.EXITED)
        eventually(lambda: not [line for line in bench.site._control.queue() if line.name == bench.site.layout.job(KEY)], 120)
        site = bench.again()
        with stopped(fragile_bed, "slurmdbd"):
            assert site.observe([KEY])[KEY].seen is Seen.UNREACHABLE
        assert site.observe([KEY])[KEY].raw == "COMPLETED"
        assert [f.path for f in collected(bench, KEY, site).outputs] == ["a.txt"]
        assert not site.submit(spec_for(bench, SHORT), KEY).created
    finally:
        fragile_bed.on("ctl", "sed", "-i", "s/^MinJobAge=.*/MinJobAge=300/", "/etc/slurm/slurm.conf")
        fragile_bed.on("ctl", "scontrol", "reconfigure")


# --- a controller that was killed before it saved what it knew ---------------------------------------------------------


@contextmanager
def forgetting(bed: SlurmBed) -> Iterator[None]:
    """What the controller hears inside is not saved: it is killed, and comes back with what it knew before. It saves every few seconds."""
    with stopped(bed, "slurmctld"):
        bed.on("ctl", "cp", "-a", SPOOL, f"{SPOOL}.before")
    yield
    bed.on("ctl", "sh", "-c", "pkill -KILL -x slurmctld; while pgrep -x slurmctld; do sleep 0.1; done")
    bed.on("ctl", "sh", "-c", f"rm -rf {SPOOL} && mv {SPOOL}.before {SPOOL}")
    bed.on("ctl", "machine.sh", "start", "slurmctld")
    # Its numbers begin anew too, and nodes still know the jobs that had them.
    bed.on("ctl", "sh", "-c", "for _ in 1 2 3; do scancel $(sbatch --parsable --hold --wrap true); done", user="lab")


@pytest.fixture
def partition(fragile_bed: SlurmBed) -> Iterator[SlurmBed]:
    """One that starts nothing; it does again afterwards, on every node."""
    fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=DOWN")
    yield fragile_bed
    fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
    fragile_bed.give_back_nodes()


def age(bench: SlurmBench, what: str) -> None:
    """Two minutes pass for a job's folder, or for what is in it."""
    bench.shell.run('touch -d "130 seconds ago" "$1/jobs/$2/$3"', str(bench.site.layout.root), bench.site.layout.job(KEY), what)


def test_a_job_that_is_forgotten_while_it_runs_is_lost(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """Its node ends what nobody knows."""
    with forgetting(fragile_bed):
        start(bench, bench.argv("linger"))
        node = node_of(runs(bench))
    assert see(bench).seen is Seen.PENDING  # it might not be shown yet
    age(bench, ".")
    eventually(lambda: see(bench).seen is Seen.ABSENT)
    eventually(lambda: not fragile_bed.on(node, "sh", "-c", "pgrep -f [j]ob.sh || true"))


def test_a_job_that_is_forgotten_after_its_end_is_known_to_accounting(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    with forgetting(fragile_bed):
        start(bench)
        ended(bench, KEY)
        eventually(lambda: "elapsed_seconds" in collected(bench, KEY).usage)
    assert ended(bench, KEY).exit_code == 0
    assert [file.path for file in collected(bench, KEY).outputs] == ["a.txt"]


def test_a_job_that_is_put_back_after_its_release_begins_nothing(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """As by a controller that does not remember its end, and finds it missing on its node."""
    start(bench)
    ended(bench, KEY)
    line = line_of(bench)
    bench.site.release(KEY.attempt)
    fragile_bed.on("ctl", "scontrol", "requeue", line.id)
    fragile_bed.begin_at_once(line.id)
    eventually(lambda: line_of(bench).state == "FAILED")
    assert (line_of(bench).restarts, line_of(bench).exit_code) == (1, NOT_OURS)
    assert bench.site.owned() == set()
    assert bench.shell.run('find "$1/jobs" "$1/ended" -mindepth 1', str(bench.site.layout.root)) == b""


def test_a_job_that_ends_unheard_and_is_forgotten_is_lost(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """To accounting it runs for ever."""
    with forgetting(fragile_bed):
        start(bench)
        runs(bench)
        fragile_bed.on("ctl", "pkill", "-KILL", "-x", "slurmctld")
        bench.site.wait([KEY], timedelta(seconds=10))
    eventually(lambda: see(bench).reason == "it has ended, and accounting has not been told how")
    age(bench, "left/end")
    eventually(lambda: see(bench).seen is Seen.ABSENT)


def test_a_job_that_would_be_started_once_more_beside_itself_is_lost(bench: SlurmBench, partition: SlurmBed) -> None:
    """Its node does not start it, and Slurm holds it until a person lets it go, and the node too."""
    start(bench, bench.argv("linger"))
    until(bench.site, KEY, lambda seen: seen.reason == "PartitionDown")
    with forgetting(partition):
        partition.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
        runs(bench)
    partition.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
    ended(bench, KEY)
    with pytest.raises(PlatformFault, match=r"could not be started on a node, and the cluster holds it \(launch failed requeued held\)"):
        collected(bench, KEY)
    assert line_of(bench).state == "CANCELLED"


def test_a_job_that_is_started_once_more_after_its_end_is_not_made_again(bench: SlurmBench, partition: SlurmBed) -> None:
    start(bench)
    until(bench.site, KEY, lambda seen: seen.reason == "PartitionDown")
    with forgetting(partition):
        partition.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
        first = ended(bench, KEY)
    partition.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
    assert ended(bench, KEY).started_at == first.started_at
    assert_it_ran_well(bench)
