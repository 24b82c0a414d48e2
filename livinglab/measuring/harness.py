"""What every harness does alike: find the verb's module, and write down what an evaluation found."""

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from livinglab.measuring.errors import Unfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livinglab.measuring.cohort import Floats
    from livinglab.measuring.slices import Document

DECODE = "livinglab.measuring.decode"
"""The module that does `decode`, for every family."""


def main(verbs: dict[str, str], root: Path = Path("/")) -> None:
    """`python3 -m harness VERB`: reads /context/context.json, works on the mounts under `root`, writes to /out.

    Args:
        verbs: verb → the module whose `run(context, root)` does it. Only that one is imported, since a container lives no
            longer than its imports.
    """
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in verbs:
        sys.exit(f"harness: unknown verb {verb!r}; known: {', '.join(verbs)}")
    try:
        importlib.import_module(verbs[verb]).run(json.loads((root / "context" / "context.json").read_text()), root)
    except Unfit as error:
        sys.exit(f"harness: the sandbox's data cannot be used: {error}")


class Evaluated(Protocol):
    """An evaluation of any task family."""

    @property
    def baselines(self) -> "Mapping[str, Floats]":
        """Name → what it answered, or did."""

    def measure(self) -> "list[Document]":
        """One measurement (as `domain.verdict.Measurement`) for each metric, slice and baseline that a criterion asks for."""

    def charts(self) -> "dict[str, Document]":
        """Pictures, each as `domain.chart.Chart`."""


def answer(evaluation: Evaluated, root: Path) -> None:
    """Write out/measurements.json. A baseline is pinned by what it answered, so that whoever fits it again can compare."""
    digests = {
        f"baseline {name}": f"sha256:{hashlib.sha256(predicted.astype('<f8').tobytes()).hexdigest()}"
        for name, predicted in evaluation.baselines.items()
    }
    document = {"schema_version": 2, "measurements": evaluation.measure(), "charts": evaluation.charts(), "digests": digests, "notes": []}
    (root / "out" / "measurements.json").write_text(json.dumps(document, allow_nan=False))
