"""Pictures, drawn here from numbers that were checked by their schema: no image that a container made is ever shown."""

import io
import textwrap
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from livinglab.domain.chart import Chart, Mark, Series
from livinglab.domain.criteria import CriteriaSet, Criterion, Direction, Range, Severity
from livinglab.domain.verdict import CriterionVerdict, SetVerdict

_COLOURS = {"PASS": "#2e7d32", "FAIL": "#c62828", "INCONCLUSIVE": "#f9a825", "NOT_EVALUABLE": "#8e24aa"}
_SIZE = (6.4, 4.8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _titled(axes: Axes, title: str) -> None:
    """A title as wide as the picture, broken into lines where it is longer."""
    axes.set_title("\n".join(textwrap.wrap(title, 72)), fontsize=10, loc="left")


def chart_figure(chart: Chart, about: str) -> Figure:
    """A chart as the harness described it, under its title and what it is about."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for mark in chart.marks:
        _draw_mark(axes, mark)
    for series in chart.series:
        _draw_series(axes, series)
    axes.set(xlabel=chart.x, ylabel=chart.y)
    if chart.square:
        axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8)
    _titled(axes, f"{chart.title}, {chart.slice}: {about}")
    return figure


def chart(drawn: Chart, about: str) -> bytes:
    """The same as PNG."""
    return _png(chart_figure(drawn, about))


def _draw_mark(axes: Axes, mark: Mark) -> None:
    look: dict[str, Any] = {"color": "grey", "linewidth": 1, "linestyle": "--", "label": mark.label}
    if mark.of == "x":
        axes.axvline(mark.at, **look)
    elif mark.of == "y":
        axes.axhline(mark.at, **look)
    else:
        axes.axline((0, 0), slope=1, **look)


def _draw_series(axes: Axes, series: Series) -> None:
    if series.style == "bars":
        axes.bar(series.x, series.y, width=_bar_width(series.x), alpha=0.6, label=series.label)
    elif series.style == "points" and series.lower:
        errors = [[max(0.0, y - low) for y, low in zip(series.y, series.lower, strict=True)],
                  [max(0.0, up - y) for y, up in zip(series.y, series.upper, strict=True)]]  # fmt: skip
        axes.errorbar(series.x, series.y, yerr=errors, fmt="o", capsize=3, label=series.label)
    elif series.style == "points":
        axes.plot(series.x, series.y, "o", markersize=3, label=series.label)
    else:
        (line,) = axes.plot(series.x, series.y, {"line": "-", "dashed": "--", "dotted": ":"}[series.style], label=series.label)
        if series.lower:
            axes.fill_between(series.x, series.lower, series.upper, alpha=0.2, color=line.get_color(), linewidth=0)


def _bar_width(x: tuple[float, ...]) -> float:
    """As wide as the nearest two are apart."""
    ordered = sorted(set(x))
    return min((after - before for before, after in pairwise(ordered)), default=1.0)


def verdicts_figure(criteria: CriteriaSet, verdict: SetVerdict) -> Figure:
    """Every criterion, none left out: its value and interval beside what is demanded of it, each on a scale of its own."""
    rows = list(zip(criteria.criteria, verdict.results, strict=True))
    figure = Figure(figsize=(8, 0.9 + 0.55 * len(rows)), layout="constrained")
    legend = "tick: value; bar: between its bounds; dashed and shaded: what is demanded"
    figure.suptitle(f"Verdict of the gates: {verdict.verdict}\n{legend}", fontsize=10)
    for axes, (criterion, result) in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        advisory = " (advisory)" if criterion.severity is Severity.ADVISORY else ""
        axes.set_yticks([0], [f"{criterion.id}{advisory}\n{criterion.metric}, {criterion.slice}: {result.verdict}"], fontsize=7)
        axes.tick_params(axis="x", labelsize=6)
        axes.set_ylim(-1, 1)
        _draw_criterion(axes, criterion, result)
    return figure


def verdicts(criteria: CriteriaSet, verdict: SetVerdict) -> bytes:
    """The same as PNG."""
    return _png(verdicts_figure(criteria, verdict))


def _draw_criterion(axes: Axes, criterion: Criterion, result: CriterionVerdict) -> None:
    m = result.measurement
    if m is None or m.value is None:
        axes.set_xticks([])
        why = textwrap.shorten(f"no value: {result.reason}", 90)
        axes.text(0.5, 0, why, ha="center", va="center", fontsize=7, transform=axes.get_yaxis_transform())
        return
    limit = criterion.limit
    edges = (limit.low, limit.high) if isinstance(limit, Range) else (limit,)
    bounds = (m.interval.lower, m.interval.upper) if m.interval else (m.value, m.value)
    points = [*edges, m.value, *(b for b in bounds if b is not None)]
    room = 0.06 * (max(points) - min(points)) or 0.05
    left, right = min(points) - room, max(points) + room
    axes.set_xlim(left, right)
    low = edges[0] if isinstance(limit, Range) or criterion.direction is Direction.AT_LEAST else left
    high = edges[-1] if isinstance(limit, Range) or criterion.direction is Direction.AT_MOST else right
    axes.axvspan(low, high, color="grey", alpha=0.15, linewidth=0)
    for edge in edges:
        axes.axvline(edge, color="grey", linestyle="--", linewidth=1)
    colour = _COLOURS[result.verdict]
    # Where no finite bound was found, the bar goes to the edge.
    lower, upper = (left if bounds[0] is None else bounds[0]), (right if bounds[1] is None else bounds[1])
    axes.plot([lower, upper], [0, 0], color=colour, linewidth=5, solid_capstyle="butt")
    axes.plot([m.value], [0], marker="|", color="black" if m.interval else colour, markersize=11, markeredgewidth=1.5 if m.interval else 4)
