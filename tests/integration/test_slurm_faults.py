"""A Slurm cluster on which things go wrong, on a bed that nobody else uses: a run waits, is told to be the platform's fault, or goes on."""

import hashlib
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.ports import Seen
from livinglab.sites.shell import Shell, local_shell
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.testing.bench import begin, collected, ended, push, until
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed
from tests.hostile import KEY, spec_for
from tests.slurm_job import SHORT, assert_it_ran_well, line_of, node_of, runs, see, start
from tests.waiting import until as eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

NOWHERE = local_shell(["/nowhere/to/be/found"])


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> Iterator[SlurmBench]:
    bench = SlurmBench(tmp_path / "bench", *engine_image, fragile_bed.local(), NOWHERE)
    yield bench
    bench.close()


# --- nodes ------------------------------------------------------------------------------------------------------------


@contextmanager
def killed(bed: SlurmBed, machine: str) -> Iterator[None]:
    subprocess.run(["docker", "kill", f"{bed.name}-{machine}"], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "start", f"{bed.name}-{machine}"], check=True, capture_output=True)
        eventually(lambda: set(bed.on("ctl", "sinfo", "--noheader", "--Node", "--partition=lab", "--format=%T").split()) == {"idle"}, 120)


def test_a_node_that_dies_takes_its_job_with_it(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """Slurm would begin it again on another; the lab does not let it, since the first may be running still."""
    start(bench, bench.argv("linger"))
    line = runs(bench)
    with killed(fragile_bed, node_of(line)):
        assert see(bench).seen is Seen.RUNNING  # as far as anybody knows
        eventually(lambda: see(bench).seen is Seen.EXITED, 120)
        for site in (bench.site, bench.again()):
            with pytest.raises(PlatformFault, match="begun on a node that failed"):
                collected(bench, KEY, site)
    assert line_of(bench).state == "CANCELLED"
    assert bench.site.logs(KEY, 0, 100) == b"here\n"  # once


def test_a_node_that_dies_while_nobody_looks(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """The second try finds the traces of the first, and ends at once."""
    start(bench, bench.argv("linger"))
    line = runs(bench)
    with killed(fragile_bed, node_of(line)):
        eventually(lambda: line_of(bench).restarts == 1, 120)
        fragile_bed.begin_at_once(line.id)
        eventually(lambda: line_of(bench).state == "FAILED")
        assert (line_of(bench).restarts, line_of(bench).exit_code) == (1, 94)
        with pytest.raises(PlatformFault, match="begun on a node that failed"):
            collected(bench, KEY, bench.again())


def test_a_job_that_makes_room_for_another_is_made_again(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    settings = SlurmSettings(scratch=Path("/scratch"), partition="lab", qos="scavenge")
    bench = SlurmBench(tmp_path / "bench", *engine_image, fragile_bed.local(), NOWHERE, settings=settings)
    try:
        start(bench, memory=4 << 30)
        line = runs(bench)
        other = 'sbatch --parsable --qos=normal --partition=lab --mem=4G --nodelist="$1" --output=/dev/null --wrap "sleep 2"'
        bench.shell.run(other, line.nodes)
        # For a moment Slurm gives no reason for a job that it has just put back.
        until(bench.site, KEY, lambda seen: seen.seen is Seen.PENDING and "back into the queue" in seen.advice)
        begun = time.monotonic()
        bench.site.wait([KEY], timedelta(seconds=1))
        assert time.monotonic() - begun > 0.9  # that it was ended is not heard as its end
        fragile_bed.begin_at_once(line.id)
        eventually(lambda: see(bench).seen is Seen.EXITED)
        assert line_of(bench).restarts == 1
        assert_it_ran_well(bench)
    finally:
        bench.close()


@pytest.mark.parametrize(("signal", "sentence"), [("KILL", "ended before its script did"), ("TERM", "told to end on node .*, and not by the lab")])
def test_a_script_that_somebody_ends_on_its_node(bench: SlurmBench, fragile_bed: SlurmBed, signal: str, sentence: str) -> None:
    start(bench, bench.argv("linger"))
    line = runs(bench)
    job = str(bench.site.layout.root / "jobs" / line.name)
    script = 'for pid in $(pgrep --oldest --full "job.sh $1 inside"); do kill -s "$2" "$pid"; done'
    fragile_bed.on(node_of(line), "bash", "-c", script, "x", job, signal)
    ended(bench, KEY)
    with pytest.raises(PlatformFault, match=sentence):
        collected(bench, KEY)


def test_a_job_that_is_suspended_loses_no_time(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    """It is stopped for longer than it may run; its own clock stands still meanwhile."""
    works = "import time; print('here', flush=True); [time.sleep(0.5) for _ in range(8)]; open('/out/a.txt', 'w').write('data')"
    start(bench, ("python3", "-c", works), wall_seconds=12)
    line = runs(bench)
    fragile_bed.on("ctl", "scontrol", "suspend", line.id)
    begun = time.monotonic()
    while time.monotonic() < begun + 14:
        assert see(bench).seen is Seen.RUNNING
        time.sleep(0.5)
    assert see(bench).raw == "SUSPENDED"
    fragile_bed.on("ctl", "scontrol", "resume", line.id)
    assert_it_ran_well(bench)


def test_an_operator_who_cancels_behind_the_labs_back(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    start(bench, bench.argv("linger"))
    fragile_bed.on("ctl", "scancel", runs(bench).id)
    ended(bench, KEY)
    with pytest.raises(PlatformFault, match="somebody cancelled the job at the cluster, and it was not the lab"):
        collected(bench, KEY)


# --- submitted twice --------------------------------------------------------------------------------------------------


class Deaf:
    """A shell that runs what it is told, and the first time that jobs are submitted, does not hear the answer."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.heard = shell, True

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60.0) -> bytes:
        answer = self.shell.run(script, *arguments, stdin=stdin, out=out, timeout=timeout)
        if "sbatch" in arguments and self.heard:
            self.heard = False
            msg = "the connection was cut"
            raise Unreachable(msg)
        return answer


def test_a_submission_whose_answer_was_not_heard(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    bench = SlurmBench(tmp_path / "bench", *engine_image, Deaf(fragile_bed.local()), NOWHERE)
    try:
        with pytest.raises(Unreachable):
            start(bench)
        assert see(bench).seen is not Seen.ABSENT
        handle = bench.again().submit(spec_for(bench, SHORT), KEY)
        assert not handle.created
        assert handle.id == line_of(bench).id
        assert_it_ran_well(bench)
    finally:
        bench.close()


def test_two_jobs_of_one_name_run_once(bench: SlurmBench) -> None:
    start(bench)
    spec, name = spec_for(bench, SHORT), bench.site.layout.job(KEY)
    second = bench.site._control.submit(bench.site._submissions.request(bench.site._job(spec)))
    assert ended(bench, KEY).exit_code == 0
    eventually(lambda: all(line.state in ("COMPLETED", "FAILED") for line in bench.site._control.queue() if line.name == name))
    codes = {line.id: line.exit_code for line in bench.site._control.queue() if line.name == name}
    assert sorted(code or 0 for code in codes.values()) == [0, 96]
    assert second in codes
    assert_it_ran_well(bench)


def test_a_job_that_an_operator_puts_back_after_its_end_is_not_made_again(bench: SlurmBench, fragile_bed: SlurmBed) -> None:
    start(bench)
    first = ended(bench, KEY)
    fragile_bed.on("ctl", "scontrol", "requeue", line_of(bench).id)
    eventually(lambda: line_of(bench).restarts == 1)
    fragile_bed.begin_at_once(line_of(bench).id)
    eventually(lambda: line_of(bench).state in ("COMPLETED", "FAILED"))
    eventually(lambda: see(bench).seen is Seen.EXITED)
    assert see(bench).started_at == first.started_at
    assert [f.path for f in collected(bench, KEY).outputs] == ["a.txt"]


# --- the scratch, and the way there -----------------------------------------------------------------------------------


def test_a_full_scratch(tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed) -> None:
    fragile_bed.on("login", "bash", "-c", "mkdir -p /small && mount -t tmpfs -o size=1g,mode=1777 small /small")
    bench = SlurmBench(
        tmp_path / "bench", *engine_image, fragile_bed.local(), NOWHERE, settings=SlurmSettings(scratch=Path("/small"), partition="lab")
    )
    try:
        bench.site.ensure_image(bench.image)
        push(bench, KEY.attempt, b"data")
        big = tmp_path / "big"
        big.write_bytes(bytes(range(256)) * (32 << 10))
        bench.shell.run("dd if=/dev/zero of=/small/filler bs=1M 2>/dev/null; truncate -s -4M /small/filler")
        with pytest.raises(PlatformFault, match="No space left on device"):
            bench.site.push(KEY.attempt, "hidden", {"big": big})
        bench.shell.run("cat /dev/zero >>/small/filler 2>/dev/null || true")
        with pytest.raises(PlatformFault, match="No space left on device"):
            bench.site.submit(spec_for(bench, SHORT), KEY)
        assert see(bench).seen is Seen.ABSENT
        assert bench.site.owned() == set()
        area = str(bench.site.layout.area(KEY.attempt, "hidden"))
        assert bench.shell.run('[ -e "$1" ] || echo nothing', area) == b"nothing\n"
        bench.shell.run("rm /small/filler")
        bench.site.push(KEY.attempt, "hidden", {"big": big})
        assert bench.shell.run('cat "$1/big"', area) == big.read_bytes()
        assert bench.site.submit(spec_for(bench, SHORT), KEY).created
    finally:
        bench.close()
        fragile_bed.on("login", "umount", "--lazy", "/small")


def test_a_scratch_that_is_not_mounted_is_not_an_empty_one(bench: SlurmBench) -> None:
    start(bench, bench.argv("linger"))
    runs(bench)
    root = str(bench.site.layout.root)
    bench.shell.run('mv "$1" "$1.away"', root)
    try:
        for site in (bench.site, bench.again()):
            assert site.observe([KEY])[KEY].seen in (Seen.UNREACHABLE, Seen.RUNNING)
            with pytest.raises(Unreachable, match="not mounted, or was emptied"):
                site.owned()
            with pytest.raises(Unreachable, match="not mounted, or was emptied"):
                site.release(KEY.attempt)
        assert bench.again().observe([KEY])[KEY].seen is Seen.UNREACHABLE
    finally:
        bench.shell.run('mv "$1.away" "$1"', root)
    assert see(bench).seen is Seen.RUNNING


def test_an_image_that_was_removed_from_the_scratch_is_placed_again(bench: SlurmBench) -> None:
    begin(bench, "run-a.1", "greet")
    bench.shell.run('rm "$1"', str(bench.site.layout.image(bench.image)))
    push(bench, KEY.attempt, b"data")
    with pytest.raises(Unreachable, match="placed there again"):
        bench.site.submit(spec_for(bench, SHORT), KEY)
    assert bench.site.submit(spec_for(bench, SHORT), KEY).created
    assert_it_ran_well(bench)


def test_an_image_whose_build_was_cut_is_built_by_the_next(bench: SlurmBench) -> None:
    """Who builds renews a folder's time every few seconds; one that is old is of somebody who was cut off."""
    building = f"{bench.site.layout.image(bench.image)}".removesuffix(".sif") + ".building"
    bench.shell.run('rm -f "$1"/*.sif*; mkdir -p "$2"', str(bench.site.layout.root / "images"), building)
    with pytest.raises(Unreachable, match="another worker builds this image"):
        bench.site.ensure_image(bench.image)
    bench.shell.run('touch -d "2 minutes ago" "$1"', building)
    assert bench.site.ensure_image(bench.image).startswith("sha256:")
    assert bench.shell.run('ls "$1" | grep -v "[.]sif" || true', str(bench.site.layout.root / "images")) == b""


def test_outputs_that_were_removed_from_the_scratch_are_not_none(bench: SlurmBench) -> None:
    start(bench)
    ended(bench, KEY)
    bench.shell.run('rm "$1/outputs.tar"', str(bench.site.layout.left(KEY)))
    with pytest.raises(PlatformFault, match="removed there before it could be fetched"):
        collected(bench, KEY)


def test_a_connection_that_is_cut_in_the_middle_of_a_file(
    tmp_path: Path, engine_image: tuple[FileArtifacts, str], fragile_bed: SlurmBed, ssh_folder: Path
) -> None:
    """What had arrived is gone on from."""
    bench = SlurmBench(tmp_path / "bench", *engine_image, fragile_bed.ssh(ssh_folder), NOWHERE)
    big = tmp_path / "big"
    with big.open("wb") as out:
        for n in range(512):
            out.write(n.to_bytes(2) * (1 << 19))
    size = big.stat().st_size
    there = str(bench.site.layout.area(KEY.attempt, "hidden"))
    failed: list[Exception] = []

    def send() -> None:
        try:
            bench.site.push(KEY.attempt, "hidden", {"big": big})
        except Unreachable as error:
            failed.append(error)

    def arrived() -> int:
        said = fragile_bed.on("login", "bash", "-c", f"cat {there}.new.*/big 2>/dev/null | wc -c")
        return int(said)

    try:
        _ = bench.site._tools
        sender = threading.Thread(target=send)
        sender.start()
        eventually(lambda: arrived() > 8 << 20)
        for pid in fragile_bed.on("login", "pgrep", "--uid", "lab", "sshd").split():
            with suppress(AssertionError):  # one may take the other with it
                fragile_bed.on("login", "kill", "-KILL", pid)
        sender.join(60)
        assert failed, "it was sent before it could be cut"
        before = arrived()
        assert 8 << 20 < before < size
        bench.site.push(KEY.attempt, "hidden", {"big": big})
        with big.open("rb") as sent:
            digest = hashlib.file_digest(sent, "sha256").hexdigest()
        assert fragile_bed.on("login", "sha256sum", f"{there}/big").split()[0] == digest
    finally:
        bench.close()
