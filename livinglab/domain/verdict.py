"""Measurements, and the verdict that follows from them and the frozen criteria: a pure function that anyone can replay."""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from livinglab.domain.chart import Chart
from livinglab.domain.criteria import CriteriaSet, Criterion, Direction, Range, Severity
from livinglab.domain.model import Frozen, Slug


class Verdict(StrEnum):
    """What a criterion, or a set of them, comes to."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_EVALUABLE = "NOT_EVALUABLE"


WORST_FIRST = (Verdict.FAIL, Verdict.NOT_EVALUABLE, Verdict.INCONCLUSIVE, Verdict.PASS)
"""The order in a set: its verdict is the first of these that any gate has."""


_ROUNDING = 1e-12
"""Levels that differ by less are the same."""


class Interval(Frozen):
    """Both one-sided bounds, each at `level`. None on a side: no finite bound was found there."""

    lower: float | None
    upper: float | None
    level: float = Field(gt=0.5, lt=1)
    method: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            msg = f"the lower bound {self.lower} is above the upper bound {self.upper}"
            raise ValueError(msg)
        return self


class Measurement(Frozen):
    """One number with its interval, as the harness reports it.

    `n`, `events` and `non_events` count reference cases of the slice (by the horizon where there is one), never
    predictions. `status` says why `value` is None: `undefined` when the pilot's output leaves the metric without a value
    (the pilot's doing: FAIL), `fault` when the harness or the reference data do (NOT_EVALUABLE).
    """

    metric: str
    slice: str = "all"
    baseline: str | None = None
    status: Literal["ok", "undefined", "fault"] = "ok"
    value: float | None = None
    interval: Interval | None = None
    stricter: tuple[Interval, ...] = Field(default=(), max_length=100, exclude_if=lambda stricter: not stricter)
    """The same bounds at stricter levels, which families under Holm's procedure ask for."""
    n: int = Field(ge=0)
    events: int | None = Field(default=None, ge=0)
    non_events: int | None = Field(default=None, ge=0)
    note: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _status_fits(self) -> Self:
        if (self.status == "ok") != (self.value is not None):
            msg = "a measurement has a value exactly when its status is ok"
            raise ValueError(msg)
        return self

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What a criterion asks for: metric, slice, baseline."""
        return self.metric, self.slice, self.baseline


class MeasurementFile(Frozen):
    """`measurements.json` as it is stored: what was schema-checked, nothing else."""

    schema_version: Literal[1, 2] = 2
    measurements: tuple[Measurement, ...]
    charts: dict[Slug, Chart] = Field(default={}, max_length=20)
    curves: dict[str, dict[str, Any]] = {}
    """What version 1 had for charts: read, so that earlier evidence can be checked, and no longer written."""
    digests: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class CriterionVerdict(Frozen):
    """A criterion's verdict, with what it was drawn from and one sentence that says why."""

    criterion: str
    verdict: Verdict
    severity: Severity
    reason: str
    measurement: Measurement | None


class SetVerdict(Frozen):
    """The verdict on a run."""

    semantics: int
    criteria_digest: str
    verdict: Verdict
    results: tuple[CriterionVerdict, ...]


def judge(criteria: CriteriaSet, measurements: tuple[Measurement, ...]) -> SetVerdict:
    """The verdict that follows. Total: whatever the measurements hold, there is an answer, and it is never a pass by absence."""
    found: dict[tuple[str, str, str | None], list[Measurement]] = {}
    for measurement in measurements:
        found.setdefault(measurement.key, []).append(measurement)
    single = tuple(_judge_one(c, criteria.level(c), found) for c in criteria.criteria)
    withdrawn: dict[str, CriterionVerdict] = {}
    for members in criteria.families.values():
        withdrawn |= _holm(members, criteria.level(members[0]), {r.criterion: r for r in single})
    results = tuple(withdrawn.get(r.criterion, r) for r in single)
    gates = {r.verdict for r in results if r.severity is Severity.GATE}
    verdict = next((v for v in WORST_FIRST if v in gates), Verdict.NOT_EVALUABLE)
    return SetVerdict(semantics=criteria.semantics, criteria_digest=criteria.digest, verdict=verdict, results=results)


def _holm(members: tuple[Criterion, ...], level: float, single: dict[str, CriterionVerdict]) -> dict[str, CriterionVerdict]:
    """Those criteria of a family whose FAIL by their own bounds does not stand: among many, one happens by chance.

    Holm 1979, Scandinavian Journal of Statistics 6:65, in terms of bounds: with k criteria not yet shown to fail, those whose
    favourable bound at level 1 − α/k is beyond the demand are; this is repeated until nothing more is. The probability that any
    criterion that is met fails is at most α. The family counts as it was frozen, whatever could be evaluated of it.
    """
    failed = {name: r.measurement for name, r in single.items() if r.verdict is Verdict.FAIL and r.measurement and r.measurement.value is not None}
    open_ = {c.id: c for c in members if c.id in failed}
    left = len(members)
    while open_:
        shown = {name for name, c in open_.items() if _beyond_at(c, 1 - (1 - level) / left, failed[name])}
        if not shown:
            break
        open_ = {name: c for name, c in open_.items() if name not in shown}
        left -= len(shown)
    reason = f"beyond the demand by its own bounds, but not by those for the {len(members)} criteria of the family {members[0].family!r} (Holm)"
    return {name: single[name].model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason}) for name in open_}


