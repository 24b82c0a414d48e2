"""MLflow, for those who may see measurements and usage: experiments of their sandboxes' plans, whole, and nothing else."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from livinglab.bootstrap import Lab
from livinglab.domain.errors import Invalid
from livinglab.domain.marks import MLFLOW_SANDBOX
from livinglab.domain.sandbox import Role
from sandbox_api.auth import TheLab
from sandbox_api.beside.graphql import asked_for
from sandbox_api.beside.guests import TheGuest, overseen_as
from sandbox_api.beside.upstream import FILE, Params, Upstream, absent, document_of, made, plain

router = APIRouter(include_in_schema=False)

ROLES = (Role.AUTHORITY, Role.AUDITOR)
_REST = "api/2.0/mlflow/"
_REMEMBERED = 10_000
PAGES = frozenset({"", "version", "ajax-api/3.0/mlflow/server-info"})
"""What is the same for everybody, besides `static-files/`: MLflow's page, and what it asks of the server itself."""
EMPTY = frozenset({"model-versions/search", "registered-models/search"})
"""What its pages ask for and the lab does not have."""


class Tracking:
    """One caller's view of MLflow: `sandboxes` are those that it oversees (None: all)."""

    def __init__(self, lab: Lab, upstream: Upstream, known: "Known", sandboxes: frozenset[str] | None) -> None:
        self.lab, self.upstream, self.known, self.sandboxes = lab, upstream, known, sandboxes

    async def need_experiments(self, ids: Iterable[str]) -> None:
        """All of them are visible; `NotFound` otherwise, whichever it was."""
        for id_ in ids:
            if not await self.sees(await self._plan_of(id_)):
                raise absent()

    async def need_runs(self, ids: Iterable[str]) -> None:
        """The same, of runs."""
        for id_ in ids:
            experiment = self.known.experiments.get(id_)
            if experiment is None:
                status, found = await self.upstream.ask("GET", _REST + "runs/get", [("run_id", id_)])
                experiment = _in(found, "run", "info", "experiment_id") if status == 200 else None  # noqa: PLR2004
                if experiment is None:
                    raise absent()
                self.known.remember(self.known.experiments, id_, experiment)
            await self.need_experiments([experiment])

    async def sees(self, plan: str | None) -> bool:
        """Is there a plan of that name in a sandbox of the caller's? What is not a plan of the lab's, nobody sees."""
        if plan is None:
            return False
        sandbox = self.known.sandboxes.get(plan) or await run_in_threadpool(self._sandbox_of, plan)
        if sandbox is None:
            return False
        self.known.remember(self.known.sandboxes, plan, sandbox)
        return self.sandboxes is None or sandbox in self.sandboxes

    async def _plan_of(self, experiment: str) -> str | None:
        if experiment not in self.known.plans:
            status, found = await self.upstream.ask("GET", _REST + "experiments/get", [("experiment_id", experiment)])
            name = _in(found, "experiment", "name") if status == 200 else None  # noqa: PLR2004
            if name is None:
                return None
            self.known.remember(self.known.plans, experiment, name)
        return self.known.plans[experiment]

    def _sandbox_of(self, plan: str) -> str | None:
        with self.lab.store.transaction(read_only=True) as tx:
            found = tx.plan(plan)
        return found.body.sandbox if found else None

    async def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Experiments, page by page: those of one sandbox after the other, so that no page, empty or not, tells how many there are of others."""
        own = [None] if self.sandboxes is None else sorted(self.sandboxes)
        number, _, token = str(asked.get("page_token") or "0:").partition(":")
        if not (number.isdecimal() and int(number) < len(own)):
            raise Invalid("this is no page token of this door's.", where="page_token")
        place, wanted = int(number), own[int(number)]
        narrowed = [f"tags.`{MLFLOW_SANDBOX}` = '{wanted}'"] if wanted else []
        theirs = {**asked, "filter": " AND ".join([*narrowed, *([asked["filter"]] if asked.get("filter") else [])]), "page_token": token}
        status, found = await self.upstream.ask("POST", _REST + "experiments/search", body=theirs)
        if status != 200 or not isinstance(found, dict):  # noqa: PLR2004
            raise Invalid("MLflow does not take this search.", hint="As `mlflow.search_experiments` has it.")
        seen = [experiment for experiment in found.get("experiments", ()) if await self.sees(experiment.get("name"))]
        following = found.get("next_page_token")
        after = f"{place}:{following}" if following else f"{place + 1}:" if place + 1 < len(own) else None
        return {"experiments": seen, **({"next_page_token": after} if after else {})}


class Known:
    """What never changes once it is so: a run's experiment, an experiment's plan, a plan's sandbox. The oldest are forgotten."""

    def __init__(self) -> None:
        self.experiments, self.plans, self.sandboxes = (OrderedDict[str, str]() for _ in range(3))

    def remember(self, what: OrderedDict[str, str], key: str, value: str) -> None:
        """One more."""
        what[key] = value
        if len(what) > _REMEMBERED:
            what.popitem(last=False)


