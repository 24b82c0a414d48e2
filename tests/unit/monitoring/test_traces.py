"""Traces, as a collector receives them: from the call that asked for a run to its containers."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient

from livinglab.dispatch.projector import Projector
from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.domain.sandbox import Role
from livinglab.domain.trace import parent_of
from livinglab.monitoring import traces
from livinglab.monitoring.traces import TraceTracker
from sandbox_api.app import create_app
from tests.unit.services.test_engine import World, make_world

CALLER = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


class Collector:
    """Takes OTLP over HTTP, as it goes over the wire."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.status == 200:
                    request = ExportTraceServiceRequest.FromString(body)
                    collector.spans += [span for r in request.resource_spans for s in r.scope_spans for span in s.spans]
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def tree(self) -> dict[str, set[str]]:
        """Span's name → the names of those within it; `` is above all that have nobody here above them."""
        names = {span.span_id: span.name for span in self.spans}
        found: dict[str, set[str]] = {}
        for span in self.spans:
            found.setdefault(names.get(span.parent_span_id, ""), set()).add(span.name)
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


def test_a_run_is_one_trace_from_the_call_to_its_containers(world: World, collector: Collector) -> None:
    lab = replace(world.lab, settings=world.lab.settings.model_copy(update={"otlp_url": collector.url}))
    token = lab.access.issue_token("startup", {"tiny": Role.PARTICIPANT})[1]
    with TestClient(create_app(lab)) as client:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "key-00000001", "traceparent": CALLER}
        run = client.post("/v1/runs", json={"plan": world.plan}, headers=headers).json()
        client.get("/v1/runs/run-x", headers=headers)
    world.carry()
    tracker = TraceTracker(world.lab.store, collector.url)
    assert Projector.of_this_process(world.lab.store, tracker, world.lab.clock, "traces").catch_up()
    tree = collector.tree()
    assert tree[""] == {"POST /v1/runs", "GET /v1/runs/{run}"}, "both within the caller's trace"
    assert tree["POST /v1/runs"] == {"run"}
    assert tree["run"] == {"attempt 1"}
    steps = {f"step {name}" for name in ("images", "stage", "execute", "decode", "measure")}
    assert steps <= tree["attempt 1"]
    assert [tree[f"step {step}"] for step in ("execute", "decode", "measure")] == [{"container pilot"}, {"container decode"}, {"container measure"}]
    assert {span.trace_id.hex() for span in collector.spans} == {"ab" * 16}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in collector.spans)
    (whole,) = (span for span in collector.spans if span.name == "run")
    about = {attribute.key: attribute.value.string_value for attribute in whole.attributes}
    assert about["livinglab.run"] == run["id"]
    assert about["livinglab.verdict"] == "PASS"
    assert token not in str(collector.spans)


def test_each_attempt_has_its_own_and_the_last_one_has_the_runs(world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    collect, failed = world.site.collect, list[str]()

    def once(key: Any, into: Path) -> Any:
        if not failed:
            failed.append(str(key))
            raise PlatformFault("the disk is full.")
        return collect(key, into)

    monkeypatch.setattr(world.site, "collect", once)
    run = world.request()
    world.carry()
    tracker = TraceTracker(world.lab.store, collector.url)
    for _again in range(2):
        for number in (1, 2):
            tracker.record(f"{run.id}.{number}")
    assert collector.tree()["run"] == {"attempt 1", "attempt 2"}
    (broken,) = {span.status.message for span in collector.spans if span.name == "attempt 1"}
    assert "the disk is full" in broken
    assert len({span.span_id for span in collector.spans}) == len(collector.spans) / 2, "recorded twice is recorded once"


def test_a_collector_that_is_away_is_waited_for(world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "PATIENCE", 1)
    run = world.request()
    world.carry()
    collector.status = 503
    tracker = TraceTracker(world.lab.store, collector.url)
    with pytest.raises(Unreachable, match="does not answer"):
        tracker.record(f"{run.id}.1")
    projector = Projector.of_this_process(world.lab.store, tracker, world.lab.clock, "traces")
    assert not projector.catch_up()
    collector.status = 200
    assert projector.catch_up()
    assert collector.tree()[""] == {"run"}, "a trace of its own, where nobody asked within one"


@pytest.mark.parametrize(
    "wrong", [None, "", "00", CALLER + "x", CALLER.replace("ab", "00"), CALLER.replace("cd", "00"), CALLER.upper(), "ff" + CALLER[2:]]
)
def test_what_is_no_traceparent_is_ignored(wrong: str | None) -> None:
    assert parent_of(wrong) is None
    assert parent_of(CALLER) == ("ab" * 16, "cd" * 8)
