"""MLflow: one experiment per plan, one run per attempt, for regulators who look rather than read."""

import os
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livinglab.domain.access import Document
from livinglab.domain.criteria import CriteriaSet, Direction, Range, Severity
from livinglab.domain.errors import Invalid, Unreachable
from livinglab.domain.marks import MLFLOW_SANDBOX
from livinglab.domain.situation import Situation, usage_of
from livinglab.domain.verdict import Measurement, MeasurementFile, SetVerdict
from livinglab.ports import Artifacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

_TAG = "livinglab.attempt"
_STATUS = {"completed": "FINISHED", "cancelled": "KILLED"}
_BATCH = 1_000
_NEVER = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST"}
"""What MLflow says of a record that it will not take the next time either."""
_TIMEOUT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # fmt: skip


Load = Callable[[str], tuple[Situation, tuple[Document, ...]]]
"""An attempt as the database has it, with its documents."""


class MlflowTracker:
    """The `Tracker` port. The same attempt recorded twice is one run with the same contents: times and steps come from the record."""

    def __init__(self, load: Load, artifacts: Artifacts, url: str) -> None:
        for name, value in _TIMEOUT.items():
            os.environ.setdefault(name, value)
        self.load = load
        self.artifacts = artifacts
        self.url = url

    def record(self, attempt: str) -> None:
        """See the port."""
        from mlflow import MlflowClient

        s, found = self.load(attempt)
        documents = {d.name: d for d in found}
        with _translated(self.url):
            client = MlflowClient(self.url)
            run_id, recorded = self._find_or_create(client, s)
            if recorded:
                return
            self._log(client, run_id, s, documents)
            ended = s.attempt.ended_at or s.attempt.created_at
            client.set_tag(run_id, "livinglab.recorded", "true")
            client.set_terminated(run_id, _STATUS.get(s.attempt.state, "FAILED"), round(ended.timestamp() * 1000))

    def _find_or_create(self, client: "MlflowClient", s: Situation) -> tuple[str, bool]:
        experiment = client.get_experiment_by_name(s.plan.id)
        if experiment is None:
            title = f"{s.release.spec.title}: {s.pilot.manifest.title}"
            identity = client.create_experiment(
                s.plan.id, tags={"livinglab.pilot": s.pilot.id, MLFLOW_SANDBOX: s.run.sandbox, "mlflow.note.content": title}
            )
        else:
            identity = experiment.experiment_id
        found = client.search_runs([identity], f"tags.`{_TAG}` = '{s.attempt.id}'")
        if found:
            return found[0].info.run_id, found[0].data.tags.get("livinglab.recorded") == "true"
        started = round(s.attempt.created_at.timestamp() * 1000)
        return client.create_run(identity, started, {_TAG: s.attempt.id}, f"run {s.run.ordinal}, attempt {s.attempt.number}").info.run_id, False

    def _log(self, client: "MlflowClient", run_id: str, s: Situation, documents: dict[str, Document]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        measured = self._load(documents, "measurements.json", MeasurementFile)
        verdict = self._load(documents, "verdict.json", SetVerdict)
        at = round((s.attempt.ended_at or s.attempt.created_at).timestamp() * 1000)
        metrics = [Metric(name, value, at, 0) for m in (measured.measurements if measured else ()) for name, value in _numbers(m).items()]
        used = usage_of(s.journal)
        metrics += [Metric(f"usage/{role}/{name}", value, at, 0) for role, figures in used.items() for name, value in figures.items()]
        for start in range(0, len(metrics), _BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        client.log_batch(run_id, params=[Param(k, str(v)[:6_000]) for k, v in _params(s).items()],
                         tags=[RunTag(k, str(v)[:5_000]) for k, v in _tags(s, verdict).items()])  # fmt: skip
        for name, text in {"verdict.json": verdict, "measurements.json": measured}.items():
            if text:
                client.log_text(run_id, text.model_dump_json(indent=2), name)
        self._draw(client, run_id, s, measured, verdict)

    def _draw(self, client: "MlflowClient", run_id: str, s: Situation, measured: MeasurementFile | None, verdict: SetVerdict | None) -> None:
        import tempfile
        from pathlib import Path

        from livinglab.tracking import plots

        drawn: dict[str, bytes] = {}
        about = f"{s.pilot.manifest.name} {s.pilot.manifest.version} in {s.release.spec.title}"
        for name, chart in (measured.charts if measured else {}).items():
            drawn[f"{name}.png"] = plots.chart(chart, about)
        if verdict:
            drawn["verdict.png"] = plots.verdicts(s.release.spec.frozen_criteria(s.plan.body.measured_runs), verdict)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in drawn.items():
                path = Path(folder) / name
                path.write_bytes(data)
                client.log_artifact(run_id, str(path), "plots")

    def _load(self, documents: dict[str, Document], name: str, model: Any) -> Any:
        found = documents.get(name)
        return model.model_validate_json(self.artifacts.read(found.digest)) if found else None


def _numbers(m: Measurement) -> dict[str, float]:
    """Value and bounds of a measurement, by names that sort together."""
    name = "/".join(part for part in (m.metric, m.slice, m.baseline and f"vs {m.baseline}") if part)
    bounds = {"lower": m.interval.lower, "upper": m.interval.upper} if m.interval else {}
    counts = {f"{name}/n": float(m.n), **({f"{name}/events": float(m.events)} if m.events is not None else {})}
    numbers = {name: m.value, **{f"{name}/{side}": bound for side, bound in bounds.items()}, **counts}
    return {k: v for k, v in numbers.items() if v is not None}


def _params(s: Situation) -> dict[str, object]:
    manifest, body = s.pilot.manifest, s.plan.body
    return {
        "pilot": manifest.name, "pilot version": manifest.version, "site": s.run.site, "ordinal": s.run.ordinal, "measured runs": body.measured_runs,
        "replicates": body.replicates, "memory": manifest.resources.memory, "cpus": manifest.resources.cpus,
    }  # fmt: skip


def _digests(s: Situation) -> dict[str, str]:
    body = s.plan.body
    return {"plan": s.plan.digest, "criteria": body.criteria, "release": body.release, "image": body.pilot_image, "harness": body.harness_image,
            "participant data": body.participant_data, "hidden data": body.hidden_data}  # fmt: skip


def _tags(s: Situation, verdict: SetVerdict | None) -> dict[str, object]:
    return {
        "mlflow.note.content": _note(s, verdict),
        "livinglab.run": s.run.id, "livinglab.state": s.attempt.state, "livinglab.verdict": verdict.verdict if verdict else "none",
        "livinglab.visibility": s.release.spec.data.visibility, "livinglab.failure": s.attempt.failure.sentence if s.attempt.failure else "none",
        **{f"digest.{name}": digest for name, digest in _digests(s).items()},
        **{f"verdict.{r.criterion}": r.verdict for r in (verdict.results if verdict else ())},
    }  # fmt: skip


def _note(s: Situation, verdict: SetVerdict | None) -> str:
    """What the run's page says of it, in Markdown: the verdict, criterion by criterion, and all digests in full."""
    about = f"No verdict: {s.attempt.failure.sentence if s.attempt.failure else f'the attempt is {s.attempt.state}'}"
    if verdict:
        demonstration = s.release.spec.data.visibility == "demonstration"
        about = verdict_note(s.release.spec.frozen_criteria(s.plan.body.measured_runs), verdict, demonstration=demonstration)
    return "\n".join([about, "", "| what | digest |", "|---|---|", *(f"| {name} | `{digest}` |" for name, digest in _digests(s).items())])


def verdict_note(criteria: CriteriaSet, verdict: SetVerdict, *, demonstration: bool) -> str:
    """A table of all criteria: what is demanded, what was measured, within which bounds, and what follows."""
    lines = [f"**Verdict of the gates: {verdict.verdict}**", ""]
    if demonstration:
        lines += ["Demonstration on public data: it proves the method, not the pilot.", ""]
    lines += ["| criterion | slice | value | bounds | demand | n | verdict |", "|---|---|---|---|---|---|---|"]
    for c, r in zip(criteria.criteria, verdict.results, strict=True):
        m, limit = r.measurement, c.limit
        demand = f"{limit.low:g} … {limit.high:g}" if isinstance(limit, Range) else f"{'≥' if c.direction is Direction.AT_LEAST else '≤'} {limit:g}"
        value = f"{m.value:.3f}" if m and m.value is not None else "–"
        bounds = " … ".join("–" if b is None else f"{b:.3f}" for b in (m.interval.lower, m.interval.upper)) if m and m.interval else ""
        advisory = " (advisory)" if r.severity is Severity.ADVISORY else ""
        versus = f" vs {c.baseline.name}" if c.baseline else ""
        lines.append(f"| {c.id} | {c.slice} | {value} | {bounds} | {demand}{versus} | {m.n if m else '–'} | {r.verdict}{advisory} |")
    return "\n".join(lines)


@contextmanager
def _translated(url: str) -> "Iterator[None]":
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException, OSError) as error:
        msg = f"MLflow at {url} does not take the record ({type(error).__name__}: {str(error)[:200]})."
        raise (Invalid if getattr(error, "error_code", "") in _NEVER else Unreachable)(msg) from error
