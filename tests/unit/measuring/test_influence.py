"""The closed forms: the same values, influences that are the derivatives they claim to be, and spread that resampling confirms."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from livinglab.measuring import accuracy, calibration, discrimination, influence
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.concordance import later_and_earlier
from livinglab.measuring.estimate import Estimate
from livinglab.measuring.influence import Linearised
from livinglab.measuring.resampling import generator, multiplicities, multiplied
from tests.unit.measuring.conftest import Draw, draw_cohort

METRICS: dict[str, tuple[Callable[[Cohort, Floats], Floats], Callable[[Linearised], Estimate]]] = {
    "uno_c": (discrimination.uno_c, influence.uno_c),
    "observed_expected": (calibration.observed_expected, influence.observed_expected),
    "brier": (accuracy.brier, influence.brier),
    "ipa": (accuracy.ipa, influence.ipa),
    "slope": (calibration.slope, influence.slope),
    "sensitivity": (lambda c, w: discrimination.sensitivity(c, w, 0.4), lambda part: influence.sensitivity(part, 0.4)),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_influence_is_the_derivative_by_each_cases_weight(draw: Draw, metric: str, ties: bool) -> None:
    cohort = draw(n=150, ties=ties)
    n, resampled, closed = len(cohort), *METRICS[metric]
    estimate = closed(Linearised(cohort))
    assert_allclose(estimate.value, resampled(cohort, np.ones((1, n)))[0], rtol=1e-12)
    # The bootstrap's concordance holds counts in single precision, exact for whole ones, so its step must be large.
    step = 1 / 64 if metric == "uno_c" else 1e-4
    values = resampled(cohort, 1 + step * np.concatenate((np.eye(n), -np.eye(n))))
    slope = n * (values[:n] - values[n:]) / (2 * step)
    assert_allclose(estimate.influence, slope, atol=1e-3 if metric == "uno_c" else 1e-6)
    assert abs(estimate.influence.mean()) < 1e-12


@pytest.mark.parametrize("metric", METRICS)
def test_multipliers_spread_as_the_bootstrap_does(draw: Draw, metric: str) -> None:
    cohort = draw(n=1500)
    resampled, closed = METRICS[metric]
    drawn = resampled(cohort, multiplicities(len(cohort), 1000, generator("s", "b")).astype(np.float64))[1:]
    deviations = multiplied(closed(Linearised(cohort)).influence[:, None].astype(np.float32), 1000, generator("s", "m"))
    assert_allclose(deviations.std(), drawn.std(), rtol=0.1)
    assert abs(deviations.mean()) < 4 * deviations.std() / np.sqrt(1000)


def test_columns_share_their_multipliers() -> None:
    columns = np.random.default_rng(1).normal(size=(20_000, 1)).astype(np.float32)
    both = multiplied(np.hstack((columns, 2 * columns)), 50, generator("s", "m"))
    assert_allclose(both[:, 1], 2 * both[:, 0], rtol=1e-3, atol=1e-6)
    assert_allclose(multiplied(columns, 50, generator("s", "m"))[:, 0], both[:, 0], rtol=1e-3, atol=1e-6)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_pairs_are_counted_as_by_hand(n: int, seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    cohort, _ = Cohort.sort(rng.integers(0, values, n).astype(float), rng.random(n) < 0.6, rng.integers(0, values, n) / values, 5.0)
    weight = np.where(cohort.event, rng.integers(1, 5, n), 0).astype(float)
    (beaten, beaten_by), (longer, earlier) = later_and_earlier(cohort, cohort.risk, weight)
    later = (cohort.time[None, :] > cohort.time[:, None]) | ((cohort.time[None, :] == cohort.time[:, None]) & ~cohort.event[None, :])
    comparable = later & cohort.event[:, None]
    concordant = comparable * (0.5 + 0.5 * np.sign(cohort.risk[:, None] - cohort.risk[None, :]))
    assert_allclose(np.where(cohort.event, beaten, 0), concordant.sum(axis=1))
    assert_allclose(beaten_by, weight @ concordant)
    assert_allclose(longer, comparable.sum(axis=1))
    assert_allclose(earlier, weight @ comparable)


def test_what_has_no_value_is_nan() -> None:
    cohort = draw_cohort(n=50)
    constant = Cohort(cohort.time, cohort.event, np.zeros(50), cohort.horizon)
    assert np.isnan(influence.slope(Linearised(constant)).value)
    assert np.isnan(influence.observed_expected(Linearised(constant)).value)
