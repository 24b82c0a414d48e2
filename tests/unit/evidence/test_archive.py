"""The fast reader of archives takes what `write_dossier` makes, and nothing that the slow one would not take to the same files without a note."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livinglab.evidence import archive
from livinglab.evidence.verify import verify
from tests.unit.evidence.conftest import Case

FILES = {"plan.json": b'{"a":1}', "ledger.json-seq": b"x" * 500, "empty": b"", "documents/run-1.1/b.json": bytes(range(256))}
CENTRAL, END = 46, 22


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **attributes: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type, member.external_attr = method, 0o100644 << 16
            for field, value in attributes.items():
                setattr(member, field, value)
            target.writestr(member, data)
    return buffer.getvalue()


def slowly(data: bytes) -> tuple[dict[str, bytes] | None, list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    try:
        return archive._read(data, "it", lambda where, what: notes.append((where, what))), notes
    except (archive.Unreadable, ValueError, IndexError):
        return None, notes or [("it", "it raises")]


def agree(data: bytes) -> bool:
    """Was it taken fast? Then the slow one takes it too, to the same files in the same order, and has nothing to say."""
    files = archive._read_fast(data)
    if files is not None:
        same, notes = slowly(data)
        assert same is not None
        assert (list(same.items()), notes) == (list(files.items()), [])
    return files is not None


def test_a_dossier_is_read_fast(case: Case) -> None:
    assert agree(case.write().read_bytes())
    assert agree(packed(FILES))
    assert agree(packed(FILES, zipfile.ZIP_STORED))


HEADERS = [i for i, byte in enumerate(packed(FILES)) if byte == 0]
"""Mostly places in headers."""


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(packed(FILES)) - 1) | st.sampled_from(HEADERS), st.integers(0, 255)), min_size=1, max_size=3))
def test_whatever_is_changed_in_an_archive_both_readers_agree(changes: list[tuple[int, int]]) -> None:
    data = bytearray(packed(FILES))
    for place, byte in changes:
        data[place] = byte
    agree(bytes(data))


def test_whichever_byte_is_changed_both_readers_agree() -> None:
    whole = packed({"a.json": b"{}", "b": b""})
    for place in range(len(whole)):
        for byte in (0, 1, 0xFF, whole[place] ^ 1, whole[place] ^ 0x20):
            agree(whole[:place] + bytes([byte]) + whole[place + 1 :])


@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 60))
@example(b"PK\6\7" + bytes(16), len(packed(FILES)) - END, 0)
def test_whatever_is_put_into_an_archive_or_cut_out_of_it_both_readers_agree(more: bytes, place: int, cut: int) -> None:
    data = packed(FILES)
    changed = data[:place] + more + data[place + cut :]
    assert not agree(changed) or changed == data


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a/../b", "a\\b", "folder/", "a//b", "ü.json", "a b", "a\nb", ".hidden", "a/./b", "a/..", "x\x7f", "a\0b"]
)
def test_names_that_are_not_plain_words_are_left_to_the_slow_reader(name: str) -> None:
    stand_in = b"N" * len(name.encode())
    assert agree(packed({stand_in.decode(): b"x"}))
    assert not agree(packed({stand_in.decode(): b"x"}).replace(stand_in, name.encode()))


@pytest.mark.parametrize("attributes", [{"external_attr": 0o120777 << 16}, {"external_attr": 0o040755 << 16}, {"extra": b"\1\0\0\0"},
                                        {"comment": b"!"}, {"compress_type": zipfile.ZIP_LZMA}, {"extract_version": 45}])  # fmt: skip
def test_links_folders_and_what_is_unusual_are_left_to_the_slow_reader(attributes: dict[str, Any]) -> None:
    assert not agree(packed({"a": b"x" * 100}, **attributes))


def changed_both(data: bytes, field: slice, value: bytes) -> bytes:
    """The same in the file's own header and in the directory: fields from version to the length of extra fields stand in both."""
    directory = data.index(b"PK\1\2")
    for start in (4, directory + 6):
        data = data[: start + field.start] + value + data[start + field.stop :]
    return data


@pytest.mark.parametrize("change", [
    lambda d: changed_both(d, slice(2, 4), b"\x01\0"),  # encrypted
    lambda d: changed_both(d, slice(2, 4), b"\x08\0"),  # sizes after the data
    lambda d: changed_both(d, slice(2, 4), b"\x20\0"),  # patched
    lambda d: changed_both(d, slice(4, 6), b"\0\0"),  # stored
    lambda d: changed_both(d, slice(10, 14), b"\0\0\0\0"),  # checksum
    lambda d: changed_both(d, slice(18, 22), struct.pack("<L", 99)),  # shorter than it is
    lambda d: changed_both(d, slice(18, 22), struct.pack("<L", 101)),  # longer
    lambda d: changed_both(d, slice(18, 22), b"\xff\xff\xff\xff"),
    lambda d: changed_both(d, slice(14, 18), b"\xff\xff\xff\xff"),
])  # fmt: skip
def test_headers_that_agree_and_are_wrong_are_left_to_the_slow_reader(change: Callable[[bytes], bytes]) -> None:
    assert not agree(change(packed({"a.json": b"x" * 100})))


def with_contents(raw: bytes, size: int, crc: int) -> bytes:
    """An archive of one file whose deflated bytes are these."""
    same = struct.pack("<5H3L2H", 20, 0, zipfile.ZIP_DEFLATED, 0, 33, crc, len(raw), size, 1, 0)
    own = b"PK\3\4" + same + b"a" + raw
    row = b"PK\1\2\x14\3" + same + struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, 0) + b"a"
    return own + row + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(row), len(own), 0)


def test_bytes_after_the_end_of_the_deflated_are_left_to_the_slow_reader() -> None:
    raw = zlib.compress(b"x" * 100, wbits=-15)
    crc = zlib.crc32(b"x" * 100)
    assert agree(with_contents(raw, 100, crc))
    for other in (raw + b"\0", raw + raw, raw[:-1]):
        assert not agree(with_contents(other, 100, crc))
    assert not agree(with_contents(raw, 50, zlib.crc32(b"x" * 50)))
    assert not agree(with_contents(raw, 0, 0))


def test_a_name_given_twice_and_a_bomb_are_left_to_the_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not agree(packed({"a": b"1", "N": b"2"}).replace(b"N", b"a"))
    bomb = packed({"zeros": bytes(1 << 20), "more": b"x"})
    assert agree(bomb)
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    assert not agree(bomb)
    monkeypatch.setattr(archive, "MAX_FILES", 1)
    assert not agree(packed({"a": b"", "b": b""}))


def test_a_large_number_of_files_is_not_what_the_last_record_says() -> None:
    data = packed(FILES)
    for count in (0, 1, 3, 5, 0xFFFF):
        assert not agree(data[:-14] + struct.pack("<2H", count, count) + data[-10:])


def test_what_cannot_be_read_is_a_problem_and_never_an_exception(case: Case) -> None:
    assert [p.where for p in verify(case.folder, case.policy).problems] == [case.folder.name]
