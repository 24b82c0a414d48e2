"""Families of criteria under Holm's procedure: what fails among many, and that older sets keep their digest and their meaning."""

import gc
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from livinglab.domain.criteria import CriteriaSet, Criterion
from livinglab.domain.errors import Invalid
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import Interval, Measurement, Verdict, judge
from tests.harnesses import ROOT
from tests.unit.domain.test_verdict import criterion, measurement

NORMAL, ALPHA, RUNS = NormalDist(), 0.05, 3
METHOD = "bootstrap-percentile"


def family(size: int, **changes: Any) -> tuple[Criterion, ...]:
    return tuple(
        criterion(**{"id": f"c{i}", "slice": f"s{i}", "multiplicity": "holm", "family": "slices", "threshold": 0.5, **changes}) for i in range(size)
    )


def frozen(*criteria: Criterion) -> CriteriaSet:
    return CriteriaSet(measured_runs=RUNS, criteria=criteria)


def measured(z: float, slice_: str, size: int) -> Measurement:
    """A value that is `z` standard errors (of 0.01) from the threshold of 0.5, with normal bounds at all levels of a family of that size."""
    alpha = ALPHA / RUNS

    def interval(k: int) -> Interval:
        width = 0.01 * NORMAL.inv_cdf(1 - alpha / k)
        return Interval(lower=0.5 + 0.01 * z - width, upper=0.5 + 0.01 * z + width, level=1 - alpha / k, method=METHOD)

    stricter = tuple(interval(k) for k in range(2, size + 1))
    return measurement(0.5 + 0.01 * z, slice=slice_).model_copy(update={"interval": interval(1), "stricter": stricter})


def verdicts(zs: list[float], criteria: tuple[Criterion, ...] | None = None) -> list[Verdict]:
    members = criteria or family(len(zs))
    found = judge(frozen(*members), tuple(measured(z, f"s{i}", len(zs)) for i, z in enumerate(zs)))
    return [result.verdict for result in found.results]


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """`multipletests` collects garbage at each call: seconds, where a whole suite's objects are looked through every time."""
    gc.freeze()
    yield
    gc.unfreeze()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it holds for all examples
@pytest.mark.usefixtures("little_garbage")
@given(st.lists(st.floats(-6, 2), min_size=2, max_size=8))
def test_what_fails_is_what_holms_procedure_of_statsmodels_rejects(zs: list[float]) -> None:
    p = np.array([NORMAL.cdf(z) for z in zs])
    rejected = multipletests(p, alpha=ALPHA / RUNS, method="holm")[0]
    alone = p < ALPHA / RUNS
    expected = [Verdict.FAIL if r else Verdict.INCONCLUSIVE if a else None for r, a in zip(rejected, alone, strict=True)]
    assert [v if e else None for v, e in zip(verdicts(zs), expected, strict=True)] == expected


@given(st.lists(st.floats(-6, 6), min_size=2, max_size=6))
def test_passes_are_those_of_the_bounds_alone(zs: list[float]) -> None:
    alone = verdicts(zs, tuple(criterion(id=f"c{i}", slice=f"s{i}", threshold=0.5) for i in range(len(zs))))
    together = verdicts(zs)
    assert [v is Verdict.PASS for v in alone] == [v is Verdict.PASS for v in together]
    assert all(a is b or (a, b) == (Verdict.FAIL, Verdict.INCONCLUSIVE) for a, b in zip(alone, together, strict=True))


def test_one_of_many_fails_by_chance_as_seldom_as_one_alone() -> None:
    """All ten slices are just good enough; without the family one in seven sets of ten would fail somewhere (Monte Carlo error 0.003)."""
    rng, many = np.random.default_rng(1), 2000
    failed = {"alone": 0, "together": 0}
    single = tuple(criterion(id=f"c{i}", slice=f"s{i}", threshold=0.5) for i in range(10))
    for _ in range(many):
        zs = rng.normal(size=10).tolist()
        failed["alone"] += Verdict.FAIL in verdicts(zs, single)
        failed["together"] += Verdict.FAIL in verdicts(zs)
    assert failed["alone"] / many > 0.1
    assert failed["together"] / many <= ALPHA / RUNS + 3 * 0.003


