"""What belongs to another organisation does not exist: on every address that names something, by every method, in every list."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from sandbox_api.routes import content, documents, plans, runs
from tests.unit.api.conftest import SAFETY_CASE
from tests.unit.api.test_api import agree, request_run

NAMED = [(method, route.path_format) for router in (content.router, documents.router, plans.router, runs.router) for route in router.routes
         if isinstance(route, APIRoute) and re.search(r"{(pilot|plan|run|key_id)}", route.path)
         for method in sorted(route.methods or ())]  # fmt: skip
NOBODYS = {"pilot": "plt-01kjpg5q80t6d0w3m1x2y4z8ab", "plan": "pln-01kjpg6c40v8e2r5n7p9q1s3cd", "run": "run-01kjpg71r0w9f4t6k8m2n5v7ef",
          "ended": "run-01kjpg71r0w9f4t6k8m2n5v7ef", "upload": "upl-01kjpg3t50n7b1s4v6w8x0y2ab", "name": "safety-case",
          "key_id": "0" * 64}  # fmt: skip
BODIES = {
    "/state": {"state": "terminated", "reason": "a rival's wish"},
    "/cancel": {"reason": "a rival's wish"},
    "/hold": {"reason": "a rival's wish"},
    "/priority": {"priority": 1},
    "/signatures": {"payload": ""},
}


@pytest.fixture
def spec(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "required_evidence": [SAFETY_CASE]}


@pytest.fixture
def pilot(pilot: dict[str, Any], startup: Any) -> dict[str, Any]:
    startup.call("PUT", f"/v1/pilots/{pilot['id']}/documents/safety-case", content=b"# Safe", headers={"Content-Type": "text/markdown"})
    return pilot


@pytest.fixture
def known(plan: dict[str, Any], pilot: dict[str, Any], startup: Any, authority: Any) -> dict[str, str]:
    agree(plan, startup, authority)
    return {"pilot": pilot["id"], "plan": plan["body"]["id"], "run": request_run(startup, plan)["id"], "name": "safety-case",
            "key_id": startup.signer.key_id}  # fmt: skip


@pytest.fixture(params=["a rival in the same sandbox", "an authority elsewhere", "nobody anywhere"])
def stranger(request: pytest.FixtureRequest, door: Any) -> Any:
    roles = {"a rival in the same sandbox": {"tiny": "participant"}, "an authority elsewhere": {"other": "authority"}, "nobody anywhere": {}}
    return door("rival", **roles[request.param])


def answer(door: Any, method: str, path: str, **arguments: Any) -> tuple[int, dict[str, str], str]:
    """Status, headers and text, with the id that was asked for blotted out."""
    got = door.client.request(method, path, headers={**door.headers, "Idempotency-Key": "key-00000002"}, **arguments)
    headers = {name: value for name, value in got.headers.items() if name not in ("date", "content-length", "x-request-id")}
    return got.status_code, headers, re.sub(r"(plt|pln|run)-[a-z0-9]+|\b[0-9a-f]{64}\b", "ID", got.text)


def test_the_addresses_are_all_there() -> None:
    assert len(NAMED) >= 20, NAMED


@pytest.mark.parametrize(("method", "path"), NAMED)
def test_an_address_answers_as_if_it_were_not_there(method: str, path: str, known: dict[str, str], stranger: Any) -> None:
    body = next((body for end, body in BODIES.items() if path.endswith(end)), None)
    theirs, nobodys = (answer(stranger, method, "/v1" + path.format(**ids), json=body) for ids in (known, NOBODYS))
    assert theirs == nobodys
    assert theirs[0] == 404


@pytest.mark.parametrize(("path", "field"), [("/v1/plans", "pilot"), ("/v1/runs", "plan")])
def test_what_is_asked_for_in_a_body_or_a_query_is_not_there_either(path: str, field: str, known: dict[str, str], stranger: Any) -> None:
    more = {"objectives": ["to be tested"], "valid_from": "2020-01-01", "valid_until": "2099-12-31"} if field == "pilot" else {}
    theirs, nobodys = (answer(stranger, "POST", path, json={field: ids[field], **more}) for ids in (known, NOBODYS))
    assert theirs == nobodys
    assert theirs[0] == 404
    assert answer(stranger, "GET", path, params={field: known[field]}) == answer(stranger, "GET", path, params={field: NOBODYS[field]})


@pytest.mark.parametrize("path", ["/v1/pilots", "/v1/plans", "/v1/runs"])
def test_a_list_does_not_have_it_whatever_the_cursor(path: str, known: dict[str, str], stranger: Any) -> None:
    for after in (None, *(known[kind] + "z" for kind in known)):
        assert stranger.call("GET", path, params={"after": after} if after else {}) == {"items": [], "next": None}
