"""Prefect, for those who oversee: flow runs of their sandboxes, to read. Each carries its sandbox as a tag, by which every question is narrowed."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from livinglab.domain.access import OVERSEERS
from livinglab.domain.errors import Invalid
from livinglab.domain.marks import PREFECT_SANDBOX
from sandbox_api.beside.guests import TheGuest, overseen_as
from sandbox_api.beside.upstream import Upstream, absent, document_of, made, plain

router = APIRouter(include_in_schema=False)

NARROWED = frozenset({
    "flow_runs/filter", "flow_runs/count", "flow_runs/paginate", "flow_runs/history", "flow_runs/lateness", "ui/flow_runs/history",
    "task_runs/filter", "task_runs/count", "task_runs/paginate", "task_runs/history", "flows/filter", "flows/count", "flows/paginate",
})  # fmt: skip
"""What takes a filter of flow runs, which is narrowed to the caller's. Asked with POST, below `/prefect/api/`, as all of these."""
BY_RUN = {
    "logs/filter": ("logs", "flow_run_id", "any_"),
    "artifacts/filter": ("artifacts", "flow_run_id", "any_"),
    "ui/flow_runs/count-task-runs": ("flow_run_ids",),
}
"""What is asked of flow runs by their ids → where those stand in the question."""
SITES = frozenset({"work_pools/filter"})
"""What tells of sites, which everybody may know who comes in."""
CONSTANT: dict[tuple[str, str], Any] = {
    ("GET", "admin/settings"): {}, ("POST", "deployments/filter"): [], ("POST", "deployments/count"): 0, ("POST", "saved_searches/filter"): [],
    ("POST", "deployments/paginate"): {"results": [], "count": 0, "limit": 100, "pages": 0, "page": 1},
    ("POST", "events/filter"): {"events": [], "total": 0, "next_page": None},
}  # fmt: skip
"""What its pages ask for, and the lab does not have or show."""
_SAME_FOR_ALL = frozenset({"health", "ready", "admin/version", "version"})
_MOST = 200
"""Flow runs of one question by ids."""


class Flows:
    """One caller's view of Prefect: `sandboxes` are those that it oversees (None: all)."""

    def __init__(self, upstream: Upstream, sandboxes: frozenset[str] | None) -> None:
        self.upstream = upstream
        self.tags = None if sandboxes is None else sorted(PREFECT_SANDBOX + sandbox for sandbox in sandboxes)

    def narrowed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A question that tells of the caller's flow runs only."""
        asked = {name: value for name, value in asked.items() if value is not None}  # what its own client leaves open
        if self.tags is None:
            return asked
        own = asked.get("flow_runs") or {}
        tags = own.get("tags") or {} if isinstance(own, dict) else None
        if not isinstance(tags, dict) or own.get("operator", "and_") != "and_" or tags.get("operator", "and_") != "and_":
            raise Invalid("this door takes filters of flow runs that are all to hold.", where="flow_runs.operator", hint='"operator": "and_"')
        if tags.get("any_") is not None or tags.get("is_null_") is not None:
            raise Invalid("this door narrows by these itself.", where="flow_runs.tags", hint="Ask with `all_`.")
        plain([*asked, *own, *tags])
        return {**asked, "flow_runs": {**own, "operator": "and_", "tags": {**tags, "operator": "and_", "any_": self.tags}}}

    async def need(self, ids: list[str]) -> None:
        """All of these flow runs are visible; `NotFound` otherwise, whichever it was."""
        if len(ids) > _MOST:
            raise Invalid(f"at most {_MOST} flow runs at a time.", where="flow_run_id")
        question = self.narrowed({"flow_runs": {"id": {"any_": ids}}, "limit": _MOST})
        status, found = await self.upstream.ask("POST", "api/flow_runs/filter", body=question)
        seen = {run.get("id") for run in found} if status == 200 and isinstance(found, list) else set()  # noqa: PLR2004
        if not ids or set(ids) - seen:
            raise absent()


def _ids(asked: dict[str, Any], place: tuple[str, ...]) -> list[str]:
    found: Any = asked
    for name in place:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(id_, str) for id_ in found):
        raise Invalid("of which flow runs?", where=".".join(place))
    above = asked.get(place[0])
    if isinstance(above, dict) and above.get("operator", "and_") != "and_":
        raise Invalid("this door takes filters that are all to hold.", where=f"{place[0]}.operator", hint='"operator": "and_"')
    return found


@router.get("/prefect")
def slash() -> Response:
    """Its pages."""
    return RedirectResponse("/prefect/")


@router.api_route("/prefect/api/{path:path}", methods=["GET", "POST"])
async def api(path: str, request: Request, guest: TheGuest) -> Response:
    """Prefect's API, as far as this caller sees it."""
    flows, place = Flows(request.app.state.prefect, overseen_as(guest, *OVERSEERS)), path.strip("/")
    asked = await document_of(request) if request.method == "POST" else {}
    if (request.method, place) in CONSTANT:
        return made(CONSTANT[request.method, place])
    if request.method == "POST" and place in NARROWED:
        return await flows.upstream.pass_on(request, f"api/{place}", body=flows.narrowed(asked))
    if request.method == "POST" and place in BY_RUN:
        await flows.need(_ids(asked, BY_RUN[place]))
        return await flows.upstream.pass_on(request, f"api/{place}", body=asked)
    if place in SITES or place in _SAME_FOR_ALL or await _about(flows, request.method, place):
        return await flows.upstream.pass_on(request, f"api/{place}", body=asked if request.method == "POST" else None)
    raise absent()


async def _about(flows: Flows, method: str, place: str) -> bool:
    """Is it about one thing that the caller sees?"""
    parts = place.split("/")
    match (method, *parts):
        case ("GET", "flow_runs", id_) | ("GET", "flow_runs", id_, "graph-v2"):
            await flows.need([id_])
            return True
        case ("GET", "flows", _) | ("GET", "work_pools", _) | ("GET", "work_pools", _, "queues", _) | ("POST", "work_pools", _, "queues", "filter"):
            return True  # the lab has one flow, and everybody may know its sites
    return False


@router.get("/prefect/ui-settings")
async def settings(request: Request, guest: TheGuest) -> Response:
    """Where its pages find the API: behind this door."""
    overseen_as(guest, *OVERSEERS)
    upstream: Upstream = request.app.state.prefect
    _status, found = await upstream.ask("GET", "ui-settings")
    return made({**(found or {}), "api_url": f"{str(request.base_url).rstrip('/')}/prefect/api", "csrf_enabled": False, "auth": None})


@router.get("/prefect/{path:path}")
async def pages(path: str, request: Request, guest: TheGuest) -> Response:
    """Its pages, and what they consist of: the same for everybody who oversees something."""
    overseen_as(guest, *OVERSEERS)
    upstream: Upstream = request.app.state.prefect
    return await upstream.pass_on(request, f"prefect/{quote(path)}")
