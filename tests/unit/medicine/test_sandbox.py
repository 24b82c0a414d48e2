"""The specification, the split, and what `prepare` gives to whom."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from lifelines import CoxPHFitter, KaplanMeierFitter
from numpy.testing import assert_allclose

from livinglab.domain.pilot import PilotManifest
from livinglab.domain.sandbox import SandboxSpec
from livinglab.measuring import tables
from tests.harnesses import ROOT, Prepared, load_make
from tests.unit.medicine.conftest import PILOT, SANDBOX, harness, spec


def test_specification_and_manifest_load_and_name_files_that_are_there() -> None:
    sandbox = spec()
    assert (SANDBOX / sandbox.data.card).is_file()
    assert sandbox.data.visibility == "demonstration"
    manifest = PilotManifest.model_validate(yaml.safe_load((PILOT / "pilot.yaml").read_text()))
    assert manifest.sandbox == sandbox.id
    assert manifest.model_card
    assert (PILOT / manifest.model_card).is_file()


def test_each_criterion_says_where_it_comes_from() -> None:
    for criterion in spec().criteria:
        assert criterion.basis.value != "law"  # nothing here is law
        assert len(criterion.source) > 10
        assert len(criterion.rationale) > 20


def test_the_split_is_a_partition_that_the_secret_decides(data: Path, tmp_path: Path) -> None:
    train, hidden = (pq.read_table(data / folder / f"{name}.parquet") for folder, name in (("participant", "train"), ("hidden", "reference")))
    assert train.num_rows + hidden.num_rows == 7874
    assert train["event"].to_pylist().count(True) + hidden["event"].to_pylist().count(True) == 2169
    shares = [sum(table["event"].to_pylist()) / table.num_rows for table in (train, hidden)]
    assert_allclose(shares[0], shares[1], atol=0.001)
    assert float(min(train["time"].to_pylist() + hidden["time"].to_pylist())) > 0
    for name, secret in (("same", bytes(range(32))), ("other", bytes(32))):
        load_make(SANDBOX).make(tmp_path / name, secret)
    assert (tmp_path / "same/hidden/reference.parquet").read_bytes() == (data / "hidden/reference.parquet").read_bytes()
    assert (tmp_path / "other/hidden/reference.parquet").read_bytes() != (data / "hidden/reference.parquet").read_bytes()


def test_a_pilot_gets_no_outcome_and_nothing_that_is_known_only_after_it(prepared: Prepared) -> None:
    inputs = prepared.root / "inputs"
    assert sorted(path.name for path in inputs.iterdir()) == ["cohort.parquet", "task.json", "train.parquet"]
    cohort = pq.read_table(inputs / "cohort.parquet")
    assert set(cohort.column_names) == {"id", "age", "sex", "kappa", "lambda", "creatinine", "mgus", "sample_year"}
    train = pq.read_table(inputs / "train.parquet").column_names
    assert "chapter" not in train
    assert {"time", "event"} <= set(train)
    assert json.loads((inputs / "task.json").read_text())["horizon"] == 10


def test_twins_stand_among_the_others_and_cannot_be_told_by_place_or_name(prepared: Prepared) -> None:
    twin = prepared.key["cohort"] == "twin"
    assert twin.sum() == (~twin).sum()
    n = len(twin)
    place = np.flatnonzero(twin).mean() / n
    names = np.argsort(np.argsort(prepared.key["id"]))[twin].mean() / n
    assert_allclose([place, names], 0.5, atol=5 * np.sqrt(1 / 12 / n))
    assert len(np.unique(prepared.key["id"])) == n


def test_no_twin_is_a_person_of_the_public_data(prepared: Prepared) -> None:
    columns = ["age", "sex", "kappa", "lambda", "creatinine", "sample_year"]
    key = pd.DataFrame({name: prepared.key[name] for name in [*columns, "cohort"]})
    hidden, twin = (key[key["cohort"] == cohort][columns].round(6) for cohort in ("hidden", "twin"))
    assert len(twin.merge(hidden.drop_duplicates(), on=columns)) < 0.005 * len(twin)


def test_twins_live_as_the_model_that_they_were_drawn_from_says(prepared: Prepared) -> None:
    """Twins and real persons have one distribution: the same survival, and the same hazard ratios."""
    frames = {}
    for cohort in ("hidden", "twin"):
        rows = prepared.key["cohort"] == cohort
        features = harness.twin.features({name: column[rows] for name, column in prepared.key.items()})
        frame = pd.DataFrame(features[:, :4], columns=["age", "male", "kappa", "lambda"])
        frames[cohort] = frame.assign(time=prepared.key["time"][rows], event=prepared.key["event"][rows])
    survival = {name: KaplanMeierFitter().fit(f["time"], f["event"]).predict(10) for name, f in frames.items()}
    assert_allclose(survival["twin"], survival["hidden"], atol=0.03)
    fits = {name: CoxPHFitter().fit(f, "time", "event") for name, f in frames.items()}
    gap = (fits["twin"].params_ - fits["hidden"].params_).abs() / np.hypot(fits["twin"].standard_errors_, fits["hidden"].standard_errors_)
    assert gap.max() < 4


def test_twins_are_many_enough_to_decide(prepared: Prepared) -> None:
    twin = prepared.key["cohort"] == "twin"
    assert np.sum(prepared.key["event"][twin] & (prepared.key["time"][twin] <= 10)) >= 100
    assert np.sum(prepared.key["time"][twin] > 10) >= 100


def test_another_seed_draws_other_twins(prepared: Prepared) -> None:
    train, hidden = (tables.read(prepared.root / folder / f"{name}.parquet") for folder, name in (("participant", "train"), ("hidden", "reference")))
    twins = [harness.twin.draw_twins(train, hidden, harness.twin.generator(seed, "twin cohort")) for seed in ("a", "a", "b")]
    assert (twins[0]["time"] == twins[1]["time"]).all()
    assert (twins[0]["time"] != twins[2]["time"]).any()


def test_the_baseline_is_the_cox_model_of_lifelines(prepared: Prepared) -> None:
    train = tables.read(prepared.root / "participant" / "train.parquet")
    frame = pd.DataFrame({"age": train["age"], "male": (train["sex"] == "M").astype(float), "time": train["time"], "event": train["event"]})
    fitted = CoxPHFitter().fit(frame, "time", "event")
    asked = pd.DataFrame({"age": prepared.key["age"], "male": (prepared.key["sex"] == "M").astype(float)})
    expected = 1 - fitted.predict_survival_function(asked, times=[10]).to_numpy()[0]
    assert_allclose(harness.baselines.fit("age_sex", train, prepared.key, prepared.context), expected, atol=2e-3)  # ties: Breslow here, Efron there


def test_the_harness_refuses_an_unknown_verb() -> None:
    environment = {**os.environ, "PYTHONPATH": str(SANDBOX / "harness")}
    asked = subprocess.run([sys.executable, "-m", "harness", "guess"], capture_output=True, text=True, check=False, env=environment)
    assert asked.returncode == 1
    assert "known: prepare, decode, measure" in asked.stderr


def test_the_tiny_sandbox_measures_its_honest_pilot(tmp_path: Path) -> None:
    sandbox = SandboxSpec.model_validate(yaml.safe_load((ROOT / "tests/sandboxes/tiny/sandbox.yaml").read_text()))
    load_make(ROOT / "tests" / "sandboxes" / "tiny").make(tmp_path, bytes(32))
    lines = (tmp_path / "participant" / "cohort.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    table = {"id": np.array([row[0] for row in rows]), "risk": 1 - np.exp(-0.5 * np.exp(np.array([float(row[1]) for row in rows])))}
    for name in ("out", "decoded"):
        (tmp_path / name).mkdir()
    tables.write(table, tmp_path / "decoded" / "table.parquet")
    criteria = sandbox.frozen_criteria(1)
    context = {
        "parameters": sandbox.harness.model_dump(mode="json")["parameters"], "slices": {"all": sandbox.slices["all"].model_dump(mode="json")},
        "baselines": {}, "criteria": [c.model_dump(mode="json") for c in criteria.criteria],
        "levels": {c.id: criteria.level(c) for c in criteria.criteria}, "replicates": 200, "seed": "ab",
    }  # fmt: skip
    harness.measure.run(context, tmp_path)
    found = {m["metric"]: m for m in json.loads((tmp_path / "out" / "measurements.json").read_text())["measurements"]}
    assert found["completeness"]["value"] == 1
    assert found["uno_c"]["value"] > 0.65
    assert found["observed_expected"]["interval"]["lower"] < 1 < found["observed_expected"]["interval"]["upper"]
