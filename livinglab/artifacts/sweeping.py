"""What nobody has touched for long, out of a folder that several processes work in."""

import math
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def drop_old(folder: Path, *, older_than: float, kept: Collection[str] = ()) -> None:
    """Remove what nobody has touched for so many seconds, files and whole folders, but for what has one of these names."""
    before = time.time() - older_than
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in kept or _touched(path) >= before:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _touched(path: Path) -> float:
    """When it, or anything in it, was changed last; for ever in the future where somebody moves it away just now."""
    with suppress(FileNotFoundError):
        return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    return math.inf
