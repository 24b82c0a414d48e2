"""The closed forms of scores without follow-up: the bootstrap's values, their derivatives, its spread, and the variance of DeLong."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from livinglab.measuring import accuracy, calibration, discrimination, influence, logistic, score_influence, scoring
from livinglab.measuring.cohort import Floats, ratio
from livinglab.measuring.estimate import Estimate, difference, proportion, spread
from livinglab.measuring.resampling import generator, multiplicities, multiplied
from livinglab.measuring.score_influence import LinearisedScores
from livinglab.measuring.scoring import Scored, Share

N = 300
Rate = Callable[[Scored, float], Share]


def draw(n: int = N, *, ties: bool = False, seed: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    risk = logistic.probability(1.3 * x - 0.8)
    return Scored(rng.random(n) < logistic.probability(x - 1), np.round(risk, 1) if ties else risk)


def rival(cases: Scored) -> Floats:
    return cases.risk + np.random.default_rng(7).normal(0, 0.15, len(cases))


def groups(cases: Scored) -> tuple[np.ndarray, np.ndarray]:
    protected = np.random.default_rng(8).random(len(cases)) < 0.35
    return protected, ~protected


def between(rate: Rate, *, quotient: bool) -> tuple[Callable[[Scored, Floats], Floats], Callable[[Scored], Estimate]]:
    """A contrast of two groups, resampled and in closed form."""

    def resampled(cases: Scored, w: Floats) -> Floats:
        first, second = (scoring.share(w[:, g], rate(cases.only(g), 0.4)) for g in groups(cases))
        return ratio(first, second) if quotient else first - second

    def closed(cases: Scored) -> Estimate:
        first, second = (spread(score_influence.share(rate(cases.only(g), 0.4)), np.flatnonzero(g), len(cases)) for g in groups(cases))
        return proportion(first, second) if quotient else difference(first, second)

    return resampled, closed


def linear(metric: Callable[[LinearisedScores], Estimate]) -> Callable[[Scored], Estimate]:
    return lambda cases: metric(LinearisedScores(cases))


METRICS: dict[str, tuple[Callable[[Scored, Floats], Floats], Callable[[Scored], Estimate]]] = {
    "auc": (scoring.auc, score_influence.auc),
    "gini": (scoring.gini, score_influence.gini),
    "delta_auc": (
        lambda c, w: scoring.auc(c, w) - scoring.auc(c, w, rival(c)),
        lambda c: difference(score_influence.auc(c), score_influence.auc(c, rival(c))),
    ),
    "calibration_slope": (scoring.slope, score_influence.slope),
    "observed_expected": (calibration.observed_expected, linear(influence.observed_expected)),
    "brier": (accuracy.brier, linear(influence.brier)),
    "ipa": (accuracy.ipa, linear(influence.ipa)),
    "sensitivity": (lambda c, w: discrimination.sensitivity(c, w, 0.4), linear(lambda part: influence.sensitivity(part, 0.4))),
    "specificity": (lambda c, w: discrimination.specificity(c, w, 0.4), linear(lambda part: influence.specificity(part, 0.4))),
    "approval": (lambda c, w: scoring.share(w, scoring.approval(c, 0.4)), lambda c: score_influence.share(scoring.approval(c, 0.4))),
    "approval_difference": between(scoring.approval, quotient=False),
    "adverse_impact_ratio": between(scoring.approval, quotient=True),
    "equal_opportunity_difference": between(scoring.approval_of_good, quotient=False),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_influence_is_the_derivative_by_each_cases_weight(metric: str, ties: bool) -> None:
    cases, step = draw(ties=ties), 1e-4
    resampled, closed = METRICS[metric]
    estimate = closed(cases)
    assert_allclose(estimate.value, resampled(cases, np.ones((1, N)))[0], rtol=1e-9)
    values = resampled(cases, 1 + step * np.concatenate((np.eye(N), -np.eye(N))))
    assert_allclose(estimate.influence, N * (values[:N] - values[N:]) / (2 * step), atol=2e-5)
    assert abs(estimate.influence.mean()) < 1e-9


@pytest.mark.parametrize("metric", METRICS)
def test_multipliers_spread_as_the_bootstrap_does(metric: str) -> None:
    cases = draw(1500)
    resampled, closed = METRICS[metric]
    drawn = resampled(cases, multiplicities(len(cases), 1000, generator("s", "b")).astype(np.float64))[1:]
    deviations = multiplied(closed(cases).influence[:, None].astype(np.float32), 1000, generator("s", "m"))
    assert_allclose(deviations.std(), drawn.std(), rtol=0.1)
    assert abs(deviations.mean()) < 4 * deviations.std() / np.sqrt(1000)


def delong(cases: Scored, *scores: Floats) -> Floats:
    """Covariance of the areas under the curves of these scores, as DeLong et al. 1988 write it: from all pairs."""
    inside, outside = [], []
    for score in scores:
        pairs = 0.5 + 0.5 * np.sign(score[cases.event][:, None] - score[~cases.event][None, :])
        inside.append(pairs.mean(axis=1))
        outside.append(pairs.mean(axis=0))
    return np.asarray(np.cov(inside) / cases.events + np.cov(outside) / cases.non_events)


@pytest.mark.parametrize("ties", [False, True])
def test_variances_of_areas_are_those_of_delong(ties: bool) -> None:
    """DeLong divides by the number of cases of a kind less one, an influence function by the number: that is all the difference."""
    cases = draw(ties=ties)
    scores = (cases.risk, rival(cases))
    corrected = []
    for estimate in (score_influence.auc(cases, score) for score in scores):
        size = np.where(cases.event, cases.events, cases.non_events)
        corrected.append(estimate.influence * np.sqrt(size / (size - 1)) / N)
    assert_allclose(np.array(corrected) @ np.array(corrected).T, delong(cases, *scores), rtol=1e-10)
    contrast = np.array([1, -1])
    paired = METRICS["delta_auc"][1](cases).influence
    assert_allclose((paired**2).sum() / N**2, contrast @ delong(cases, *scores) @ contrast, rtol=0.02)


def test_areas_are_those_of_mann_and_whitney() -> None:
    cases = draw(ties=True)
    statistic = stats.mannwhitneyu(cases.risk[cases.event], cases.risk[~cases.event]).statistic
    assert_allclose(score_influence.auc(cases).value, statistic / (cases.events * cases.non_events), rtol=1e-12)


def test_what_has_no_value_is_nan() -> None:
    cases = draw()
    constant, everyone = Scored(cases.event, np.full(N, 0.3)), Scored(np.ones(N, dtype=bool), cases.risk)
    separated = Scored(cases.event, np.where(cases.event, 0.9, 0.1))
    nobody = score_influence.share(scoring.approval(Scored(cases.event, np.ones(N)), 0.4))
    estimates = [
        score_influence.slope(constant), score_influence.slope(separated), score_influence.auc(everyone), proportion(nobody, nobody),
    ]  # fmt: skip
    for estimate in estimates:
        assert np.isnan(estimate.value)
        assert np.isnan(estimate.influence).all()
    assert nobody.value == 0
