"""Measure: what was driven, against what is demanded."""

from pathlib import Path
from typing import Any

from livinglab.measuring import recording
from livinglab.measuring.driving import DrivingEvaluation
from livinglab.measuring.harness import answer


def run(context: dict[str, Any], root: Path) -> None:
    """The recording → out/measurements.json."""
    answer(DrivingEvaluation(recording.read(root / "recording"), context), root)