def _beyond_at(criterion: Criterion, level: float, m: Measurement) -> bool:
    """Is even the favourable bound at this level, or a stricter one, beyond the demand? No, where there is none."""
    enough = [i for i in (m.interval, *m.stricter) if i is not None and i.level >= level - _ROUNDING and i.method == criterion.interval.method]
    return any(_compare_bounds(criterion, interval)[0] is Verdict.FAIL for interval in enough)


def _judge_one(criterion: Criterion, level: float, found: dict[tuple[str, str, str | None], list[Measurement]]) -> CriterionVerdict:
    matches = found.get((criterion.metric, criterion.slice, criterion.baseline.name if criterion.baseline else None), [])
    measurement = matches[0] if len(matches) == 1 else None
    if measurement is None:
        verdict, reason = Verdict.NOT_EVALUABLE, "the harness measured it more than once" if matches else "the harness did not measure it"
    else:
        verdict, reason = _decide(criterion, level, measurement)
    return CriterionVerdict(criterion=criterion.id, verdict=verdict, severity=criterion.severity, reason=reason, measurement=measurement)


def _decide(criterion: Criterion, level: float, m: Measurement) -> tuple[Verdict, str]:
    """Too little reference data comes first: no pilot's output can make a slice that is too small decide anything."""
    short = _too_few(criterion, m)
    if short:
        return Verdict.NOT_EVALUABLE, short
    if m.status == "fault":
        return Verdict.NOT_EVALUABLE, f"the harness could not measure it: {m.note or 'no reason given'}"
    if m.status == "undefined" or m.value is None:
        return Verdict.FAIL, f"the pilot's output leaves it undefined: {m.note or 'no reason given'}"
    if criterion.compare == "point":
        met = _favourable(criterion, m.value, m.value)
        return (Verdict.PASS, "the value meets the demand") if met else (Verdict.FAIL, "the value does not meet the demand")
    if m.interval is None:
        return Verdict.NOT_EVALUABLE, "the harness reported no interval"
    if m.interval.level < level - _ROUNDING:
        return Verdict.NOT_EVALUABLE, f"the interval's level {m.interval.level:.4f} is below the {level:.4f} that the plan demands"
    if m.interval.method != criterion.interval.method:
        return Verdict.NOT_EVALUABLE, f"the interval was made by {m.interval.method}, and {criterion.interval.method} was agreed"
    return _compare_bounds(criterion, m.interval)


def _too_few(criterion: Criterion, m: Measurement) -> str | None:
    if m.n < criterion.min_n:
        return f"{m.n} reference cases, {criterion.min_n} are needed"
    for count, what in ((m.events, "events"), (m.non_events, "non-events")):
        if criterion.min_events and count is None:
            return f"the harness did not count the {what}"
        if count is not None and count < criterion.min_events:
            return f"{count} {what}, {criterion.min_events} are needed"
    return None


def _favourable(criterion: Criterion, lower: float, upper: float) -> bool:
    """Is everything from `lower` to `upper` acceptable?"""
    limit = criterion.limit
    if isinstance(limit, Range):
        return limit.low <= lower and upper <= limit.high
    return lower >= limit if criterion.direction is Direction.AT_LEAST else upper <= limit


def _compare_bounds(criterion: Criterion, interval: Interval) -> tuple[Verdict, str]:
    lower = float("-inf") if interval.lower is None else interval.lower
    upper = float("inf") if interval.upper is None else interval.upper
    limit = criterion.limit
    if _favourable(criterion, lower, upper):
        return Verdict.PASS, "the unfavourable bound meets the demand"
    if isinstance(limit, Range):
        out = upper < limit.low or lower > limit.high
    else:
        out = upper < limit if criterion.direction is Direction.AT_LEAST else lower > limit
    if out:
        return Verdict.FAIL, "even the favourable bound does not meet the demand"
    return Verdict.INCONCLUSIVE, "the interval straddles the threshold"
