"""Blobs in a folder: `<root>/<two hex digits>/<hex digest>`, written aside and moved into place when whole and on disk."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from livinglab.artifacts.sweeping import drop_old
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import EvidenceBroken, NotFound, TooLarge


class FileArtifacts:
    """The `Artifacts` port over a local folder, shared by the processes of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """See the port."""
        digest = sha256(data)
        if not self.has(digest):
            self.put_stream([data], limit=len(data))
        return digest

    def put_stream(self, chunks: Iterable[bytes], *, limit: int) -> tuple[str, int]:
        """See the port."""
        with self._written(chunks, limit) as (path, digest, size):
            path.chmod(0o444)
            self.take(path, digest)
        return digest, size

    @contextmanager
    def scratch(self, chunks: Iterable[bytes], *, limit: int) -> Iterator[Path]:
        """See the port."""
        with self._written(chunks, limit) as (path, _digest, _size):
            yield path

    @contextmanager
    def aside(self) -> Iterator["AsideArtifacts"]:
        """See the port."""
        with tempfile.TemporaryDirectory(dir=self._incoming) as folder:
            yield AsideArtifacts(Path(folder), self)

    def drop_unfinished(self, *, older_than: float) -> None:
        """See the port."""
        drop_old(self._incoming, older_than=older_than)

    def open(self, digest: str) -> BinaryIO:
        """See the port."""
        return self.path(digest).open("rb")

    def read(self, digest: str) -> bytes:
        """See the port."""
        data = self.path(digest).read_bytes()
        if sha256(data) != digest:
            msg = "the stored bytes no longer have this digest"
            raise EvidenceBroken(msg, where=f"blob {digest}")
        return data

    def path(self, digest: str) -> Path:
        """See the port."""
        place = self._place(digest)
        if not place.is_file():
            msg = f"there is no blob {digest}."
            raise NotFound(msg)
        return place

    def has(self, digest: str) -> bool:
        """See the port."""
        return self._place(digest).is_file()

    def _place(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        if len(name) != 64 or not name.isalnum():  # noqa: PLR2004 - a digest becomes a path, so nothing else may
            msg = f"{digest!r} is not a digest."
            raise NotFound(msg)
        return self.root / name[:2] / name

    def take(self, path: Path, digest: str) -> None:
        """Move a whole file of the same disk, that has this digest, into place, unless the blob is there."""
        place = self._place(digest)
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
            _sync_folder(place.parent)

    @contextmanager
    def _written(self, chunks: Iterable[bytes], limit: int) -> Iterator[tuple[Path, str, int]]:
        """A file in `incoming` that holds the chunks, on disk; removed at the end unless it was moved away."""
        hasher, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            path = Path(file.name)
            try:
                for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        msg = f"more than the {limit} bytes that are allowed."
                        raise TooLarge(msg)
                    hasher.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                yield path, "sha256:" + hasher.hexdigest(), size
            finally:
                path.unlink(missing_ok=True)


class AsideArtifacts(FileArtifacts):
    """The `Aside` port: a folder of its own among what comes in, and behind it the blobs that are there."""

    def __init__(self, root: Path, there: FileArtifacts) -> None:
        super().__init__(root)
        self._there = there

    def keep(self) -> None:
        """See the port."""
        for path in self.root.glob("??/*"):
            self._there.take(path, "sha256:" + path.name)

    def _place(self, digest: str) -> Path:
        return self._there.path(digest) if self._there.has(digest) else super()._place(digest)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
