"""Copying what a stranger's container left behind, without believing any of it."""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from livinglab.domain.errors import Invalid
from livinglab.domain.isolation import Resources
from livinglab.ports import OutputFile

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MAX_DEPTH = 4
_CHUNK = 1 << 20


@dataclass
class _Budget:
    bytes: int
    files: int

    def take(self, size: int, name: str) -> None:
        self.files -= 1
        self.bytes -= size
        if self.files < 0:
            msg = "there are more files than the limit allows."
            raise Invalid(msg)
        if self.bytes < 0:
            msg = f"{name!r} brings the outputs over their size limit (its size is given as {size} bytes)."
            raise Invalid(msg)


def copy_outputs(source: Path, target: Path, limits: Resources) -> tuple[OutputFile, ...]:
    """Copy regular files from `source` to `target`, opening each without following a link anywhere on its way.

    Raises:
        Invalid: a link, a device, a fifo, an odd name, more bytes (by size as given, so sparse files count whole) or more
            files than the limits allow. Nothing that was copied so far is to be used.
    """
    budget = _Budget(limits.output_bytes, limits.output_files)
    descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return tuple(_copy_folder(descriptor, target, "", budget, _MAX_DEPTH))
    finally:
        os.close(descriptor)


def unpack_outputs(archive: Path, target: Path, limits: Resources) -> tuple[OutputFile, ...]:
    """As `copy_outputs`, from a tar archive of them. It is read once, and nothing in it is believed but what it is.

    Raises:
        Invalid: as `copy_outputs`; or the archive was cut at its limit, so that the outputs were longer than allowed.
    """
    budget, files = _Budget(limits.output_bytes, limits.output_files), []
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for member in members(tar):
                if member.name in (".", "./"):
                    continue
                path = member.name.removeprefix("./")
                _check_member(member, path)
                if member.isdir():
                    (target / path).mkdir(exist_ok=True)
                    continue
                budget.take(member.size, path)
                stream = tar.extractfile(member)
                assert stream is not None  # noqa: S101 - a regular file
                file = _keep(stream, target / path, path, member.size)  # type: ignore[arg-type]
                if file.size != member.size:
                    raise tarfile.ReadError(path)
                files.append(file)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        msg = "the archive of the outputs contradicts itself: two have one name, or one lies in a folder that is none."
        raise Invalid(msg) from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:  # tarfile follows headers of headers by recursion
        msg = "the outputs could not be brought away whole: they are larger than the limit allows, or their names cannot be used."
        raise Invalid(msg) from error
    return tuple(sorted(files, key=lambda file: file.path))


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after the other, none of them kept."""
    while member := tar.next():
        tar.members = []  # type: ignore[attr-defined] # else it keeps them all
        yield member


def _check_member(member: tarfile.TarInfo, path: str) -> None:
    parts = path.split("/")
    for part in parts:
        _check_name(part, path)
    if len(parts) > _MAX_DEPTH + 1 or (member.isdir() and len(parts) > _MAX_DEPTH):
        raise _too_deep(path)
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _not_plain(path, link=member.issym())


def _check_name(name: str, path: str) -> None:
    if not _NAME.fullmatch(name):
        msg = f"the name {path!r} is not one of letters, digits, '.', '_' and '-'."
        raise Invalid(msg)


def _too_deep(path: str) -> Invalid:
    return Invalid(f"{path!r} lies deeper than {_MAX_DEPTH} folders.")


def _not_plain(path: str, *, link: bool = False) -> Invalid:
    return Invalid(f"{path!r} is {'a symbolic link' if link else 'not a plain file'}; only plain files are taken.")


def _copy_folder(folder: int, target: Path, prefix: str, budget: _Budget, depth: int) -> list[OutputFile]:
    files: list[OutputFile] = []
    for name in sorted(os.listdir(folder)):
        path = f"{prefix}{name}"
        _check_name(name, path)
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            if depth == 0:
                raise _too_deep(path)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                (target / path).mkdir()
                files += _copy_folder(inner, target, f"{path}/", budget, depth - 1)
            finally:
                os.close(inner)
        elif stat.S_ISREG(mode):
            files.append(_copy_file(folder, name, target / path, path, budget))
        else:
            raise _not_plain(path, link=stat.S_ISLNK(mode))
    return files


def _copy_file(folder: int, name: str, target: Path, path: str, budget: _Budget) -> OutputFile:
    # O_NONBLOCK: what was a file a moment ago may be a fifo by now.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _not_plain(path)
        budget.take(status.st_size, path)
        return _keep(stream, target, path, status.st_size)


def _keep(stream: BinaryIO, target: Path, path: str, most: int) -> OutputFile:
    hasher, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        while size < most and (chunk := stream.read(min(_CHUNK, most - size))):
            hasher.update(chunk)
            copy.write(chunk)
            size += len(chunk)
    return OutputFile(path=path, size=size, digest="sha256:" + hasher.hexdigest())
