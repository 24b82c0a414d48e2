"""Criteria are data: demands fixed, digested and signed before the first run."""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Invalid
from livinglab.domain.model import Frozen, Slug
from livinglab.domain.tasks import Better, TaskFamily


class Direction(StrEnum):
    """What is demanded of the measured value."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    WITHIN = "within"


class Severity(StrEnum):
    """A gate decides; an advisory is shown and never counts."""

    GATE = "gate"
    ADVISORY = "advisory"


class Basis(StrEnum):
    """What kind of authority stands behind a threshold."""

    LAW = "law"
    GUIDELINE = "guideline"
    CONVENTION = "convention"
    SANDBOX = "sandbox"


class Range(Frozen):
    """A closed range of acceptable values."""

    low: float
    high: float


class Baseline(Frozen):
    """A comparison: the measured difference to `name` must clear −`margin` (non-inferiority) or `margin` < 0 (superiority by that much)."""

    name: str
    margin: float
    reason: str = Field(min_length=10)
    """Why this margin, in a sentence."""


class IntervalDemand(Frozen):
    """Which interval the harness must report. `level` is that of each one-sided bound, before the number of measured runs is accounted for."""

    method: Literal["bootstrap-percentile", "influence-multiplier", "exact", "none"] = "bootstrap-percentile"
    level: float = Field(default=0.95, gt=0.5, lt=1)


class Criterion(Frozen):
    """One demand on one metric in one slice."""

    id: Slug
    version: int = Field(default=1, ge=1)
    title: str = Field(min_length=3, max_length=200)
    metric: str
    direction: Direction
    slice: str = "all"
    threshold: float | Range | None = None
    baseline: Baseline | None = None
    min_n: int = Field(default=0, ge=0)
    min_events: int = Field(default=100, ge=0)
    """Reference cases with the event by the horizon, and as many without it (Vergouwe 2005; Collins 2016)."""
    interval: IntervalDemand = IntervalDemand()
    compare: Literal["bound", "point"] = "bound"
    multiplicity: Literal["intersection-union", "holm"] = "intersection-union"
    """All gates must pass, so no PASS needs an adjusted level (Berger 1982). `holm`: a FAIL in a family of criteria is adjusted for the others."""
    family: Slug | None = Field(default=None, exclude_if=lambda family: family is None)
    """Criteria that are read together, of which one may fail by chance (slices, usually); with `multiplicity: holm`."""
    severity: Severity = Severity.GATE
    required_evidence: tuple[str, ...] = ()
    basis: Basis
    source: str = Field(min_length=3)
    rationale: str = Field(min_length=10)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.threshold is None) == (self.baseline is None):
            msg = "give either a threshold or a baseline with its margin, and not both"
            raise ValueError(msg)
        if isinstance(self.threshold, Range) != (self.direction is Direction.WITHIN):
            msg = "`within` takes a range {low, high}; `at_least` and `at_most` take one number"
            raise ValueError(msg)
        if isinstance(self.threshold, Range) and self.threshold.low >= self.threshold.high:
            msg = f"the range is empty: low {self.threshold.low} is not below high {self.threshold.high}"
            raise ValueError(msg)
        if self.compare == "bound" and self.interval.method == "none":
            msg = "a bound cannot be compared without an interval: name a method, or say compare: point and why"
            raise ValueError(msg)
        if (self.multiplicity == "holm") != (self.family is not None):
            msg = "`multiplicity: holm` and `family` go together: name the family, or leave both out"
            raise ValueError(msg)
        if self.family is not None and self.compare == "point":
            msg = "Holm's procedure needs bounds; a criterion that compares the point cannot be in a family"
            raise ValueError(msg)
        return self

    @property
    def limit(self) -> float | Range:
        """What the bound is held against: the threshold, or the margin as a difference."""
        if self.threshold is not None:
            return self.threshold
        assert self.baseline is not None  # noqa: S101 - by the validator
        return -self.baseline.margin if self.direction is Direction.AT_LEAST else self.baseline.margin


class CriteriaSet(Frozen):
    """The criteria of one specification, frozen for `measured_runs` looks at the data.

    The level of each bound is 1 − α/K for K measured runs (Bonferroni over the attempts that a plan allows), so that
    trying until it passes buys nothing. `semantics` is the version of what each verdict follows from: 2 is 1 with families
    under Holm's procedure, and a set has it exactly if it has families, so that older sets keep their digest and their meaning.
    """

    semantics: Literal[1, 2] = 1
    measured_runs: int = Field(default=3, ge=1, le=100)
    criteria: tuple[Criterion, ...]

    @model_validator(mode="before")
    @classmethod
    def _versioned(cls, document: Any) -> Any:
        if not isinstance(document, dict) or "semantics" in document or not isinstance(document.get("criteria"), tuple | list):
            return document
        families = any((c.get("family") if isinstance(c, dict) else getattr(c, "family", None)) is not None for c in document["criteria"])
        return {**document, "semantics": 2 if families else 1}

    @model_validator(mode="after")
    def _meaning(self) -> Self:
        if (self.semantics == 2) != any(c.family is not None for c in self.criteria):  # noqa: PLR2004 - the version
            msg = f"semantics {self.semantics} does not fit these criteria: 2 is for sets with families, 1 for those without"
            raise ValueError(msg)
        return self

    @property
    def digest(self) -> str:
        """RFC 8785 digest of the whole set."""
        return digest_of(self)

    def level(self, criterion: Criterion) -> float:
        """The one-sided level at which that criterion's bounds must be reported."""
        return 1 - (1 - criterion.interval.level) / self.measured_runs

    @property
    def families(self) -> dict[str, tuple[Criterion, ...]]:
        """Criteria by family, in their order."""
        names = dict.fromkeys(c.family for c in self.criteria if c.family is not None)
        return {name: tuple(c for c in self.criteria if c.family == name) for name in names}

    @property
    def gates(self) -> tuple[Criterion, ...]:
        """Those that decide."""
        return tuple(c for c in self.criteria if c.severity is Severity.GATE)


