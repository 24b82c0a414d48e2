"""Pictures of a drive, as charts (`domain.chart.Chart`). The lab draws them: no picture comes out of a container."""

import numpy as np

from livinglab.measuring.kinematics import Steps, preventable_ttc
from livinglab.measuring.moments import Moment, least_ttc
from livinglab.measuring.recording import Recording
from livinglab.measuring.slices import Document

_LONGEST, _BIN = 10.0, 0.5
"""Times to collision that are shown, and how wide a bar is (s)."""
_SHOWN = 5
"""Of the worst moments, whose gaps are drawn."""
_KMH = 3.6
_MOST_POINTS = 5_000


def charts(recording: Recording, steps: Steps, moments: list[Moment], threshold: float) -> dict[str, Document]:
    """Time to collision, cut-ins against the Regulation's curve, and the worst moments."""
    drawn = {"time-to-collision": distribution(steps, threshold), "cut-ins": cut_ins(recording), "least-ttc": least(recording, steps, threshold)}
    if moments:
        drawn |= {"worst-gaps": gaps(recording, moments), "worst-moment": motion(recording, moments[0])}
    return {name: chart for name, chart in drawn.items() if chart["series"]}


def _line(label: str, x: list[float], y: list[float], style: str = "line") -> Document:
    """A series; thinned where it has more points than a chart may have."""
    each = -(-len(x) // _MOST_POINTS) or 1
    return {"label": label, "style": style, "x": x[::each], "y": y[::each]}


def distribution(steps: Steps, threshold: float) -> Document:
    """Share of the time with each time to collision; what is longer, or none, is left out."""
    seconds = steps.recording.seconds[steps.episode]
    edges = np.arange(0, _LONGEST + _BIN / 2, _BIN)
    counts, _ = np.histogram(steps.ttc, bins=edges, weights=seconds)
    bars = _line("all scenarios", (edges[:-1] + _BIN / 2).tolist(), (counts / seconds.sum()).tolist(), "bars")
    return {
        "title": "Time to collision", "x": "time to collision (s)", "y": "share of the time", "series": [bars],
        "marks": [{"of": "x", "at": threshold, "label": f"{threshold:g} s"}],
    }  # fmt: skip


def cut_ins(recording: Recording) -> Document:
    """Where cut-ins began, and how they ended, against the Regulation's curve."""
    own = [episode for episode in recording.episodes if episode["family"] == "cut-in" and {"closing", "ttc"} <= episode["parameters"].keys()]
    series: list[Document] = []
    for label, collided in (("no collision", False), ("collision", True)):
        some = [episode["parameters"] for episode in own if (episode["collision"] is not None) == collided]
        series += [_line(label, [p["closing"] * _KMH for p in some], [p["ttc"] for p in some], "points")] if some else []
    return {
        "title": "Cut-ins", "x": "closing speed (km/h)", "y": "time to collision when it cuts in (s)",
        "series": [*series, _curve(max(p["closing"] for p in (e["parameters"] for e in own)))] if own else [],
    }  # fmt: skip


def least(recording: Recording, steps: Steps, threshold: float) -> Document:
    """The shortest time to collision of each scenario over the closing speed at that moment, by how it ended."""
    shortest = least_ttc(steps)
    closed = np.flatnonzero(np.isfinite(shortest) & (shortest <= _LONGEST))
    series: list[Document] = []
    at = np.array([int(np.argmin(steps.ttc[recording.steps_of(int(number))])) for number in closed], dtype=np.int64) + recording.first[closed]
    closing = recording.trace["closing"][at]
    collided = np.array([recording.episodes[int(number)]["collision"] is not None for number in closed], dtype=bool)
    for label, own in (("no collision", ~collided), ("collision", collided)):
        series += [_line(label, (closing[own] * _KMH).tolist(), shortest[closed][own].tolist(), "points")] if own.any() else []
    return {
        "title": "Shortest time to collision of each scenario", "x": "closing speed at that moment (km/h)", "y": "time to collision (s)",
        "series": [*series, _curve(float(closing.max()))] if series else [], "marks": [{"of": "y", "at": threshold, "label": f"{threshold:g} s"}],
    }  # fmt: skip


def _curve(fastest: float) -> Document:
    """The time to collision above which a cut-in is preventable."""
    closing = np.linspace(0, fastest, 50)
    return _line("preventable above, (EU) 2022/1426", (closing * _KMH).tolist(), preventable_ttc(closing).tolist(), "dashed")


def gaps(recording: Recording, moments: list[Moment]) -> Document:
    """The gap to the one ahead, over time, in the worst moments."""
    series: list[Document] = []
    for moment in moments:
        trace = {name: recording.trace[name][recording.steps_of(moment.number)] for name in ("time", "gap")}
        known = ~np.isnan(trace["gap"])
        if known.any() and len(series) < _SHOWN:
            label = f"{recording.episodes[moment.number]['id']}: {moment.why}"[:120]
            series.append(_line(label, trace["time"][known].tolist(), trace["gap"][known].tolist()))
    return {"title": "Gap to the one ahead, worst moments", "x": "time (s)", "y": "gap (m)", "series": series}


def motion(recording: Recording, moment: Moment) -> Document:
    """Speed and acceleration of the worst of them."""
    trace = {name: recording.trace[name][recording.steps_of(moment.number)].tolist() for name in ("time", "speed", "acceleration")}
    series = [
        {"label": label, "x": trace["time"], "y": trace[name]} for label, name in (("speed (m/s)", "speed"), ("acceleration (m/s²)", "acceleration"))
    ]
    return {"title": f"{recording.episodes[moment.number]['id']}: {moment.why}"[:120], "x": "time (s)", "y": "m/s, m/s²", "series": series}
