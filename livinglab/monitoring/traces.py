"""Traces for OpenTelemetry: a run from the call that asked for it to its containers, made from the lab's own records.

An attempt's spans are made when it has ended, from its events and its journal, and their ids from its name. So a trace is whole, whoever
carried the run and however often a worker was killed meanwhile, and recording an attempt twice makes no second one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from livinglab.domain.access import Event
from livinglab.domain.errors import NotFound, Unreachable
from livinglab.domain.run import Attempt, JournalEntry, Run, Step
from livinglab.domain.trace import parent_of
from livinglab.ports import Store

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

PATIENCE = 10
"""Seconds until a collector that does not answer is taken for away."""
_EVENTS = 10_000
"""Of a run: more than any has."""


class TraceTracker:
    """The `Tracker` port, to a collector that takes OTLP over HTTP."""

    def __init__(self, store: Store, url: str, exporter: "SpanExporter | None" = None) -> None:
        self.store, self.url = store, url
        self._exporter = exporter or exporter_to(url)

    def record(self, attempt: str) -> None:
        """See the port."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        with self.store.transaction(read_only=True) as tx:
            found = tx.attempt(attempt)
            run = tx.run(found.run) if found else None
            if found is None or run is None:
                msg = f"there is no attempt {attempt!r}."
                raise NotFound(msg)
            events, journal = tx.events(0, _EVENTS, run=run.id), tx.journal(attempt)
        if self._exporter.export(spans_of(run, found, events, journal)) is not SpanExportResult.SUCCESS:
            msg = f"the collector of traces at {self.url} does not answer."
            raise Unreachable(msg)


def exporter_to(url: str) -> "SpanExporter":
    """What sends spans to a collector."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=url, timeout=PATIENCE)


def spans_of(run: Run, attempt: Attempt, events: Sequence[Event], journal: Mapping[Step, JournalEntry]) -> "list[ReadableSpan]":
    """An attempt's spans: itself, its steps, its containers; and the run's, where this attempt was its last."""
    trace = _Trace(run)
    own = trace.child(attempt.id)
    mine = [event for event in events if event.attempt == attempt.id]
    last = attempt.ended_at or (mine[-1].at if mine else attempt.created_at)
    fault = attempt.failure.sentence if attempt.failure else None
    spans = [trace.span(f"attempt {attempt.number}", own, trace.run, attempt.created_at, last, fault, attempt=attempt.id)]
    begun: dict[str, datetime] = {}
    for event in mine:
        step = str(event.data.get("step"))
        if event.kind == "step-begun":
            begun.setdefault(step, event.at)
        elif event.kind == "step-done" and step in begun:
            name = trace.child(f"{attempt.id} {step}")
            spans.append(trace.span(f"step {step}", name, own, begun[step], event.at, None, attempt=attempt.id, step=step))
    for role, step, left in _containers(journal):
        started, ended = datetime.fromisoformat(left["started_at"]), datetime.fromisoformat(left["ended_at"])
        within = trace.child(f"{attempt.id} {step}") if step in begun else own
        name = trace.child(f"{attempt.id}.{role}")
        spans.append(trace.span(f"container {role}", name, within, started, ended, None, attempt=attempt.id, role=role))
    if run.state.final and run.attempts == attempt.number:
        over = run.failure.sentence if run.failure else None
        spans.append(trace.span("run", trace.run, trace.asked, run.created_at, run.ended_at or last, over, state=run.state, verdict=run.verdict))
    return spans


def _containers(journal: Mapping[Step, JournalEntry]) -> list[tuple[str, str, dict[str, Any]]]:
    """Role, the step that it belongs to, and what is kept of its end; those of an earlier attempt are that one's."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for step, role, of in ((Step.PREPARE, "prepare", Step.PREPARE), (Step.COLLECT, "pilot", Step.EXECUTE), (Step.DECODE, "decode", Step.DECODE),
                           (Step.MEASURE, "measure", Step.MEASURE)):  # fmt: skip
        entry = journal.get(step)
        data: dict[str, Any] = dict(entry.data) if entry and entry.status == "done" else {}
        if "started_at" in data and "reused_from" not in data:
            found.append((role, of, data))
            if "drive" in data:
                found.append(("drive", of, data["drive"]))
    return found


class _Trace:
    """The trace of a run: that of the call that asked for it, if that had one."""

    def __init__(self, run: Run) -> None:
        asked = parent_of(run.trace)
        self._id = int(asked[0], 16) if asked else _number(f"trace of {run.id}", 16)
        self._about = {"livinglab.run": run.id, "livinglab.site": run.site, "livinglab.sandbox": run.sandbox, "livinglab.plan": run.plan}
        self.asked = self._context(int(asked[1], 16)) if asked else None
        self.run = self.child(run.id)

    def child(self, name: str) -> "SpanContext":
        return self._context(_number(name, 8))

    def _context(self, span: int) -> "SpanContext":
        from opentelemetry.trace import SpanContext, TraceFlags

        return SpanContext(self._id, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def span(self, name: str, own: "SpanContext", parent: "SpanContext | None", start: datetime, end: datetime, fault: str | None,
             **about: str | None) -> "ReadableSpan":  # fmt: skip
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        status = Status(StatusCode.ERROR, fault) if fault else Status(StatusCode.OK)
        attributes = self._about | {f"livinglab.{name}": str(value) for name, value in about.items() if value is not None}
        return ReadableSpan(name=name, context=own, parent=parent, resource=Resource.create({"service.name": "livinglab"}), attributes=attributes,
                            status=status, start_time=_nanoseconds(start), end_time=_nanoseconds(max(start, end)))  # fmt: skip


def _number(name: str, size: int) -> int:
    """An id of so many bytes, always the same for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:size], "big") or 1


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1_000
