"""Files to a cluster and back, through a bash on this machine: whole or not at all, whatever befalls the way."""

import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pytest

from livinglab.domain.errors import Invalid, LivingLabError, NotFound, PlatformFault, TooLarge, Unreachable
from livinglab.sites.shell import Failed, Shell, local_shell
from livinglab.sites.transfer import SMALL, fetch, fetch_small, place

BIG = bytes(range(256)) * (SMALL // 64)
"""Four times what travels in a packet of small files."""


class Way:
    """A shell on the way to which something happens: `cut` ends the `at`th stream after so many bytes, `damage` changes one."""

    def __init__(self, *, cut: int | None = None, damage: int | None = None, at: int = 1) -> None:
        self.shell, self.cut, self.damage, self.at = local_shell(), cut, damage, at
        self.streams: list[int] = []

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60.0) -> bytes:
        if isinstance(stdin, bytes):
            return self._answer(script, arguments, stdin, out, timeout)
        data = stdin.read()  # from where it stands
        self.streams.append(len(data))
        if len(self.streams) != self.at:
            return self.shell.run(script, *arguments, stdin=data, timeout=timeout)
        if self.damage is not None:
            data = data[: self.damage] + bytes([data[self.damage] ^ 1]) + data[self.damage + 1 :]
        self.shell.run(script, *arguments, stdin=data[: self.cut], timeout=timeout)
        if self.cut is not None:
            raise Unreachable("the connection was cut")
        return b""

    def _answer(self, script: str, arguments: tuple[str, ...], stdin: bytes, out: BinaryIO | None, timeout: float) -> bytes:
        if out is None or self.cut is None:
            return self.shell.run(script, *arguments, stdin=stdin, out=out, timeout=timeout)
        out.write(self.shell.run(script, *arguments, stdin=stdin, timeout=timeout)[: self.cut])
        raise Unreachable("the connection was cut")


@pytest.fixture
def there(tmp_path: Path) -> PurePosixPath:
    return PurePosixPath(tmp_path / "far" / "area")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "big").write_bytes(BIG)
    return tmp_path / "big"


def held(folder: PurePosixPath) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def left_over(folder: PurePosixPath) -> set[str]:
    return {path.name for path in Path(folder.parent).iterdir()} - {folder.name, f"{folder.name}.sum"}


# --- there ------------------------------------------------------------------------------------------------------------


def test_small_and_big_files_arrive_and_nobody_else_may_read_them(there: PurePosixPath, big: Path) -> None:
    place(local_shell(), there, {"a.txt": b"small", "deep/er/big": big, "empty": b"", "-": b"dash", "-x y": b"odd", "*": b"star"})
    assert held(there) == {"a.txt": b"small", "deep/er/big": BIG, "empty": b"", "-": b"dash", "-x y": b"odd", "*": b"star"}
    assert left_over(there) == set()
    assert all(path.stat().st_mode & 0o077 == 0 for path in [Path(there), *Path(there).rglob("*")])


def test_no_files_make_an_empty_folder(there: PurePosixPath) -> None:
    place(local_shell(), there, {})
    assert Path(there).is_dir()
    assert held(there) == {}


def test_other_files_replace_what_was_there(there: PurePosixPath) -> None:
    place(local_shell(), there, {"a": b"1", "b": b"2"})
    place(local_shell(), there, {"b": b"3", "c": b"4"})
    assert held(there) == {"b": b"3", "c": b"4"}
    assert left_over(there) == set()


def test_the_same_files_once_more_change_nothing(there: PurePosixPath, big: Path) -> None:
    place(local_shell(), there, {"a": b"1", "big": big})
    before = Path(there).stat()
    way = Way()
    place(way, there, {"a": b"1", "big": big})
    assert way.streams == []
    assert (Path(there).stat().st_ino, Path(there).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_was_removed_is_placed_again(there: PurePosixPath) -> None:
    place(local_shell(), there, {"a": b"1"})
    subprocess.run(["rm", "-r", str(there)], check=True)
    place(local_shell(), there, {"a": b"1"})
    assert held(there) == {"a": b"1"}


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a/..", "a\nb", "a\\b"])
def test_a_name_that_leads_out_is_refused_before_anything_is_sent(there: PurePosixPath, name: str) -> None:
    way = Way()
    with pytest.raises(Invalid):
        place(way, there, {"good": b"1", name: b"2"})
    assert way.streams == []
    assert not Path(there).exists()


def test_a_big_file_goes_on_where_it_was_cut(there: PurePosixPath, big: Path) -> None:
    with pytest.raises(Unreachable):
        place(Way(cut=3 * SMALL + 17, at=2), there, {"a": b"1", "big": big})
    assert not Path(there).exists()  # nothing half placed is used
    way = Way()
    place(way, there, {"a": b"1", "big": big})
    assert way.streams[-1] == len(BIG) - 3 * SMALL - 17
    assert held(there) == {"a": b"1", "big": BIG}


def test_a_packet_of_small_files_that_was_cut_is_sent_again(there: PurePosixPath) -> None:
    files: dict[str, Path | bytes] = {str(n): bytes([n]) * 1_000 for n in range(40)}
    with pytest.raises(LivingLabError):
        place(Way(cut=20_000), there, files)
    assert not Path(there).exists()
    place(local_shell(), there, files)
    assert held(there) == files


@pytest.mark.parametrize("at", [1, 2])
def test_a_damaged_file_is_refused_and_sent_anew(there: PurePosixPath, big: Path, at: int) -> None:
    with pytest.raises(Unreachable, match="arrived damaged"):
        place(Way(damage=600, at=at), there, {"a": b"1" * 700, "big": big})
    assert not Path(there).exists()
    assert left_over(there) == set()
    place(local_shell(), there, {"a": b"1" * 700, "big": big})
    assert held(there)["big"] == BIG


def test_the_rest_of_a_longer_file_is_not_gone_on_from(there: PurePosixPath, big: Path, tmp_path: Path) -> None:
    """A sender that was believed dead has sent on."""
    with pytest.raises(Unreachable):
        place(Way(cut=2 * SMALL), there, {"big": big})
    (rest,) = Path(there.parent).glob("*/big")
    rest.write_bytes(BIG + b"more")
    place(local_shell(), there, {"big": big})
    assert held(there) == {"big": BIG}


def test_a_damaged_packet_is_refused_and_sent_anew(there: PurePosixPath) -> None:
    with pytest.raises(Unreachable, match="arrived damaged"):
        place(Way(damage=600), there, {"a": b"1" * 700})
    assert not Path(there).exists()
    assert left_over(there) == set()
    place(local_shell(), there, {"a": b"1" * 700})
    assert held(there) == {"a": b"1" * 700}


def test_small_files_take_one_command_and_the_same_once_more_takes_one(there: PurePosixPath) -> None:
    said: list[str] = []

    class Counting(Way):
        def _answer(self, script: str, *rest: Any) -> bytes:
            said.append(script)
            return super()._answer(script, *rest)

    way, files = Counting(), {f"f/{n}": bytes([n]) * 10_000 for n in range(60)}
    place(way, there, files)
    place(way, there, files)
    assert (len(way.streams), said) == (2, [])
    assert held(there) == files
    place(way, there, {f"f/{n}": b"" for n in range(400)})  # names alone are more than an argument takes
    assert len(held(there)) == 400


@pytest.mark.parametrize("size", [1, SMALL + 1])
def test_the_same_files_from_two_at_once(there: PurePosixPath, tmp_path: Path, size: int) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"1" * size)

    class Slow(Way):
        def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60.0) -> bytes:
            if "sha256sum --check" in script:  # the other one is quicker
                place(local_shell(), there, {"a": source})
            return super().run(script, *arguments, stdin=stdin, out=out, timeout=timeout)

    place(Slow(), there, {"a": source})
    assert held(there) == {"a": b"1" * size}


