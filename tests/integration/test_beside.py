"""The lab's own door before MLflow and Prefect: real servers, their own clients and pages, and what an authority sees of another's."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from livinglab.bootstrap import Lab, open_lab
from livinglab.domain.access import Caller
from livinglab.domain.marks import MLFLOW_SANDBOX, PREFECT_SANDBOX
from livinglab.domain.sandbox import Role
from livinglab.settings import Settings
from tests.fixtures.browser import Page
from tests.fixtures.servers import api_command, free_port, running
from tests.labs import TINY, manifest
from tests.unit.api.conftest import image_archive

pytestmark = [pytest.mark.mlflow, pytest.mark.prefect]

DIGEST = "sha256:" + "1" * 64
CALLERS = {
    "ministry": {"tiny": Role.AUTHORITY},
    "city": {"other": Role.AUTHORITY},
    "both": {"tiny": Role.AUTHORITY, "other": Role.AUTHORITY},
    "audit": {"*": Role.AUDITOR},
    "ops": {"*": Role.OPERATOR},
    "experts": {"tiny": Role.REVIEWER},
    "startup": {"tiny": Role.PARTICIPANT},
    "unknown": {},
}


@dataclass(frozen=True)
class Place:
    """A sandbox's plan, its experiment and run in MLflow, its flow run in Prefect."""

    sandbox: str
    plan: str
    experiment: str
    run: str
    flow_run: str


@dataclass(frozen=True)
class Beside:
    """An API with both servers behind it."""

    api: str
    tokens: dict[str, str]
    tiny: Place
    other: Place

    def as_(self, caller: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[caller]}"} if caller in self.tokens else {}
        return httpx.Client(base_url=self.api, headers=headers, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str, prefect_server: str) -> Iterator[Beside]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    lab = open_lab(Settings(home=home))
    tokens = {name: lab.access.issue_token(name, roles)[1] for name, roles in CALLERS.items()}
    tiny, other = (a_place(lab, sandbox, mlflow_server, prefect_server) for sandbox in ("tiny", "other"))
    own = {"LIVINGLAB_MLFLOW_URL": mlflow_server, "LIVINGLAB_PREFECT_URL": prefect_server, "LIVINGLAB_RATE": "0"}
    command, health, settings = api_command(home, port, **own)
    with running(command, health, home / "log", settings):
        yield Beside(f"http://127.0.0.1:{port}", tokens, tiny, other)
    lab.store.close()  # type: ignore[attr-defined]


def a_place(lab: Lab, sandbox: str, mlflow: str, prefect: str) -> Place:
    authority, participant = (
        Caller(organisation=f"{role}-of-{sandbox}", roles={sandbox: role}, token=role) for role in (Role.AUTHORITY, Role.PARTICIPANT)
    )
    harness, image = (lab.images.upload(caller, [image_archive(text=caller.organisation.encode())]).digest for caller in (authority, participant))
    spec, data = yaml.safe_load((TINY / "sandbox.yaml").read_text()) | {"id": sandbox}, {"digest": DIGEST}
    lab.sandboxes.register(authority, {"spec": spec, "harness_image": harness, "commitment": DIGEST, "participant_data": data, "hidden_data": data})
    pilot = lab.applications.submit(participant, manifest() | {"sandbox": sandbox}, image)
    days = {"valid_from": "2020-01-01", "valid_until": "2099-01-01"}
    plan = lab.plans.propose(participant, {"pilot": pilot.id, "objectives": ["to be tested"], **days}).id
    return Place(sandbox, plan, *tracked(mlflow, sandbox, plan), asyncio.run(a_flow_run(prefect, sandbox)))


def tracked(url: str, sandbox: str, plan: str) -> tuple[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.create_experiment(plan, tags={MLFLOW_SANDBOX: sandbox})
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "discrimination", 0.8)
    client.log_text(run, f"of {sandbox}", "verdict.json")
    client.set_terminated(run)
    return experiment, run


