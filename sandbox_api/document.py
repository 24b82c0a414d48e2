"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know of them."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from sandbox_api.errors import Problem
from sandbox_api.examples import RELEASE, schema_of
from sandbox_api.schemas import Envelope

Json = dict[str, Any]

MODELS = (Problem, Envelope)
"""What the routes refer to, and FastAPI does not meet as a type of theirs."""

LOCATION, OFFSET, DIGEST = "Where it is from now on.", "How many bytes are there; it goes on with the next.", "What the bytes' digest must be."
HEADERS: dict[str, dict[str, str]] = {
    "submit_pilot": {"Location": LOCATION},
    "propose_plan": {"Location": LOCATION},
    "request_run": {"Location": LOCATION},
    "begin_upload": {"Location": LOCATION, "Upload-Offset": OFFSET},
    "get_upload": {"Upload-Offset": OFFSET},
    "append_to_upload": {"Upload-Offset": OFFSET},
    "get_pilot_document": {"Digest": DIGEST},
    "get_dossier": {"Digest": DIGEST},
    "get_document": {"Digest": DIGEST},
    "get_log": {"X-Next-Offset": "The `offset` to go on with."},
}
"""What a good answer carries beside its body."""
_ETAG = {"ETag": "What this caller was shown: for `If-Match` and `If-None-Match`."}
_EVERY = {"X-Request-Id": "This request's name in the lab's log."}
_REFUSAL = {"Retry-After": "Seconds until it may be asked again, with 429 and 503.", "WWW-Authenticate": "How to come in, with 401."}

IDS = {
    "register_sandbox": ("sandbox", "/id"), "list_sandboxes": ("sandbox", "/items/0/id"), "submit_pilot": ("pilot", "/id"),
    "list_pilots": ("pilot", "/items/0/id"), "propose_plan": ("plan", "/body/id"), "list_plans": ("plan", "/items/0/body/id"),
    "request_run": ("run", "/id"), "list_runs": ("run", "/items/0/id"), "begin_upload": ("upload", "/id"),
    "register_key": ("key_id", "/key_id"), "list_keys": ("key_id", "/0/key_id"),
}  # fmt: skip
"""What an answer names, and where: all addresses that ask for such an id may follow."""
FOLLOW: dict[str, dict[str, Json]] = {
    "upload_image": {"submit_pilot": {"requestBody": {"image": "$response.body#/digest"}}},
    "finish_upload": {"submit_pilot": {"requestBody": {"image": "$response.body#/digest"}}},
    "submit_pilot": {"propose_plan": {"requestBody": {"pilot": "$response.body#/id"}}, "list_plans": {"parameters": {"pilot": "$response.body#/id"}}},
    "propose_plan": {"request_run": {"requestBody": {"plan": "$response.body#/body/id"}},
                     "list_runs": {"parameters": {"plan": "$response.body#/body/id"}}},
    "begin_upload": {"append_to_upload": {"parameters": {"upload": "$response.body#/id", "Upload-Offset": "$response.header.Upload-Offset"}}},
    "append_to_upload": {
        "append_to_upload": {"parameters": {"upload": "$response.body#/id", "Upload-Offset": "$response.header.Upload-Offset"}},
        "finish_upload": {"parameters": {"upload": "$response.body#/id"}}},
    "list_pilot_documents": {name: {"parameters": {"pilot": "$request.path.pilot", "name": "$response.body#/0/name"}}
                             for name in ("attach_document", "get_pilot_document")},
    "list_documents": {"get_document": {"parameters": {"run": "$request.path.run", "name": "$response.body#/0/name"}}},
    "get_plan": {"get_plan": {"parameters": {"plan": "$request.path.plan", "If-None-Match": "$response.header.ETag"}},
                 **{name: {"parameters": {"plan": "$request.path.plan", "If-Match": "$response.header.ETag"}}
                    for name in ("sign_plan", "change_plan")}},
    "get_run": {"get_run": {"parameters": {"run": "$request.path.run", "If-None-Match": "$response.header.ETag"}},
                **{name: {"parameters": {"run": "$request.path.run", "If-Match": "$response.header.ETag"}}
                   for name in ("cancel_run", "hold_run", "release_run", "prioritise_run")}},
    "get_log": {"get_log": {"parameters": {"run": "$request.path.run", "offset": "$response.header.X-Next-Offset"}}},
}  # fmt: skip
"""Operation → those that may follow it, with what they take from its answer, where that is more than an id."""


def headers(described: dict[str, str], *, always: bool = True) -> Json:
    """OpenAPI's `headers`; `always`: none of these answers is without them."""
    return {name: {"description": text, "required": always, "schema": {"type": "string"}} for name, text in described.items()}


def operations(document: Json) -> Iterator[Json]:
    """Every operation of a document."""
    for item in document["paths"].values():
        yield from item.values()


def install(app: FastAPI) -> None:
    """Have the application show its document with what is added here."""
    of_the_routes = app.openapi

    def whole() -> Json:
        if app.openapi_schema is None:
            document = of_the_routes()  # which keeps it
            _name_models(document)
            for operation in operations(document):
                _describe_answers(operation)
                _link(operation, document)
        return of_the_routes()

    app.openapi = whole  # type: ignore[method-assign]  # the way that FastAPI describes


def _name_models(document: Json) -> None:
    """Put `MODELS` in, and the models of what is taken as any object, since its own faults are told better than by their schema."""
    schemas = document["components"]["schemas"]
    schemas |= models_json_schema([(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}")[1]["$defs"]
    document["paths"]["/v1/sandboxes"]["post"]["requestBody"]["content"]["application/json"] = {"schema": schema_of("Release"), "example": RELEASE}
    schemas["PilotSubmission"]["properties"]["manifest"] = schema_of("PilotManifest")


def _describe_answers(operation: Json) -> None:
    """Headers, and the answer to who has it already."""
    answers = operation["responses"]
    tagged = any(p["name"] == "If-None-Match" for p in operation.get("parameters", ()))
    if tagged:
        answers["304"] = {"description": "It is as it was seen under that ETag."}
    for status, answer in answers.items():
        if status in {"4XX", "5XX"}:
            answer["headers"] = headers(_EVERY | _REFUSAL, always=False)
        else:
            answer["headers"] = headers(_EVERY | (_ETAG if tagged else {}) | HEADERS.get(operation["operationId"], {}))


def _link(operation: Json, document: Json) -> None:
    """What may follow a good answer."""
    name = operation["operationId"]
    kind, pointer = IDS.get(name, ("", ""))
    links: dict[str, Json] = {}
    for path, item in document["paths"].items():
        if f"{{{kind}}}" in path:
            links |= {o["operationId"]: {"parameters": {kind: f"$response.body#{pointer}"}} for o in item.values()}
    links |= FOLLOW.get(name, {})
    good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    if links:
        good["links"] = {f"{name}, then {other}": {"operationId": other, **link} for other, link in links.items()}
