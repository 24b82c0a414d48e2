"""The worker as operators start it: flows in Prefect's pool, runs in MLflow, and neither of them able to hold a run up."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from livinglab.domain.run import PHASES, Run, RunState
from tests.fixtures.available import ROOT
from tests.labs import Parties
from tests.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.prefect, pytest.mark.mlflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return Parties.gather(tmp_path_factory.mktemp("lab"))


def start_worker(parties: Parties, prefect: str, mlflow: str) -> subprocess.Popen[bytes]:
    """`livinglab worker`, as a process."""
    home = parties.lab.settings.home
    names = {"LIVINGLAB_HOME": str(home), "LIVINGLAB_PREFECT_URL": prefect, "LIVINGLAB_MLFLOW_URL": mlflow}
    with (home / "worker.log").open("ab") as log:
        return subprocess.Popen([ROOT / ".venv" / "bin" / "livinglab", "worker"], env={**os.environ, **names}, stdout=log, stderr=log)


@contextmanager
def worker(parties: Parties, prefect: str, mlflow: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that ends well when it is asked to."""
    process = start_worker(parties, prefect, mlflow)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (parties.lab.settings.home / "worker.log").read_text()[-3000:]


def asked(prefect: str, what: str, of: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What Prefect has of this kind."""
    return list(httpx.post(f"{prefect}/{what}", json=of or {}, trust_env=False, timeout=30).json())


def flow_run(prefect: str, attempt: str) -> dict[str, Any]:
    found = asked(prefect, "flow_runs/filter", {"flow_runs": {"name": {"any_": [attempt]}}})
    assert len(found) <= 1, "an attempt has one flow run, however often it was taken up"
    return found[0] if found else {}


def mlflow_run(mlflow: str, run: Run) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow)
    experiment = client.get_experiment_by_name(run.plan)
    found = client.search_runs([experiment.experiment_id], f"tags.`livinglab.attempt` = '{run.id}.1'") if experiment else []
    assert len(found) <= 1, "an attempt is recorded once"
    return found[0] if found and found[0].data.tags.get("livinglab.recorded") else None


def ended(parties: Parties, run: Run) -> bool:
    return parties.state(run).state.final


def test_a_run_is_a_flow_with_visible_steps_and_a_record_that_a_regulator_can_read(parties: Parties, prefect_server: str, mlflow_server: str) -> None:
    from mlflow import MlflowClient

    run = parties.request(parties.plan())
    with worker(parties, prefect_server, mlflow_server):
        until(lambda: ended(parties, run))
        state = until(lambda: (f := flow_run(prefect_server, f"{run.id}.1")) and f["state"]["type"] == "COMPLETED" and f)
        recorded = until(lambda: mlflow_run(mlflow_server, run))
        # A run need not wait for the worker's own heartbeat, nor for Prefect's record of a task.
        workers = until(lambda: asked(prefect_server, "work_pools/docker/workers/filter"))
        of_the_flow = {"flow_runs": {"id": {"any_": [state["id"]]}}}
        until(lambda: {task["name"] for task in asked(prefect_server, "task_runs/filter", of_the_flow)} == set(PHASES))
    assert parties.state(run).verdict == "PASS"
    assert [(w["status"], w["name"].split(":")[0]) for w in workers] == [("ONLINE", socket.gethostname())]
    assert (state["work_pool_name"], state["state"]["name"]) == ("docker", "PASS")
    data = recorded.data
    assert data.tags["livinglab.verdict"] == "PASS"
    assert data.tags["verdict.calibration"] == "INCONCLUSIVE"
    assert data.tags["digest.criteria"].startswith("sha256:")
    assert data.metrics["uno_c/all/lower"] < data.metrics["uno_c/all"] < data.metrics["uno_c/all/upper"]
    assert all(data.metrics[f"usage/{role}/wall_seconds"] > 0 for role in ("pilot", "decode", "measure"))
    client = MlflowClient(mlflow_server)
    assert {f.path for f in client.list_artifacts(recorded.info.run_id, "plots")} == {
        "plots/calibration.png", "plots/decision.png", "plots/verdict.png"}  # fmt: skip


def test_a_killed_worker_leaves_a_flow_run_that_the_next_one_takes_up(parties: Parties, prefect_server: str, mlflow_server: str) -> None:
    run = parties.request(parties.plan("python3", "/app/tiny.py", "4"))
    process = start_worker(parties, prefect_server, mlflow_server)
    until(lambda: any(e.kind == "pilot-started" for e in parties.lab.runs.events(parties.authority, run.id, 0)))
    process.kill()
    process.wait()
    assert flow_run(prefect_server, f"{run.id}.1")["state"]["type"] == "RUNNING"
    with worker(parties, prefect_server, mlflow_server):
        until(lambda: ended(parties, run))
        until(lambda: flow_run(prefect_server, f"{run.id}.1")["state"]["type"] == "COMPLETED")
    assert len(parties.lab.runs.get(parties.authority, run.id)[1]) == 1


def test_a_cancel_in_prefect_reaches_the_container(parties: Parties, prefect_server: str, mlflow_server: str) -> None:
    run = parties.request(parties.plan("python3", "/app/bad.py", "hang"))
    with worker(parties, prefect_server, mlflow_server):
        until(lambda: any(e.kind == "pilot-started" for e in parties.lab.runs.events(parties.authority, run.id, 0)))
        flow = flow_run(prefect_server, f"{run.id}.1")
        told = httpx.post(f"{prefect_server}/flow_runs/{flow['id']}/set_state", json={"state": {"type": "CANCELLING"}}, trust_env=False, timeout=30)
        assert told.status_code == 201
        until(lambda: ended(parties, run))
        state = until(lambda: (f := flow_run(prefect_server, f"{run.id}.1")) and f["state"]["type"] == "CANCELLED" and f)
    assert parties.state(run).state is RunState.CANCELLED
    assert "Seen dead" in state["state"]["message"]


def test_runs_go_on_without_prefect_and_mlflow(parties: Parties) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        run = parties.request(parties.plan())
        with worker(parties, f"{away}/api", away):
            until(lambda: ended(parties, run))
    assert parties.state(run).verdict == "PASS"


def test_what_was_missed_is_recorded_once_mlflow_is_back(parties: Parties, prefect_server: str, mlflow_server: str) -> None:
    run = next(iter(parties.lab.runs.page(parties.authority, None, None, 1)))
    with worker(parties, prefect_server, mlflow_server):
        assert until(lambda: mlflow_run(mlflow_server, run)).data.tags["livinglab.verdict"] == "PASS"


def test_the_worker_and_the_api_leave_no_secret_in_their_logs(parties: Parties) -> None:
    log = Path(parties.lab.settings.home / "worker.log").read_text()
    assert "PRIVATE" not in log
    assert "ll_" not in log
