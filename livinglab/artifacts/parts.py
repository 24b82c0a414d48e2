"""What comes in parts, in a folder: one file each, as long as what of it is there."""

import fcntl
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from livinglab.artifacts.sweeping import drop_old
from livinglab.domain.errors import Conflict, NotFound, TooLarge


class FileParts:
    """The `Parts` port over a local folder, shared by the processes of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, name: str) -> int:
        """See the port."""
        path = self._place(name)
        return path.stat().st_size if path.exists() else 0

    def append(self, name: str, offset: int, chunks: Iterable[bytes], *, limit: int) -> int:
        """See the port."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._place(name), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = "somebody else is sending this at the moment."
                raise Conflict(msg) from error
            size = os.fstat(file.fileno()).st_size
            if offset != size:
                msg = f"it goes on at byte {size}, not {offset}."
                raise Conflict(msg)
            try:
                for chunk in chunks:
                    if size + len(chunk) > limit:
                        msg = f"more than the {limit} bytes that were announced."
                        raise TooLarge(msg)
                    file.write(chunk)
                    size += len(chunk)
            finally:  # what came before the way was cut is kept
                file.flush()
                os.fsync(file.fileno())
        return size

    def path(self, name: str) -> Path:
        """See the port."""
        path = self._place(name)
        if not path.is_file():
            msg = "nothing of it is there."
            raise NotFound(msg)
        return path

    def drop(self, name: str) -> None:
        """See the port."""
        self._place(name).unlink(missing_ok=True)

    def drop_all_but(self, names: Collection[str], *, older_than: float) -> None:
        """See the port."""
        drop_old(self.root, older_than=older_than, kept=set(names))

    def _place(self, name: str) -> Path:
        if not name.replace("-", "").isalnum():
            msg = f"{name!r} is not a name."
            raise NotFound(msg)
        return self.root / name
