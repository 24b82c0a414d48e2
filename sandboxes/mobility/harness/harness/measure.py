"""Measure: what was driven, against what is demanded; and its worst moments, to be looked at."""

import json
from pathlib import Path
from typing import Any

from livinglab.measuring import recording
from livinglab.measuring.driving import DrivingEvaluation
from livinglab.measuring.harness import answer


def run(context: dict[str, Any], root: Path) -> None:
    """The recording → out/measurements.json and out/replay.json."""
    evaluation = DrivingEvaluation(recording.read(root / "recording"), context)
    answer(evaluation, root)
    (root / "out" / "replay.json").write_text(json.dumps(evaluation.replay(), allow_nan=False, separators=(",", ":")))
