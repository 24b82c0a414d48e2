"""A sandbox's harness imported where it lies: by its `data/make.py`, which shares a generator with it, and by tests and simulations."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PACKAGE = "harness"
"""What each harness is in its own image; here they stand beside each other under one name."""


def load(folder: Path, *parts: str) -> Any:
    """The modules `harness.PART` of the package in `folder`, by their names; `sys.path` and `sys.modules` are left as they were.

    Each call imports afresh, so classes of two calls are not the same. A module that imports another of its package only when
    a function of it is called does not find it any more.

    Raises:
        ModuleNotFoundError: there is no such package or part.
    """
    others = _taken_out()
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(**{part: importlib.import_module(f"{PACKAGE}.{part}") for part in parts})
    finally:
        sys.path.remove(str(folder))
        _taken_out()
        sys.modules.update(others)


def _taken_out() -> dict[str, Any]:
    """The modules of any harness, which nobody finds any more."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == PACKAGE}
