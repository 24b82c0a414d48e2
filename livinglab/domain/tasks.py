"""Task families: what a pilot gets, what it must write or answer, and what can be measured of it.

A family is data that the specification is checked against when it is loaded: a criterion cannot name a metric that no
harness of the family measures, nor a direction in which the metric means nothing.
"""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from livinglab.domain.errors import unknown_name
from livinglab.domain.model import Frozen, Slug

_NAME = r"^[a-z][a-z0-9_]{0,39}$"


class Better(StrEnum):
    """Which way of a metric is good, as far as the metric itself says."""

    HIGHER = "higher"
    LOWER = "lower"
    TARGET = "target"
    """Neither: it should be near a value, so it takes `within`."""


class Metric(Frozen):
    """One measurable quantity. `low` and `high` bound its possible values (None: unbounded)."""

    name: str = Field(pattern=_NAME)
    title: str
    better: Better
    low: float | None = None
    high: float | None = None
    compares: bool = Field(default=False, exclude_if=lambda compares: not compares)
    """Is it the difference to a baseline, so that a criterion names one with its margin?"""
    source: str
    """The formula's source, as one would cite it."""


class Column(Frozen):
    """A column of the table that a pilot writes, or a field of what it answers. `low` and `high` are inclusive."""

    name: str = Field(pattern=_NAME)
    kind: Literal["id", "number", "text"]
    """`id` (string, each of the requested ids once), `number` (finite float) or `text` (printable ASCII, at most `length` characters)."""
    low: float | None = None
    high: float | None = None
    length: int | None = Field(default=None, ge=1, le=10_000)
    meaning: str

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.kind == "text") != (self.length is not None):
            msg = "a text has a greatest `length`, and nothing else has one"
            raise ValueError(msg)
        return self


class TaskFamily(Frozen):
    """A documented interface between a sandbox's harness and the pilots that it measures.

    In a batch family the pilot writes a table (`output`, `columns`), which is measured after its end. In an interactive
    one the harness asks it step by step over a socket (`protocol`, `observations`, `actions`), and measures what came of it.
    """

    name: Slug
    title: str = Field(min_length=3, max_length=200)
    inputs: dict[str, str]
    """File name → what is in it, as the pilot sees them under `/in`."""
    output: str | None = Field(default=None, pattern=_NAME)
    """Name of the table without its suffix; `.parquet` or `.csv`, under `/out`."""
    columns: tuple[Column, ...] = ()
    protocol: str | None = None
    """Of the questions and answers, with its version."""
    observations: dict[str, str] = {}
    """Field → what it says, of each question."""
    actions: tuple[Column, ...] = ()
    """The fields of each answer."""
    metrics: tuple[Metric, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.output is not None) == (self.protocol is not None):
            msg = "a family is either one of batch, with an `output`, or an interactive one, with a `protocol`"
            raise ValueError(msg)
        if [c.kind for c in self.columns].count("id") != (0 if self.interactive else 1):
            msg = "the table of a batch family has one column of kind `id`, and an interactive family has no table"
            raise ValueError(msg)
        if self.interactive != bool(self.actions) or any(c.kind != "number" for c in self.actions):
            msg = "an interactive family has `actions`, which are numbers, and a batch family has none"
            raise ValueError(msg)
        for names in ([m.name for m in self.metrics], [c.name for c in self.columns], [c.name for c in self.actions]):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                msg = f"defined twice: {', '.join(twice)}"
                raise ValueError(msg)
        return self

    @property
    def interactive(self) -> bool:
        """Does the harness ask the pilot step by step?"""
        return self.protocol is not None

    def metric(self, name: str, *, where: str | None = None) -> Metric:
        """The metric of that name.

        Raises:
            Invalid: the family has none; the message lists those it has.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise unknown_name("metric", name, (m.name for m in self.metrics), where=where)
