"""A scheduler's oddities, on a bed that nobody else uses: priorities, reservations, job ids that come again, clocks that differ."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.dispatch.inline import carry_inline
from livinglab.domain.errors import PlatformFault
from livinglab.domain.run import JobKey, Run
from livinglab.ports import Seen
from livinglab.sites.shell import local_shell
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.testing.bench import begin, collected, ended, until
from tests import waiting
from tests.contract.benches import SlurmBench
from tests.fixtures.cluster import ACCEPTED, changed, gather
from tests.fixtures.slurm import SlurmBed
from tests.labs import TINY, Parties

pytestmark = [pytest.mark.slurm, pytest.mark.docker, pytest.mark.slow]  # images are built by an engine

NOWHERE = local_shell(["/nowhere/to/be/found"])
CONFIG = "/etc/slurm/slurm.conf"


@contextmanager
def opened(folder: Path, engine_image: tuple[FileArtifacts, str], bed: SlurmBed, **settings: str) -> Iterator[SlurmBench]:
    own = SlurmSettings.model_validate({"scratch": "/scratch", "partition": "lab", **settings})
    bench = SlurmBench(folder / "bench", *engine_image, bed.local(), NOWHERE, settings=own)
    yield bench
    bench.close()


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> Iterator[SlurmBench]:
    with opened(tmp_path, engine_image, fragile_bed) as bench:
        yield bench


def id_of(bench: SlurmBench, key: JobKey) -> str:
    return next(line.id for line in bench.site._control.queue() if line.name == bench.site.layout.job(key))


def eventually_forgotten(bench: SlurmBench, key: JobKey) -> None:
    job = bench.site.layout.job(key)
    waiting.until(lambda: all(line.name != job for line in bench.site._control.queue()))


@contextmanager
def configured(bed: SlurmBed, **values: object) -> Iterator[None]:
    """The controller, started again with other values."""
    bed.on("ctl", "cp", CONFIG, "/tmp/slurm.conf")
    bed.on("ctl", "sed", "-i", "-E", f"/^({'|'.join(values)})=/d", CONFIG)
    bed.on("ctl", "bash", "-c", 'printf "%s\\n" "$@" >>"$0"', CONFIG, *(f"{name}={value}" for name, value in values.items()))
    restart(bed)
    yield
    bed.on("ctl", "cp", "/tmp/slurm.conf", CONFIG)
    restart(bed)


def restart(bed: SlurmBed) -> None:
    bed.on("ctl", "machine.sh", "stop", "slurmctld")
    bed.on("ctl", "machine.sh", "start", "slurmctld")


# --- priorities -------------------------------------------------------------------------------------------------------


def test_what_operators_put_first_begins_first(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    """Of three that wait for the same room, the last one is put first and the first one last."""
    with opened(tmp_path, engine_image, fragile_bed, partition="exclusive") as bench:
        fragile_bed.on(
            "ctl", "scontrol", "update", "PartitionName=exclusive", "State=DOWN", f"Nodes={fragile_bed.on('ctl', 'sinfo', '-hNo', '%N').split()[0]}"
        )
        first, second, third = (begin(bench, f"run-{n}.1", "greet", cpus=2) for n in "abc")
        bench.site.prioritise(first.attempt, -10)
        bench.site.prioritise(third.attempt, 10)
        fragile_bed.on("ctl", "scontrol", "update", "PartitionName=exclusive", "State=UP")
        begun = {key: ended(bench, key).started_at for key in (first, second, third)}
        assert all(begun.values())
        assert sorted(begun, key=lambda key: str(begun[key])) == [third, second, first]


# --- reservations -----------------------------------------------------------------------------------------------------


def reserve(bed: SlurmBed, *words: str) -> None:
    bed.on("ctl", "scontrol", "create", "reservation", "ReservationName=pilots", "Users=lab", "Nodes=ALL", "Duration=60", *words)


def test_a_reservation_is_waited_for_and_used(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    reserve(fragile_bed, "StartTime=now+30minutes")
    try:
        with opened(tmp_path, engine_image, fragile_bed, reservation="pilots") as bench:
            key = begin(bench, "run-a.1", "greet")
            seen = until(bench.site, key, lambda seen: seen.seen is Seen.PENDING and seen.reason == "Reservation")
            assert "waits for the reservation" in seen.advice
            fragile_bed.on("ctl", "scontrol", "update", "ReservationName=pilots", "StartTime=now")
            assert ended(bench, key).exit_code == 0
            bench.site.release(key.attempt)
    finally:
        fragile_bed.on("ctl", "scontrol", "delete", "ReservationName=pilots")


def test_a_reservation_that_is_not_there_is_told(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    with opened(tmp_path, engine_image, fragile_bed, reservation="nobodys") as bench:
        with pytest.raises(PlatformFault, match="reservation"):
            begin(bench, "run-a.1", "greet")
        bench.site.release("run-a.1")
        assert bench.site.owned() == set()


def test_a_reservation_that_ends_before_a_job_begins(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    """The cluster holds the job, and says that the reservation was deleted."""
    reserve(fragile_bed, "StartTime=now+30minutes")
    with opened(tmp_path, engine_image, fragile_bed, reservation="pilots") as bench:
        key = begin(bench, "run-a.1", "greet")
        until(bench.site, key, lambda seen: seen.reason == "Reservation")
        fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=DOWN")
        fragile_bed.on("ctl", "scontrol", "update", "ReservationName=pilots", "StartTime=now", "EndTime=now+2")
        seen = until(bench.site, key, lambda seen: seen.raw == "RESV_DEL_HOLD")
        fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
        assert seen.seen is Seen.PENDING
        assert "is over" in seen.advice
        bench.site.cancel(key, timedelta(0))
        assert ended(bench, key).raw.startswith("CANCELLED")


# --- maintenance ------------------------------------------------------------------------------------------------------


def until_told(parties: Parties, run: Run, words: str) -> None:
    """Wait until the run's reason for waiting has these words in it."""
    waiting.until(lambda: words in parties.lab.runs.why(parties.authority, run.id).sentence, why=f"it is not told that {words!r}")


