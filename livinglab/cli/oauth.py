"""An identity provider, as a command meets it: where it is, and how it gives a token (RFC 6749, 7636, 8252, 8707, 9207)."""

import os
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from livinglab.domain.access import is_private_way
from livinglab.domain.errors import Invalid, Unauthenticated, Unreachable

WAITS = 300.0
"""Seconds that somebody may take to log in."""
_PAGE = b"""<!doctype html><meta charset="utf-8"><title>livinglab</title>
<p style="font: 1.2rem system-ui; margin: 4rem">The command has its answer. You may close this page."""


class Provider:
    """One provider.

    Args:
        http: a client that trusts nothing but what it is told.
        issuer: as the lab names it.
        resource: what a token is to be meant for; asked for where it is an address.
    """

    def __init__(self, http: httpx.Client, issuer: str, resource: str) -> None:
        self._http, self._issuer = http, issuer
        self._meant = {"resource": resource} if urlsplit(resource).scheme else {}
        _check(issuer)
        self._found = self._document("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if self._found.get("issuer") != issuer:
            msg = f"what {issuer} tells of itself is another provider's."
            raise Unauthenticated(msg)
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # it knows no loopback (RFC 8252, section 7.3); every address is checked here

    def ask_somebody(self, client_id: str, scopes: str, port: int, show: Callable[[str], None]) -> dict[str, Any]:
        """A token by the code that a browser brings back to this machine.

        Args:
            port: where it comes back to, on loopback; 0: any.
            show: brings somebody to an address.
        """
        from oauthlib.oauth2 import OAuth2Error, WebApplicationClient

        client = WebApplicationClient(client_id)
        state, verifier = secrets.token_urlsafe(32), client.create_code_verifier(64)
        # Without being asked anew, a provider gives no token that outlives the browser (OpenID Connect Core 1.0, section 11).
        prompt = {"prompt": "consent"} if "offline_access" in scopes.split() else {}
        with _Listener(("127.0.0.1", port), _Answer) as listener:
            show(client.prepare_request_uri(
                self._address("authorization_endpoint"), redirect_uri=listener.redirect, scope=scopes, state=state,
                code_challenge=client.create_code_challenge(verifier, "S256"), code_challenge_method="S256", **prompt, **self._meant))  # fmt: skip
            answer = listener.answer()
        try:
            code = client.parse_request_uri_response(answer, state=state)["code"]
        except OAuth2Error as error:
            raise _refused(error) from error
        issuers = parse_qs(urlsplit(answer).query).get("iss", [])
        if (issuers or self._found.get("authorization_response_iss_parameter_supported")) and issuers != [self._issuer]:
            msg = "another provider answered than was asked; nobody is logged in."
            raise Unauthenticated(msg)
        body: str = client.prepare_request_body(code, listener.redirect, "", True, verifier, **self._meant)  # noqa: FBT003 - its client's id
        return self._token(body)

    def ask_as_machine(self, client_id: str, secret: str, scopes: str) -> dict[str, Any]:
        """A token for a client itself."""
        from oauthlib.oauth2 import BackendApplicationClient

        body = BackendApplicationClient(client_id).prepare_request_body(scope=scopes or None, include_client_id=False, **self._meant)
        return self._token(body, auth=httpx.BasicAuth(client_id, secret))

    def refresh(self, client_id: str, refresh_token: str) -> dict[str, Any]:
        """Another token for one that is over. The refresh token stays the same where no new one is given."""
        from oauthlib.oauth2 import WebApplicationClient

        body = WebApplicationClient(client_id).prepare_refresh_body(refresh_token=refresh_token, client_id=client_id, **self._meant)
        return {"refresh_token": refresh_token, **self._token(body)}

    def revoke(self, client_id: str, refresh_token: str) -> bool:
        """Has the provider taken it back (RFC 7009)? Not every one does."""
        if "revocation_endpoint" not in self._found:
            return False
        told = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": client_id}
        return self._http.post(self._address("revocation_endpoint"), data=told).is_success

    def _token(self, body: str, auth: httpx.BasicAuth | None = None) -> dict[str, Any]:
        from oauthlib.oauth2 import OAuth2Error
        from oauthlib.oauth2.rfc6749.parameters import parse_token_response

        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        try:
            answer = self._http.post(self._address("token_endpoint"), content=body, headers=headers, auth=auth or httpx.USE_CLIENT_DEFAULT)
            if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                msg = f"the identity provider answered {answer.status_code}."
                raise Unreachable(msg)
            found = dict(parse_token_response(answer.text))
        except httpx.HTTPError as error:
            raise self._away(error) from error
        except (OAuth2Error, Warning, ValueError) as error:
            raise _refused(error) from error
        if str(found.get("token_type", "")).lower() != "bearer":
            msg = f"the identity provider gave a token of type {found.get('token_type')!r}, which is none that its bearer may use."
            raise Unauthenticated(msg)
        lasts = found.get("expires_in")
        kept: dict[str, Any] = {name: str(found[name]) for name in ("access_token", "refresh_token") if name in found}
        return {**kept, "expires_at": time.time() + float(lasts) if lasts is not None else None}

    def _document(self, method: str, address: str) -> dict[str, Any]:
        try:
            answer = self._http.request(method, address)
            found = answer.json() if answer.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if not isinstance(found, dict):
            msg = f"{self._issuer} answers with {answer.status_code}, and not as an identity provider does."
            raise Unreachable(msg)
        return found

    def _address(self, name: str) -> str:
        address = str(self._found.get(name, ""))
        _check(address)
        return address

    def _away(self, error: Exception) -> Unreachable:
        return Unreachable(f"the identity provider {self._issuer} does not answer as one ({type(error).__name__}).")


def _check(address: str) -> None:
    """Nothing secret goes over plain HTTP, but within this machine."""
    if not is_private_way(address):
        msg = f"{address!r} is no https address, so nobody logs in there."
        raise Invalid(msg)


def _refused(error: Exception) -> Unauthenticated:
    said = getattr(error, "description", "") or getattr(error, "error", "") or str(error)
    return Unauthenticated(f"the identity provider gives no token: {said or type(error).__name__}.", hint="livinglab login")


class _Listener(HTTPServer):
    """Where the browser comes back to: one answer, on loopback."""

    came = ""

    @property
    def redirect(self) -> str:
        """The address that it is sent back to."""
        return f"http://127.0.0.1:{self.server_port}/callback"

    def answer(self) -> str:
        """The address with which it came; `Unauthenticated` where nobody comes."""
        end = time.monotonic() + WAITS
        while not self.came and (left := end - time.monotonic()) > 0:
            self.timeout = left
            self.handle_request()
        if not self.came:
            msg = f"nobody has logged in within {WAITS / 60:.0f} minutes."
            raise Unauthenticated(msg)
        return self.came


class _Answer(BaseHTTPRequestHandler):
    timeout = 5  # seconds that a connection may say nothing

    def do_GET(self) -> None:
        """What else a browser asks for (its icon, what it fetches beforehand) is not the answer."""
        parts = urlsplit(self.path)
        mine = parts.path == "/callback" and "state" in parse_qs(parts.query)
        self.send_response(HTTPStatus.OK if mine else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_PAGE if mine else b"")
        if mine:
            listener: Any = self.server
            listener.came = f"http://127.0.0.1{self.path}"

    def log_message(self, *_: object) -> None:
        """The code is nobody's business."""
