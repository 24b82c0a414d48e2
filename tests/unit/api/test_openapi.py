"""The OpenAPI document: complete, with examples that hold, and kept by the application whatever is sent to it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from livinglab.domain.pilot import PilotManifest
from livinglab.domain.plan import PlanBody
from livinglab.domain.sandbox import Release
from sandbox_api import examples, schemas
from sandbox_api.errors import Problem
from sandbox_api.routes import content, discovery, documents, plans, runs, sites, uploads
from tests.unit.api.test_rights import new_world, serving

ROUTERS = (content.router, discovery.router, documents.router, plans.router, runs.router, sites.router, uploads.router)
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = client.get("/openapi.json").json()
    return made


def test_every_address_is_described_with_its_problems(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    named = dict(operations(document))
    assert len(named) == len(ROUTES) + 1  # health
    for name, operation in named.items():
        assert operation["description"], name
        assert "application/problem+json" in operation["responses"]["4XX"]["content"], name
        assert "422" not in operation["responses"], f"{name}: FastAPI's own description of errors, which are not answered here"


def test_every_body_and_every_answer_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for media in operation.get("requestBody", {"content": {}})["content"].values():
            reference = media["schema"].get("$ref", "").rpartition("/")[2]
            schema = document["components"]["schemas"].get(reference, media["schema"])
            assert media.get("example") or schema.get("examples"), name
        status, good = next((status, answer) for status, answer in operation["responses"].items() if status.startswith("2"))
        assert (status == "204") == ("content" not in good), name
        if name != "GET /healthz":
            assert all("example" in media for media in good.get("content", {}).values()), name


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{min(r.methods)} {r.path}")
def test_an_example_is_what_its_address_answers(route: APIRoute) -> None:
    for answer in route.responses.values():
        for media_type, media in answer["content"].items():
            if route.response_model and media_type == "application/json":
                TypeAdapter(route.response_model).validate_python(media["example"])


def test_the_examples_of_what_is_sent_would_be_taken() -> None:
    Release.model_validate(examples.RELEASE)
    PilotManifest.model_validate(examples.MANIFEST)
    PlanBody.model_validate(examples.PLAN_BODY)
    Problem.model_validate(examples.PROBLEM)
    for model in (
        schemas.PilotSubmission,
        schemas.PlanProposal,
        schemas.PlanChange,
        schemas.RunSubmission,
        schemas.Cancellation,
        schemas.Hold,
        schemas.Priority,
    ):
        (example,) = model.model_json_schema()["examples"]
        model.model_validate(example)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "requests"), [("positive", 700), ("negative", 600), ("in sequence", 300)])
def test_whatever_is_sent_the_document_is_kept(tmp_path: Path, way: str, requests: int) -> None:
    """Schemathesis sends what the document allows, what it does not, and what follows; no answer is a 500 or other than the document says."""
    from tests.fuzzing import Fuzzer

    world = new_world(tmp_path)
    with serving(world.home, rate=0) as client:
        fuzzer = Fuzzer(world, client)
        fuzzer.send(way, requests)
    assert fuzzer.failures == []
    assert len({address for address, _status in fuzzer.reached}) >= 25


def test_its_pages_come_from_the_lab_itself_and_from_nowhere_else(client: TestClient) -> None:
    page = client.get("/docs").text
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert [address for address in wanted if "://" in address] == []
    assert len(wanted) >= 2
    assert [client.get(address).status_code for address in wanted] == [200] * len(wanted)
