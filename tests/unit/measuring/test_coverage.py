"""Do the one-sided bounds hold as often as they say? A moderate size here; the whole table is made by benchmarks/coverage.py."""

import numpy as np
import pytest

from benchmarks.coverage import WORLD
from benchmarks.covering import LEVEL, cover

SIMULATIONS = 100
ALLOWED = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / SIMULATIONS) - 0.01
"""Four Monte Carlo standard errors, and the 0.01 by which percentile bounds are known to fall short in samples of 100 events."""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "metrics"), [("bootstrap", ("uno_c", "delta_uno_c", "observed_expected", "calibration_slope")),
                                                 ("bootstrap", ("ici", "ipa", "net_benefit_gain", "sensitivity_difference")),
                                                 ("multiplier", ())])  # fmt: skip
def test_bounds_hold_in_a_slice_of_a_hundred_events(method: str, metrics: tuple[str, ...]) -> None:
    for name, tally in cover(WORLD, 480, SIMULATIONS, 300, method, metrics).items():
        assert tally.simulations == SIMULATIONS
        assert tally.above_lower / SIMULATIONS >= ALLOWED, name
        assert tally.below_upper / SIMULATIONS >= ALLOWED, name
