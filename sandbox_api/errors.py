"""Errors as problem details (RFC 9457). The one table from a domain error to a status stands here."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from livinglab.domain import errors as e

STATUS: dict[type[e.LivingLabError], int] = {
    e.TooLarge: 413,
    e.Invalid: 422,
    e.EvidenceBroken: 422,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Refused: 409,
    e.Conflict: 409,
    e.PilotFault: 422,
    e.Unreachable: 503,
    e.PlatformFault: 500,
    e.LivingLabError: 500,
}
"""The nearest class in the error's ancestry decides."""


def status_of(error: e.LivingLabError) -> int:
    """The HTTP status of a domain error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document. `type` is a URN that never changes its meaning."""
    body = {"type": f"urn:livinglab:problem:{title}", "title": title, "status": status, "detail": detail, **{k: v for k, v in more.items() if v}}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "2"} if status == 503 else None  # noqa: PLR2004
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(e.LivingLabError)
    def domain_error(_request: Request, error: e.LivingLabError) -> JSONResponse:
        return problem(status_of(error), error.code, error.message, hint=error.hint, where=getattr(error, "where", None),
                       reasons=list(getattr(error, "reasons", ())))  # fmt: skip

    @app.exception_handler(RequestValidationError)
    def bad_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"where": ".".join(str(part) for part in fault["loc"]), "what": fault["msg"]} for fault in error.errors()]
        return problem(422, "invalid", f"{faults[0]['where']}: {faults[0]['what']}", faults=faults)

    @app.exception_handler(HTTPException)
    def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, "http", str(error.detail))