async def a_flow_run(url: str, sandbox: str) -> str:
    from prefect import flow
    from prefect.client.orchestration import PrefectClient

    @flow(name="attempt")
    def attempt() -> None:
        """Never run."""

    async with PrefectClient(url) as client:
        made = await client.create_flow_run(attempt, name=f"run-{sandbox}.1", tags=[f"run-{sandbox}", PREFECT_SANDBOX + sandbox])
    return str(made.id)


# --- who may see anything ---------------------------------------------------------------------------------------------

EXPERIMENTS = {"ministry": ["tiny"], "city": ["other"], "both": ["other", "tiny"], "audit": ["other", "tiny"]}
FLOWS = {**EXPERIMENTS, "ops": ["other", "tiny"], "experts": ["tiny"]}


@pytest.mark.parametrize("caller", [*CALLERS, "nobody"])
def test_each_sees_what_it_oversees(beside: Beside, caller: str) -> None:
    names = {beside.tiny.plan: "tiny", beside.other.plan: "other"}
    with beside.as_(caller) as client:
        found, token = list[str](), ""
        while True:
            answer = client.post("/mlflow/api/2.0/mlflow/experiments/search", json={"max_results": 1, **({"page_token": token} if token else {})})
            if answer.status_code != 200:
                break
            found += [names[experiment["name"]] for experiment in answer.json()["experiments"]]
            if not (token := answer.json().get("next_page_token", "")):
                break
        flows = client.post("/prefect/api/flow_runs/filter", json={})
    refused = 401 if caller == "nobody" else 403
    assert (answer.status_code, sorted(found)) == ((200, EXPERIMENTS[caller]) if caller in EXPERIMENTS else (refused, []))
    assert flows.status_code == (200 if caller in FLOWS else refused)
    if caller in FLOWS:
        assert sorted(run["name"] for run in flows.json()) == [f"run-{sandbox}.1" for sandbox in FLOWS[caller]]
    if caller == "nobody":
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="livinglab", charset="UTF-8"'


# --- what is asked of another's ---------------------------------------------------------------------------------------

GRAPHQL = "query GetRun($data: MlflowGetRunInput!) { mlflowGetRun(input: $data) { run { info { runUuid } data { metrics { key value } } } } }"
NOBODYS = Place("none", "pln-01kjpg6c40v8e2r5n7p9q1s3cd", "4711", "0" * 32, "00000000-0000-4000-8000-000000000000")


