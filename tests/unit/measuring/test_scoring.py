"""Every metric of credit scoring against another's implementation of it, at equal weights and under multiplicities."""

from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_ratio, true_positive_rate
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from livinglab.measuring import calibration, grades, logistic, scoring
from livinglab.measuring.cohort import Floats, ratio
from livinglab.measuring.reasons import Reasons
from livinglab.measuring.resampling import generator, multiplicities
from livinglab.measuring.scoring import Scored

N = 400


def draw(*, ties: bool = False, n: int = N, seed: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    pd = logistic.probability(1.3 * x - 0.8)
    return Scored(rng.random(n) < logistic.probability(x - 1), np.round(pd, 1) if ties else pd)


def resampled(n: int = N, count: int = 5) -> Floats:
    return multiplicities(n, count, generator("a seed", "tests")).astype(np.float64)


def written_out(cases: Scored, row: Floats) -> Scored:
    often = row.astype(int)
    return Scored(np.repeat(cases.event, often), np.repeat(cases.risk, often))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_gini_and_ks_agree_with_scikit_learn(ties: bool) -> None:
    cases = draw(ties=ties)
    weights = resampled()
    areas, distances = [], []
    for sample in (written_out(cases, row) for row in weights):
        areas.append(roc_auc_score(sample.event, sample.risk))
        false, true, _ = roc_curve(sample.event, sample.risk)
        distances.append(np.abs(true - false).max())
    assert_allclose(scoring.auc(cases, weights), areas, rtol=1e-12)
    assert_allclose(scoring.gini(cases, weights), 2 * np.array(areas) - 1, rtol=1e-12)
    assert_allclose(scoring.ks(cases, weights), distances, rtol=1e-12)


def test_ks_is_the_two_sample_statistic_of_scipy() -> None:
    cases = draw()
    expected = stats.ks_2samp(cases.risk[cases.event], cases.risk[~cases.event]).statistic
    assert_allclose(scoring.ks(cases, np.ones((1, N)))[0], expected, rtol=1e-12)


def test_auc_of_another_score_of_a_constant_and_of_a_perfect_order() -> None:
    cases = draw()
    weights = resampled()
    assert_allclose(scoring.auc(cases, weights, np.full(N, 0.2)), 0.5)
    assert_allclose(scoring.auc(cases, weights, cases.event.astype(float)), 1.0)
    assert_allclose(scoring.auc(cases, weights, -cases.risk), 1 - scoring.auc(cases, weights), rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_slope_and_ratio_agree_with_scikit_learn(ties: bool) -> None:
    cases = draw(ties=ties)
    weights = resampled()
    slopes, ratios = [], []
    for row in weights:
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scoring.logit(cases.risk)[:, None], cases.event, sample_weight=row)
        slopes.append(model.coef_[0, 0])
        ratios.append(np.average(cases.event, weights=row) / np.average(cases.risk, weights=row))
    assert_allclose(scoring.slope(cases, weights), slopes, rtol=1e-5)
    assert_allclose(calibration.observed_expected(cases, weights), ratios, rtol=1e-12)


def test_slope_has_no_value_for_a_constant_nor_where_scores_separate() -> None:
    cases = draw()
    assert np.isnan(scoring.slope(Scored(cases.event, np.full(N, 0.3)), np.ones((2, N)))).all()
    assert np.isnan(scoring.slope(Scored(cases.event, np.where(cases.event, 0.9, 0.1)), np.ones((2, N)))).all()


def test_penalised_regression_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N, 4))
    y = (rng.random(N) < logistic.probability(x @ [1.0, -0.5, 0.0, 0.2])).astype(float)
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(x, y)
    assert_allclose(logistic.fit(x, y, np.ones((1, N)), ridge=2.0)[0], [*model.intercept_, *model.coef_[0]], rtol=1e-5)


def test_approval_rates_agree_with_fairlearn() -> None:
    cases = draw()
    protected = np.random.default_rng(2).random(N) < 0.3
    for row in resampled():
        good = (cases.risk < 0.4).astype(int)
        first, second = (
            ([scoring.share(row[None, g], rate(cases.only(g), 0.4))[0] for rate in (scoring.approval, scoring.approval_of_good)])
            for g in (protected, ~protected)
        )
        two_sided = demographic_parity_ratio(np.zeros(N, dtype=int), good, sensitive_features=protected, sample_weight=row)
        assert_allclose(min(first[0] / second[0], second[0] / first[0]), two_sided, rtol=1e-12)
        rates = [true_positive_rate(1 - cases.event[g], good[g], sample_weight=row[g], pos_label=1) for g in (protected, ~protected)]
        assert_allclose([first[1], second[1]], rates, rtol=1e-12)