def test_a_failure_that_is_sure_makes_the_next_easier_to_show() -> None:
    between = NORMAL.inv_cdf(ALPHA / RUNS / 1.5)  # enough for one criterion, not for two
    assert verdicts([-9.0, between]) == [Verdict.FAIL, Verdict.FAIL]
    assert verdicts([3.0, between]) == [Verdict.PASS, Verdict.INCONCLUSIVE]


def test_bounds_that_were_not_reported_fail_nothing() -> None:
    members = family(2)
    short = tuple(measured(-9.0, f"s{i}", 2).model_copy(update={"stricter": ()}) for i in range(2))
    assert [r.verdict for r in judge(frozen(*members), short).results] == [Verdict.INCONCLUSIVE] * 2
    other = tuple(m.model_copy(update={"stricter": tuple(i.model_copy(update={"method": "exact"}) for i in m.stricter)}) for m in
                  (measured(-9.0, f"s{i}", 2) for i in range(2)))  # fmt: skip
    assert [r.verdict for r in judge(frozen(*members), other).results] == [Verdict.INCONCLUSIVE] * 2


def test_what_the_pilot_leaves_undefined_fails_whatever_the_family_does() -> None:
    undefined = measurement(None, slice="s0", status="undefined").model_copy(update={"interval": None})
    found = judge(frozen(*family(2)), (undefined, measured(3.0, "s1", 2)))
    assert [r.verdict for r in found.results] == [Verdict.FAIL, Verdict.PASS]


def test_a_gate_in_a_family_decides_as_it_stands_after_holm() -> None:
    between = NORMAL.inv_cdf(ALPHA / RUNS / 1.5)
    found = judge(frozen(*family(2)), (measured(3.0, "s0", 2), measured(between, "s1", 2)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not by those for the 2 criteria of the family 'slices' (Holm)" in found.results[1].reason


def test_a_set_has_the_second_semantics_exactly_if_it_has_families() -> None:
    assert frozen(criterion()).semantics == 1
    assert frozen(*family(2)).semantics == 2
    for semantics, criteria in ((1, family(2)), (2, (criterion(),))):
        with pytest.raises(ValueError, match="does not fit these criteria"):
            CriteriaSet.model_validate({"semantics": semantics, "criteria": criteria})
    stored = frozen(*family(2))
    assert CriteriaSet.model_validate_json(stored.model_dump_json()) == stored


def test_sets_without_families_keep_the_digest_that_they_had_before_there_were_any() -> None:
    document = yaml.safe_load((ROOT / "sandboxes" / "medicine" / "sandbox.yaml").read_text())
    criteria = [c for c in document["criteria"] if "family" not in c]
    older = SandboxSpec.model_validate({**document, "criteria": criteria, "chance": []}).frozen_criteria()
    assert (older.semantics, older.digest) == (1, "sha256:d9ce5aed28b6fe8d14f27b485709826a409e4b1410da7d547ef0c495ad67db56")
    assert "stricter" not in measurement().model_dump()


@pytest.mark.parametrize(("criteria", "fault"), [
    (family(1), "has no other criterion"),
    ((*family(2)[:1], family(2, interval={"level": 0.9})[1]), "different levels"),
])  # fmt: skip
def test_a_family_of_one_or_of_several_levels_is_refused(criteria: tuple[Criterion, ...], fault: str) -> None:
    document = yaml.safe_load((ROOT / "sandboxes" / "medicine" / "sandbox.yaml").read_text())
    slices = {**document["slices"], **{c.slice: {"title": c.slice} for c in criteria}}
    with pytest.raises(Invalid, match=fault):
        SandboxSpec.model_validate({**document, "chance": [], "slices": slices, "criteria": [c.model_dump() for c in criteria]})


@pytest.mark.parametrize(("changes", "fault"), [
    ({"multiplicity": "holm"}, "go together"),
    ({"family": "slices"}, "go together"),
    ({"multiplicity": "holm", "family": "slices", "compare": "point", "interval": {"method": "none"}}, "cannot be in a family"),
])  # fmt: skip
def test_half_a_family_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        criterion(**changes)
