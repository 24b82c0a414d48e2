"""Exact one-sided bounds of a proportion and of a rate. They hold at every truth, and are wider than they would need to be at most."""

from scipy.special import betaincinv, gammaincinv

EXACT = "exact"


def proportion(events: int, n: int, level: float) -> tuple[float, float]:
    """Lower and upper bound, each at `level`, of the probability behind `events` of `n` independent trials (Clopper & Pearson 1934)."""
    lower = 0.0 if events == 0 else float(betaincinv(events, n - events + 1, 1 - level))
    upper = 1.0 if events == n else float(betaincinv(events + 1, n - events, level))
    return lower, upper


def rate(events: int, exposure: float, level: float) -> tuple[float, float]:
    """Lower and upper bound, each at `level`, of the rate of a Poisson process with `events` in `exposure` (Garwood 1936)."""
    lower = 0.0 if events == 0 else float(gammaincinv(events, 1 - level))
    return lower / exposure, float(gammaincinv(events + 1, level)) / exposure
