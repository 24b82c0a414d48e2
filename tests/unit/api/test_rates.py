"""How often a client may ask: never more than was granted, no client at another's cost, and an answer that says when to come back."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab, open_lab
from livinglab.cli.client import Client
from livinglab.domain.errors import TooMany
from livinglab.domain.sandbox import Role
from livinglab.settings import Settings
from sandbox_api.app import create_app
from sandbox_api.rates import Open, Rate


class Clock:
    """The monotonic clock, as a test moves it on."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sandbox_api.rates.time.monotonic", clock)
    return clock


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_in_no_stretch_of_time_pass_more_than_were_granted(pauses: list[float], per_second: float, burst: int) -> None:
    clock, rate, passed = Clock(), Rate(per_second, burst), list[float]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox_api.rates.time.monotonic", clock)
        for pause in pauses:
            clock.at += pause
            while not (seconds := rate.wait("a")):
                passed.append(clock.at)
            clock.at += seconds  # exactly as long as it was told
            assert rate.wait("a") == 0
            passed.append(clock.at)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - passed[first]) * per_second + 1e-6


def test_clients_do_not_share_what_they_may(clock: Clock) -> None:
    rate = Rate(1, 2)
    assert [rate.wait("a") > 0 for _ in range(3)] == [False, False, True]
    assert rate.wait("b") == 0
    clock.at += 1
    assert rate.wait("a") == 0


def test_without_a_limit_everything_passes(clock: Clock) -> None:
    assert clock.at
    rate = Rate(0, 1)
    assert all(rate.wait("a") == 0 for _ in range(1_000))
    assert rate._due == {}


def test_who_has_nothing_against_him_is_forgotten(clock: Clock) -> None:
    rate = Rate(1, 1)
    for number in range(10_000):
        rate.wait(f"client-{number}")
    clock.at += 5
    rate.wait("one more")
    assert set(rate._due) == {"one more"}


def test_what_is_closed_may_be_opened_again() -> None:
    streams = Open(2, "streams")
    with streams.one("a"), streams.one("a"), streams.one("b"):
        with pytest.raises(TooMany, match="2 streams are open"), streams.one("a"):
            pass
        streams.check("b")
    streams.check("a")
    assert not streams._count


# --- at the door ------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return open_lab(Settings(home=tmp_path / "home", rate=0.01, rate_burst=3))


@pytest.fixture
def client(lab: Lab) -> Any:
    with TestClient(create_app(lab)) as client:
        yield client


def ask(client: TestClient, token: str) -> httpx.Response:
    answer: httpx.Response = client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
    return answer


def token_of(lab: Lab, organisation: str) -> str:
    return lab.access.issue_token(organisation, {"tiny": Role.PARTICIPANT})[1]


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_let_in(lab: Lab, client: TestClient) -> None:
    mine, others = token_of(lab, "startup"), token_of(lab, "rival")
    assert [ask(client, mine).status_code for _ in range(3)] == [200, 200, 200]
    late = ask(client, mine)
    assert (late.status_code, late.json()["type"]) == (429, "urn:livinglab:problem:too-many")
    assert 90 <= int(late.headers["Retry-After"]) <= 100
    assert ask(client, others).status_code == 200


# --- the command line -------------------------------------------------------------------------------------------------


def client_of(answers: list[httpx.Response], waited: list[float], monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr("time.sleep", waited.append)
    transport = httpx.MockTransport(lambda _request: answers.pop(0))
    return Client(httpx.Client(base_url="https://lab.example", transport=transport))


def put_off(seconds: str) -> httpx.Response:
    problem = {"type": "t", "title": "too-many", "status": 429, "detail": "that was too often."}
    return httpx.Response(429, json=problem, headers={"Retry-After": seconds})


def test_a_command_waits_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    client = client_of(
        [put_off("2"), put_off("Wed, 21 Oct 2026 07:28:00 GMT"), put_off("9999"), httpx.Response(200, json={"a": 1})], waited, monkeypatch
    )
    assert client.get("/v1/me") == {"a": 1}
    assert waited == [2, 1, 60]


def test_a_command_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    with pytest.raises(TooMany, match="too often"):
        client_of([put_off("1") for _ in range(9)], waited, monkeypatch).post("/v1/runs", {})
    assert len(waited) == 5


def test_an_upload_is_not_begun_again_from_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"image")
    with pytest.raises(TooMany):
        client_of([put_off("1"), httpx.Response(200, json={})], waited, monkeypatch).upload(archive)
    assert waited == []
