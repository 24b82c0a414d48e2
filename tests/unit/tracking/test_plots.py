"""What a regulator sees in MLflow: whole titles, every criterion, no bound that was not found."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from livinglab.domain.criteria import CriteriaSet
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import Interval, Measurement, SetVerdict, judge
from livinglab.tracking import plots
from livinglab.tracking.mlflow import verdict_note

ROOT = Path(__file__).resolve().parents[3]
TITLE = "Calibration, all: a-pilot-with-a-long-name 1.0.0 in Ten-year mortality risk from serum free light chains (FLChain)"
CALIBRATION = {"predicted": [0.1, 0.5], "observed": [0.12, 0.4], "lower": [0.05, 0.3], "upper": [0.2, 0.5]}
DECISION = {"threshold": [0.1, 0.2], "model": [0.1, 0.08], "all": [0.05, -0.1], "none": [0.0, 0.0]}


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


@pytest.mark.parametrize(("draw", "curve"), [(plots.calibration_figure, CALIBRATION), (plots.decision_figure, DECISION)])
def test_a_long_title_is_within_the_picture(draw: Any, curve: dict[str, Any]) -> None:
    figure = draw(curve, TITLE)
    drawn(figure)
    title: Any = figure.axes[0]._left_title
    assert title.get_text().replace("\n", " ") == TITLE
    assert title.get_window_extent().x1 <= figure.bbox.x1


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