def test_a_folder_that_cannot_be_made_says_so(there: PurePosixPath, tmp_path: Path) -> None:
    (tmp_path / "far").write_text("no folder")
    with pytest.raises(PlatformFault, match="Not a directory"):
        place(local_shell(), there, {"a": b"1"})


# --- and back ---------------------------------------------------------------------------------------------------------


def test_a_file_comes_back(big: Path, tmp_path: Path) -> None:
    fetch(local_shell(), PurePosixPath(big), tmp_path / "copy", limit=len(BIG))
    assert (tmp_path / "copy").read_bytes() == BIG
    assert not (tmp_path / "copy.part").exists()


def test_a_file_over_its_limit_is_not_brought(big: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        fetch(local_shell(), PurePosixPath(big), tmp_path / "copy", limit=len(BIG) - 1)
    assert list(tmp_path.glob("copy*")) == []


def test_a_fetch_goes_on_where_it_was_cut(big: Path, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        fetch(Way(cut=1_000), PurePosixPath(big), tmp_path / "copy", limit=len(BIG))
    assert (tmp_path / "copy.part").stat().st_size == 1_000
    assert not (tmp_path / "copy").exists()
    fetch(local_shell(), PurePosixPath(big), tmp_path / "copy", limit=len(BIG))
    assert (tmp_path / "copy").read_bytes() == BIG


@pytest.mark.parametrize("rest", [b"x" * 1_000, b"x" * len(BIG), b"x" * (len(BIG) + 5)])
def test_a_part_that_is_none_is_found_out(big: Path, tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "copy.part").write_bytes(rest)
    with pytest.raises(Unreachable, match="did not arrive whole"):
        fetch(local_shell(), PurePosixPath(big), tmp_path / "copy", limit=len(BIG))
    fetch(local_shell(), PurePosixPath(big), tmp_path / "copy", limit=len(BIG))
    assert (tmp_path / "copy").read_bytes() == BIG


@pytest.mark.parametrize("shape", ["nothing", "folder"])
def test_what_is_no_file_is_not_there(tmp_path: Path, shape: str) -> None:
    if shape == "folder":
        (tmp_path / "x").mkdir()
    with pytest.raises(NotFound):
        fetch(local_shell(), PurePosixPath(tmp_path / "x"), tmp_path / "copy", limit=10)


def test_what_cannot_be_read_is_not_what_is_not_there(tmp_path: Path) -> None:
    class Broken:
        def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60.0) -> bytes:
            raise Failed("sha256sum: Input/output error", 1, "Input/output error")

    broken: Shell = Broken()
    with pytest.raises(Failed):
        fetch(broken, PurePosixPath(tmp_path / "x"), tmp_path / "copy", limit=10)
    with pytest.raises(Failed):
        fetch_small(broken, PurePosixPath(tmp_path))


def test_small_files_come_together_and_nothing_else(tmp_path: Path) -> None:
    for name, data in {"a": b"1", "-b": b"2", "log": b"3", "outputs.tar": b"4", "big": bytes(70_000)}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_bytes(b"5")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    assert fetch_small(local_shell(), PurePosixPath(tmp_path)) == {"a": b"1", "-b": b"2"}
    with pytest.raises(NotFound):
        fetch_small(local_shell(), PurePosixPath(tmp_path / "nowhere"))


def test_more_small_files_than_the_script_writes_are_refused(tmp_path: Path) -> None:
    for n in range(80):
        (tmp_path / str(n)).write_bytes(bytes(60_000))
    with pytest.raises(PlatformFault, match="more than"):
        fetch_small(local_shell(), PurePosixPath(tmp_path))
