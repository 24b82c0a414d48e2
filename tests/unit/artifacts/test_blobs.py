"""Blobs appear whole or not at all, once, and cannot be changed without being noticed."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.artifacts.sweeping import drop_old
from livinglab.domain.errors import EvidenceBroken, NotFound, TooLarge


@pytest.fixture
def blobs(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "blobs")


def files(blobs: FileArtifacts) -> list[Path]:
    return [path for path in blobs.root.rglob("*") if path.is_file()]


def test_what_is_put_is_read(blobs: FileArtifacts) -> None:
    digest = blobs.put(b"data")
    assert digest == "sha256:" + hashlib.sha256(b"data").hexdigest()
    assert blobs.read(digest) == b"data"
    assert blobs.path(digest).stat().st_mode & 0o777 == 0o444
    with blobs.open(digest) as stream:
        assert stream.read() == b"data"


def test_the_same_bytes_are_one_blob(blobs: FileArtifacts) -> None:
    assert blobs.put(b"data") == blobs.put(b"data") == blobs.put_stream([b"da", b"ta"], limit=4)[0]
    assert len(files(blobs)) == 1


def test_many_writers_of_the_same_bytes(blobs: FileArtifacts) -> None:
    data = os.urandom(1 << 16)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put_stream([data], limit=len(data))[0], range(32)))
    assert len(digests) == len(files(blobs)) == 1
    assert blobs.read(digests.pop()) == data


def test_nothing_is_kept_of_what_is_too_large(blobs: FileArtifacts) -> None:
    with pytest.raises(TooLarge, match="3"):
        blobs.put_stream([b"da", b"ta"], limit=3)
    assert files(blobs) == []


def test_nothing_is_kept_of_a_stream_that_breaks(blobs: FileArtifacts) -> None:
    def broken() -> Iterator[bytes]:
        yield b"da"
        msg = "the line went dead"
        raise ConnectionError(msg)

    with pytest.raises(ConnectionError):
        blobs.put_stream(broken(), limit=100)
    assert files(blobs) == []


def test_scratch_is_gone_afterwards(blobs: FileArtifacts) -> None:
    with blobs.scratch([b"da", b"ta"], limit=4) as path:
        assert path.read_bytes() == b"data"
    assert files(blobs) == []
    with pytest.raises(TooLarge), blobs.scratch([b"data"], limit=3):
        pass
    assert files(blobs) == []


def test_what_is_put_aside_is_nobodys_until_it_is_kept(blobs: FileArtifacts) -> None:
    there = blobs.put(b"there")
    with blobs.aside() as aside:
        assert (aside.put(b"there"), aside.read(there)) == (there, b"there")
        new = aside.put(b"new")
        assert (aside.read(new), aside.has(new), blobs.has(new)) == (b"new", True, False)
        aside.keep()
        assert (aside.read(new), blobs.read(new)) == (b"new", b"new")
    assert len(files(blobs)) == 2
    assert blobs.path(new).stat().st_mode & 0o777 == 0o444


def test_of_what_is_put_aside_and_not_kept_nothing_is_left(blobs: FileArtifacts) -> None:
    def refused() -> None:
        with blobs.aside() as aside:
            aside.put(b"new")
            aside.put_stream([b"da", b"ta"], limit=3)

    with pytest.raises(TooLarge):
        refused()
    assert list(blobs.root.rglob("*")) == [blobs.root / "incoming"]


def test_two_may_put_the_same_aside(blobs: FileArtifacts) -> None:
    with blobs.aside() as one, blobs.aside() as other:
        assert one.put(b"data") == other.put(b"data")
        one.keep()
        other.keep()
    assert [path.read_bytes() for path in files(blobs)] == [b"data"]


def test_what_a_killed_process_had_not_finished_is_dropped_once_it_is_old(blobs: FileArtifacts) -> None:
    incoming = blobs.root / "incoming"
    for name, age in (("tmp-old", 200), ("tmp-new", 0), ("aside-old/ab/cd", 200), ("aside-in-use/ab/cd", 0)):
        path = incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        for touched in (path, *path.parents):
            if incoming in touched.parents:
                at = time.time() - (age if touched == path else 200)
                os.utime(touched, (at, at))
    blobs.drop_unfinished(older_than=100)
    assert sorted(str(path.relative_to(incoming)) for path in files(blobs)) == ["aside-in-use/ab/cd", "tmp-new"]


def test_what_is_moved_away_while_old_things_are_dropped_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("going", "old"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    lstat = Path.lstat

    def gone(path: Path) -> os.stat_result:
        if path.name == "going":
            path.unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", gone)
    drop_old(tmp_path, older_than=100)
    assert list(tmp_path.iterdir()) == []


def test_changed_bytes_are_noticed(blobs: FileArtifacts) -> None:
    digest = blobs.put(b"data")
    blobs.path(digest).chmod(0o644)
    blobs.path(digest).write_bytes(b"date")
    with pytest.raises(EvidenceBroken):
        blobs.read(digest)


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "", "sha256:", "sha256:../../../etc/passwd", "sha256:" + "0" * 63 + "/", "md5:" + "0" * 32])
def test_what_is_not_there_is_not_found(blobs: FileArtifacts, digest: str) -> None:
    assert not has(blobs, digest)
    for look in (blobs.read, blobs.open, blobs.path):
        with pytest.raises(NotFound):
            look(digest)


def has(blobs: FileArtifacts, digest: str) -> bool:
    try:
        return blobs.has(digest)
    except NotFound:
        return False
