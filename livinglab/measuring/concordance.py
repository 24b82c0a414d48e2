"""Counting pairs in O(n log n): for each case, how many later ones it beats, and the weight of the earlier ones that beat it."""

import numpy as np

from livinglab.measuring.cohort import Bools, Cohort, Floats, Ints

Pair = tuple[Floats, Floats]


def later_and_earlier(cohort: Cohort, score: Floats, weight: Floats) -> tuple[Pair, Pair]:
    """Over all pairs (i, j) where i has a weight and j is known to have lived longer (later, or at the same time and censored).

    Args:
        cohort: n cases, events before censorings at one time.
        score: (n,) higher means an earlier event is expected; ties count ½.
        weight: (n,) of each case as the first of a pair; 0 except for events.

    Returns:
        Of the concordant pairs, and of all comparable ones: (n,) the number of j for each i, and (n,) the sum of the
        weights of i for each j.
    """
    n = len(cohort)
    new = np.concatenate(([True], (cohort.time[1:] != cohort.time[:-1]) | (cohort.event[1:] != cohort.event[:-1])))
    first, last = _runs(new)
    # Events at one time are not comparable: by rising score among themselves they count as discordant, which adds nothing.
    places = np.arange(n) if new.all() else np.lexsort((score, first))
    by_score = np.argsort(score[places], kind="stable")
    rank = np.empty(n, dtype=np.int64)
    rank[by_score] = np.arange(n)
    beaten, beaten_by = np.empty(n), np.empty(n)
    beaten[places], beaten_by[places] = _dominance(rank, weight[places])
    tied_later, tied_earlier = _ties(places[by_score], score, first, cohort.event, weight)
    before = np.concatenate(([0.0], np.cumsum(weight)))
    longer = np.where(cohort.event, n - last, 0.0)
    earlier = before[np.where(cohort.event, first, np.arange(n))]
    return (beaten + 0.5 * tied_later, beaten_by + 0.5 * tied_earlier), (longer, earlier)


def _runs(new: Bools) -> tuple[Ints, Ints]:
    """Where the run of each place begins and ends (exclusive); `new` marks its first place."""
    begins = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    return begins[run], np.append(begins[1:], len(new))[run]


def _dominance(rank: Ints, weight: Floats) -> Pair:
    """For each place: the number of later places of lower rank, and the weight of earlier places of higher rank.

    Bit by bit from the highest: among places whose ranks agree above a bit, those with the bit set beat those without.
    Each level is a stable partition, so that places stay in order (a wavelet tree, walked once).
    """
    n = len(rank)
    levels = max(1, (n - 1).bit_length())
    size = 1 << levels
    ranks = np.concatenate((rank, np.arange(n, size)))
    weights = np.concatenate((weight, np.zeros(size - n)))
    beaten, beaten_by = np.zeros(size), np.zeros(size)  # by rank
    for level in reversed(range(levels)):
        half = 1 << level
        groups = ranks.reshape(-1, 2 * half)
        high = (groups & half) != 0
        upper, lower = groups[high].reshape(-1, half), groups[~high].reshape(-1, half)  # a group has as many of either
        lows = np.cumsum(~high, axis=1, dtype=np.int32)[high].reshape(-1, half)
        beaten[upper] += half - lows
        heavy = weights.reshape(groups.shape)
        pull = np.cumsum(np.where(high, heavy, 0.0), axis=1)
        beaten_by[lower] += pull[~high].reshape(-1, half)
        ranks = np.concatenate((lower, upper), axis=1).ravel()
        weights = np.concatenate((heavy[~high].reshape(-1, half), heavy[high].reshape(-1, half)), axis=1).ravel()
    return beaten[rank], beaten_by[rank]


def _ties(by_score: Ints, score: Floats, first: Ints, event: Bools, weight: Floats) -> Pair:
    """For each event the number of comparable later cases of the same score, and for each case the weight of such earlier ones."""
    n = len(score)
    new = np.concatenate(([True], score[by_score][1:] != score[by_score][:-1]))
    later, earlier = np.zeros(n), np.zeros(n)
    if new.all():
        return later, earlier
    begin, end = _runs(new)
    # Within one score cases stand in order of time; those of one time and status, not comparable, stand together.
    apart, onward = _runs(new | np.concatenate(([True], first[by_score][1:] != first[by_score][:-1])))
    before = np.concatenate(([0.0], np.cumsum(weight[by_score])))
    later[by_score] = end - onward
    earlier[by_score] = before[apart] - before[begin]
    return np.where(event, later, 0.0), earlier
