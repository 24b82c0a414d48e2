"""Outputs are copied without following or believing anything; on plain folders, so without an engine."""

import os
import socket
from pathlib import Path

import pytest

from livinglab.domain.errors import Invalid
from livinglab.domain.isolation import Resources
from livinglab.sites.outputs import copy_outputs

LIMITS = Resources(output_bytes=1 << 16, output_files=4)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "copy").mkdir()
    return tmp_path / "out"


def copy(out: Path, limits: Resources = LIMITS) -> list[tuple[str, int]]:
    return [(f.path, f.size) for f in copy_outputs(out, out.parent / "copy", limits)]


def test_plain_files_are_copied_with_their_folders(out: Path) -> None:
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / "x.csv").write_text("1,2")
    (out / "y").write_text("")
    assert copy(out) == [("a/b/x.csv", 3), ("y", 0)]
    assert (out.parent / "copy" / "a" / "b" / "x.csv").read_text() == "1,2"


def test_nothing_is_no_problem(out: Path) -> None:
    assert copy(out) == []


def test_links_are_refused_wherever_they_lead(out: Path) -> None:
    (out.parent / "secret").write_text("secret")
    (out / "x").symlink_to(out.parent / "secret")
    with pytest.raises(Invalid, match="symbolic link"):
        copy(out)
    assert list((out.parent / "copy").iterdir()) == []


def test_a_folder_that_is_a_link_is_refused(out: Path) -> None:
    (out / "x").symlink_to("/etc")
    with pytest.raises(Invalid, match="symbolic link"):
        copy(out)


def test_special_files_are_refused_without_opening_them(out: Path) -> None:
    os.mkfifo(out / "x")
    with pytest.raises(Invalid, match="plain file"):
        copy(out)
    (out / "x").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(out / "x"))
        with pytest.raises(Invalid, match="plain file"):
            copy(out)


def test_a_sparse_file_counts_by_its_given_size(out: Path) -> None:
    with (out / "x").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(Invalid, match="size limit"):
        copy(out)
    assert sum(p.stat().st_size for p in (out.parent / "copy").iterdir()) == 0


def test_hard_links_count_each(out: Path) -> None:
    (out / "x").write_bytes(bytes(40_000))
    os.link(out / "x", out / "y")
    with pytest.raises(Invalid, match="size limit"):
        copy(out)


def test_too_many_files_are_refused(out: Path) -> None:
    for n in range(5):
        (out / f"x{n}").touch()
    with pytest.raises(Invalid, match="more files"):
        copy(out)


def test_too_deep_is_refused(out: Path) -> None:
    (out / "a/b/c/d/e").mkdir(parents=True)
    with pytest.raises(Invalid, match="deeper"):
        copy(out)


@pytest.mark.parametrize("name", [".hidden", "a b", "-x", "ä", "a\nb", "a\u202eb", "x" * 101, "$(id)", "a;b", "con\x7f"])
def test_odd_names_are_refused(out: Path, name: str) -> None:
    (out / name).touch()
    with pytest.raises(Invalid, match="letters"):
        copy(out)


def test_a_name_that_is_no_unicode_is_refused(out: Path) -> None:
    (Path(os.fsdecode(os.fsencode(out) + b"/\xff\xfe"))).touch()
    with pytest.raises(Invalid, match="letters"):
        copy(out)


def test_a_file_that_grows_is_cut_at_the_size_that_was_counted(out: Path) -> None:
    """What is counted is what is copied: `fstat` on the open file, then no byte more."""
    (out / "x").write_bytes(b"12345")
    assert copy(out) == [("x", 5)]
    assert (out.parent / "copy" / "x").stat().st_size == 5
