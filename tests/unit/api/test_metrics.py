"""What is told to whoever watches the lab: the right numbers, and nothing of anybody."""

import json
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab, open_lab
from livinglab.domain.errors import Unreachable
from livinglab.domain.run import RunState
from livinglab.domain.site import Away
from livinglab.monitoring.metrics import LabCollector, new_registry, serving
from livinglab.settings import Settings
from sandbox_api.app import create_app
from tests.fixtures.servers import free_port
from tests.unit.api.conftest import ROOT
from tests.unit.api.test_api import agree, request_run


def told(registry: CollectorRegistry) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each sample by its name and its labels' values."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples}


def test_requests_are_counted_by_address_and_name_nobody(client: TestClient, startup: Any, plan: dict[str, Any]) -> None:
    registry: CollectorRegistry = client.app.state.metrics  # type: ignore[attr-defined]
    before = told(registry)
    for _ in range(3):
        startup.call("GET", f"/v1/plans/{plan['body']['id']}")
    startup.call("GET", "/v1/plans/pln-nothing", 404)
    client.request("BREW", "/v1/coffee")
    client.get("/v1/me")
    after = told(registry)
    grown = {key: after[key] - before.get(key, 0) for key in after if key[0] == "livinglab_api_requests_total" and after[key] != before.get(key, 0)}
    route = "/v1/plans/{plan}"
    assert grown == {("livinglab_api_requests_total", labels): count for labels, count in {
        ("GET", route, "200"): 3, ("GET", route, "404"): 1, ("any", "none", "404"): 1, ("GET", "/v1/me", "401"): 1}.items()}  # fmt: skip
    assert after["livinglab_api_seconds_count", ("GET", route)] >= 4
    assert after["livinglab_api_open", ()] == 0
    text = generate_latest(registry).decode()
    assert all(name not in text for name in ("startup", "ministry", plan["body"]["id"], "coffee"))


def test_an_answer_that_was_the_labs_own_failure_is_counted(client: TestClient, startup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        msg = "unforeseen"
        raise RuntimeError(msg)

    monkeypatch.setattr("livinglab.services.plans.Plans.page", fails)
    assert client.get("/v1/plans", headers=startup.headers).status_code == 500
    assert told(client.app.state.metrics)["livinglab_api_requests_total", ("GET", "/v1/plans", "500")] == 1  # type: ignore[attr-defined]


def test_runs_are_told_by_site_and_state_and_how_long_the_oldest_waits(lab: Lab, plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    first, second = (request_run(startup, plan, key=f"key-0000000{n}")["id"] for n in range(2))
    startup.call("POST", f"/v1/runs/{second}/cancel", 202, json={"reason": "enough"})

    class Later:
        def now(self) -> Any:
            return lab.runs.get(lab.access.authenticate(startup.headers["Authorization"][7:]), first)[0].created_at + timedelta(minutes=5)

    registry = CollectorRegistry()
    registry.register(LabCollector(lab.store, Later()))
    found = told(registry)
    assert found["livinglab_runs", ("docker", "queued")] == 1
    assert found["livinglab_runs", ("docker", "cancelled")] == 1
    assert found["livinglab_queue_oldest_seconds", ("docker",)] == pytest.approx(300, abs=0.01)
    assert found["livinglab_database_up", ()] == 1
    assert found["livinglab_site_up", ("docker",)] == 1
    with lab.store.transaction() as tx:
        here = tx.site("docker")
        assert here
        tx.update_site(here.model_copy(update={"away": Away(since=here.added_at, sentence="nobody answers.")}), here)
    assert told(registry)["livinglab_site_up", ("docker",)] == 0
    assert found["livinglab_events", ()] >= 4


def test_a_database_that_is_away_is_told_and_not_taken_for_an_empty_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: object) -> None:
        raise Unreachable("the database does not answer.")

    registry = new_registry(lab.store, lab.clock)
    monkeypatch.setattr(type(lab.store), "transaction", lambda _self, **_more: away())
    found = told(registry)
    assert found["livinglab_database_up", ()] == 0
    assert not any(name.startswith("livinglab_runs") for name, _ in found)
    assert found["livinglab_threads", ()] >= 1


def test_they_are_told_at_an_address_of_their_own_and_not_at_the_apis(tmp_path: Any) -> None:
    port = free_port()
    lab = open_lab(Settings(home=tmp_path / "home", metrics_port=port))
    with TestClient(create_app(lab)) as client:
        assert client.get("/metrics").status_code == 404
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert "livinglab_database_up 1.0" in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_a_port_that_is_taken_is_told(lab: Lab) -> None:
    with serving(new_registry(lab.store, lab.clock), "127.0.0.1", 0) as port, pytest.raises(OSError, match="in use"), serving(
            CollectorRegistry(), "127.0.0.1", port):  # fmt: skip
        pass


def test_the_dashboard_shows_what_is_told_and_nothing_else(client: TestClient, startup: Any) -> None:
    startup.call("GET", "/v1/me")
    board = json.loads((ROOT / "infra" / "monitoring" / "dashboard.json").read_text())
    asked = {name for panel in board["panels"] for target in panel["targets"] for name in re.findall(r"(?:livinglab|process)_\w+", target["expr"])}
    known = {name for name, _ in told(client.app.state.metrics)}  # type: ignore[attr-defined]
    assert asked - known <= {"livinglab_runs", "livinglab_queue_oldest_seconds"}  # of a lab with runs
    assert len(asked) >= 9
    states = {state for panel in board["panels"] for target in panel["targets"]
              for word in re.findall(r'state[!=]~"([^"]+)"', target["expr"]) for state in word.split("|")}  # fmt: skip
    assert states == {str(state) for state in RunState if state.final}
