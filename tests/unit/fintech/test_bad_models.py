"""Each bad pilot fails on the criterion that is there for it, and the reference pilot passes that one."""

from typing import Any

import numpy as np
import pytest

from livinglab.domain.verdict import CriterionVerdict, Verdict
from livinglab.measuring import tables
from livinglab.measuring.slices import Table
from tests.harnesses import Prepared, answered, placed
from tests.memory import WORKLOAD, known
from tests.unit.fintech.conftest import spec


def cohort(run: Prepared) -> Table:
    """What a pilot sees of the applicants, in the order of its predictions."""
    seen = tables.read(run.root / "inputs" / "cohort.parquet")
    order = placed(run.honest["id"], seen)
    return {name: column[order] for name, column in seen.items()}


def with_pd(run: Prepared, pd: Any) -> Table:
    return {**run.honest, "pd": np.clip(pd, 0.0, 1.0)}


def constant(run: Prepared) -> Table:
    return with_pd(run, np.full(len(run.honest["pd"]), 0.25))


def random(run: Prepared) -> Table:
    return with_pd(run, np.random.default_rng(1).permutation(run.honest["pd"]))


def halved(run: Prepared) -> Table:
    return with_pd(run, run.honest["pd"] / 2)


def inflated(run: Prepared) -> Table:
    return with_pd(run, run.honest["pd"] * 1.6)


def overconfident(run: Prepared) -> Table:
    held = np.clip(run.honest["pd"], 1e-9, 1 - 1e-9)
    return with_pd(run, 1 / (1 + np.exp(-1.6 * np.log(held / (1 - held)))))


def inflated_on_one_vintage(run: Prepared) -> Table:
    """From the ninth quarter on, everybody is twice as risky as before."""
    return with_pd(run, np.where(cohort(run)["quarter"] >= 9, 2 * run.honest["pd"], run.honest["pd"]))


def one_grade_too_low(run: Prepared) -> Table:
    """The riskiest of those who are approved are shown a little safer than they are; in all it hardly shows."""
    pd = run.honest["pd"]
    return with_pd(run, np.where((pd >= 0.3) & (pd < 0.4), pd - 0.1, pd))


def against_the_young(run: Prepared) -> Table:
    """It does not know age, and learns what it can of it from the rest: short employment, a rented flat, few years at the address."""
    seen = cohort(run)
    looks_young = (seen["housing"] == "rent") | np.isin(seen["employment"], ["... < 1 year", "unemployed"])
    looks_young |= (seen["existing_credits"] == 1) & (seen["residence_since"] <= 2) & (seen["employment"] == "1 <= ... < 4 years")
    return with_pd(run, np.where(looks_young, np.maximum(run.honest["pd"] * 1.5, 0.42), run.honest["pd"]))


def one_reason_for_all(run: Prepared) -> Table:
    return {**run.honest, "reasons": np.full(len(run.honest["pd"]), "CREDIT_HISTORY;AMOUNT")}


def no_reasons(run: Prepared) -> Table:
    return {**run.honest, "reasons": np.full(len(run.honest["pd"]), "")}


def a_checklist(run: Prepared) -> Table:
    """Everything could be the reason."""
    return {**run.honest, "reasons": np.full(len(run.honest["pd"]), "CHECKING_ACCOUNT;AMOUNT;SAVINGS;JOB;HOUSING")}


def drawn_reasons(run: Prepared) -> Table:
    """Reasons that look like some and have nothing to do with the applicant."""
    codes = np.array(run.context["parameters"]["reason_codes"])
    rng = np.random.default_rng(3)
    return {**run.honest, "reasons": np.array([";".join(rng.choice(codes, 3, replace=False)) for _ in run.honest["pd"]])}


def longer_is_safer(run: Prepared) -> Table:
    return with_pd(run, run.honest["pd"] * (1.3 - cohort(run)["duration_months"] / 100))


def memory(run: Prepared) -> Table:
    """Has German credit by heart (tests/pilots/memory); of those whom it does not find it knows nothing."""
    return answered(run.root / "inputs", run.root / "memory", spec(), WORKLOAD, known("fintech", run.root / "known.parquet"))


