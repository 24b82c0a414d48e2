"""Resampling: seeded bootstrap multiplicities, and bounds from replicates."""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

METHOD = "bootstrap-percentile"


def generator(seed: str, purpose: str) -> np.random.Generator:
    """A generator that depends on the seed and on what it is for, so that one more use elsewhere changes nothing here."""
    return np.random.default_rng(np.frombuffer(hashlib.sha256(f"{seed}\n{purpose}".encode()).digest(), dtype=np.uint32))


def multiplicities(n: int, replicates: int, rng: np.random.Generator) -> Floats:
    """How often each of `n` cases is drawn in each bootstrap sample: (replicates + 1, n). Row 0 is the sample as it is."""
    weights = np.empty((replicates + 1, n))
    weights[0] = 1
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    return weights


def bounds(replicates: Floats, level: float) -> tuple[float | None, float | None]:
    """Both one-sided percentile bounds, each at `level` (Efron & Tibshirani 1993, chapter 13).

    A replicate in which the metric is undefined counts against either bound: there, the bound is None.
    """
    lower = np.sort(np.where(np.isnan(replicates), -np.inf, replicates))
    upper = np.sort(np.where(np.isnan(replicates), np.inf, replicates))
    low = float(np.quantile(lower, 1 - level, method="lower"))
    high = float(np.quantile(upper, level, method="higher"))
    return (low if np.isfinite(low) else None), (high if np.isfinite(high) else None)
