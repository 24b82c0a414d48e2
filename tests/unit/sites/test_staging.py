"""A site's work folder: nothing leads out of it, a record is whole or not there, and an engine elsewhere is refused."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from livinglab.domain.errors import Invalid, IsolationNotProven
from livinglab.domain.isolation import Resources
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec
from livinglab.sites.docker_engine import connect, moment, times
from livinglab.sites.docker_logs import first_line
from livinglab.sites.staging import JobRecord, Staging

KEY = JobKey(attempt="run-a.1", role="pilot")
RECORD = JobRecord(container=ContainerSpec(role="pilot", image="sha256:" + "0" * 64, argv=("true",), mounts=(), resources=Resources()),
                   together=("pilot",), user="65532:65532")  # fmt: skip


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "work")


def test_others_may_be_released_while_all_records_are_looked_through(staging: Staging) -> None:
    staging.write_record(KEY, RECORD)
    others = [JobKey(attempt=f"run-b.{n}", role="pilot") for n in range(50)]

    def come_and_go() -> None:
        for _ in range(10):
            for key in others:
                staging.write_record(key, RECORD)
            for key in others:
                staging.remove(key.attempt)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(come_and_go)
        while not busy.done():
            assert KEY in staging.recorded()
        busy.result()
    assert staging.recorded() == {KEY}


@pytest.mark.parametrize("attempt", ["", ".", "..", "../x", "a/b", "/x", "locks", "load-x", "a\nb", "-x", "x" * 101, "a b"])
def test_an_attempts_name_is_plain(staging: Staging, attempt: str) -> None:
    with pytest.raises(Invalid):
        staging.folder(attempt)


def test_what_is_pushed_is_readable_by_all_and_writable_by_none(staging: Staging, tmp_path: Path) -> None:
    private, blob = tmp_path / "private", tmp_path / "blob"
    private.write_text("p")
    private.chmod(0o600)
    blob.write_text("b")
    blob.chmod(0o444)
    before = os.umask(0o077)
    try:
        staging.push("run-a.1", "inputs", {"sub/p": private, "b": blob})
    finally:
        os.umask(before)
    area = staging.area("run-a.1", "inputs")
    modes = {p.relative_to(area).as_posix(): p.stat().st_mode & 0o777 for p in area.rglob("*")}
    assert modes == {"sub": 0o755, "sub/p": 0o444, "b": 0o444}
    assert area.stat().st_mode & 0o777 == 0o755
    assert (area / "b").stat().st_ino == blob.stat().st_ino  # not copied: blobs never change
    assert private.stat().st_mode & 0o777 == 0o600


def test_pushing_the_same_again_does_not_pull_it_away_from_a_container(staging: Staging, tmp_path: Path) -> None:
    """A supervisor that wakes up late pushes once more: what is mounted by then must stay."""
    source = tmp_path / "source"
    source.write_text("data")
    staging.push("run-a.1", "inputs", {"sub/a": source})
    mounted = os.open(staging.area("run-a.1", "inputs"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        staging.push("run-a.1", "inputs", {"sub/a": source})
        assert os.listdir(mounted) == ["sub"]  # noqa: PTH208 - the folder that is mounted, whatever has its name by now
    finally:
        os.close(mounted)
    source.write_text("other")
    staging.push("run-a.1", "inputs", {"sub/a": source})
    assert (staging.area("run-a.1", "inputs") / "sub" / "a").read_text() == "other"
    staging.push("run-a.1", "inputs", {})
    assert [p.name for p in staging.area("run-a.1", "inputs").parent.rglob("*")] == ["inputs"]


def test_two_that_push_at_once_do_not_disturb_each_other(staging: Staging, tmp_path: Path) -> None:
    sources = {f"{n}": tmp_path / f"{n}" for n in range(50)}
    for name, source in sources.items():
        source.write_text(name)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: staging.push("run-a.1", "inputs", sources), range(32)))
    area = staging.area("run-a.1", "inputs")
    assert {p.name: p.read_text() for p in area.iterdir()} == {name: name for name in sources}


def test_records_are_found_again(staging: Staging) -> None:
    assert staging.record(KEY) is None
    staging.write_record(KEY, RECORD)
    again = Staging(staging.root)
    assert again.record(KEY) == RECORD
    assert again.recorded() == {KEY}
    again.remove("run-a.1")
    assert staging.recorded() == set()


def test_an_engine_on_another_machine_is_refused() -> None:
    with pytest.raises(IsolationNotProven, match="another machine"):
        connect("tcp://192.0.2.1:2375")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and setpriv (util-linux) to give it up")
def test_without_the_right_to_mount_it_is_refused(tmp_path: Path) -> None:
    """Run as nobody: output could not be bounded, and that is said instead of going on with less."""
    tmp_path.chmod(0o777)
    code = f"""
from pathlib import Path
from livinglab.domain.errors import IsolationNotProven
from livinglab.sites.tmpfs import mount_sized
try:
    mount_sized(Path({os.fspath(tmp_path)!r}), size=4096, inodes=4, uid=65532, gid=65532)
except IsolationNotProven as error:
    print(error)
"""
    program = [shutil.which("setpriv") or "", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable, "-c", code]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "as root" in done.stdout
    assert not tmp_path.is_mount()


@pytest.mark.parametrize(("pieces", "line"), [
    ([], None),
    ([(True, b"abc")], None),
    ([(True, b"abc\ndef")], b"abc\n"),
    ([(True, b"a"), (False, b"x\n"), (True, b"bc\n")], b"abc\n"),
    ([(False, b"x\n")], None),
    ([(True, b"x" * 20), (True, b"\n")], None),
])  # fmt: skip
def test_the_first_line_of_standard_output(pieces: list[tuple[bool, bytes]], line: bytes | None) -> None:
    assert first_line(iter(pieces), 10) == line


def test_the_engines_times() -> None:
    assert moment("0001-01-01T00:00:00Z") is None
    assert moment("") is None
    at = moment("2026-11-24T15:28:41.807656123Z")
    assert at is not None
    assert (at.isoformat(), moment("2026-11-24T15:28:41Z") is not None) == ("2026-11-24T15:28:41.807656+00:00", True)


@pytest.mark.parametrize(("started", "ended", "first"), [("01", "02", "01"), ("02", "01", "01"), ("01", "01", "01")])
def test_a_life_that_was_over_before_its_start_was_noted_lasted_no_time_at_all(started: str, ended: str, first: str) -> None:
    state = {"StartedAt": f"2026-01-01T00:00:{started}.5Z", "FinishedAt": f"2026-01-01T00:00:{ended}.5Z"}
    assert times(state) == (moment(f"2026-01-01T00:00:{first}.5Z"), moment(f"2026-01-01T00:00:{ended}.5Z"))


def test_what_has_not_ended_has_no_end() -> None:
    state = {"StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "0001-01-01T00:00:00Z"}
    assert times(state) == (moment("2026-01-01T00:00:01Z"), None)
