"""A real identity provider at the lab's door: people in a browser, machines with a secret, keys that rotate, and streams that end."""

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from livinglab.bootstrap import Lab, open_lab
from livinglab.domain.sandbox import Role
from livinglab.settings import Settings
from tests.fixtures.available import ROOT
from tests.fixtures.browser import Page
from tests.fixtures.identity import AUDIENCE, SECRET, IdentityProvider, new_key
from tests.fixtures.servers import free_port, running

pytestmark = pytest.mark.identity

LIVINGLAB = ROOT / ".venv" / "bin" / "livinglab"


class World:
    """A lab with its API, and somebody's machine."""

    def __init__(self, provider: IdentityProvider, folder: Path) -> None:
        self.provider, self.home, port = provider, folder / "home", free_port()
        self.api = f"http://127.0.0.1:{port}"
        own = {
            "OIDC_ISSUER": provider.issuer,
            "OIDC_AUDIENCE": AUDIENCE,
            "OIDC_CLIENT": "livinglab-cli",
            "API_PORT": str(port),
            "HOME": str(self.home),
        }
        self.settings = {f"LIVINGLAB_{name}": value for name, value in own.items()} | {"LIVINGLAB_OIDC_ALGORITHMS": '["ES256"]'}
        self.lab: Lab = open_lab(Settings(home=self.home))
        self.logins = folder / "config" / "logins.json"
        self.persons = {**os.environ, "LIVINGLAB_API": self.api, "LIVINGLAB_LOGINS": str(self.logins)}
        self.secret = folder / "secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(SECRET + "\n")

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([LIVINGLAB, *words], env=self.persons, capture_output=True, text=True, timeout=60, check=False)

    def get(self, path: str, token: str) -> httpx.Response:
        return httpx.get(f"{self.api}{path}", headers={"Authorization": f"Bearer {token}"}, trust_env=False)


@pytest.fixture
def world(identity_provider: IdentityProvider, tmp_path: Path) -> Iterator[World]:
    world = World(identity_provider, tmp_path)
    with running([LIVINGLAB, "serve"], f"{world.api}/healthz", tmp_path / "api", world.settings):
        yield world


class Login:
    """`livinglab login` while it waits for somebody, and the address that it shows."""

    def __init__(self, world: World, *words: str) -> None:
        self.process = subprocess.Popen([LIVINGLAB, "login", "--no-browser", *words], env=world.persons, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)  # fmt: skip
        told: queue.Queue[str] = queue.Queue()
        assert self.process.stderr
        stream = self.process.stderr

        def read() -> None:
            for line in stream:
                told.put(line)

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        self.said: list[str] = []
        while not (line := told.get(timeout=30).strip()).startswith("http"):
            self.said.append(line)
        self.address, self._told = line, told

    def end(self) -> tuple[int, str]:
        out = self.process.stdout.read() if self.process.stdout else ""
        code = self.process.wait(60)
        self._reader.join(10)
        if self.process.stdout:
            self.process.stdout.close()
        while not self._told.empty():
            self.said.append(self._told.get())
        if self.process.stderr:
            self.process.stderr.close()
        return code, out + "".join(self.said)


def come_in(page: Page, address: str, name: str) -> None:
    """As somebody does it: a name, a password, consent."""
    page.call("Page.navigate", url=address)
    page.until("document.readyState === 'complete' && !!document.querySelector('input[name=login]')")
    page.js(f"document.querySelector('input[name=login]').value = '{name}'; document.querySelector('input[name=password]').value = 'x'; 1")
    page.js("document.querySelector('form').submit(); 1")
    page.until("document.readyState === 'complete' && document.querySelector('input[name=prompt]')?.value === 'consent'")
    page.js("document.querySelector('form').submit(); 1")
    page.until("document.body && document.body.innerText.includes('The command has its answer')")


