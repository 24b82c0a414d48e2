"""Do the bounds of binary risk and of credit scoring hold as often as they say? A moderate size here; the scripts make the tables."""

from typing import Any

import numpy as np
import pytest

from benchmarks import coverage_binary, coverage_credit
from benchmarks.covering import LEVEL, cover

SIMULATIONS = 100
ALLOWED = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / SIMULATIONS) - 0.01
"""As in test_coverage.py: four Monte Carlo standard errors, and what percentile bounds are known to fall short by."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bootstrap", "multiplier"])
@pytest.mark.parametrize(("world", "n"), [(coverage_binary.WORLD, 350), (coverage_credit.WORLD, 400), (coverage_credit.WORLD, 1500)])
def test_bounds_hold_at_the_sizes_of_the_gates(world: Any, n: int, method: str) -> None:
    for name, tally in cover(world, n, SIMULATIONS, 300, method).items():
        assert tally.simulations == SIMULATIONS
        assert tally.above_lower / SIMULATIONS >= ALLOWED, name
        assert tally.below_upper / SIMULATIONS >= ALLOWED, name
