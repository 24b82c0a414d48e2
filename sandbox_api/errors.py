"""Errors as problem details (RFC 9457). The one table from a domain error to a status stands here."""

import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from livinglab.domain import errors as e
from sandbox_api import examples

STATUS: dict[type[e.LivingLabError], int] = {
    e.TooLarge: 413,
    e.Invalid: 422,
    e.EvidenceBroken: 422,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Refused: 409,
    e.Changed: 412,
    e.Conflict: 409,
    e.PilotFault: 422,
    e.TooMany: 429,
    e.Unreachable: 503,
    e.PlatformFault: 500,
    e.LivingLabError: 500,
}
"""The nearest class in the error's ancestry decides."""


class Fault(BaseModel):
    """Where a request is at fault, and with what."""

    where: str
    what: str


class Problem(BaseModel):
    """A problem document (RFC 9457). `type` never changes its meaning; `detail` is a sentence for people, `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    where: str | None = None
    reasons: list[str] | None = None
    faults: list[Fault] | None = None


_CONTENT = {"application/problem+json": {"schema": examples.schema_of("Problem"), "example": examples.PROBLEM}}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": {"description": "What was asked cannot be done, and why.", "content": _CONTENT},
                                              "5XX": {"description": "The lab's own failure.", "content": _CONTENT}}  # fmt: skip
"""What every address may answer beside what it is for."""


def status_of(error: e.LivingLabError) -> int:
    """The HTTP status of a domain error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


BROWSED = ("/mlflow/", "/prefect/")
"""Pages for people: their browser asks them for a token."""
CHALLENGE = 'Basic realm="livinglab", charset="UTF-8"'
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document. `type` is a URN that never changes its meaning."""
    body = {"type": f"urn:livinglab:problem:{title}", "title": title, "status": status, "detail": detail, **{k: v for k, v in more.items() if v}}
    return JSONResponse(body, status, _HEADERS.get(status), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(e.LivingLabError)
    def domain_error(request: Request, error: e.LivingLabError) -> JSONResponse:
        answer = problem(status_of(error), error.code, error.message, hint=error.hint, where=getattr(error, "where", None),
                         reasons=list(getattr(error, "reasons", ())))  # fmt: skip
        if isinstance(error, e.Unauthenticated) and request.url.path.startswith(BROWSED):
            answer.headers["WWW-Authenticate"] = CHALLENGE
        if isinstance(error, e.TooMany):
            answer.headers["Retry-After"] = str(math.ceil(error.seconds))
        return answer

    app.add_exception_handler(OSError, _disk_error)

    @app.exception_handler(RequestValidationError)
    def bad_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [_fault(fault) for fault in error.errors()]
        return problem(422, "invalid", f"{faults[0]['where']}: {faults[0]['what']}", faults=faults)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        path, title = request.url.path, HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_methods(app, request))
            answer = problem(405, title, f"{path} does not take {request.method}.", hint=f"It takes {allowed}.")
            answer.headers["Allow"] = allowed
            return answer
        if error.status_code == HTTPStatus.NOT_FOUND:
            return problem(404, title, f"there is no address {path!r}.", hint="/openapi.json lists all of them.")
        return problem(error.status_code, title, str(error.detail))

    @app.exception_handler(Exception)
    def unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        return problem(500, "error", "the lab failed at this request; its log says how.", hint="Tell the lab's operator when it was.")


def _disk_error(_request: Request, error: Exception) -> JSONResponse:
    full = e.no_room(error)
    if full is None:
        raise error
    return problem(status_of(full), full.code, full.message, hint=full.hint)


def _fault(fault: Any) -> dict[str, str]:
    """Where a request is at fault, and with what."""
    if fault["type"] == "json_invalid":
        return {"where": "body", "what": f"this is not JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}"}
    return {"where": ".".join(str(part) for part in fault["loc"]), "what": fault["msg"].removeprefix("Value error, ")}


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What the request's address takes, over all routes that have it."""
    scopes = ({**request.scope, "method": method} for method in ("GET", "POST", "PUT", "PATCH", "DELETE"))
    return [scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in app.routes)]