def test_what_waits_at_the_cluster_is_held_over_maintenance(tmp_path: Path, fragile_bed: SlurmBed) -> None:
    """Announced while the pilot's job waits in the cluster's queue: the cluster frees up meanwhile, and does not start it."""
    parties = gather(tmp_path / "lab", fragile_bed, changed(TINY, tmp_path, isolation={"witnesses": ACCEPTED}))
    supervisor = parties.supervisor()
    run = parties.request(parties.plan())
    fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=DOWN")
    worker = threading.Thread(target=supervisor.serve, args=(lambda attempt: carry_inline(supervisor, attempt),))
    worker.start()
    try:
        until_told(parties, run, "The partition is down")
        now = datetime.now(UTC)
        window = parties.lab.sites.add_window("cluster", now, now + timedelta(hours=1), "new disks", "operator")
        until_told(parties, run, "It is held there, and let go once the window is over.")
        fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
        control = supervisor.engine.site._control  # type: ignore[attr-defined]
        (line,) = (line for line in control.queue() if line.state == "PENDING")
        until_told(parties, run, "would reach into the site's maintenance")
        fragile_bed.on("login", "srun", "--partition=lab", "--mem=10M", "/bin/true", user="lab")  # the cluster is free: others start
        assert [one.state for one in control.queue() if one.id == line.id] == ["PENDING"]
        parties.lab.sites.remove_window("cluster", window.id, "operator")
        waiting.until(lambda: parties.state(run).state.final)
    finally:
        fragile_bed.on("ctl", "scontrol", "update", "PartitionName=lab", "State=UP")
        supervisor.stopping.set()
        worker.join(30)
    assert parties.state(run).verdict == "PASS"


# --- ids and clocks ---------------------------------------------------------------------------------------------------


