"""Do the bounds of driving hold as often as they say? A moderate size here; benchmarks/coverage_driving.py makes the table."""

import numpy as np
import pytest

from benchmarks.coverage_driving import LEVEL, cover

SIMULATIONS = 150
ALLOWED = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / SIMULATIONS) - 0.01
"""As in test_coverage.py: four Monte Carlo standard errors, and what percentile bounds are known to fall short by."""


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 600])
def test_bounds_hold_at_the_sizes_of_the_gates(n: int) -> None:
    for name, (above, below) in cover(n, SIMULATIONS, 300).items():
        assert above / SIMULATIONS >= ALLOWED, name
        assert below / SIMULATIONS >= ALLOWED, name