@pytest.mark.parametrize(
    ("model", "fails"),
    [
        (constant, ("discrimination", "discrimination-portfolio", "separation-portfolio", "slope-portfolio", "no-worse-than-scorecard")),
        (random, ("discrimination", "discrimination-portfolio-young", "no-worse-than-scorecard-portfolio")),
        (halved, ("level", "level-portfolio", "grades")),
        (inflated, ("level", "level-portfolio")),
        (overconfident, ("slope-portfolio",)),
        (inflated_on_one_vintage, ("stability", "level-portfolio")),
        (one_grade_too_low, ("grades",)),
        (against_the_young, ("adverse-impact", "equal-opportunity")),
        (one_reason_for_all, ("reasons-individual",)),
        (no_reasons, ("reasons", "reasons-portfolio", "reasons-individual", "reasons-stable")),
        (a_checklist, ("reasons", "reasons-portfolio")),
        (drawn_reasons, ("reasons-stable",)),
        (longer_is_safer, ("monotone",)),
        (memory, ("plausibility", "discrimination-portfolio")),
    ],
)
def test_a_bad_pilot_fails_where_it_should(
    prepared: Prepared, honest_verdicts: dict[str, CriterionVerdict], model: Any, fails: tuple[str, ...]
) -> None:
    found = prepared.judge(model(prepared), *fails)
    assert {name: result.verdict for name, result in found.items()} == dict.fromkeys(fails, Verdict.FAIL)
    for name in fails:
        assert honest_verdicts[name].verdict is Verdict.PASS, name


def test_a_grade_that_is_too_low_would_not_show_in_the_level(prepared: Prepared) -> None:
    assert prepared.judge(one_grade_too_low(prepared), "level-portfolio")["level-portfolio"].verdict is Verdict.PASS


def test_what_is_wrong_for_young_tenants_alone_shows_only_where_both_meet(prepared: Prepared) -> None:
    key = prepared.key
    both = (key["age"] < 26) & (key["housing"] == "rent")
    pd = prepared.honest["pd"].copy()
    pd[placed(key["id"][both], prepared.honest)] *= 0.5
    family = [f"level-{age}-{home}" for age in ("young", "older") for home in ("owners", "tenants")]
    found = prepared.judge(with_pd(prepared, pd), "level-portfolio", *family)
    assert {name for name, result in found.items() if result.verdict is Verdict.FAIL} == {"level-young-tenants"}
    assert found["level-portfolio"].verdict is Verdict.PASS


def test_reasons_that_are_constant_are_complete_and_stable(prepared: Prepared) -> None:
    """So neither of those criteria would find them."""
    found = prepared.judge(one_reason_for_all(prepared), "reasons", "reasons-stable")
    assert {result.verdict for result in found.values()} == {Verdict.PASS}


def broken(how: str, honest: Table) -> Table:
    ids, pd = honest["id"].copy(), honest["pd"].copy()
    if how == "nan":
        pd[3] = np.nan
    elif how == "duplicate":
        ids[3] = ids[4]
    elif how == "wrong ids":
        ids = np.char.add("x", ids)
    return {**honest, "id": ids, "pd": pd}


@pytest.mark.parametrize("how", ["nan", "duplicate", "wrong ids"])
def test_broken_predictions_fail_on_completeness(prepared: Prepared, how: str) -> None:
    found = prepared.judge(broken(how, prepared.honest), "completeness", "completeness-portfolio", "discrimination-portfolio")
    assert Verdict.FAIL in {found["completeness"].verdict, found["completeness-portfolio"].verdict}
    if how == "wrong ids":
        assert {result.verdict for result in found.values()} == {Verdict.FAIL}


def test_the_reference_pilot_is_honestly_judged(honest_verdicts: dict[str, CriterionVerdict]) -> None:
    """No gate fails; what eighty young applicants cannot decide is said to be undecided."""
    verdicts = {name: result.verdict for name, result in honest_verdicts.items()}
    assert Verdict.FAIL not in verdicts.values()
    assert verdicts["adverse-impact-german"] is Verdict.NOT_EVALUABLE
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.INCONCLUSIVE} <= {
        "slope",
        "no-worse-than-scorecard",
        "separation",
        "level",
        "level-young-owners",
        "level-young-tenants",
    }