def check_criteria(criteria: tuple[Criterion, ...], family: TaskFamily, slices: set[str], baselines: set[str]) -> None:
    """Reject criteria that nothing could measure, or that no pilot could meet.

    Raises:
        Invalid: with the place (`criteria[3].metric`) of the first fault: an id given twice, an unknown metric, slice or
            baseline, a threshold outside the metric's range, a direction against the metric's sense, two methods for
            the bounds of one measurement, two gates on it that exclude each other, or a family of one, or of several levels.
    """
    if not criteria:
        msg = "a specification without criteria decides nothing."
        raise Invalid(msg, where="criteria", hint="Give at least one gate.")
    seen: dict[str, int] = {}
    for index, criterion in enumerate(criteria):
        where = f"criteria[{index}]"
        if criterion.id in seen:
            msg = f"the id {criterion.id!r} is already that of criteria[{seen[criterion.id]}]."
            raise Invalid(msg, where=f"{where}.id")
        seen[criterion.id] = index
        _check_measurable(criterion, family, slices, baselines, where)
    _check_contradictions(criteria)
    _check_families(criteria)


def _check_measurable(criterion: Criterion, family: TaskFamily, slices: set[str], baselines: set[str], where: str) -> None:
    metric = family.metric(criterion.metric, where=f"{where}.metric")
    if criterion.slice not in slices:
        msg = f"unknown slice {criterion.slice!r}."
        raise Invalid(msg, where=f"{where}.slice", hint=f"Declared: {', '.join(sorted(slices))}.")
    if metric.compares and criterion.baseline is None:
        msg = f"{metric.name} is a difference to a baseline, and none is named."
        raise Invalid(msg, where=f"{where}.baseline", hint="Give `baseline` with name, margin and reason in place of `threshold`.")
    if criterion.baseline and not metric.compares:
        compared = ", ".join(m.name for m in family.metrics if m.compares) or "none"
        msg = f"{metric.name} is no difference to a baseline: held against a margin, it would say nothing."
        raise Invalid(msg, where=f"{where}.baseline", hint=f"Metrics of {family.name} that compare: {compared}.")
    if criterion.baseline and criterion.baseline.name not in baselines:
        msg = f"unknown baseline {criterion.baseline.name!r}."
        raise Invalid(msg, where=f"{where}.baseline", hint=f"Declared: {', '.join(sorted(baselines)) or 'none'}.")
    wrong_way = {Better.HIGHER: Direction.AT_MOST, Better.LOWER: Direction.AT_LEAST}.get(metric.better)
    if criterion.direction is wrong_way:
        msg = f"{metric.name} is better {metric.better}; `{criterion.direction}` would demand that a pilot be bad."
        raise Invalid(msg, where=f"{where}.direction")
    if criterion.threshold is not None:
        ends = (criterion.threshold.low, criterion.threshold.high) if isinstance(criterion.threshold, Range) else (criterion.threshold,)
        for end in ends:
            if (metric.low is not None and end < metric.low) or (metric.high is not None and end > metric.high):
                msg = f"{end} is outside what {metric.name} can be ({metric.low} to {metric.high})."
                raise Invalid(msg, where=f"{where}.threshold")


def _acceptable(criterion: Criterion) -> tuple[float, float]:
    limit = criterion.limit
    if isinstance(limit, Range):
        return limit.low, limit.high
    return (limit, float("inf")) if criterion.direction is Direction.AT_LEAST else (float("-inf"), limit)


def _check_contradictions(criteria: tuple[Criterion, ...]) -> None:
    for index, later in enumerate(criteria):
        for earlier_index, earlier in enumerate(criteria[:index]):
            same = (earlier.metric, earlier.slice, earlier.baseline and earlier.baseline.name) == (
                later.metric, later.slice, later.baseline and later.baseline.name)  # fmt: skip
            if same and later.compare == earlier.compare == "bound" and later.interval.method != earlier.interval.method:
                msg = f"{later.metric} in slice {later.slice!r} has one method, and criteria[{earlier_index}] ({earlier.id!r}) asks for another."
                raise Invalid(msg, where=f"criteria[{index}].interval.method")
            if not same or Severity.ADVISORY in (earlier.severity, later.severity):
                continue
            low = max(_acceptable(earlier)[0], _acceptable(later)[0])
            high = min(_acceptable(earlier)[1], _acceptable(later)[1])
            if low >= high:
                msg = f"no value of {later.metric} in slice {later.slice!r} can meet both this and criteria[{earlier_index}] ({earlier.id!r})."
                raise Invalid(msg, where=f"criteria[{index}]")


def _check_families(criteria: tuple[Criterion, ...]) -> None:
    for index, criterion in enumerate(criteria):
        if criterion.family is None:
            continue
        others = [c for c in criteria if c.family == criterion.family and c is not criterion]
        if not others:
            msg = f"the family {criterion.family!r} has no other criterion, so there is nothing to adjust for."
            raise Invalid(msg, where=f"criteria[{index}].family")
        if any(c.interval.level != criterion.interval.level for c in others):
            msg = f"the criteria of the family {criterion.family!r} have different levels; Holm's procedure needs one."
            raise Invalid(msg, where=f"criteria[{index}].interval.level")