def _in(document: Any, *path: str) -> str | None:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, str) else None


Check = Callable[[Tracking, Params, dict[str, Any]], Awaitable[None]]


async def _of_experiments(view: Tracking, params: Params, body: dict[str, Any]) -> None:
    ids = [*_listed(body, "experiment_ids"), *(value for name, value in params if name == "experiment_id")]
    if not ids:
        raise Invalid("which experiments?", where="experiment_ids", hint="Name those that are meant.")
    await view.need_experiments(ids)


async def _of_plan(view: Tracking, params: Params, _body: dict[str, Any]) -> None:
    names = [value for name, value in params if name == "experiment_name"]
    if len(names) != 1 or not await view.sees(names[0]):
        raise absent()


async def _of_runs(view: Tracking, params: Params, _body: dict[str, Any]) -> None:
    ids = [value for name, value in params if name in ("run_id", "run_uuid", "run_ids")]
    if not ids:
        raise Invalid("which run?", where="run_id")
    await view.need_runs(ids)


def _listed(body: dict[str, Any], name: str) -> list[str]:
    ids = body.get(name, [])
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise Invalid("expected a list of ids.", where=name)
    return ids


QUESTIONS: dict[tuple[str, str], Check] = {
    ("GET", "experiments/get"): _of_experiments,
    ("GET", "experiments/get-by-name"): _of_plan,
    ("POST", "experiments/search-datasets"): _of_experiments,
    ("POST", "logged-models/search"): _of_experiments,
    ("GET", "runs/get"): _of_runs,
    ("POST", "runs/search"): _of_experiments,
    ("GET", "metrics/get-history"): _of_runs,
    ("GET", "metrics/get-history-bulk"): _of_runs,
    ("GET", "metrics/get-history-bulk-interval"): _of_runs,
    ("GET", "artifacts/list"): _of_runs,
}
"""Method and path, below `/mlflow/api/2.0/mlflow/`, of what is passed on once it is known whose it is."""


@router.get("/mlflow")
def slash() -> Response:
    """Its pages name what they consist of relative to themselves."""
    return RedirectResponse("/mlflow/")


@router.api_route("/mlflow/{path:path}", methods=["GET", "POST"])
async def mlflow(path: str, request: Request, guest: TheGuest, lab: TheLab) -> Response:
    """MLflow, as far as this caller sees it."""
    upstream: Upstream = request.app.state.mlflow
    view = Tracking(lab, upstream, request.app.state.mlflow_known, overseen_as(guest, *ROLES))
    if path.startswith(("api/2.0/mlflow/", "ajax-api/2.0/mlflow/")):
        return await _rest(view, path.split("/", 3)[3], request)
    if (request.method, path) == ("POST", "graphql"):
        document = await document_of(request)
        experiments, runs = asked_for(document)
        await view.need_experiments(experiments)
        await view.need_runs(runs)
        return await upstream.pass_on(request, path, body=document)
    if request.method == "GET":
        if path == "get-artifact":
            await _of_runs(view, request.query_params.multi_items(), {})
            return await upstream.pass_on(request, path, headers=FILE)
        if path.startswith("api/2.0/mlflow-artifacts/artifacts"):
            return await _artifact(view, path, request)
        if path in PAGES or path.startswith("static-files/"):
            return await upstream.pass_on(request, path)
    raise absent()


async def _rest(view: Tracking, question: str, request: Request) -> Response:
    params, body = request.query_params.multi_items(), await document_of(request) if request.method == "POST" else {}
    plain([*body, *(name for name, _ in params)])
    if question == "experiments/search":
        return made(await view.search(body or _searched(params)))
    if question in EMPTY:
        return made({})
    check = QUESTIONS.get((request.method, question))
    if check is None:
        raise absent()
    await check(view, params, body)
    return await view.upstream.pass_on(request, _REST + question, params, body if request.method == "POST" else None)


def _searched(params: Params) -> dict[str, Any]:
    """A search by address, as one by body."""
    found: dict[str, Any] = {name: value for name, value in params if name in ("filter", "page_token", "view_type")}
    found |= {"order_by": [value for name, value in params if name == "order_by"]}
    most = dict(params).get("max_results", "100")
    if not most.isdecimal():
        raise Invalid("expected a number.", where="max_results")
    return {**found, "max_results": int(most)}


async def _artifact(view: Tracking, path: str, request: Request) -> Response:
    """What a client downloads: `…/artifacts/EXPERIMENT/RUN/artifacts/FILE`; or lists, with that as `path`."""
    below = path.removeprefix("api/2.0/mlflow-artifacts/artifacts").strip("/") or request.query_params.get("path", "")
    experiment, _, rest = below.partition("/")
    run = rest.partition("/")[0]
    if ".." in below.split("/") or not run:
        raise absent()
    await view.need_experiments([experiment])
    await view.need_runs([run])
    return await view.upstream.pass_on(request, path, headers=FILE)