def questions(place: Place) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """About one place: each is answered for its authority, and to anybody else as if it were not there."""
    rest, runs = "/mlflow/api/2.0/mlflow", {"run_id": place.run}
    return {
        "experiment": ("GET", f"{rest}/experiments/get", {"params": {"experiment_id": place.experiment}}),
        "experiment by name": ("GET", f"{rest}/experiments/get-by-name", {"params": {"experiment_name": place.plan}}),
        "run": ("GET", f"{rest}/runs/get", {"params": runs}),
        "runs": ("POST", f"{rest}/runs/search", {"json": {"experiment_ids": [place.experiment]}}),
        "history": ("GET", f"{rest}/metrics/get-history", {"params": {**runs, "metric_key": "discrimination"}}),
        "artifacts": ("GET", f"{rest}/artifacts/list", {"params": runs}),
        "artifact": ("GET", "/mlflow/get-artifact", {"params": {"run_uuid": place.run, "path": "verdict.json"}}),
        "artifact, by a client": ("GET", f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{place.experiment}/{place.run}/artifacts/verdict.json", {}),
        "a page's question": ("POST", "/mlflow/graphql", {"json": {"query": GRAPHQL, "variables": {"data": {"runId": place.run}}}}),
        "flow run": ("GET", f"/prefect/api/flow_runs/{place.flow_run}", {}),
        "its graph": ("GET", f"/prefect/api/flow_runs/{place.flow_run}/graph-v2", {}),
        "its log": ("POST", "/prefect/api/logs/filter", {"json": {"logs": {"flow_run_id": {"any_": [place.flow_run]}}}}),
        "its tasks": ("POST", "/prefect/api/ui/flow_runs/count-task-runs", {"json": {"flow_run_ids": [place.flow_run]}}),
    }  # fmt: skip


@pytest.mark.parametrize("name", questions(NOBODYS))
def test_what_is_anothers_is_not_there(beside: Beside, name: str) -> None:
    own, theirs, nobodys = (questions(place)[name] for place in (beside.tiny, beside.other, NOBODYS))
    with beside.as_("ministry") as client:
        mine = client.request(own[0], own[1], **own[2])
        assert mine.status_code == 200, mine.text
        answers = [client.request(method, path, **more) for method, path, more in (theirs, nobodys)]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    assert answers[0].status_code == 404


REST, ARTIFACTS = "/mlflow/api/2.0/mlflow", "/mlflow/api/2.0/mlflow-artifacts/artifacts"
TRICKS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "a run is made": ("POST", f"{REST}/runs/create", {"experiment_id": "TINY"}),
    "a run is changed": ("POST", f"{REST}/runs/log-metric", {"run_id": "TINYRUN", "key": "a", "value": 1, "timestamp": 1}),
    "an experiment is deleted": ("POST", f"{REST}/experiments/delete", {"experiment_id": "TINY"}),
    "one of mine, one of theirs": ("POST", f"{REST}/runs/search", {"experiment_ids": ["TINY", "OTHER"]}),
    "of all": ("POST", f"{REST}/runs/search", {"experiment_ids": []}),
    "by another name": ("POST", f"{REST}/runs/search", {"experiment_ids": ["TINY"], "experimentIds": ["OTHER"]}),
    "by another name, in the address": ("GET", f"{REST}/runs/get?run_id=TINYRUN&runId=OTHERRUN", None),
    "twice in the address": ("GET", f"{REST}/runs/get?run_id=TINYRUN&run_id=OTHERRUN", None),
    "by its old name": ("GET", f"{REST}/runs/get?run_id=TINYRUN&run_uuid=OTHERRUN", None),
    "a filter that ends early": ("POST", f"{REST}/experiments/search", {"filter": "name = 'x' OR name LIKE '%'"}),
    "a page of another sandbox": ("POST", f"{REST}/experiments/search", {"page_token": "1:"}),
    "GraphQL, by a literal": ("POST", "/mlflow/graphql", {
        "query": '{ mlflowGetRun(input: {runId: "OTHERRUN"}) { run { info { runUuid } } } }', "variables": {"data": {"runId": "TINYRUN"}}}),
    "GraphQL, by a default": ("POST", "/mlflow/graphql", {
        "query": GRAPHQL.replace("Input!", 'Input = {runId: "OTHERRUN"}'), "variables": {}}),
    "GraphQL, by a fragment": ("POST", "/mlflow/graphql", {
        "query": "query($data: MlflowGetRunInput!) { ...F } fragment F on Query { mlflowGetRun(input: $data) { run { info { runUuid } } } }",
        "variables": {"data": {"runId": "OTHERRUN"}}}),
    "GraphQL, that changes": ("POST", "/mlflow/graphql", {"query": 'mutation { testMutation(inputString: "x") { echoString } }', "variables": {}}),
    "out of the artifacts": ("GET", f"{ARTIFACTS}/TINY/TINYRUN/artifacts/..%2F..%2F..%2FOTHER/OTHERRUN/artifacts/verdict.json", None),
    "the whole list of artifacts": ("GET", f"{ARTIFACTS}?path=", None),
    "out of the pages": ("GET", "/mlflow/static-files/..%2Fapi/2.0/mlflow/runs/get?run_id=OTHERRUN", None),
    "any of these conditions": ("POST", "/prefect/api/flow_runs/filter", {"flow_runs": {"operator": "or_", "name": {"like_": ""}}}),
    "any of these tags": ("POST", "/prefect/api/flow_runs/filter", {"flow_runs": {"tags": {"any_": ["sandbox:other"]}}}),
    "those without a tag": ("POST", "/prefect/api/flow_runs/filter", {"flow_runs": {"tags": {"is_null_": True}}}),
    "logs of any of these": ("POST", "/prefect/api/logs/filter", {
        "logs": {"operator": "or_", "level": {"ge_": 0}, "flow_run_id": {"any_": ["TINYFLOW"]}}}),
    "logs of all": ("POST", "/prefect/api/logs/filter", {}),
    "a flow run is made": ("POST", "/prefect/api/flow_runs/", {"flow_id": "TINYFLOW"}),
    "a state is set": ("POST", "/prefect/api/flow_runs/TINYFLOW/set_state", {"state": {"type": "CANCELLING"}}),
    "the server's secrets": ("GET", "/prefect/api/variables/name/x", None),
    "out of the API": ("GET", "/prefect/api/health/..%2Fflow_runs%2FOTHERFLOW", None),
    "out of Prefect's pages": ("GET", "/prefect/..%2Fapi%2Fflow_runs%2FOTHERFLOW", None),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_no_trick_shows_what_is_anothers(beside: Beside, name: str) -> None:
    """Refused, without a word of the other; and nothing is written."""
    words = {"OTHERRUN": beside.other.run, "TINYRUN": beside.tiny.run, "OTHERFLOW": beside.other.flow_run, "TINYFLOW": beside.tiny.flow_run,
             "OTHER": beside.other.experiment, "TINY": beside.tiny.experiment}  # fmt: skip
    text = json.dumps(TRICKS[name])
    for word, meant in words.items():
        text = text.replace(word, meant)
    method, path, body = json.loads(text)
    with beside.as_("ministry") as client:
        answer = client.request(method, path, json=body)
    assert answer.status_code in (404, 405, 422), (answer.status_code, answer.text)
    assert "of other" not in answer.text
    assert beside.other.plan not in answer.text
    assert "run-other" not in answer.text


# --- their own clients and pages --------------------------------------------------------------------------------------


def test_mlflows_own_client(beside: Beside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the lab's address and a token, as MLflow's own documentation has it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", beside.tokens["ministry"])
    client = MlflowClient(f"{beside.api}/mlflow")
    (experiment,) = client.search_experiments()
    assert experiment.name == beside.tiny.plan
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {"discrimination": 0.8}
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "discrimination")] == [0.8]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["verdict.json"]
    assert Path(client.download_artifacts(run.info.run_id, "verdict.json", str(tmp_path))).read_text() == "of tiny"
    with pytest.raises(MlflowException, match="there is no such thing here"):
        client.get_run(beside.other.run)