@pytest.mark.browser
def test_somebody_logs_in_with_a_browser_and_out_again(world: World, browser_page: Page) -> None:
    login = Login(world)
    come_in(browser_page, login.address, "ada")
    code, said = login.end()
    assert code == 1  # it is proven who that is; the lab has not let them in
    assert f"the lab does not know ada of {world.provider.issuer}" in said
    world.lab.access.enrol(world.provider.issuer, "ada", "startup", {"tiny": Role.PARTICIPANT})
    assert world.call("whoami").stdout == f"{world.provider.issuer}#ada, for startup: participant in tiny.\n"
    assert world.logins.stat().st_mode & 0o777 == 0o600
    kept = json.loads(world.logins.read_text())[world.api]
    assert kept["access_token"] not in login.address + said
    # Prolonged while it is used: the refresh token is good once, and two that ask at once do not spend it twice.
    kept["expires_at"] = time.time()
    world.logins.write_text(json.dumps({world.api: kept}))
    several = [subprocess.Popen([LIVINGLAB, "whoami", "--json"], env=world.persons, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [json.loads(one.communicate(timeout=60)[0])["organisation"] for one in several] == ["startup"] * 3
    prolonged = json.loads(world.logins.read_text())[world.api]
    assert prolonged["refresh_token"] != kept["refresh_token"]
    assert "is forgotten.\n" in world.call("logout").stdout
    world.logins.write_text(json.dumps({world.api: {**prolonged, "expires_at": 0}}))
    assert "the identity provider gives no token" in world.call("whoami").stderr  # it is revoked there, too


@pytest.mark.browser
def test_an_id_token_gives_access_to_nothing(world: World, browser_page: Page) -> None:
    from oauthlib.oauth2 import WebApplicationClient

    client, verifier = WebApplicationClient("livinglab-cli"), "v" * 64
    back = f"http://127.0.0.1:{free_port()}/callback"
    asked = {"client_id": "livinglab-cli", "response_type": "code", "scope": "openid", "redirect_uri": back, "resource": AUDIENCE, "state": "s" * 20,
             "code_challenge": client.create_code_challenge(verifier, "S256"), "code_challenge_method": "S256"}  # fmt: skip
    address = str(httpx.URL(f"{world.provider.issuer}/auth", params=asked))
    browser_page.call("Page.navigate", url=address)
    browser_page.until("!!document.querySelector('input[name=login]')")
    browser_page.js("document.querySelector('input[name=login]').value='ada'; document.querySelector('input[name=password]').value='x'; 1")
    browser_page.js("document.querySelector('form').submit(); 1")
    browser_page.until("document.querySelector('input[name=prompt]')?.value === 'consent'")
    browser_page.js("document.querySelector('form').submit(); 1")

    def came() -> str:
        found = [event["documentURL"] for event in browser_page.heard("Network.requestWillBeSent") if event["documentURL"].startswith(back)]
        return found[0] if found else ""

    while not came():
        browser_page.js("1")
    code = httpx.URL(came()).params["code"]
    answer = httpx.post(f"{world.provider.issuer}/token", trust_env=False, data={
        "grant_type": "authorization_code", "code": code, "redirect_uri": back, "client_id": "livinglab-cli", "code_verifier": verifier,
        "resource": AUDIENCE}).json()  # fmt: skip
    world.lab.access.enrol(world.provider.issuer, "ada", "startup", {"tiny": Role.PARTICIPANT})
    assert world.get("/v1/me", answer["access_token"]).json()["organisation"] == "startup"
    refused = world.get("/v1/me", answer["id_token"])
    assert (refused.status_code, "not of a type" in refused.json()["detail"]) == (401, True)


def test_a_machine_logs_in_with_its_secret(world: World) -> None:
    world.lab.access.enrol(world.provider.issuer, "robot", "startup", {"*": Role.AUDITOR})
    done = world.call("login", "--client-id", "robot", "--secret-file", world.secret)
    assert done.stdout == f"{world.provider.issuer}#robot, for startup: auditor in every sandbox.\n", done.stderr
    kept = world.logins.read_text()
    assert SECRET not in kept
    world.logins.write_text(json.dumps({world.api: {**json.loads(kept)[world.api], "expires_at": 0}}))
    assert world.call("whoami").returncode == 0  # another token, with the secret from its file


@pytest.mark.parametrize(("change", "said"), [
    (lambda world: world.secret.write_text("wrong"), "gives no token"),
    (lambda world: world.secret.chmod(0o644), "others may read"),
    (lambda world: world.provider.stop(), "does not answer as one"),
])  # fmt: skip
def test_a_machine_that_cannot_log_in_is_told_why(world: World, change: Callable[[World], object], said: str) -> None:
    change(world)
    done = world.call("login", "--client-id", "robot", "--secret-file", world.secret)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not world.logins.exists()


def test_a_browser_that_brings_back_nonsense_logs_nobody_in(world: World) -> None:
    login = Login(world)
    back = httpx.URL(login.address).params["redirect_uri"]
    assert httpx.get(back.replace("/callback", "/favicon.ico"), trust_env=False).status_code == 404
    assert httpx.get(f"{back}?state=invented&code=x", trust_env=False).status_code == 200
    code, said = login.end()
    assert (code, "gives no token" in said) == (1, True), said
    assert not world.logins.exists()


def test_a_token_for_another_resource_is_refused(world: World) -> None:
    world.lab.access.enrol(world.provider.issuer, "robot", "startup", {"tiny": Role.PARTICIPANT})
    assert world.get("/v1/me", world.provider.token_of_machine()).status_code == 200
    refused = world.get("/v1/me", world.provider.token_of_machine("https://other.example"))
    assert (refused.status_code, "somebody else" in refused.json()["detail"]) == (401, True)


def test_keys_rotate(world: World) -> None:
    """The new key is known as soon as it is used; what the old one signed holds as long as the provider shows that key."""
    world.lab.access.enrol(world.provider.issuer, "robot", "startup", {"tiny": Role.PARTICIPANT})
    old = world.provider.token_of_machine()
    assert world.get("/v1/me", old).status_code == 200
    world.provider.stop()
    assert world.get("/v1/me", old).status_code == 200  # it is away, and its keys are known
    world.provider.keys = [new_key("second"), *world.provider.keys]
    world.provider.start()
    new = world.provider.token_of_machine()
    deadline = time.monotonic() + 30
    while world.get("/v1/me", new).status_code != 200:  # it is asked again at most every ten seconds
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert world.get("/v1/me", old).status_code == 200
    world.provider.stop()
    del world.provider.keys[1]
    world.provider.start()
    unknown = world.provider.token_of_machine()
    assert world.get("/v1/me", unknown).status_code == 200
