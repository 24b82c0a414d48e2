"""Each bad model fails on the criterion that is there for it, and the reference pilot does not fail on that one."""

from typing import Any

import numpy as np
import pytest

from livinglab.domain.verdict import CriterionVerdict, Verdict
from livinglab.measuring import tables
from livinglab.measuring.slices import Table
from tests.harnesses import Prepared, answered
from tests.memory import WORKLOAD, known
from tests.unit.medicine.conftest import aligned, harness, spec


def loglog(risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.log(-np.log1p(-np.clip(risk, 1e-9, 1 - 1e-9))))


def constant(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.full(len(risk), risk.mean())


def halved(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return risk / 2


def overconfident(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Differences between persons half as large again; as many deaths in all."""
    x = loglog(risk)
    return np.asarray(1 - np.exp(-np.exp(1.5 * (x - x.mean()) + x.mean() - 0.35)))


def blind_for_men(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    men = run.key["sex"] == "M"
    return np.where(men, risk[men].mean(), risk)


def blind_to_risky_men(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Men above the threshold at which one would act are kept just below it."""
    return np.where(run.key["sex"] == "M", np.minimum(risk, 0.29), risk)


def random(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).permutation(risk)


def age_and_sex_alone(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    train = tables.read(run.root / "participant" / "train.parquet")
    return np.asarray(harness.baselines.fit("age_sex", train, run.key, run.context))


def memory(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Has FLChain by heart (tests/pilots/memory); of those whom it does not find it knows nothing."""
    found = answered(run.root / "inputs", run.root / "memory", spec(), WORKLOAD, known("medicine", run.root / "known.parquet"))
    return aligned(run.key, found)


def likeness(run: Prepared, risk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Looks everybody up in the public data, by the person who is nearest; knows nothing of risk."""
    both = [tables.read(run.root / path) for path in ("participant/train.parquet", "hidden/reference.parquet")]
    public = {name: np.concatenate([table[name] for table in both]) for name in (*harness.twin.COVARIATES, "time", "event")}
    scale = np.array([1.0, 100.0, 0.01, 0.01, 0.01])
    known, asked = (harness.twin.features(table) / scale for table in (public, run.key))
    from scipy.spatial import cKDTree

    nearest = cKDTree(known).query(asked)[1]
    dead = public["event"][nearest] & (public["time"][nearest] <= 10)
    return np.where(dead, 0.99 - 0.04 * public["time"][nearest], 0.01)


@pytest.mark.parametrize(
    ("model", "fails"),
    [
        (constant, ("discrimination", "calibration-slope", "accuracy")),
        (random, ("discrimination", "accuracy", "net-benefit")),
        (halved, ("calibration-in-the-large", "calibration-women", "calibration-twin")),
        (overconfident, ("calibration-slope",)),
        (blind_for_men, ("discrimination-men", "equal-opportunity")),
        (blind_to_risky_men, ("equal-opportunity",)),
        (memory, ("plausibility", "discrimination-twin")),
        (likeness, ("plausibility", "discrimination-twin")),
    ],
)
def test_a_bad_model_fails_where_it_should(
    prepared: Prepared, honest_verdicts: dict[str, CriterionVerdict], model: Any, fails: tuple[str, ...]
) -> None:
    risk = model(prepared, aligned(prepared.key, prepared.honest))
    found = prepared.judge({"id": prepared.key["id"], "risk": risk}, *fails)
    assert {name: result.verdict for name, result in found.items()} == dict.fromkeys(fails, Verdict.FAIL)
    sure = {Verdict.PASS} if model in (memory, likeness) else {Verdict.PASS, Verdict.INCONCLUSIVE}
    assert {honest_verdicts[name].verdict for name in fails} <= sure


def test_age_and_sex_alone_gain_nothing_over_age_and_sex(prepared: Prepared) -> None:
    risk = age_and_sex_alone(prepared, aligned(prepared.key, prepared.honest))
    found = prepared.judge({"id": prepared.key["id"], "risk": risk}, "gain-over-age-and-sex")["gain-over-age-and-sex"]
    assert found.measurement
    assert found.measurement.value == 0
    assert found.verdict is Verdict.FAIL


def test_what_is_right_by_sex_and_by_age_and_wrong_where_they_meet_shows_there(prepared: Prepared) -> None:
    """Expected deaths are moved from men of 70 and over to the younger, and among women the other way: every margin stays."""
    key, risk = prepared.key, aligned(prepared.key, prepared.honest)
    men, old, hidden = key["sex"] == "M", key["age"] >= 70, key["cohort"] == "hidden"
    changed = risk.copy()
    for sex, age, deaths in ((men, old, -70), (men, ~old, 70), (~men, old, 70), (~men, ~old, -70)):
        expected = risk[sex & age & hidden].sum()
        changed[sex & age] *= (expected + deaths) / expected
    margins = ("calibration-in-the-large", "calibration-women", "calibration-men", "calibration-70-and-over")
    meet = ("calibration-women-70-and-over", "calibration-men-70-and-over")
    found = prepared.judge({"id": key["id"], "risk": np.clip(changed, 0, 1)}, *margins, *meet)
    assert {name for name, result in found.items() if result.verdict is Verdict.FAIL} == {"calibration-men-70-and-over"}
    assert {found[name].verdict for name in margins} <= {Verdict.PASS, Verdict.INCONCLUSIVE}


def broken(how: str, honest: Table) -> Table:
    ids, risk = honest["id"].copy(), honest["risk"].copy()
    if how == "nan":
        risk[3] = np.nan
    elif how == "duplicate":
        ids[3] = ids[4]
    elif how == "wrong ids":
        ids = np.char.add("x", ids)
    return {"id": ids, "risk": risk}


@pytest.mark.parametrize("how", ["nan", "duplicate", "wrong ids"])
def test_broken_predictions_fail_every_criterion_that_could_be_decided(prepared: Prepared, how: str) -> None:
    found = prepared.judge(broken(how, prepared.honest))
    cohort = prepared.key["cohort"][prepared.key["id"] == prepared.honest["id"][3]][0]
    twins = {name for name in found if name.endswith("-twin")}
    hit = set(found) if how == "wrong ids" else twins if cohort == "twin" else {"completeness", "discrimination", "calibration-slope", "net-benefit"}
    small = {"calibration-under-60", "calibration-mgus"}
    assert {found[name].verdict for name in hit - small} == {Verdict.FAIL}
    assert {found[name].verdict for name in small} == {Verdict.NOT_EVALUABLE}  # too few, whatever the pilot says


def test_the_reference_pilot_is_honestly_judged(honest_verdicts: dict[str, CriterionVerdict]) -> None:
    """Most pass, none of the gates fails, and what the data cannot decide is said to be undecided."""
    verdicts = {name: result.verdict for name, result in honest_verdicts.items()}
    assert Verdict.FAIL not in verdicts.values()
    sure = {
        "completeness", "completeness-twin", "discrimination", "discrimination-women", "discrimination-twin", "plausibility", "accuracy",
        "net-benefit", "calibration-70-and-over", "gain-over-age-and-sex",
    }  # fmt: skip
    assert {name for name in sure if verdicts[name] is not Verdict.PASS} == set()
    assert verdicts["equal-opportunity-close"] is Verdict.INCONCLUSIVE
    assert verdicts["calibration-under-60"] is verdicts["calibration-mgus"] is Verdict.NOT_EVALUABLE
