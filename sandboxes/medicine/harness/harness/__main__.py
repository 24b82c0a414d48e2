"""`python3 -m harness VERB`: reads /context/context.json, works on the mounts, writes to /out."""

import importlib
import json
import sys
from pathlib import Path

VERBS = {"prepare": "harness.twin", "decode": "harness.decode", "measure": "harness.measure"}
"""Verb → the module whose `run` does it; only that one is imported, since a container lives no longer than its imports."""


def main(root: Path = Path("/")) -> None:
    """Do what the argument says, on the mounts under `root`."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in VERBS:
        sys.exit(f"harness: unknown verb {verb!r}; known: {', '.join(VERBS)}")
    importlib.import_module(VERBS[verb]).run(json.loads((root / "context" / "context.json").read_text()), root)


if __name__ == "__main__":
    main()