def test_jeffreys_is_the_beta_distribution_of_scipy() -> None:
    bad, n, pd = np.array([0, 3, 40, 10]), np.array([5, 100, 100, 10]), np.array([0.01, 0.02, 0.5, 1.0])
    assert_allclose(grades.jeffreys_p(bad, n, pd), stats.beta.cdf(pd, bad + 0.5, n - bad + 0.5), rtol=1e-12)


def test_grades_are_cut_by_their_edges_and_empty_ones_left_out() -> None:
    cases = Scored(np.array([True, False, False, True]), np.array([0.05, 0.1, 0.19, 0.9]))
    found = grades.grades(cases, np.array([0.1, 0.2, 0.5]))
    assert [(g.number, g.n, g.bad) for g in found] == [(0, 1, 1), (1, 2, 0), (3, 1, 1)]
    assert_allclose([g.pd for g in found], [0.05, 0.145, 0.9])


def test_holm_takes_the_least_times_their_number() -> None:
    assert grades.holm_least(np.array([0.2, 0.01, 0.9])) == pytest.approx(0.03)
    assert grades.holm_least(np.array([0.9, 0.8])) == 1.0


def test_the_jeffreys_test_seldom_rejects_grades_that_are_right() -> None:
    """Under the truth, one portfolio in twenty at most has a grade with a Holm-adjusted p below 0.05 (Monte Carlo error 0.011)."""
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(400):
        pd = rng.beta(2, 5, 1000)
        found = grades.grades(Scored(rng.random(1000) < pd, pd), np.array([0.1, 0.2, 0.3, 0.4, 0.6]))
        rejected += grades.holm_least(np.array([g.p for g in found])) < 0.05
    assert rejected / 400 < 0.05 + 3 * 0.011


def test_psi_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(4)
    score, later = rng.normal(size=3000), np.arange(3000) >= 2000
    score[later] += 0.3
    edges = np.concatenate(([-np.inf], np.quantile(score[~later], np.linspace(0.1, 0.9, 9)), [np.inf]))
    before, after = (np.histogram(part, edges)[0] / len(part) for part in (score[~later], score[later]))
    assert_allclose(grades.psi(score, later), np.sum((after - before) * np.log(after / before)), rtol=1e-9)
    assert grades.psi(np.full(10, 0.3), np.arange(10) > 4) == 0
    assert np.isnan(grades.psi(score, np.zeros(3000, dtype=bool)))


def test_psi_of_inputs_takes_numbers_by_tenths_and_categories_as_they_are() -> None:
    later = np.arange(1000) >= 600
    kind = np.where(np.arange(1000) % 4 == 0, "rent", "own")
    kind[later] = np.where(np.arange(400) % 2 == 0, "rent", "own")
    amount = np.random.default_rng(5).normal(size=1000)
    found = grades.input_psi({"housing": kind, "amount": amount}, later)
    assert_allclose(found["housing"], (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75))
    assert found["amount"] == grades.psi(amount, later)


def test_commonest_counts_by_weight() -> None:
    kinds = np.array([0, 1, 1, 2])
    assert_allclose(scoring.commonest(np.array([[1.0, 1, 1, 1], [5, 1, 1, 1]]), kinds), [0.5, 5 / 8])


CODES = ("INCOME", "DURATION", "SAVINGS", "AMOUNT", "HISTORY")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("INCOME", True),
        (" INCOME ; DURATION", True),
        ("INCOME;DURATION;SAVINGS;AMOUNT", True),
        ("", False),
        (";", False),
        ("INCOME;", False),
        ("INCOME;INCOME", False),
        ("INCOME;UNKNOWN", False),
        ("INCOME;DURATION;SAVINGS;AMOUNT;HISTORY", False),
        ("income", False),
    ],
)
def test_reasons_are_one_to_four_different_codes_of_the_list(text: str, valid: bool) -> None:
    assert Reasons.parse(np.array([text]), CODES).valid.tolist() == [valid]


def test_overlap_is_jaccards_and_equal_sets_are_one_kind() -> None:
    one = Reasons.parse(np.array(["INCOME;SAVINGS", "INCOME", "", "SAVINGS;INCOME"]), CODES)
    two = Reasons.parse(np.array(["SAVINGS;INCOME", "INCOME;AMOUNT", "", "HISTORY"]), CODES)
    assert one.overlap(two).tolist() == [1.0, 0.5, 0.0, 0.0]
    kinds: Any = one.kinds
    assert kinds[0] == kinds[3]
    assert len(set(kinds.tolist())) == 3


def test_undefined_ratios_are_nan() -> None:
    nobody = Scored(np.array([True, True]), np.array([0.1, 0.2]))
    assert np.isnan(scoring.auc(nobody, np.ones((1, 2)))[0])
    assert np.isnan(ratio(np.array([1.0]), np.array([0.0]))[0])
