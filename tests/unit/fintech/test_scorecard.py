"""The reference pilot: bins that are the best there are, evidence, points that add up, and reasons that follow from them."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from livinglab.measuring import tables
from livinglab.measuring.slices import Table
from tests.harnesses import Prepared, load_script
from tests.unit.fintech.conftest import PILOT, harness

score = load_script(PILOT / "workload" / "score.py")


@pytest.fixture(scope="module", params=["german", "generated"])
def train(request: pytest.FixtureRequest, prepared: Prepared) -> Table:
    """The training part of one portfolio."""
    table = tables.read(prepared.root / "inputs" / "train.parquet")
    return {name: column[table["portfolio"] == request.param] for name, column in table.items()}


@pytest.fixture(scope="module")
def card(train: Table) -> Any:
    return score.Scorecard(train, harness.prepare.MONOTONE)


def by_bin(x: Any, cuts: tuple[int, ...]) -> Any:
    return np.add.reduceat(x, [0, *cuts])


def information(bad: Any, n: Any, cuts: tuple[int, ...], rising: bool) -> float:
    """Information value of the bins, −∞ if they may not be: the definition, written out."""
    b, m = by_bin(bad, cuts), by_bin(n, cuts)
    weight = score.evidence(b, m, bad.sum() / n.sum())
    if (m < score.SMALLEST * n.sum()).any() or (rising and (np.diff(weight) < 0).any()):
        return -np.inf
    return float(((b / bad.sum() - (m - b) / (n - bad).sum()) * weight).sum())


@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("most", [2, 4, 8])
def test_the_cuts_are_the_best_of_all_there_are(monkeypatch: pytest.MonkeyPatch, most: int, rising: bool) -> None:
    monkeypatch.setattr(score, "MOST_BINS", most)
    monkeypatch.setattr(score, "SMALLEST", 0.06)
    rng = np.random.default_rng(most)
    cut = set()
    for _ in range(20):
        n = rng.integers(1, 120, 10)
        bad = rng.binomial(n, np.clip(rng.normal(0.3, 0.15, 10) + 0.02 * np.arange(10), 0.02, 0.98))
        possible = [cuts for k in range(most) for cuts in combinations(range(1, 10), k)]
        found = tuple(score.best_cuts(bad, n, rising))
        assert_allclose(information(bad, n, found, rising), max(information(bad, n, cuts, rising) for cuts in possible), rtol=1e-12)
        cut.add(len(found))
    assert max(cut) >= most // 2  # there was something to choose


def test_what_never_rises_is_not_cut_where_it_must_not_fall() -> None:
    n = np.full(10, 100)
    assert score.best_cuts(np.arange(60, 10, -5), n, rising=True) == []
    assert len(score.best_cuts(np.arange(60, 10, -5), n, rising=False)) == score.MOST_BINS - 1


def test_evidence_is_a_difference_of_log_odds_and_small_bins_have_little(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_allclose(score.evidence(np.array([0.3, 3.0, 300.0]), np.array([1.0, 10.0, 1000.0]), 0.3), 0, atol=1e-12)
    weights = score.evidence(np.array([1, 10, 100, 1000]), np.array([2, 20, 200, 2000]), 0.2)
    assert (np.diff(weights) > 0).all()
    assert_allclose(weights[1], np.log((10 + 2) / (10 + 8)) - np.log(0.2 / 0.8))
    monkeypatch.setattr(score, "PRIOR", 0.0)
    # Without the prior it is what a regression on indicators of the bins finds, beyond the mean's log odds.
    bins = np.repeat(np.arange(3), [50, 80, 70])
    bad = np.random.default_rng(1).random(200) < 0.2 + 0.15 * bins
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(bins[:, None] == np.arange(3), bad)
    expected = model.coef_[0] - np.log(bad.mean() / (1 - bad.mean()))
    assert_allclose(score.evidence(np.bincount(bins, bad), np.bincount(bins), bad.mean()), expected, atol=1e-5)


def test_each_attribute_has_bins_that_are_large_enough(train: Table, card: Any) -> None:
    several = 0
    for name, attribute in card.attributes.items():
        sizes = np.bincount(np.searchsorted(attribute.cuts, attribute.unit(train[name]), side="right")) / len(train["bad"])
        assert sizes.min() >= score.SMALLEST
        assert len(sizes) == len(attribute.evidence) == len(attribute.labels()) <= score.MOST_BINS
        several += len(sizes) > 1
    assert several == len(card.attributes) >= 10


def test_points_are_whole_and_the_probability_is_what_they_add_up_to(train: Table, card: Any) -> None:
    points = card.scored(train)
    total = card.base + sum(points.values())
    assert (total == np.round(total)).all()
    pd, _ = card.score(train)
    odds = (1 - pd) / pd
    assert_allclose(odds, 2 ** ((total - 500) / 20))  # even at 500 points, twice as good with 20 more
    assert_allclose(np.log(odds[total == total.max()][0] / odds[total == total.min()][0]), (total.max() - total.min()) * np.log(2) / 20)


def test_rounding_moves_the_logit_by_no_more_than_half_a_point_each(monkeypatch: pytest.MonkeyPatch, train: Table, card: Any) -> None:
    monkeypatch.setattr(score, "PER_LOGIT", 1e6 / np.log(2))
    monkeypatch.setattr(score, "DOUBLE", 1e6)
    fine = score.Scorecard(train, harness.prepare.MONOTONE).score(train)[0]
    monkeypatch.undo()
    coarse = card.score(train)[0]
    apart = np.abs(np.log(fine / (1 - fine)) - np.log(coarse / (1 - coarse)))
    assert 0 < apart.max() <= (len(card.attributes) + 1) / 2 * np.log(2) / 20 + 1e-5


def test_declared_attributes_never_make_anybody_safer(train: Table, card: Any) -> None:
    for name in harness.prepare.MONOTONE:
        values = np.arange(1, 100)
        asked = {column: np.repeat(held[:1], len(values)) for column, held in train.items()} | {name: values}
        assert (np.diff(card.score(asked)[0]) >= 0).all()
    assert len(card.points["duration_months"]) > 2


def test_a_declared_attribute_that_runs_the_other_way_is_left_out(train: Table) -> None:
    against = score.Scorecard({**train, "duration_months": np.where(train["bad"], 6.0, 60.0)}, ["duration_months"])
    assert "duration_months" not in against.attributes
    assert "amount" in against.attributes


def test_what_is_not_known_costs_and_brings_nothing(train: Table, card: Any) -> None:
    asked = {name: column[:3] for name, column in train.items()} | {"amount": np.array([np.nan, 0.0, -5.0]), "housing": np.array(["a boat"] * 3)}
    points = card.scored(asked)
    assert not points["amount"].any()
    assert not points["housing"].any()


def test_reasons_are_what_costs_most_against_the_average_applicant(train: Table, card: Any) -> None:
    _, lost = card.score(train)
    assert_allclose([held.mean() for held in lost.values()], 0, atol=1e-9)
    given = score.reasons(lost, [name.upper() for name in train])
    for row in range(0, len(given), 7):
        costs = sorted(((lost[name][row], name.upper()) for name in lost), key=lambda cost: -cost[0])
        assert given[row].split(";") == ([name for cost, name in costs[:4] if cost > 0] or [costs[0][1]])
    assert set(score.reasons(lost, ["AMOUNT"])) == {"AMOUNT"}


def test_the_sheet_has_a_line_for_every_bin(card: Any) -> None:
    lines = card.sheet().splitlines()
    assert len(lines) == 1 + sum(len(points) for points in card.points.values())
    assert lines[0].split() == [str(card.base), "everybody"]
    assert sum("duration_months: over " in line for line in lines) == 1
