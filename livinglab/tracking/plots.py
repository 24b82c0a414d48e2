"""Pictures, drawn here from numbers that were checked by their schema: no image that a container made is ever shown."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from livinglab.domain.criteria import CriteriaSet, Range
from livinglab.domain.verdict import SetVerdict

_COLOURS = {"PASS": "#2e7d32", "FAIL": "#c62828", "INCONCLUSIVE": "#f9a825", "NOT_EVALUABLE": "#8e24aa"}
_SIZE = (6.4, 4.8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def calibration(curve: dict[str, Any], title: str) -> bytes:
    """Observed against predicted risk, with the bounds of the observed (PNG)."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    top = max([*curve["predicted"], *curve["upper"], 0.05])
    axes.plot([0, top], [0, top], color="grey", linewidth=1, linestyle="--", label="perfect")
    errors = [[max(0.0, o - low) for o, low in zip(curve["observed"], curve["lower"], strict=True)],
              [max(0.0, up - o) for o, up in zip(curve["observed"], curve["upper"], strict=True)]]  # fmt: skip
    axes.errorbar(curve["predicted"], curve["observed"], yerr=errors, fmt="o-", capsize=3, label="pilot")
    axes.set(xlabel="predicted risk", ylabel="observed risk", title=title)
    axes.legend()
    return _png(figure)


def decision(curve: dict[str, Any], title: str) -> bytes:
    """Net benefit over thresholds, against treating all and none (PNG)."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for name, style in (("model", "-"), ("all", "--"), ("none", ":")):
        axes.plot(curve["threshold"], curve[name], style, label={"model": "pilot"}.get(name, f"treat {name}"))
    axes.set(xlabel="risk threshold", ylabel="net benefit", title=title, ylim=(min(-0.02, *curve["model"]), None))
    axes.legend()
    return _png(figure)


def verdicts(criteria: CriteriaSet, verdict: SetVerdict, title: str) -> bytes:
    """Every criterion's interval beside what is demanded of it, each on a scale of its own (PNG)."""
    rows = [(c, r) for c, r in zip(criteria.criteria, verdict.results, strict=True) if r.measurement and r.measurement.interval]
    figure = Figure(figsize=(7.2, 0.5 + 0.55 * max(1, len(rows))), layout="constrained")
    figure.suptitle(title)
    all_axes = figure.subplots(max(1, len(rows)), 1, squeeze=False)[:, 0]
    for axes, (criterion, result) in zip(all_axes, rows, strict=False):
        m = result.measurement
        assert m and m.interval and m.value is not None  # noqa: S101, PT018 - chosen above
        lower = m.value if m.interval.lower is None else m.interval.lower
        upper = m.value if m.interval.upper is None else m.interval.upper
        axes.plot([lower, upper], [0, 0], color=_COLOURS[result.verdict], linewidth=5, solid_capstyle="butt")
        axes.plot([m.value], [0], "k|", markersize=11)
        limit = criterion.limit
        for edge in (limit.low, limit.high) if isinstance(limit, Range) else (limit,):
            axes.axvline(edge, color="grey", linestyle="--", linewidth=1)
        axes.set_yticks([0], [f"{criterion.id}\n{result.verdict}"], fontsize=7)
        axes.tick_params(axis="x", labelsize=6)
    return _png(figure)
