"""The mobility sandbox's specification, and its `measure`: what can be shown with so many scenarios, and for whom nothing can be shown."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.domain.replay import Replay
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import CriterionVerdict, MeasurementFile, judge
from livinglab.measuring import exact, moments
from livinglab.measuring.loading import load
from tests.drives import Driven, driven, hit, write
from tests.harnesses import ROOT, load_spec

SANDBOX = ROOT / "sandboxes" / "mobility"
harness = load(SANDBOX / "harness", "geometry", "measure", "scenario")
MEASURE = "import json, sys; from pathlib import Path; from harness.measure import run; run(json.loads(Path(sys.argv[1], 'context.json').read_text()), Path(sys.argv[1]))"  # noqa: E501 - one line, as `python -c` takes it


@pytest.fixture(scope="module")
def spec() -> SandboxSpec:
    return load_spec(SANDBOX)


def context(spec: SandboxSpec) -> dict[str, Any]:
    criteria = spec.frozen_criteria()
    return {
        "parameters": spec.harness.model_dump(mode="json")["parameters"], "baselines": spec.baselines, "replicates": 400, "seed": "ab" * 32,
        "slices": {name: part.model_dump(mode="json") for name, part in spec.slices.items()},
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria], "levels": {c.id: criteria.level(c) for c in criteria.criteria},
    }  # fmt: skip


def measured(spec: SandboxSpec, drives: list[Driven], root: Path) -> dict[str, CriterionVerdict]:
    write(drives, root / "recording")
    (root / "out").mkdir()
    harness.measure.run(context(spec), root)
    found = MeasurementFile.model_validate_json((root / "out" / "measurements.json").read_bytes())
    Replay.model_validate_json((root / "out" / "replay.json").read_bytes())
    return {result.criterion: result for result in judge(spec.frozen_criteria(), found.measurements).results}


def careful(spec: SandboxSpec, **about: Any) -> list[Driven]:
    """As many scenarios of each family as a run has, in which nothing goes wrong; all of them preventable."""
    drives = []
    for family in ("cut-in", "cut-out", "hard-braking", "junction", "pedestrian", "degraded-sensing", "dense-traffic"):
        count = int(float(str(spec.harness.parameters[f"episodes_{family.replace('-', '_')}"])))
        for number in range(count):
            parameters = {"closing": 3.0 + 14 * number / count, "priority": float(number % 3 == 0)}
            drives.append(driven(25, columns={"gap": 60.0, "closing": 1.0}, family=family, parameters=parameters, **about))
    return drives


def test_each_criterion_says_where_it_comes_from(spec: SandboxSpec) -> None:
    assert [c.id for c in spec.criteria if c.basis.value == "law"] == ["no-collision-cut-in"]
    assert {c.id for c in spec.criteria if c.basis.value == "guideline"} == {"following-distance"}
    assert all(len(c.source) > 5 and len(c.rationale) > 20 and c.min_events == 0 for c in spec.criteria)
    assert {metric.name for metric in spec.family.metrics} == {c.metric for c in spec.criteria}


def test_the_least_number_of_scenarios_is_what_shows_the_threshold_without_a_fault(spec: SandboxSpec) -> None:
    criteria = spec.frozen_criteria()
    for criterion in (c for c in spec.criteria if c.metric == "preventable_collision_rate"):
        threshold, level = float(str(criterion.threshold)), criteria.level(criterion)
        assert exact.proportion(0, criterion.min_n, level)[1] <= threshold, criterion.id
        assert exact.proportion(0, criterion.min_n - 1, level)[1] > threshold, criterion.id


def test_the_harness_and_the_replay_draw_the_same_vehicles(spec: SandboxSpec) -> None:
    assert moments._SIZES == harness.geometry.SIZES
    assert spec.harness.parameters["lane_width"] == harness.scenario.LANE


def test_who_drives_well_passes_all(spec: SandboxSpec, tmp_path: Path) -> None:
    found = measured(spec, careful(spec), tmp_path)
    assert {name: str(result.verdict) for name, result in found.items() if result.verdict != "PASS" and name != "collisions-per-distance"} == {}
    assert found["collisions-per-distance"].verdict == "INCONCLUSIVE"  # 2.5 km are not enough


def test_one_collision_in_the_cut_ins_is_one_too_many(spec: SandboxSpec, tmp_path: Path) -> None:
    drives = [drive for drive in careful(spec) if drive.about["family"] == "cut-in"][:450]
    drives[100] = driven(25, family="cut-in", parameters=drives[100].about["parameters"], collision=hit())
    found = measured(spec, drives, tmp_path)
    assert (found["no-collision-cut-in"].verdict, found["no-collision-cut-in-fast"].verdict) == ("INCONCLUSIVE", "PASS")
    assert found["no-collision-pedestrian"].verdict == "NOT_EVALUABLE"  # there were none


def test_who_brakes_for_nobody_fails(spec: SandboxSpec, tmp_path: Path) -> None:
    drives = careful(spec)
    for drive in drives:
        if drive.about["family"] in {"hard-braking", "pedestrian"}:
            drive.about |= {"collision": hit(), "ended": "collision"}
    found = measured(spec, drives, tmp_path)
    failed = {name for name, result in found.items() if result.verdict == "FAIL"}
    assert failed == {"no-collision-hard-braking", "no-collision-pedestrian", "no-collision-anywhere", "encounters-pedestrian", "collisions"}


def test_who_stands_still_is_safe_and_of_no_use(spec: SandboxSpec, tmp_path: Path) -> None:
    rival = {"distance": 25.0, "co2": 4.0}
    drives = careful(spec, baseline=rival, distance=0.0, co2=1.0)
    for drive in drives:
        drive.trace["speed"] = np.zeros(25)
    found = measured(spec, drives, tmp_path)
    assert found["no-collision-cut-in"].verdict == "PASS"
    failed = {name for name, result in found.items() if result.verdict == "FAIL"}
    assert failed == {"progress", "progress-dense", "emissions", "following-distance", "collisions-per-distance"}


def test_whose_answers_come_late_or_unusable_is_told_so(spec: SandboxSpec, tmp_path: Path) -> None:
    found = measured(spec, careful(spec, late=5, valid=24), tmp_path)
    assert {name: str(result.verdict) for name, result in found.items() if result.verdict == "FAIL"} == {"completeness": "FAIL", "on-time": "FAIL"}


def test_measure_needs_nothing_that_the_harness_image_has_not(spec: SandboxSpec, tmp_path: Path) -> None:
    """No pyarrow, which SUMO's library does not bear, and no pydantic."""
    write([driven(collision=hit())], tmp_path / "recording")
    (tmp_path / "out").mkdir()
    (tmp_path / "context.json").write_text(json.dumps(context(spec)))
    blocked = "import sys; sys.modules.update(dict.fromkeys(('pyarrow', 'pydantic', 'libsumo', 'yaml')));"
    path = f"{SANDBOX / 'harness'}:{ROOT}"
    ended = subprocess.run([sys.executable, "-c", blocked + MEASURE, tmp_path], capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "replay.json").exists()
