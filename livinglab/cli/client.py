"""A client of the public API: what the commands for participants and authorities are made of."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
import httpx

from livinglab.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LivingLabError,
    NotFound,
    PlatformFault,
    Refused,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unreachable,
)

DEFAULT_API = "http://127.0.0.1:8420"
_WHERE = f"It looks like {DEFAULT_API}: --api, or LIVINGLAB_API."
CHUNK = 1 << 20
WHOLE, PART = 32 << 20, 32 << 20
"""Bytes up to which an image is sent whole, and how many go in one part of a larger one."""
PATIENCE = 60
"""Seconds for which a stream of events that broke is taken up again, before nobody is there."""

_AGAIN = 5
"""How often one is put off before it is told."""

_ERRORS: dict[int, type[LivingLabError]] = {
    401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 413: TooLarge, 422: Invalid, 429: TooMany, 500: PlatformFault,
    503: Unreachable}  # fmt: skip


class _AccessEndedError(Exception):
    """A stream has ended before the run: its token holds no more."""


@dataclass(frozen=True)
class Client:
    """Calls to one API with one token. Every problem document becomes the domain error that it came from."""

    http: httpx.Client

    def get(self, path: str, **params: Any) -> Any:
        """A JSON document."""
        return self._call("GET", path, params=params).json()

    def post(self, path: str, document: Any, **headers: str) -> Any:
        """Send a JSON document; its answer."""
        return self._call("POST", path, json=document, headers={k.replace("_", "-"): v for k, v in headers.items()}).json()

    def send(self, method: str, path: str, content: bytes, media_type: str) -> Any:
        """Send bytes as they are; the answer's document."""
        return self._call(method, path, content=content, headers={"Content-Type": media_type}).json()

    def delete(self, path: str) -> Any:
        """Take something away; the answer's document."""
        return self._call("DELETE", path).json()

    def read(self, path: str, **params: Any) -> httpx.Response:
        """A response with bytes."""
        return self._call("GET", path, params=params)

    def upload(self, path: Path, progress: Callable[[int], None] = lambda _size: None) -> str:
        """Upload an image's archive; its digest. A large one goes on where it was cut, also by a command that is begun anew."""
        if path.stat().st_size > WHOLE:
            return self._upload_in_parts(path, progress)

        def chunks(file: BinaryIO) -> Iterator[bytes]:
            while chunk := file.read(CHUNK):
                progress(len(chunk))
                yield chunk

        with path.open("rb") as file:
            answer = self._call("POST", "/v1/images", content=chunks(file), headers={"Content-Type": "application/x-tar"}, timeout=600)
        return str(answer.json()["digest"])

    def _upload_in_parts(self, path: Path, progress: Callable[[int], None]) -> str:
        import hashlib
        import time

        with path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            upload = self.post("/v1/uploads", {"size": path.stat().st_size, "digest": digest})
            where, since = address("uploads", upload["id"]), time.monotonic()
            progress(upload["offset"])
            is_known = True  # how much is there
            while upload["offset"] < upload["size"]:
                try:
                    there = self._send_part(where, file, upload["offset"]) if is_known else self.get(where)
                except (Unreachable, Conflict):  # Conflict: more of it came than was heard of
                    if time.monotonic() - since > PATIENCE:
                        raise
                    time.sleep(1)
                    is_known = False
                    continue
                since, is_known = time.monotonic() if is_known else since, True
                progress(there["offset"] - upload["offset"])
                upload = there
        return str(self.post(f"{where}/image", None)["digest"])

    def _send_part(self, where: str, file: BinaryIO, offset: int) -> Any:
        file.seek(offset)
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/partial-upload"}
        return self._call("PATCH", where, content=file.read(PART), headers=headers, timeout=600).json()

    def events(self, run: str, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(id, kind, data) of a run's events until it is over; taken up again where the connection broke.

        Raises:
            Unreachable: there was nobody at the beginning, or nobody came back within `PATIENCE` seconds.
        """
        import time

        begun, since = False, time.monotonic()
        while True:
            try:
                for event in self._stream(run, after):
                    after, begun = event[0], True
                    yield event
            except httpx.TransportError as error:
                if not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
                    since = time.monotonic()  # there was a connection until now, however long without news
                if not begun or time.monotonic() - since > PATIENCE:
                    raise self._unreachable(error) from error
                time.sleep(1)  # the server went away in the middle: back off, then go on from the last event
            except _AccessEndedError:
                time.sleep(1)  # asked again, it says why; or it takes the next token of a login
            else:
                return

    def _stream(self, run: str, after: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        import json

        headers, timeout = {"Last-Event-ID": str(after)}, httpx.Timeout(10, read=60)
        with self.http.stream("GET", address("runs", run, "events"), headers=headers, timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
                raise error_of(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields.get("event") == "access-ended":
                    raise _AccessEndedError
                elif "id" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                    fields = {}

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        answer = self._ask(method, path, arguments)
        left = 0 if isinstance(arguments.get("content"), Iterator) else _AGAIN
        while answer.status_code == httpx.codes.TOO_MANY_REQUESTS and left:
            left -= 1
            _wait_as_told(answer)  # nothing was done, so it may be asked again
            answer = self._ask(method, path, arguments)
        if answer.is_error:
            raise error_of(answer)
        return answer

    def _ask(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        try:
            return self.http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        msg = f"the API at {self.http.base_url} does not answer ({type(error).__name__})."
        return Unreachable(msg, hint="Is it running? `livinglab serve`, or `make up`.")


def _wait_as_told(answer: httpx.Response) -> None:
    import time

    told = answer.headers.get("Retry-After", "1")
    time.sleep(min(int(told) if told.isdigit() else 1, PATIENCE))


def address(*parts: str) -> str:
    """The path of what is named, each name as one segment whatever it contains."""
    from urllib.parse import quote

    for part in parts:
        if part in {"", ".", ".."}:
            raise Invalid(f"{part!r} is not an id.", hint="An id looks like run-01kjpg71r0w9f4t6k8m2n5v7ef.")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def save(answer: httpx.Response, out: Path) -> None:
    """Write a download, which must be what its digest says; say where it is."""
    from livinglab.domain.canonical import sha256

    digest = answer.headers["Digest"]
    if sha256(answer.content) != digest:
        raise Invalid("the download is incomplete: its digest is not the one that the API gave.", hint="Try again.")
    out.write_bytes(answer.content)
    click.echo(f"{out}: {len(answer.content)} bytes, {digest}")


def error_of(answer: httpx.Response) -> LivingLabError:
    """The domain error that a problem document came from."""
    try:
        document = answer.json()
        detail, hint, reasons = str(document["detail"]), document.get("hint"), document.get("reasons")
    except (ValueError, KeyError, TypeError):
        detail, hint, reasons = f"{answer.url.copy_with(path='/')} answered {answer.status_code}, and not as the lab's API does.", _WHERE, None
    if reasons:
        return Refused(detail, hint=hint)
    return _ERRORS.get(answer.status_code, LivingLabError)(detail, hint=hint)


def base_of(api: str | None = None) -> str:
    """The API's address: the one that was given, or the environment's."""
    base = api or os.environ.get("LIVINGLAB_API") or DEFAULT_API
    if not base.startswith(("http://", "https://")):
        msg = f"{base!r} is not the address of an API."
        raise Invalid(msg, hint=_WHERE)
    return base.rstrip("/")


def connect(api: str | None = None, token: str | None = None) -> Client:
    """A client of `api` with `token` (both by default from the environment), or as whoever is logged in there."""
    base, token = base_of(api), token or os.environ.get("LIVINGLAB_TOKEN")
    if not token:
        from livinglab.cli import logins

        if not logins.is_logged_in(base):
            msg = "a token is needed: --token, or LIVINGLAB_TOKEN; or a login."
            raise Unauthenticated(
                msg, hint="The operator issues a token (livinglab token issue); where the lab has an identity provider: livinglab login."
            )
        return connect_with(base, logins.LoginAuth(base))
    if not (token.isascii() and token.isprintable()):
        msg = "the token has characters that no token has: it is not the one that was issued, or not all of it."
        raise Unauthenticated(msg)
    return Client(httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False))


def connect_with(base: str, auth: httpx.Auth | None = None) -> Client:
    """A client that is let in by `auth`; None: as nobody."""
    return Client(httpx.Client(base_url=base, auth=auth, timeout=30, trust_env=False))


def remote(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that talks to the API: it gets a `client`."""
    import functools

    @click.option("--api", envvar="LIVINGLAB_API", help=f"The API's address [default: {DEFAULT_API}].")
    @click.option("--token", envvar="LIVINGLAB_TOKEN", help="A bearer token; better given by LIVINGLAB_TOKEN.")
    @functools.wraps(function)
    def wrapped(*args: Any, api: str | None, token: str | None, **options: Any) -> Any:
        return function(*args, client=connect(api, token), **options)

    return wrapped


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
