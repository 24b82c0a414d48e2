"""Harnesses, imported beside each other: in their images each is the package `harness`, so here one stands in for the other."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def load(folder: Path, *parts: str) -> Any:
    """The modules `harness.PART` of a sandbox's harness folder, by their names; `sys.modules` is left as it was."""
    mine = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "harness"}
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(**{part: importlib.import_module(f"harness.{part}") for part in parts})
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "harness"]:
            del sys.modules[name]
        sys.modules.update(mine)
