"""The specification, the split, the generated portfolio, and what `prepare` gives to whom."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from livinglab.domain.pilot import PilotManifest
from livinglab.measuring import calibration, scoring, tables
from livinglab.measuring.resampling import generator
from livinglab.measuring.scoring import Scored
from livinglab.measuring.slices import Table
from tests.harnesses import Prepared, load_make
from tests.unit.fintech.conftest import PILOT, SANDBOX, harness, spec

WITHHELD = {"age", "bad", "true_pd", "cohort", "personal_status", "foreign_worker", "sex", "kind", "of"}


def pool() -> Table:
    table: Table = load_make(SANDBOX).load()
    return table


def test_specification_and_manifest_load_and_name_files_that_are_there() -> None:
    sandbox = spec()
    assert (SANDBOX / sandbox.data.card).is_file()
    assert sandbox.data.visibility == "demonstration"
    manifest = PilotManifest.model_validate(yaml.safe_load((PILOT / "pilot.yaml").read_text()))
    assert (manifest.sandbox, manifest.task) == (sandbox.id, sandbox.task)
    assert manifest.model_card
    assert (PILOT / manifest.model_card).is_file()


def test_each_criterion_says_where_it_comes_from() -> None:
    bases = {criterion.id: criterion.basis.value for criterion in spec().criteria}
    assert {name for name, basis in bases.items() if basis == "law"} == {"reasons", "reasons-portfolio"}
    assert bases["adverse-impact"] == "convention"  # of the United States; no law of the Union
    assert bases["grades"] == "guideline"
    for criterion in spec().criteria:
        assert len(criterion.source) > 5
        assert len(criterion.rationale) > 20


def test_the_metrics_of_the_family_are_used() -> None:
    used = {criterion.metric for criterion in spec().criteria}
    assert {metric.name for metric in spec().family.metrics} - used == {"gini"}  # says what auc says


def test_every_code_is_an_attribute_that_a_pilot_sees() -> None:
    codes = spec().harness.parameters["reason_codes"]
    assert set(codes) == {name.upper() for name in harness.portfolio.COVARIATES}  # type: ignore[arg-type]


def test_the_split_is_a_partition_that_the_secret_decides(data: Path, tmp_path: Path) -> None:
    train, hidden = (tables.read(data / path) for path in ("participant/train.parquet", "hidden/reference.parquet"))
    german = train["portfolio"] == "german"
    assert (german.sum(), train["bad"][german].sum()) == (600, 180)
    assert (len(hidden["bad"]), hidden["bad"].sum()) == (400, 120)
    both = sorted([*train["amount"][german], *hidden["amount"]])
    assert_allclose(both, sorted(pool()["amount"]))
    for name, secret in (("same", bytes(range(32))), ("other", bytes(32))):
        load_make(SANDBOX).make(tmp_path / name, secret)
    for path, same in (("hidden/reference.parquet", True), ("participant/train.parquet", True)):
        assert ((tmp_path / "same" / path).read_bytes() == (data / path).read_bytes()) is same
        assert (tmp_path / "other" / path).read_bytes() != (data / path).read_bytes()


def test_a_pilot_sees_neither_outcome_nor_age_nor_what_is_a_copy(prepared: Prepared, data: Path) -> None:
    inputs = prepared.root / "inputs"
    assert sorted(path.name for path in inputs.iterdir()) == ["cohort.parquet", "task.json", "train.parquet"]
    assert not WITHHELD & set(pq.read_schema(inputs / "cohort.parquet").names)
    assert set(pq.read_schema(inputs / "train.parquet").names) & WITHHELD == {"bad"}
    assert set(pq.read_schema(data / "participant" / "train.parquet").names) & WITHHELD == {"bad"}
    assert set(json.loads((inputs / "task.json").read_text())) == {
        "id", "outcome", "prediction", "reasons", "covariates", "reject_at", "reason_codes", "monotone",
    }  # fmt: skip


def test_cases_and_copies_stand_mixed_under_names_that_tell_nothing(prepared: Prepared) -> None:
    cohort, copies = (tables.read(prepared.root / path) for path in ("inputs/cohort.parquet", "key/copies.parquet"))
    assert len(np.unique(cohort["id"])) == len(cohort["id"]) == len(prepared.key["id"]) + len(copies["id"])
    n = len(cohort["id"])
    for inside in (np.isin(cohort["id"], copies["id"]), np.isin(cohort["id"], prepared.key["id"][prepared.key["cohort"] == "twin"])):
        place, name = np.flatnonzero(inside).mean() / n, np.argsort(np.argsort(cohort["id"]))[inside].mean() / n
        assert_allclose([place, name], 0.5, atol=5 * np.sqrt(1 / 12 / inside.sum()))


def test_copies_differ_from_their_cases_as_their_kind_says(prepared: Prepared) -> None:
    cohort, copies = (tables.read(prepared.root / path) for path in ("inputs/cohort.parquet", "key/copies.parquet"))
    where = {name: place for place, name in enumerate(cohort["id"].tolist())}
    copy, case = (np.array([where[name] for name in copies[column].tolist()]) for column in ("id", "of"))
    same = {name for name in harness.prepare.SEEN if (cohort[name][copy] == cohort[name][case]).all()}
    assert set(harness.prepare.SEEN) - same == {"amount", "duration_months", "installment_rate"}
    shaken = copies["kind"] == "shaken"
    amount, months, rate = (cohort[name][copy] - cohort[name][case] for name in ("amount", "duration_months", "installment_rate"))
    assert (np.abs(amount[shaken]) <= 0.02 * cohort["amount"][case][shaken] + 0.5).all()
    assert (np.abs(months[shaken]) <= 1).all()
    assert not rate[shaken].any()
    assert not amount[~shaken].any()
    assert ((months[~shaken] > 0) != (rate[~shaken] > 0)).all()


def test_the_portfolio_defaults_as_its_truth_says() -> None:
    drawn = harness.portfolio.draw(pool(), range(1, 11), 5000, generator("a", "truth"))
    cases, ones = Scored(drawn["bad"], drawn["true_pd"]), np.ones((1, 50_000))
    error = np.sqrt((drawn["true_pd"] * (1 - drawn["true_pd"])).sum()) / drawn["true_pd"].sum()
    assert_allclose(calibration.observed_expected(cases, ones), 1.0, atol=4 * error)
    assert_allclose(scoring.slope(cases, ones), 1.0, atol=0.06)
    assert 0.78 < scoring.auc(cases, ones)[0] < 0.84  # as the data card says
    later = drawn["quarter"] >= 9
    assert drawn["true_pd"][later].mean() > drawn["true_pd"][~later].mean()


def test_age_has_no_part_in_the_truth_and_hangs_together_with_what_has() -> None:
    drawn = harness.portfolio.draw(pool(), range(9, 11), 20_000, generator("a", "age"))
    young = (drawn["age"] < 26).astype(float)
    logit = np.log(drawn["true_pd"] / (1 - drawn["true_pd"]))
    model = LogisticRegression(C=np.inf).fit(np.column_stack([logit, young]), drawn["bad"])
    assert abs(model.coef_[0][1]) < 4 * 0.032  # its standard error at this size
    assert drawn["true_pd"][young == 1].mean() > drawn["true_pd"][young == 0].mean()


def test_no_label_of_german_credit_has_a_part_in_the_portfolio() -> None:
    without = {name: column for name, column in pool().items() if name != "bad"}
    one, two = (harness.portfolio.draw(table, range(1, 3), 100, generator("a", "labels")) for table in (pool(), without))
    assert (one["bad"] == two["bad"]).all()


def test_another_seed_draws_another_portfolio(data: Path) -> None:
    hidden, applicants = (tables.read(data / "hidden" / f"{name}.parquet") for name in ("reference", "pool"))
    drawn = [harness.prepare.applicants(hidden, applicants, generator(seed, "portfolio")) for seed in ("a", "a", "b")]
    assert (drawn[0]["bad"] == drawn[1]["bad"]).all()
    assert (drawn[0]["bad"] != drawn[2]["bad"]).any()


def test_the_lenders_rule_rejects_about_one_in_ten() -> None:
    rng = generator("a", "rule")
    drawn = harness.portfolio.draw(pool(), range(1, 9), 1000, rng)
    taken = harness.portfolio.accepted(drawn, rng)
    assert 0.05 < 1 - taken.mean() < 0.15
    assert drawn["true_pd"][~taken].mean() > drawn["true_pd"][taken].mean() + 0.1


def test_the_baseline_is_the_regression_of_scikit_learn(prepared: Prepared, data: Path) -> None:
    train = tables.read(data / "participant" / "train.parquet")
    german = {name: column[train["portfolio"] == "german"] for name, column in train.items()}
    asked = {name: column[prepared.key["portfolio"] == "german"] for name, column in prepared.key.items()}
    levels = {name: sorted(np.unique(german[name]))[1:] for name in harness.baselines.CATEGORIES}
    x = harness.baselines.design(german, levels)
    centre = x.mean(axis=0)
    # The penalty is on coefficients as they stand, so columns are not scaled; the intercept is free, so they may be centred.
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x - centre, german["bad"])
    expected = model.predict_proba(harness.baselines.design(asked, levels) - centre)[:, 1]
    assert_allclose(harness.baselines.scorecard(train, asked), expected, atol=1e-4)
