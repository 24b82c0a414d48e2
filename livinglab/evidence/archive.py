"""A dossier's archive as hostile bytes: bounded, plain, and such that every program sees the same files in it."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

MAX_FILES = 20_000
MAX_BYTES = 512 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")


class Unreadable(Exception):
    """Nothing more can be checked; the problem was noted."""


def read_archive(path: Path, note: Callable[[str, str], None]) -> dict[str, bytes]:
    """The archive's files, bounded, each name once and plain, and nothing else in it.

    Args:
        note: takes each problem: where, and what.

    Raises:
        Unreadable: it cannot be unpacked within bounds.
    """
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    if path.stat().st_size > MAX_BYTES:
        note(path.name, f"it is larger than {MAX_BYTES} bytes")
        raise Unreadable
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_FILES:
                note(path.name, f"it has more than {MAX_FILES} files")
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
                    data = stream.read(left + 1)
                left -= len(data)
                if left < 0:
                    note(name, f"the archive unpacks to more than {MAX_BYTES} bytes")
                    raise Unreadable
                files[name] = data
            if not _seamless(path, archive):
                note(path.name, "it holds bytes besides its files: other programs may see other files in it")
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, zlib.error, struct.error) as error:
        note(path.name, f"it cannot be unpacked ({error})")
        raise Unreadable from error
    return files


def _plain(member: zipfile.ZipInfo) -> bool:
    """A file, no link or folder, that unpacks below wherever it is unpacked, by a method that every program knows."""
    name = member.filename
    inside = not name.startswith("/") and ".." not in name.split("/") and "\\" not in name and not member.is_dir()
    usual = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return inside and usual and (member.external_attr >> 16) & 0o170000 in (0, 0o100000)


def _seamless(path: Path, archive: zipfile.ZipFile) -> bool:
    """Is every byte one of a file that the directory lists, or of the directory? And do the files' own headers say what it says?

    Programs differ in which of the two they believe, and in what they make of bytes before, between and after.
    """
    place, data = 0, path.read_bytes()
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
