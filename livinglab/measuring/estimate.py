"""Estimates with the influence of each case on them, and how they are put together (the delta method)."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Floats, Ints

Sum = tuple[float, Floats]
"""A weighted sum over cases at equal weights, and its derivative by each case's weight (n,)."""


@dataclass(frozen=True)
class Estimate:
    """value: the metric; influence: (n,) of each case, in the order of the cases. NaN where the metric is undefined."""

    value: float
    influence: Floats

    @classmethod
    def undefined(cls, n: int) -> "Estimate":
        """Of `n` cases that leave it without a value."""
        return cls(np.nan, np.full(n, np.nan))


def quotient(above: Sum, below: Sum, n: int) -> Estimate:
    """One sum over another; undefined where there is nothing to divide by."""
    if below[0] <= 0:
        return Estimate.undefined(n)
    value = above[0] / below[0]
    return Estimate(value, n * (above[1] - value * below[1]) / below[0])


def total(n: int) -> Sum:
    """The sum of the weights."""
    return float(n), np.ones(n)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Of two metrics on the same cases."""
    return Estimate(first.value - second.value, first.influence - second.influence)


def proportion(first: Estimate, second: Estimate) -> Estimate:
    """The first over the second, on the same cases; undefined where the second is not positive."""
    if not second.value > 0:
        return Estimate.undefined(len(first.influence))
    value = first.value / second.value
    return Estimate(value, (first.influence - value * second.influence) / second.value)


def spread(estimate: Estimate, at: Ints, n: int) -> Estimate:
    """The estimate of a part, as one of the whole of `n` cases: those outside have no influence. `at` is where its cases stand."""
    influence = np.zeros(n)
    influence[at] = estimate.influence * (n / len(at))
    return Estimate(estimate.value, influence)
