"""Disks without room."""

from contextlib import suppress
from pathlib import Path


def fill(folder: Path) -> None:
    """Write until there is no room."""
    with (folder / "ballast").open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))


def empty(folder: Path) -> None:
    """Undo `fill`."""
    (folder / "ballast").unlink()
