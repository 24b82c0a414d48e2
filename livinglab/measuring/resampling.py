"""Resampling: seeded bootstrap multiplicities and multipliers, and bounds from replicates."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOOTSTRAP = "bootstrap-percentile"
MULTIPLIER = "influence-multiplier"

THREADS = 2
"""Numpy leaves the interpreter's lock while it computes, so that two cores are really used."""

_ROWS = 8192
"""Cases whose multipliers are drawn at a time: few enough for a core's cache."""


def generator(seed: str, purpose: str) -> np.random.Generator:
    """A generator that depends on the seed and on what it is for, so that one more use elsewhere changes nothing here."""
    return np.random.default_rng(np.frombuffer(hashlib.sha256(f"{seed}\n{purpose}".encode()).digest(), dtype=np.uint32))


def multiplicities(n: int, replicates: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How often each of `n` cases is drawn in each bootstrap sample: (replicates + 1, n). Row 0 is the sample as it is."""
    weights = np.ones((replicates + 1, n), dtype=np.uint8)  # a case drawn 256 times is not to be expected in any universe
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    return weights


def multiplied(influence: NDArray[np.float32], replicates: int, rng: np.random.Generator) -> Floats:
    """Deviations from the estimates, as they would be in new samples: (replicates, columns).

    The mean over cases of influence × multiplier, the same independent signs ±1 for all columns, so that measurements on
    the same cases stay paired. Each block of cases has a generator of its own: threads change nothing.

    Args:
        influence: (n, columns).
    """
    n, columns = influence.shape
    starts = range(0, n, _ROWS)

    def block(start: int, own: np.random.Generator) -> Floats:
        part = influence[start : start + _ROWS]
        bits = np.frombuffer(own.bytes(replicates * _ROWS // 8), dtype=np.uint8).reshape(replicates, -1)
        signs = np.unpackbits(bits, axis=1, count=len(part)).astype(np.float32)
        return np.asarray(2 * (signs @ part).astype(np.float64) - part.sum(axis=0, dtype=np.float64))

    total = np.zeros((replicates, columns))
    with ThreadPoolExecutor(THREADS) as threads:
        for contribution in threads.map(block, starts, rng.spawn(len(starts))):
            total += contribution
    return np.asarray(total / n)


def bounds(replicates: Floats, level: float) -> tuple[float | None, float | None]:
    """Both one-sided percentile bounds, each at `level` (Efron & Tibshirani 1993, chapter 13).

    A replicate in which the metric is undefined counts against either bound: there, the bound is None.
    """
    return lower_bound(replicates, level), upper_bound(replicates, level)


def lower_bound(replicates: Floats, level: float) -> float | None:
    """The value below which at most 1 − `level` of the replicates lie."""
    low = float(np.quantile(np.where(np.isnan(replicates), -np.inf, replicates), 1 - level, method="lower"))
    return low if np.isfinite(low) else None


def upper_bound(replicates: Floats, level: float) -> float | None:
    """The value above which at most 1 − `level` of the replicates lie."""
    high = float(np.quantile(np.where(np.isnan(replicates), np.inf, replicates), level, method="higher"))
    return high if np.isfinite(high) else None
