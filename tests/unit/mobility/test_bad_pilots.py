"""Bad pilots, driven and judged by the sandbox's own criteria: each fails the one that is meant for it, and the reference pilot passes that one."""

from pathlib import Path

import pytest

from livinglab.domain.verdict import MeasurementFile, judge
from livinglab.measuring.driving import DrivingEvaluation
from livinglab.measuring.recording import read
from tests.harnesses import load_spec
from tests.unit.mobility.conftest import BAD, PILOT, SANDBOX, Drive

pytestmark = pytest.mark.slow

DRIVEN = {"episodes_hard_braking": 150, "episodes_pedestrian": 150}
"""As many as the criteria of these families need."""
FEW = {"episodes_hard_braking": 2}
JUDGED = ("no-collision-hard-braking", "no-collision-pedestrian", "progress", "completeness")


def verdicts(folder: Path) -> dict[str, str]:
    """The verdict on each criterion that is judged here, from a recording."""
    spec = load_spec(SANDBOX)
    whole = spec.frozen_criteria()
    criteria = whole.model_copy(update={"criteria": tuple(c for c in whole.criteria if c.id in JUDGED)})
    context = {
        "parameters": spec.harness.model_dump(mode="json")["parameters"], "replicates": 300, "seed": "00" * 32, "baselines": spec.baselines,
        "slices": {name: part.model_dump(mode="json") for name, part in spec.slices.items()},
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria], "levels": {c.id: criteria.level(c) for c in criteria.criteria},
    }  # fmt: skip
    evaluation = DrivingEvaluation(read(folder), context)
    measured = MeasurementFile.model_validate({"measurements": evaluation.measure()})
    return {result.criterion: result.verdict for result in judge(criteria, measured.measurements).results}


@pytest.fixture(scope="module")
def honest(drive: Drive) -> dict[str, str]:
    return verdicts(drive(PILOT, **DRIVEN, step_timeout=10).folder)


@pytest.mark.parametrize(("name", "criterion", "driven"), [
    ("never_brakes", "no-collision-hard-braking", DRIVEN),
    ("never_brakes", "no-collision-pedestrian", DRIVEN),
    ("stands_still", "progress", DRIVEN),
    ("memorised", "no-collision-hard-braking", DRIVEN),
    ("nan", "completeness", FEW),
    ("out_of_range", "completeness", FEW),
])  # fmt: skip
def test_a_bad_pilot_fails_what_is_meant_for_it(drive: Drive, honest: dict[str, str], name: str, criterion: str, driven: dict[str, int]) -> None:
    found = verdicts(drive(BAD, name, **driven, step_timeout=10).folder)
    assert (found[criterion], honest[criterion]) == ("FAIL", "PASS")
