"""A dossier's archive as hostile bytes: bounded, plain, and such that every program sees the same files in it."""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

MAX_FILES = 60_000  # the plain format of archives can count to 65,535
MAX_BYTES = 512 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_LISTED = struct.Struct("<4s2x3H4x3L4H2x2L")
_VERSION = 20
"""Of the format, that is needed to unpack deflated files."""
_END = struct.Struct("<4s4H2IH")
_NAME = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
"""Of a file within the archive, in words that all programs read alike. Others are read slowly."""


class Unreadable(Exception):
    """Nothing more can be checked; the problem was noted."""


def read_archive(path: Path, note: Callable[[str, str], None]) -> dict[str, bytes]:
    """The archive's files, bounded, each name once and plain, and nothing else in it.

    Args:
        note: takes each problem: where, and what.

    Raises:
        Unreadable: it cannot be unpacked within bounds.
    """
    if path.stat().st_size > MAX_BYTES:
        note(path.name, f"it is larger than {MAX_BYTES} bytes")
        raise Unreadable
    try:
        data = path.read_bytes()
    except OSError as error:
        note(path.name, f"it cannot be unpacked ({error})")
        raise Unreadable from error
    files = _read_fast(data)
    return _read(data, path.name, note) if files is None else files


def _read(data: bytes, called: str, note: Callable[[str, str], None]) -> dict[str, bytes]:
    """By Python's own reader, which takes any archive, so that what is wrong with one can be said."""
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) > MAX_FILES:
                note(called, f"it has more than {MAX_FILES} files")
                raise Unreadable
            for member in archive.infolist():
                name = member.filename
                if not _plain(member):
                    note(name, "it is not a plain file within the archive")
                    continue
                if name in files:
                    note(name, "it is there twice")
                    continue
                with archive.open(member) as stream:
                    contents = stream.read(left + 1)
                left -= len(contents)
                if left < 0:
                    note(name, f"the archive unpacks to more than {MAX_BYTES} bytes")
                    raise Unreadable
                files[name] = contents
            if not _seamless(data, archive):
                note(called, "it holds bytes besides its files: other programs may see other files in it")
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, zlib.error, struct.error) as error:
        note(called, f"it cannot be unpacked ({error})")
        raise Unreadable from error
    return files


def _read_fast(data: bytes) -> dict[str, bytes] | None:
    """The files of an archive such as `write_dossier` makes, in a quarter of the time; `None` for any other, and for one that is not whole.

    It takes nothing that `_read` would not take without a note: plain names, no flag, no extra field, no comment, one header after another, each
    as the directory says, every checksum right.
    """
    try:
        signature, disk, first, here, total, size, start, comment = _END.unpack(data[-_END.size :])
        whole = signature == b"PK\5\6" and (disk, first, comment) == (0, 0, 0) and here == total <= MAX_FILES
        if not whole or start + size + _END.size != len(data) or data[-_END.size - 20 :][:4] == b"PK\6\7":
            return None
        return _members(data, start, total)
    except (struct.error, zlib.error):
        return None


def _members(data: bytes, row: int, total: int) -> dict[str, bytes] | None:
    """Of the directory that begins at `row`, and ends where the last record begins."""
    files: dict[str, bytes] = {}
    place, start, left = 0, row, MAX_BYTES
    for _ in range(total):
        signature, needs, flags, method, crc, packed, size, named, extra, comment, disk, outer, offset = _LISTED.unpack_from(data, row)
        title, begin = row + _LISTED.size, place + _LOCAL.size
        contents = begin + named
        if (signature, needs, flags, extra, comment, disk, offset) != (b"PK\1\2", _VERSION, 0, 0, 0, 0, place):
            return None
        own = data[place : place + 4] == b"PK\3\4" and data[place + 4 : begin] == data[row + 6 : row + 32]
        name = data[title : title + named]
        if not own or name != data[begin:contents] or not _NAME.fullmatch(name) or not _usual(method, outer):
            return None
        row, place, left = title + named, contents + packed, left - size
        found = _unpacked(data[contents:place], size, method) if place <= start and left >= 0 else None
        if found is None or zlib.crc32(found) != crc:
            return None
        files[name.decode()] = found
    return files if len(files) == total and place == start and row + _END.size == len(data) else None


def _unpacked(data: bytes, size: int, method: int) -> bytes | None:
    """All of it, if it is of that size and nothing follows it."""
    if method == zipfile.ZIP_STORED:
        return data if len(data) == size else None
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    contents = stream.decompress(data, size + 1)
    return contents if stream.eof and not stream.unused_data and len(contents) == size else None


def _plain(member: zipfile.ZipInfo) -> bool:
    """A file, no link or folder, that unpacks below wherever it is unpacked, by a method that every program knows."""
    name = member.filename
    inside = not name.startswith("/") and ".." not in name.split("/") and "\\" not in name and not member.is_dir()
    return inside and _usual(member.compress_type, member.external_attr)


def _usual(method: int, attributes: int) -> bool:
    return method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and (attributes >> 16) & 0o170000 in (0, 0o100000)


def _seamless(data: bytes, archive: zipfile.ZipFile) -> bool:
    """Is every byte one of a file that the directory lists, or of the directory? And do the files' own headers say what it says?

    Programs differ in which of the two they believe, and in what they make of bytes before, between and after.
    """
    place = 0
    for member in sorted(archive.infolist(), key=lambda m: m.header_offset):
        _sig, _v, flags, method, _time, _date, crc, packed, size, name, extra = _LOCAL.unpack_from(data, place)
        told = (place, flags, method, crc, packed, size, extra, b"", b"")
        listed = (member.header_offset, member.flag_bits, member.compress_type, member.CRC, member.compress_size, member.file_size, 0, member.extra,
                  member.comment)  # fmt: skip
        if told != listed:
            return False
        place += _LOCAL.size + name + packed
    signature, *_disks, total, size, start, comment = _END.unpack(data[-_END.size :])
    directory = (signature, total, comment) == (b"PK\5\6", len(archive.infolist()), 0) and start == place == archive.start_dir
    return directory and place + size + _END.size == len(data)
