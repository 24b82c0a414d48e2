"""Pictures, drawn here from numbers that were checked by their schema: no image that a container made is ever shown."""

import io
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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


def calibration_figure(curve: dict[str, Any], title: str) -> Figure:
    """Observed against predicted risk, with the bounds of the observed."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    top = max([*curve["predicted"], *curve["upper"], 0.05])
    axes.plot([0, top], [0, top], color="grey", linewidth=1, linestyle="--", label="perfect")
    errors = [[max(0.0, o - low) for o, low in zip(curve["observed"], curve["lower"], strict=True)],
              [max(0.0, up - o) for o, up in zip(curve["observed"], curve["upper"], strict=True)]]  # fmt: skip
    axes.errorbar(curve["predicted"], curve["observed"], yerr=errors, fmt="o", capsize=3, label="pilot, by tenths of predicted risk (bars: 95 %)")
    axes.set(xlabel="predicted risk", ylabel="observed risk", aspect="equal")
    axes.legend(loc="upper left", fontsize=8)
    _titled(axes, title)
    return figure


def calibration(curve: dict[str, Any], title: str) -> bytes:
    """The same as PNG."""
    return _png(calibration_figure(curve, title))


def decision_figure(curve: dict[str, Any], title: str) -> Figure:
    """Net benefit over thresholds, against treating all and none."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for name, style in (("model", "-"), ("all", "--"), ("none", ":")):
        axes.plot(curve["threshold"], curve[name], style, label={"model": "pilot"}.get(name, f"treat {name}"))
    axes.set(xlabel="risk threshold", ylabel="net benefit (higher is better)", ylim=(min(-0.02, *curve["model"]), None))
    axes.legend()
    _titled(axes, title)
    return figure


def decision(curve: dict[str, Any], title: str) -> bytes:
    """The same as PNG."""
    return _png(decision_figure(curve, title))


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
