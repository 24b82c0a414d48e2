"""The servers of the lock files start and do their work. A resolver alone would not notice if they did not."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text


@pytest.mark.prefect
@pytest.mark.slow
def test_prefect_starts_and_keeps_a_flow_run(prefect_server: str) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    @flow(name="attempt")
    async def attempt() -> int:
        return 1

    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_LOGGING_TO_API_ENABLED: False}):
        ended: Any = asyncio.run(attempt(return_state=True))  # type: ignore[arg-type]  # with return_state: a coroutine of a state
        with get_client(sync_client=True) as client:
            kept = client.read_flow_run(ended.state_details.flow_run_id)
    assert kept.state is not None
    assert kept.state.is_completed()
    settings = httpx.get(f"{prefect_server}/admin/settings", trust_env=False, timeout=30).raise_for_status().json()
    assert settings["server"]["analytics_enabled"] is False
    pages = httpx.get(f"{prefect_server.removesuffix('/api')}/prefect/ui-settings", trust_env=False, timeout=30).raise_for_status().json()
    assert pages["api_url"] == prefect_server, "the pages ask this server, not the one on the usual port"
    assert settings["server"]["services"]["task_run_recorder"] == {"enabled": True, "read_batch_size": 100, "batch_size": 100, "flush_interval": 1.0}


@pytest.mark.mlflow
@pytest.mark.slow
def test_mlflow_starts_and_keeps_a_run_with_an_artifact(mlflow_server: str, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(mlflow_server)
    run = client.create_run(client.create_experiment("a plan"))
    client.log_metric(run.info.run_id, "uno_c", 0.8)
    note = tmp_path / "note.txt"
    note.write_text("measured")
    client.log_artifact(run.info.run_id, str(note))
    client.set_terminated(run.info.run_id)
    assert client.get_run(run.info.run_id).data.metrics == {"uno_c": 0.8}
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert run.info.artifact_uri.startswith("mlflow-artifacts:"), "artifacts go through the server, never to a path of the client"


@pytest.mark.postgres
def test_each_test_has_a_database_of_its_own(postgres_database: str, postgres_url: str) -> None:
    assert postgres_database != postgres_url
    engine = create_engine(postgres_database)
    try:
        with engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")).scalar_one() == 0
            assert connection.execute(text("SHOW server_encoding")).scalar_one() == "UTF8"
    finally:
        engine.dispose()