def test_an_id_that_is_given_again(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """Ids begin anew at their end. The one of a job that the controller has forgotten is another job's by now: each stays what it was."""
    with configured(fragile_bed, MinJobAge=2):
        first = begin(bench, "run-a.1", "greet")
        assert ended(bench, first).exit_code == 0
        id_ = int(id_of(bench, first))
        eventually_forgotten(bench, first)
    with configured(fragile_bed, FirstJobId=id_, MaxJobId=id_ + 3, MinJobAge=300):
        others = []
        for n in range(4):
            others.append(begin(bench, f"run-b{n}.1", "linger"))
            if id_of(bench, others[-1]) == str(id_):
                break
        second = others[-1]
        assert id_of(bench, second) == str(id_)
        until(bench.site, second, lambda seen: seen.seen is Seen.RUNNING)
        for site in (bench.site, bench.again()):
            assert site.observe([first])[first].raw == "COMPLETED"
            assert [file.path for file in collected(bench, first, site).outputs] == [file.path for file in collected(bench, first).outputs]
        bench.site.cancel(first, timedelta(0))
        bench.site.release(first.attempt)
        assert bench.site.observe([second])[second].seen is Seen.RUNNING
        for key in others:
            bench.site.cancel(key, timedelta(0))
            assert ended(bench, key).raw.startswith("CANCELLED")


@contextmanager
def clocks(bed: SlurmBed, offset: str) -> Iterator[None]:
    """Every program on the compute nodes, Slurm's too, is that far ahead of the controller's clock and of the lab's."""
    preload = 'echo "$1" >/etc/faketimerc; echo /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 >/etc/ld.so.preload'
    for node in ("c1", "c2"):
        bed.on(node, "machine.sh", "stop", "slurmd")
        bed.on(node, "bash", "-c", preload, "x", offset)
        bed.on(node, "machine.sh", "start", "slurmd")
    yield
    for node in ("c1", "c2"):
        bed.on(node, "rm", "/etc/ld.so.preload", "/etc/faketimerc")
        bed.on(node, "machine.sh", "stop", "slurmd")
        bed.on(node, "machine.sh", "start", "slurmd")


@pytest.mark.parametrize("seconds", [-120, 120])
def test_a_node_whose_clock_is_wrong(bench: SlurmBench, fragile_bed: SlurmBed, seconds: int) -> None:
    """Its stamps are its own; what is reckoned from them is right, and nothing is taken for over, or for lost."""
    with clocks(fragile_bed, f"{seconds:+}s"):
        assert abs(int(fragile_bed.on("c1", "date", "+%s")) - time.time() - seconds) < 5
        begun = time.time()
        key = begin(bench, "run-a.1", "greet")
        seen = ended(bench, key)
        taken = time.time() - begun
        assert seen.exit_code == 0
        assert seen.started_at
        assert seen.ended_at
        assert abs(seen.started_at.timestamp() - begun - seconds) < taken + 2
        assert 0 <= (seen.ended_at - seen.started_at).total_seconds() <= taken
        usage = collected(bench, key).usage
        assert 0 <= usage["wall_seconds"] <= taken
        assert 0 <= usage["elapsed_seconds"] <= taken + 1
        assert 0 <= usage.get("queue_seconds", 0.0) <= taken + 1
        late = begin(bench, "run-b.1", "linger", wall_seconds=2)
        assert ended(bench, late).limit == "wall_seconds"


def test_a_profile_that_prints_is_found(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed, ssh_folder: Path) -> None:
    """Over SSH the account's shell reads it before every command."""
    bench = SlurmBench(tmp_path / "bench", *engine_image, fragile_bed.ssh(ssh_folder), NOWHERE)
    fragile_bed.on("login", "bash", "-c", "echo 'echo Welcome to the cluster' >>~lab/.bashrc.new; cat ~lab/.bashrc >>~lab/.bashrc.new")
    fragile_bed.on("login", "bash", "-c", "cp ~lab/.bashrc ~lab/.bashrc.old; mv ~lab/.bashrc.new ~lab/.bashrc; chown lab: ~lab/.bashrc")
    try:
        (demand,) = bench.site.inspect()
        assert (demand.what, demand.holds, demand.needed) == ("the account's profile", False, True)
        assert demand.seen == "it says 'Welcome to the cluster'"
    finally:
        fragile_bed.on("login", "bash", "-c", "mv ~lab/.bashrc.old ~lab/.bashrc; chown lab: ~lab/.bashrc")
    profile, *others = bench.site.inspect()
    assert profile.holds
    assert all(demand.holds for demand in others if demand.needed), others
    bench.close()