def test_prefects_own_client(beside: Beside) -> None:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    async def named() -> list[str]:
        async with PrefectClient(f"{beside.api}/prefect/api", api_key=beside.tokens["ministry"]) as client:
            like = FlowRunFilter(name=FlowRunFilterName(like_="run-"))
            return [run.name for run in await client.read_flow_runs(flow_run_filter=like)]

    assert asyncio.run(named()) == ["run-tiny.1"]


@pytest.mark.browser
def test_the_pages_show_an_authority_its_own(beside: Beside, browser_page: Page) -> None:
    page = browser_page
    page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {beside.tokens['ministry']}"})

    def shows(text: str) -> str:
        return f"(document.body?.innerText ?? '').includes('{text}')"

    page.call("Page.navigate", url=f"{beside.api}/mlflow/#/experiments")
    page.until(shows(beside.tiny.plan))
    assert not page.js(shows(beside.other.plan))
    page.call("Page.navigate", url=f"{beside.api}/mlflow/#/experiments/{beside.tiny.experiment}/runs/{beside.tiny.run}")
    page.until(shows("discrimination"))
    page.call("Page.navigate", url=f"{beside.api}/prefect/v2/runs")
    page.until(shows("run-tiny.1"))
    assert not page.js(shows("run-other.1"))


def test_where_there_is_none(tmp_path: Path) -> None:
    """A lab without these servers has no such addresses."""
    home, port = tmp_path / "home", free_port()
    lab = open_lab(Settings(home=home))
    token = lab.access.issue_token("ministry", {"tiny": Role.AUTHORITY})[1]
    command, health, settings = api_command(home, port)
    with running(command, health, tmp_path / "log", settings):
        for path, name in (("/mlflow/", "MLflow"), ("/prefect/", "Prefect")):
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
            assert (answer.status_code, answer.json()["detail"]) == (404, f"this lab has no {name}.")
