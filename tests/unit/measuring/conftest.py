"""Cohorts with a known truth for the metrics' tests."""

from collections.abc import Callable

import numpy as np
import pytest

from livinglab.measuring.cohort import Cohort

Draw = Callable[..., Cohort]


def draw_cohort(*, n: int = 400, ties: bool = False, seed: int = 1, horizon: float = 5.0, bias: float = 0.1, slope: float = 0.8) -> Cohort:
    """Exponential times whose rate depends on one covariate; uniform censoring; predictions that are somewhat wrong.

    With ties, times come in half years, so that events and censorings meet, and risks in few steps.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    died, left = rng.exponential(1 / (0.1 * np.exp(x))), rng.uniform(2, 14, n)
    event, time = died <= left, np.minimum(died, left)
    if ties:
        time, x = np.ceil(time * 2) / 2, np.round(x, 1)
    risk = 1 - np.exp(-0.5 * np.exp(slope * x + bias))
    return Cohort.sort(time, event, risk, horizon)[0]


@pytest.fixture
def draw() -> Draw:
    return draw_cohort
