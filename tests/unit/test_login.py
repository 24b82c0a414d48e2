"""Logging in at a provider that answers badly, or worse; and what is kept of a login."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from livinglab.cli import logins
from livinglab.cli.client import connect
from livinglab.cli.logins import Login
from livinglab.cli.oauth import Provider
from livinglab.domain.errors import Invalid, LivingLabError, Unauthenticated

ISSUER, RESOURCE = "https://id.example", "https://lab.example/api"
DOCUMENT = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token"}
TOKEN = {"access_token": "a" * 20, "token_type": "Bearer", "expires_in": 300}


class Far:
    """The provider, over HTTP."""

    def __init__(self, document: Any = None, token: httpx.Response | None = None) -> None:
        self.document, self.token = document or DOCUMENT, token or httpx.Response(200, json=TOKEN)
        self.asked: list[dict[str, list[str]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=self.document) if isinstance(self.document, dict) else self.document
        self.asked.append(parse_qs(request.content.decode()))
        return self.token


def provider_of(far: Far, issuer: str = ISSUER) -> Provider:
    return Provider(httpx.Client(transport=httpx.MockTransport(far)), issuer, RESOURCE)


def comes_back(**answer: str | None) -> Callable[[str], None]:
    """Somebody's browser, which brings this back beside what belongs there."""

    def show(address: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        told = {"state": asked["state"], "code": "c-1", **answer}
        params = {name: value for name, value in told.items() if value is not None}
        threading.Thread(target=lambda: httpx.get(asked["redirect_uri"], params=params, trust_env=False)).start()

    return show


def test_what_is_asked_for_is_bound_to_this_command() -> None:
    far, addresses = Far(), list[str]()

    def show(address: str) -> None:
        addresses.append(address)
        comes_back()(address)

    found = provider_of(far).ask_somebody("cli", "openid offline_access", 0, show)
    assert found["access_token"] == TOKEN["access_token"]
    asked, (told,) = parse_qs(urlsplit(addresses[0]).query), far.asked
    assert (asked["code_challenge_method"], asked["prompt"], asked["resource"], asked["response_type"]) == (
        ["S256"],
        ["consent"],
        [RESOURCE],
        ["code"],
    )
    assert (told["grant_type"], told["code"], told["client_id"]) == (["authorization_code"], ["c-1"], ["cli"])
    assert len(told["code_verifier"][0]) >= 43
    assert told["code_verifier"][0] not in addresses[0]


@pytest.mark.parametrize(("document", "answer", "said"), [
    ({}, {"state": "another"}, "gives no token"),
    ({}, {"code": None, "error": "access_denied", "error_description": "you may not"}, "you may not"),
    ({}, {"code": None}, "gives no token"),
    ({}, {"iss": "https://evil.example"}, "another provider answered"),
    ({"authorization_response_iss_parameter_supported": True}, {}, "another provider answered"),
])  # fmt: skip
def test_an_answer_that_does_not_belong_to_what_was_asked_is_refused(document: dict[str, Any], answer: dict[str, Any], said: str) -> None:
    far = Far(DOCUMENT | document)
    with pytest.raises(Unauthenticated, match=said):
        provider_of(far).ask_somebody("cli", "openid", 0, comes_back(**answer))
    assert far.asked == []


def test_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livinglab.cli.oauth.WAITS", 0.1)
    with pytest.raises(Unauthenticated, match="nobody has logged in"):
        provider_of(Far()).ask_somebody("cli", "openid", 0, lambda _: None)


@pytest.mark.parametrize(("token", "said"), [
    (httpx.Response(400, json={"error": "invalid_grant", "error_description": "it was used"}), "it was used"),
    (httpx.Response(200, json={**TOKEN, "token_type": "DPoP"}), "type 'DPoP'"),
    (httpx.Response(200, json={"token_type": "Bearer"}), "gives no token"),
    (httpx.Response(200, text="<html>"), "gives no token"),
    (httpx.Response(502, text="<html>"), "answered 502"),
])  # fmt: skip
def test_a_token_that_is_none(token: httpx.Response, said: str) -> None:
    with pytest.raises(LivingLabError, match=said):
        provider_of(Far(token=token)).ask_as_machine("robot", "secret", "")


@pytest.mark.parametrize(("issuer", "document", "said"), [
    (ISSUER, DOCUMENT | {"issuer": "https://evil.example"}, "another provider's"),
    ("http://id.example", DOCUMENT, "no https address"),
    ("id.example", DOCUMENT, "no https address"),
    (ISSUER, httpx.Response(404), "answers with 404"),
    (ISSUER, httpx.Response(200, text="<html>"), "does not answer as one"),
    (ISSUER, httpx.Response(200, json=[1]), "not as an identity provider does"),
])  # fmt: skip
def test_a_provider_that_is_none(issuer: str, document: Any, said: str) -> None:
    with pytest.raises(LivingLabError, match=said):
        provider_of(Far(document), issuer)


@pytest.mark.parametrize("endpoint", ["http://id.example/token", "", "ftp://id.example/token"])
def test_no_secret_goes_where_others_could_read_it(endpoint: str) -> None:
    far = Far(DOCUMENT | {"token_endpoint": endpoint})
    with pytest.raises(Invalid, match="no https address"):
        provider_of(far).ask_as_machine("robot", "secret", "")
    assert far.asked == []


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIVINGLAB_LOGINS", str(tmp_path / "own" / "logins.json"))
    monkeypatch.delenv("LIVINGLAB_TOKEN", raising=False)
    return tmp_path / "own" / "logins.json"


def login(**more: Any) -> Login:
    return Login.model_validate({"issuer": ISSUER, "resource": RESOURCE, "client": "cli", "scopes": "openid", "access_token": "t-1", **more})


def test_a_login_is_kept_for_its_owner_by_api(kept: Path) -> None:
    logins.keep("https://one.example", login())
    logins.keep("https://two.example", login(access_token="t-2"))
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    found = logins.forget("https://one.example")
    assert found
    assert found.access_token == "t-1"
    assert not logins.is_logged_in("https://one.example")
    assert logins.is_logged_in("https://two.example")


def test_without_token_and_login_one_is_told_how_to_come_in(kept: Path) -> None:
    with pytest.raises(Unauthenticated, match="livinglab login"):
        connect("https://one.example")
    assert not kept.exists()


def test_a_token_that_was_given_goes_before_a_login(kept: Path) -> None:
    logins.keep("https://one.example", login())
    assert connect("https://one.example", "ll_x").http.headers["Authorization"] == "Bearer ll_x"
    assert kept.exists()


def test_a_login_that_is_over_is_prolonged_and_the_old_refresh_token_kept_where_no_new_one_came(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far()
    monkeypatch.setattr(logins, "Provider", lambda _http, issuer, _resource: provider_of(far, issuer))
    logins.keep("https://one.example", login(refresh_token="r-1", expires_at=time.time() + 10))
    auth = logins.LoginAuth("https://one.example")
    for _ in range(2):
        (sent,) = auth.auth_flow(httpx.Request("GET", "https://one.example"))
        assert sent.headers["Authorization"] == f"Bearer {TOKEN['access_token']}"
    assert [asked["refresh_token"] for asked in far.asked] == [["r-1"]]
    assert json.loads(kept.read_text())["https://one.example"]["refresh_token"] == "r-1"


def test_a_login_that_cannot_be_prolonged_says_so(kept: Path) -> None:
    logins.keep("https://one.example", login(expires_at=0.0))
    with pytest.raises(Unauthenticated, match="nothing to prolong it with"):
        next(logins.LoginAuth("https://one.example").auth_flow(httpx.Request("GET", "https://one.example")))
    assert kept.exists()


@pytest.mark.parametrize("text", ["{", '{"https://one.example": 1}', '{"https://one.example": {"issuer": "x"}}'])
def test_a_file_that_is_not_what_was_written_is_named(kept: Path, text: str) -> None:
    kept.parent.mkdir()
    kept.write_text(text)
    with pytest.raises(Invalid, match=r"logins\.json is not what was written"):
        logins.forget("https://one.example")
    assert kept.read_text() == text  # nothing is lost


def test_a_process_that_dies_while_it_writes_leaves_what_was_there(kept: Path) -> None:
    logins.keep("https://one.example", login())
    before = kept.read_text()
    dies = "import os\nfrom livinglab.cli import logins\nwith logins._kept() as found:\n    found.clear()\n    os._exit(9)"
    assert subprocess.run([sys.executable, "-c", dies], check=False).returncode == 9
    assert kept.read_text() == before
    logins.keep("https://two.example", login())  # and holds no lock
