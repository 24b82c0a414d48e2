"""Files to and from a cluster, through a shell: whole or not at all, checked by their digests, going on where they were cut."""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from livinglab.domain.errors import LivingLabError, NotFound, PlatformFault, TooLarge, Unreachable
from livinglab.sites.shell import Failed, Shell
from livinglab.sites.staging import check_name

SMALL = 1 << 20
"""Bytes. Up to this size files travel together; each larger one by itself, so that it can go on where it was cut. Files of so many bytes
in all take a single command."""
TIMEOUT = 3_600.0
_DAMAGED, _NOT_THERE = 65, 66
_SMALL_FILES, _AT_ONCE, _ARGUMENT = 4 << 20, 64 << 10, 16 << 10  # bytes

_SAME = '[ "$(cat "$1.sum" 2>/dev/null)" = "$2" ] && [ -d "$1" ] && { echo same; exit; }; '
_BEGIN = f"""
umask 077
{_SAME}
mkdir -p "$1.new.$2" && cd "$1.new.$2" && find . -type f -printf '%s %P\\n'
"""
_UNPACK = 'umask 077; cd "$1" && tar --extract --no-same-owner --no-same-permissions'
_APPEND = 'umask 077; mkdir -p "$(dirname "$1")" && cat >>"$1"'
_FINISH = """
cd "$1.new.$2" || exit
sums="${3-$(cat)}"
if [ -n "$sums" ] && ! printf '%s\\n' "$sums" | sha256sum --check --strict --quiet - >/dev/null; then cd / && rm -rf "$1.new.$2"; exit 65; fi
rm -rf "$1" "$1.sum" && mv -T "$1.new.$2" "$1" && echo "$2" >"$1.sum"
"""
_WHOLE = f"""
umask 077
[ "$(cat "$1.sum" 2>/dev/null)" = "$2" ] && [ -d "$1" ] && {{ cat >/dev/null; exit; }}
mkdir -p "$1.new.$2" && tar -C "$1.new.$2" --extract --no-same-owner --no-same-permissions || exit
{_FINISH}"""
_ASK = """
[ -f "$1" ] || exit 66
size="$(stat -c %s "$1")" && sum="$(sha256sum <"$1")" && printf '%s %s\\n' "$size" "${sum%% *}" || exit
if [ "$size" -le "$2" ]; then cat "$1"; fi
"""
_READ = 'tail -c +"$2" "$1" | head -c "$3"'
_SEVERAL = r"""
cd "$1" 2>/dev/null || exit 66
find . -maxdepth 1 -type f -size -64k ! -name log ! -name outputs.tar -printf '%P\0' | tar --create --null --files-from=-
"""


def place(shell: Shell, folder: PurePosixPath, files: Mapping[str, Path | bytes]) -> None:
    """Make a folder there hold exactly these files, in place of what it held. The same files once more change nothing.

    Raises:
        Unreachable: the way was cut, or bytes changed on it; whoever tries again goes on.
    """
    sums = {check_name(name): _sha256(source) for name, source in files.items()}
    manifest = "".join(f"{digest}  ./{name}\n" for name, digest in sorted(sums.items())).encode()
    mark = hashlib.sha256(manifest).hexdigest()[:16]
    try:
        _place(shell, folder, files, manifest, mark)
    except Failed as error:
        if shell.run(_SAME + "exit 0", str(folder), mark).strip() == b"same":
            return  # another process placed the same at the same time
        if error.exit_code == _DAMAGED:
            msg = f"what was sent to {folder.name} arrived damaged; it is sent again."
            raise Unreachable(msg) from error
        raise


