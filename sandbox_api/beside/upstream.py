"""A server that stands behind the lab's door."""

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import httpx
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from livinglab.domain.canonical import parse_json
from livinglab.domain.errors import Invalid, NotFound, TooLarge, Unreachable

Params = Sequence[tuple[str, str]]

_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_SECONDS = 30.0
_MOST = 16 << 20
"""Bytes of an answer that must be looked at before it is passed on."""
_THEIRS = ("content-type", "etag", "last-modified", "cache-control", "content-disposition")
"""Headers of an answer that are passed on."""
_OURS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
FILE = {**_OURS, "Content-Security-Policy": "sandbox"}
"""Of what a run left: a page among it may run nothing."""


class Upstream:
    """One of the lab's servers.

    Args:
        name: what it is called.
        url: where this process reaches it; empty: this lab has none.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = httpx.URL(url)
        self._client = httpx.AsyncClient(timeout=_SECONDS, trust_env=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, params: Params = (), body: object = None) -> tuple[int, Any]:
        """Status and document of an answer.

        Raises:
            Unreachable: it does not answer, or with something that is no JSON.
        """
        try:
            async with self._client.stream(method, self._at(path), params=httpx.QueryParams(tuple(params)), json=body) as answer:
                data = await self._whole(answer)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        try:
            return answer.status_code, parse_json(data)
        except ValueError as error:
            if answer.is_success:
                raise self._away(error) from error
            return answer.status_code, None  # a page of its web server's

    async def pass_on(
        self, request: Request, path: str, params: Params | None = None, body: object = None, headers: Mapping[str, str] = _OURS
    ) -> Response:
        """Its answer to a request, as it comes. `params` and `body` take the place of the request's own."""
        own = list(request.query_params.multi_items()) if params is None else list(params)
        accept = {name: request.headers[name] for name in ("accept", "if-none-match", "if-modified-since") if name in request.headers}
        asked = self._client.build_request(request.method, self._at(path), params=httpx.QueryParams(tuple(own)), headers=accept, json=body)
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        theirs = {name: answer.headers[name] for name in _THEIRS if name in answer.headers}
        return StreamingResponse(_bytes(answer), answer.status_code, {**theirs, **headers})

    def _at(self, path: str) -> httpx.URL:
        if not self.url.host:
            msg = f"this lab has no {self.name}."
            raise NotFound(msg)
        if any(part in (".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
            raise absent()
        return self.url.copy_with(path=self.url.path.rstrip("/") + "/" + path.lstrip("/"))

    async def _whole(self, answer: httpx.Response) -> bytes:
        data = bytearray()
        async for chunk in answer.aiter_bytes():
            data += chunk
            if len(data) > _MOST:
                msg = f"{self.name} answered with more than {_MOST:,} bytes."
                raise TooLarge(msg, hint="Ask for less at a time.")
        return bytes(data)

    def _away(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.name} does not answer ({type(error).__name__}).", hint="Runs are carried without it; try again later.")


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    finally:
        await answer.aclose()


async def document_of(request: Request) -> dict[str, Any]:
    """The request's body, an object; `{}` where there is none."""
    data = await request.body()
    try:
        found = parse_json(data) if data else {}
    except ValueError as error:
        raise Invalid(f"this is not JSON: {error}", where="body") from error
    if not isinstance(found, dict):
        raise Invalid("expected an object.", where="body")
    return found


def plain(names: Iterable[str]) -> None:
    """What is checked under one name must not be meant under another: both servers know `experimentId` for `experiment_id`, too."""
    for name in names:
        if not _PLAIN.fullmatch(name):
            raise Invalid("expected a name in lower case, with underscores.", where=name[:50])


def absent() -> NotFound:
    """What is not there, and what is somebody else's."""
    return NotFound("there is no such thing here.", hint="Of MLflow and Prefect, this door shows what you oversee, to read.")


def made(document: object, status: int = 200) -> Response:
    """An answer of our own."""
    return Response(json.dumps(document), status, _OURS, "application/json")
