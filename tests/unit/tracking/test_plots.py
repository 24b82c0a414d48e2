"""What a regulator sees in MLflow: whole titles, every criterion, no bound that was not found."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import ValidationError

from livinglab.domain.chart import Chart
from livinglab.domain.criteria import CriteriaSet
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import Interval, Measurement, SetVerdict, judge
from livinglab.tracking import plots
from livinglab.tracking.mlflow import verdict_note

ROOT = Path(__file__).resolve().parents[3]
ABOUT = "a-pilot-with-a-long-name 1.0.0 in Ten-year mortality risk from serum free light chains (FLChain)"
BOUNDED = {"label": "s", "x": [0.1, 0.5], "y": [0.12, 0.4], "lower": [0.05, 0.3], "upper": [0.2, 0.5]}
MARKS = [{"of": "diagonal", "label": "perfect"}, {"of": "x", "at": 0.2, "label": "threshold"}, {"of": "y", "at": 0.2, "label": "limit"}]


@pytest.fixture
def criteria() -> CriteriaSet:
    return SandboxSpec.model_validate(yaml.safe_load((ROOT / "tests/sandboxes/tiny/sandbox.yaml").read_text())).frozen_criteria(1)


def measured(**changes: Any) -> tuple[Measurement, ...]:
    """Completeness without an interval, discrimination with one, calibration without a value."""
    interval = Interval(lower=0.5, upper=None, level=0.95, method="bootstrap-percentile")
    discrimination = {"metric": "uno_c", "value": 0.7, "interval": interval, "n": 300, "events": 100, "non_events": 200, **changes}
    return (Measurement(metric="completeness", value=1.0, n=300), Measurement.model_validate(discrimination))


@pytest.fixture
def verdict(criteria: CriteriaSet) -> SetVerdict:
    return judge(criteria, measured())


def drawn(figure: Figure) -> None:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()


def texts(figure: Figure) -> str:
    drawn(figure)
    return "\n".join([*(t.get_text() for axes in figure.axes for t in (*axes.texts, *axes.get_yticklabels())), figure.get_suptitle()])


@pytest.mark.parametrize("style", ["line", "dashed", "dotted", "points", "bars"])
def test_a_chart_is_drawn_with_its_marks_and_a_long_title_is_within_the_picture(style: str) -> None:
    chart = Chart.model_validate({"title": "Calibration", "x": "predicted", "y": "observed", "series": [BOUNDED | {"style": style}], "marks": MARKS})
    figure = plots.chart_figure(chart, ABOUT)
    drawn(figure)
    axes: Any = figure.axes[0]
    assert axes._left_title.get_text().replace("\n", " ") == f"Calibration, all: {ABOUT}"
    assert axes._left_title.get_window_extent().x1 <= figure.bbox.x1
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"s", "perfect", "threshold", "limit"}


@pytest.mark.parametrize(
    "change", [{"y": [1.0]}, {"y": [float("nan"), 1.0]}, {"lower": []}, {"x": [1.0] * 5001, "y": [1.0] * 5001}, {"style": "pie"}]
)
def test_a_series_that_cannot_be_drawn_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Chart.model_validate({"title": "t", "x": "x", "y": "y", "series": [BOUNDED | change]})


def test_every_criterion_is_in_the_picture_with_what_it_came_to(criteria: CriteriaSet, verdict: SetVerdict) -> None:
    figure = plots.verdicts_figure(criteria, verdict)
    text = texts(figure)
    assert len(figure.axes) == len(criteria.criteria)
    for criterion, result in zip(criteria.criteria, verdict.results, strict=True):
        assert criterion.id in text
        assert f"{criterion.metric}, {criterion.slice}: {result.verdict}" in text
    assert "calibration (advisory)" in text
    assert "no value" in text, "a criterion without a measurement says so"
    assert f"Verdict of the gates: {verdict.verdict}" in text


def test_a_bound_that_was_not_found_is_not_drawn_at_the_value(criteria: CriteriaSet, verdict: SetVerdict) -> None:
    axes: Any = plots.verdicts_figure(criteria, verdict).axes[1]
    bar = max((line for line in axes.lines if len(line.get_xdata()) == 2), key=lambda line: line.get_linewidth())
    assert list(bar.get_xdata()) == [0.5, axes.get_xlim()[1]]


def test_the_note_has_a_line_for_every_criterion_with_its_bounds(criteria: CriteriaSet, verdict: SetVerdict) -> None:
    note = verdict_note(criteria, verdict, demonstration=True)
    assert f"**Verdict of the gates: {verdict.verdict}**" in note
    assert "it proves the method, not the pilot" in note
    assert "| completeness | all | 1.000 |  | ≥ 1 | 300 | PASS |" in note
    assert "| discrimination | all | 0.700 | 0.500 … – | ≥ 0.6 | 300 | INCONCLUSIVE |" in note
    assert "| calibration | all | – |  | 0.99 … 1.01 | – | NOT_EVALUABLE (advisory) |" in note
