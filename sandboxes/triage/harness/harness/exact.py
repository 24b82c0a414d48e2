"""Exact bounds of a share."""

EXACT = "exact"
"""The interval method's name in a criterion."""


def share(hits: int, n: int, level: float) -> tuple[float, float]:
    """Both one-sided bounds, each at `level`, of the probability behind `hits` of `n` cases (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    lower = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 1 - level))
    upper = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, level))
    return lower, upper
