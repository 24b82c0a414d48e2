"""From replicates of a metric to its two one-sided bounds."""

import numpy as np

from livinglab.measuring.resampling import Floats, lower_bound, upper_bound

GROWS = frozenset({"ici", "ks", "reason_concentration"})
"""Means of absolute differences, and maxima: they only grow when a sample is drawn again."""


EXCEEDS = frozenset({"ici", "ks"})
"""Those of them that exceed the truth in the sample already, about as the replicates exceed the sample."""


def both_bounds(metric: str, values: Floats, level: float) -> tuple[float | None, float | None]:
    """Lower and upper bound of a metric, each at `level`; row 0 of `values` (replicates + 1, components) is the sample as it is.

    Of several components (thresholds), each must meet the demand. The least of their lower bounds holds at `level` by itself
    (intersection–union, Berger 1982); that even one fails is shown at `level` by Bonferroni's correction.

    What only grows when a sample is drawn again would, by percentiles alone, make a model look surely worse (or, for `ks`,
    surely better) than it is: the lower bound is the lesser of the percentile and the basic one (Davison & Hinkley 1997,
    section 5.2). For `ici` and `ks` what the replicates exceed the sample by on average is taken off once more: the sample
    exceeds the truth as they exceed the sample, and a little more. In simulation the lower bound of `ici` then holds at 0.963
    at least where 0.983 is nominal (without it, in a slice of 110 events, at 0.923), and the upper one always.
    """
    lows = [lower_bound(column, level) for column in values[1:].T]
    highs = [upper_bound(column, 1 - (1 - level) / values.shape[1]) for column in values[1:].T]
    lower = None if None in lows else min(low for low in lows if low is not None)
    upper = None if None in highs else min(high for high in highs if high is not None)
    if metric in GROWS and lower is not None:
        excess = max(0.0, float(np.mean(values[1:] - values[0]))) if metric in EXCEEDS else 0.0
        lower = None if upper is None else max(0.0, min(lower, 2 * float(values[0].min()) - upper) - excess)
    return lower, upper
