"""An archive of outputs is read without believing it: what `job.sh` would make of hostile folders, and what nobody should make at all."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.errors import Invalid
from livinglab.domain.isolation import Resources
from livinglab.sites.outputs import unpack_outputs

LIMITS = Resources(output_bytes=1 << 16, output_files=4)
Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"x", **more: object) -> Entry:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in more.items():
        setattr(member, field, value)
    return member, data


def other(name: str, kind: bytes, **more: object) -> Entry:
    return file(name, b"", type=kind, **more)


def folder(name: str) -> Entry:
    return other(name, tarfile.DIRTYPE, mode=0o700)


def archive_of(*entries: Entry, format_: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def unpack(tmp_path: Path, data: bytes, limits: Resources = LIMITS) -> list[tuple[str, int]]:
    (tmp_path / "outputs.tar").write_bytes(data)
    (tmp_path / "copy").mkdir(exist_ok=True)
    return [(f.path, f.size) for f in unpack_outputs(tmp_path / "outputs.tar", tmp_path / "copy", limits)]


def as_the_script_packs(source: Path) -> bytes:
    command: list[str | Path] = ["tar", "-C", source, "--create", "--format=pax", "--hard-dereference", "--file=-", "."]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_plain_files_come_with_their_folders(tmp_path: Path) -> None:
    (tmp_path / "out" / "a" / "b").mkdir(parents=True)
    (tmp_path / "out" / "a" / "b" / "x.csv").write_text("1,2")
    (tmp_path / "out" / "y").touch(mode=0o4000)
    assert unpack(tmp_path, as_the_script_packs(tmp_path / "out")) == [("a/b/x.csv", 3), ("y", 0)]
    assert (tmp_path / "copy" / "a" / "b" / "x.csv").read_text() == "1,2"
    assert (tmp_path / "copy" / "y").stat().st_mode & 0o7111 == 0


def test_nothing_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert unpack(tmp_path, as_the_script_packs(tmp_path / "out")) == []


def test_hard_links_count_each(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_bytes(bytes(40_000))
    os.link(tmp_path / "out" / "x", tmp_path / "out" / "y")
    with pytest.raises(Invalid, match="size limit"):
        unpack(tmp_path, as_the_script_packs(tmp_path / "out"))


@pytest.mark.parametrize(("entries", "problem"), [
    ([other("x", tarfile.SYMTYPE, linkname="/etc/shadow")], "symbolic link"),
    ([other("x", tarfile.SYMTYPE, linkname="."), file("x/y")], "symbolic link"),
    ([file("a"), other("x", tarfile.LNKTYPE, linkname="a")], "plain file"),
    ([other("x", tarfile.LNKTYPE, linkname="/etc/shadow")], "plain file"),
    ([other("x", tarfile.CHRTYPE, devmajor=1, devminor=3)], "plain file"),
    ([other("x", tarfile.BLKTYPE, devmajor=8)], "plain file"),
    ([other("x", tarfile.FIFOTYPE)], "plain file"),
    ([other("x", b"Z")], "plain file"),
    ([other("x", tarfile.GNUTYPE_SPARSE)], "."),
    ([file("/etc/x")], "letters"),
    ([file("../x")], "letters"),
    ([file("a/../../x")], "letters"),
    ([folder("a"), file("a/./x")], "letters"),
    ([folder("a"), file("a//x")], "letters"),
    ([file(".hidden")], "letters"),
    ([file("a b")], "letters"),
    ([file("ä")], "letters"),
    ([file("a\nb")], "letters"),
    ([file("a\u202eb")], "letters"),
    ([file("x" * 101)], "letters"),
    ([folder("a/" * 4 + "a")], "deeper"),
    ([file(str(n)) for n in range(5)], "more files"),
    ([file("x", bytes((1 << 16) + 1))], "size limit"),
    ([file("x", bytes(40_000)), file("y", bytes(40_000))], "size limit"),
    ([file("x"), file("x")], "contradicts"),
    ([file("x"), folder("x")], "contradicts"),
    ([folder("x"), file("x")], "contradicts"),
    ([file("x"), file("x/y")], "contradicts"),
    ([file("a/x")], "contradicts"),
    ([folder("a/b")], "contradicts"),
    ([file("x", pax_headers={"path": "../../x"})], "letters"),
    ([file("x", pax_headers={"path": "a\0b"})], "letters"),
    ([file("x", pax_headers={"linkpath": "/etc/shadow"})], ""),
    ([file("x", pax_headers={"size": "-5"})], "brought away whole"),
    ([file("x", pax_headers={"size": "1" * 30})], "."),
    ([file("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "y", "GNU.sparse.realsize": "9" * 18})], "."),
    ([file("x", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9" * 18})], "."),
])  # fmt: skip
def test_what_no_one_takes(tmp_path: Path, entries: list[Entry], problem: str) -> None:
    if not problem:
        assert unpack(tmp_path, archive_of(*entries)) == [("x", 1)]
        return
    with pytest.raises(Invalid, match=problem):
        unpack(tmp_path, archive_of(*entries))
    assert not (tmp_path / "x").exists()
    assert sum(path.stat().st_size for path in (tmp_path / "copy").rglob("*") if path.is_file()) <= LIMITS.output_bytes


def test_a_sparse_file_counts_by_its_given_size(tmp_path: Path) -> None:
    """And its zeros are not sent on for ever: the script cuts the stream."""
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "x").open("wb") as sparse:
        sparse.truncate(1 << 30)
    with subprocess.Popen(["tar", "-C", tmp_path / "out", "--create", "--format=pax", "--file=-", "."], stdout=subprocess.PIPE) as tar:
        packed = tar.stdout.read(200_000) if tar.stdout else b""
    with pytest.raises(Invalid, match="size limit"):
        unpack(tmp_path, packed)


@pytest.mark.parametrize("at", [0, 1, 511, 512, 513, 1_000, 1_536, 1_600, 2_000])
def test_what_was_cut_is_not_whole(tmp_path: Path, at: int) -> None:
    whole = archive_of(file("a", b"1" * 600), file("b", b"2" * 600), format_=tarfile.USTAR_FORMAT)
    try:
        found = unpack(tmp_path, whole[:at])
    except Invalid as error:
        assert "brought away whole" in error.message  # noqa: PT017 - some places are ends of a file
    else:
        assert found == [("a", 600)][: at // 1_536]


def test_names_of_any_length_and_depth_are_no_crash(tmp_path: Path) -> None:
    for name in ("x/" * 2_000 + "x", "y" * 70_000):
        for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            with pytest.raises(Invalid):
                unpack(tmp_path, archive_of(file(name), format_=format_))


def test_headers_upon_headers_are_no_crash(tmp_path: Path) -> None:
    """Each says that the next one is the file that it is about."""
    one = archive_of(file("x", pax_headers={"comment": "c"}))[:1_024]
    with pytest.raises(Invalid):
        unpack(tmp_path, one * 3_000, Resources(output_bytes=1 << 26))


@given(st.data())
def test_a_changed_byte_never_leads_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    tmp_path = tmp_path_factory.mktemp("u")
    whole = bytearray(archive_of(folder("a"), file("a/b", b"1" * 600), file("c", b"2", pax_headers={"comment": "c"})))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpack(tmp_path, bytes(whole))
    except Invalid:
        return
    assert {path.name for path in tmp_path.iterdir()} == {"outputs.tar", "copy"}
    assert sum(size for _, size in found) <= LIMITS.output_bytes