def _place(shell: Shell, folder: PurePosixPath, files: Mapping[str, Path | bytes], manifest: bytes, mark: str) -> None:
    if sum(map(_size, files.values())) <= SMALL and len(manifest) <= _ARGUMENT:
        _send_packed(shell, files, _WHOLE, str(folder), mark, manifest.decode())
        return
    answer = shell.run(_BEGIN, str(folder), mark).decode()
    if answer.strip() == "same":
        return
    there = {name: int(size) for size, _, name in (line.partition(" ") for line in answer.splitlines())}
    new = PurePosixPath(f"{folder}.new.{mark}")
    small = {name: source for name, source in files.items() if _size(source) <= SMALL}
    if small:
        _send_packed(shell, small, _UNPACK, str(new))
    for name in files.keys() - small.keys():
        _send(shell, new / name, files[name], there.get(name, 0))
    shell.run(_FINISH, str(folder), mark, stdin=manifest, timeout=TIMEOUT)


def _send_packed(shell: Shell, files: Mapping[str, Path | bytes], script: str, *arguments: str) -> None:
    with tempfile.TemporaryFile() as archive:
        _pack(archive, files)
        archive.seek(0)
        shell.run(script, *arguments, stdin=archive, timeout=TIMEOUT)


def packed(files: Mapping[str, bytes]) -> bytes:
    """As a tar archive whose files are closed to others."""
    out = io.BytesIO()
    _pack(out, files)
    return out.getvalue()


def _pack(out: BinaryIO, files: Mapping[str, Path | bytes] | Mapping[str, bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, source in files.items():
            data = source if isinstance(source, bytes) else source.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    out.flush()


def _send(shell: Shell, target: PurePosixPath, source: Path | bytes, already: int) -> None:
    assert isinstance(source, Path)  # noqa: S101 - bytes are small
    with source.open("rb") as stream:
        if already > _size(source):
            already = 0  # another file's rest: the check at the end would refuse it anyway
            shell.run('rm -f "$1"', str(target))
        stream.seek(already)
        shell.run(_APPEND, str(target), stdin=stream, timeout=TIMEOUT)


def fetch(shell: Shell, source: PurePosixPath, target: Path, *, limit: int) -> None:
    """Bring one file here. A part that came before is gone on from.

    Raises:
        NotFound: it is not there.
        TooLarge: it is longer than `limit` bytes; nothing was brought.
        Unreachable: the way was cut, or bytes changed on it.
    """
    try:
        told, _, whole = shell.run(_ASK, str(source), str(min(limit, _AT_ONCE)), timeout=TIMEOUT).partition(b"\n")
    except Failed as error:
        raise _not_there(error, source) from error
    size, digest = int(told.split()[0]), told.split()[1].decode()
    if size > limit:
        msg = f"{source.name} has {size} bytes; at most {limit} are taken."
        raise TooLarge(msg)
    part = target.with_name(target.name + ".part")
    if size <= _AT_ONCE:
        part.write_bytes(whole)
    else:
        have = part.stat().st_size if part.exists() else 0
        with part.open("ab") as out:
            shell.run(_READ, str(source), str(have + 1), str(size - have), out=out, timeout=TIMEOUT)
    if _sha256(part) != digest:
        if part.stat().st_size >= size:
            part.unlink()  # not a part of it
        msg = f"{source.name} did not arrive whole; it is fetched again."
        raise Unreachable(msg)
    part.replace(target)


def fetch_small(shell: Shell, folder: PurePosixPath) -> dict[str, bytes]:
    """The small files of one folder, by name: what the lab's own script wrote there. `NotFound` if there is no such folder."""
    try:
        archive = shell.run(_SEVERAL, str(folder))
    except Failed as error:
        raise _not_there(error, folder) from error
    if len(archive) > _SMALL_FILES:
        msg = f"{folder.name} holds more than the lab's script ever writes."
        raise PlatformFault(msg)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: stream.read() for member in tar if member.isreg() and (stream := tar.extractfile(member))}


def _not_there(error: Failed, path: PurePosixPath) -> LivingLabError:
    """What cannot be read is not what is not there."""
    return NotFound(f"{path.name} is not there.") if error.exit_code == _NOT_THERE else error


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _sha256(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
