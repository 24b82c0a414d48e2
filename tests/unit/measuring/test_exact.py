"""Exact bounds: against published values, against scipy's own, and their coverage, which can be added up instead of simulated."""

import numpy as np
import pytest
from scipy import stats

from livinglab.measuring import exact

LEVELS = [0.95, 0.975, 1 - 0.05 / 3]


@pytest.mark.parametrize(("bound", "least"), [(0.01, 299), (0.001, 2995), (0.05, 59)])
def test_how_many_scenarios_without_a_collision_show_a_rate(bound: float, least: int) -> None:
    assert exact.proportion(0, least, 0.95)[1] < bound <= exact.proportion(0, least - 1, 0.95)[1]


def test_kilometres_without_a_collision_that_show_one_in_a_thousand() -> None:
    assert exact.rate(0, 2996, 0.95)[1] < 1 / 1000 < exact.rate(0, 2995, 0.95)[1]


@pytest.mark.parametrize(
    ("events", "lower", "upper"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390), (30, 20.24, 42.83)]
)
def test_garwoods_table(events: int, lower: float, upper: float) -> None:
    """Garwood 1936, two-sided 95 % limits for the expectation of a Poisson variable."""
    assert exact.rate(events, 1.0, 0.975) == pytest.approx((lower, upper), abs=6e-3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("events", "n"), [(0, 1), (1, 1), (0, 450), (1, 450), (7, 140), (139, 140), (140, 140)])
def test_clopper_and_pearson_as_scipy_has_it(events: int, n: int, level: float) -> None:
    theirs = stats.binomtest(events, n).proportion_ci(confidence_level=2 * level - 1, method="exact")
    assert exact.proportion(events, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-11)  # scipy searches, to 2e-12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("events", [0, 1, 3, 50])
def test_a_rates_bounds_leave_as_much_outside_as_they_say(events: int, level: float) -> None:
    lower, upper = exact.rate(events, 114.0, level)
    assert stats.poisson.cdf(events, upper * 114) == pytest.approx(1 - level, rel=1e-9)
    if events:
        assert stats.poisson.sf(events - 1, lower * 114) == pytest.approx(1 - level, rel=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [20, 450])
def test_either_bound_of_a_proportion_holds_at_every_truth(n: int, level: float) -> None:
    bounds = np.array([exact.proportion(k, n, level) for k in range(n + 1)])
    for truth in np.linspace(0.0005, 0.9995, 400):
        chance = stats.binom.pmf(np.arange(n + 1), n, truth)
        assert chance[bounds[:, 0] <= truth].sum() >= level - 1e-9
        assert chance[bounds[:, 1] >= truth].sum() >= level - 1e-9


@pytest.mark.parametrize("level", LEVELS)
def test_either_bound_of_a_rate_holds_at_every_truth(level: float) -> None:
    bounds = np.array([exact.rate(k, 1.0, level) for k in range(400)])
    for truth in np.geomspace(0.01, 200, 200):
        chance = stats.poisson.pmf(np.arange(400), truth)
        assert chance[bounds[:, 0] <= truth].sum() >= level - 1e-9
        assert chance[bounds[:, 1] >= truth].sum() >= level - 1e-9
