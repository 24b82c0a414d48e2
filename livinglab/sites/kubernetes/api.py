"""Asking an API server: the official client's connection and credentials, plain documents, and the domain's errors.

The client's models are left alone: to build one for each of a thousand pods takes longer than everything else of a look.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from livinglab.domain.errors import Conflict, LivingLabError, NotFound, PlatformFault, Unreachable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Json = dict[str, Any]

_CONNECT, _READ = 5.0, 30.0  # seconds
_WATCH_SECONDS = 300
"""A server ends a watch after so long; whoever watches goes on from where it was."""
_SAID = 300  # characters of an answer that are told


class GoneError(LivingLabError):
    """What was to be gone on from is no longer known to the server: everything is listed anew."""

    code = "gone"
    transient = True


class Api:
    """One API server.

    Args:
        kubeconfig: where it is, and who asks; it is read anew after a refusal, so that whoever renews a token need not tell the lab.
        context: of the kubeconfig's, if not its own choice.
    """

    def __init__(self, kubeconfig: Path, context: str | None = None) -> None:
        self._kubeconfig, self._context = kubeconfig, context
        self._client: ApiClient | None = None

    @property
    def client(self) -> "ApiClient":
        """The official client; `PlatformFault` where the kubeconfig cannot be used."""
        if self._client is None:
            from kubernetes import config
            from kubernetes.config.config_exception import ConfigException

            try:
                self._client = config.new_client_from_config(str(self._kubeconfig), self._context, persist_config=False)
            except (ConfigException, OSError, ValueError) as error:
                msg = f"the kubeconfig {self._kubeconfig} cannot be used: {str(error)[:_SAID]}"
                raise PlatformFault(msg) from error
        return self._client

    def get(self, path: str, **query: object) -> Json:
        """One object, or a list."""
        return self._asked("GET", path, query)

    def create(self, path: str, body: Json, **query: object) -> Json:
        """A new object; `Conflict` where there is one of that name."""
        return self._asked("POST", path, query, body)

    def patch(self, path: str, body: Json) -> Json:
        """Change parts of an object (a JSON merge patch)."""
        return self._asked("PATCH", path, {}, body)

    def delete(self, path: str) -> None:
        """Remove an object; what was made of it goes after it. What is not there is not asked for."""
        try:
            self._asked("DELETE", path, {}, {"propagationPolicy": "Background"})
        except NotFound:
            return

    def text(self, path: str, **query: object) -> bytes:
        """What is not JSON: a log."""
        with self._sent("GET", path, query) as response:
            return response.data

    def watch(self, path: str, version: str, **query: object) -> Iterator[Json]:
        """Events from a list's version on, until the server ends the stream. `GoneError` where the version is too old."""
        wanted = {**query, "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": _WATCH_SECONDS}
        with self._sent("GET", path, wanted, read=_WATCH_SECONDS + _READ) as response:
            rest = b""
            for chunk in response.stream(1 << 16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refused(event["object"].get("code", 500), event["object"].get("message", ""), path)
                    yield event

    # --- one request ----------------------------------------------------------------------------------------------------

    def _asked(self, method: str, path: str, query: Mapping[str, object], body: Json | None = None) -> Json:
        with self._sent(method, path, query, body) as response:
            try:
                found = json.loads(response.data)
            except ValueError as error:
                msg = f"the API server answered {method} {path} with no JSON."
                raise PlatformFault(msg) from error
        return found if isinstance(found, dict) else {}

    @contextmanager
    def _sent(
        self, method: str, path: str, query: Mapping[str, object], body: Json | None = None, read: float = _READ
    ) -> "Iterator[BaseHTTPResponse]":
        """The answer, while it is read. A refusal of who asks is told once the kubeconfig was read anew."""
        with translated(path):
            response = self._send(method, path, query, body, read)
            if response.status == 401:  # noqa: PLR2004 - HTTP
                response.release_conn()
                self._client = None
                response = self._send(method, path, query, body, read)
            try:
                if response.status >= 400:  # noqa: PLR2004 - HTTP
                    raise _refused(response.status, message(response.data), path)
                yield response
            finally:
                response.close() if "watch" in query else response.release_conn()

    def _send(self, method: str, path: str, query: Mapping[str, object], body: Json | None, read: float) -> "BaseHTTPResponse":
        from kubernetes.client import ApiException

        client = self.client
        headers = {"Accept": "application/json, */*", "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = client.call_api(method, url, headers, body, _request_timeout=(_CONNECT, read))
        except ApiException as error:  # where the client itself cannot send it
            msg = f"the API server could not be asked: {str(error.reason)[:_SAID]}"
            raise Unreachable(msg) from error
        return answer.response  # type: ignore[no-any-return]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """The connection's errors as the domain's."""
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (HTTPError, OSError) as error:
        msg = f"the API server does not answer ({what.rpartition('/')[2]}): {str(error)[:_SAID]}"
        raise Unreachable(msg) from error


def message(data: bytes) -> str:
    """What an API server's answer says, in its own words."""
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")


def _refused(status: int, said: str, path: str) -> LivingLabError:  # noqa: PLR0911 - one for each meaning
    said = said.strip()[:_SAID] or "it gave no reason"
    match status:
        case 401:
            return Unreachable(f"the API server does not know who asks (an expired token?): {said}")
        case 403 if "exceeded quota" in said:
            return Unreachable(f"the namespace's quota is exhausted: {said}")
        case _ if "denied the request" in said:
            return PlatformFault(f"an admission webhook of the cluster's refuses: {said}")
        case 403:
            return PlatformFault(f"the API server refuses: {said}", hint="infra/kubernetes has the role that the lab needs.")
        case 404:
            return NotFound(f"{path.rpartition('/')[2]} is not at the cluster: {said}")
        case 409:
            return Conflict(said)
        case 410:
            return GoneError(said)
        case 408 | 425 | 429 | 500 | 502 | 503 | 504:
            return Unreachable(f"the API server is busy or broken ({status}): {said}")
    return PlatformFault(f"the API server answered {status}: {said}")
