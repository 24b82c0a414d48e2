"""A picture as numbers: what a harness may ask to be drawn. The lab draws it; no image comes out of a container."""

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from livinglab.domain.model import Frozen

MOST_POINTS = 5_000
Numbers = Annotated[tuple[FiniteFloat, ...], Field(max_length=MOST_POINTS)]
Label = Annotated[str, Field(max_length=120)]


class Series(Frozen):
    """Points (x, y), with bounds of y where it has any."""

    label: Label
    style: Literal["line", "dashed", "dotted", "points", "bars"] = "line"
    x: Numbers
    y: Numbers
    lower: Numbers = ()
    upper: Numbers = ()

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        lengths = {len(self.x), len(self.y), *(len(bound) for bound in (self.lower, self.upper) if bound)}
        if len(lengths) != 1 or bool(self.lower) != bool(self.upper):
            msg = "x, y and both bounds, where there are any, have one length"
            raise ValueError(msg)
        return self


class Mark(Frozen):
    """A line to hold the series against: at a value of x or of y, or the diagonal."""

    of: Literal["x", "y", "diagonal"]
    at: FiniteFloat = 0.0
    label: Label


class Chart(Frozen):
    """Series over one pair of axes."""

    title: Label
    x: Label
    y: Label
    slice: str = "all"
    series: tuple[Series, ...] = Field(min_length=1, max_length=20)
    marks: tuple[Mark, ...] = Field(default=(), max_length=10)
    square: bool = False
    """Both axes on one scale: as calibration and trajectories need it."""
