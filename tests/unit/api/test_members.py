"""Members: whom the identity provider knows, the lab lets in by its own table; and a stream ends when it does so no more."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab
from livinglab.domain.access import Caller, Identity
from livinglab.domain.errors import Conflict, Forbidden, Invalid, NotFound
from livinglab.domain.sandbox import Role
from sandbox_api import following
from tests.unit.api.test_api import agree, heard, request_run
from tests.unit.api.test_oidc import AUDIENCE, ISSUER, Far, provider_of, token

PARTICIPANT = {"tiny": Role.PARTICIPANT}


@pytest.fixture
def far(client: TestClient) -> Far:
    """The lab's provider; the lab takes its tokens."""
    far = Far()
    client.app.state.door.provider = provider_of(far)  # type: ignore[attr-defined]
    return far


@pytest.fixture
def get(client: TestClient, far: Far) -> Callable[..., Any]:
    def ask(path: str, shown: str, expected: int = 200) -> Any:
        answer = client.get(path, headers={"Authorization": f"Bearer {shown}"})
        assert answer.status_code == expected, answer.text
        return answer.json()

    return ask


def test_a_member_comes_in_as_what_the_labs_own_table_says(lab: Lab, get: Any, plan: dict[str, Any]) -> None:
    lab.access.enrol(ISSUER, "s-17", "startup", PARTICIPANT)
    shown = token(roles=["authority"], groups=["operators"], scope="admin", organisation="ministry")
    assert [item["body"]["id"] for item in get("/v1/plans", shown)["items"]] == [plan["body"]["id"]]
    get("/v1/operators/sites", shown, 404)


def test_whom_the_lab_has_not_let_in_is_told_so_and_sees_nothing(lab: Lab, get: Any) -> None:
    told = get("/v1/plans", token(), 403)
    assert "s-17" in told["detail"]
    assert "livinglab member add" in told["hint"]
    lab.access.enrol("https://other.example", "s-17", "startup", PARTICIPANT)  # the same subject of another issuer is somebody else
    get("/v1/plans", token(), 403)


def test_a_bad_token_is_refused_and_said_why(get: Any) -> None:
    assert "somebody else" in get("/v1/plans", token(aud="https://other.example"), 401)["detail"]
    assert "unknown, revoked or expired" in get("/v1/plans", "ll_nothing", 401)["detail"]


def test_without_a_provider_the_labs_own_tokens_are_the_only_ones(client: TestClient) -> None:
    assert client.get("/v1/plans", headers={"Authorization": f"Bearer {token()}"}).status_code == 401
    assert client.get("/.well-known/oauth-protected-resource").status_code == 404


def test_tokens_of_the_labs_own_hold_beside_the_providers(startup: Any, far: Far) -> None:
    startup.call("GET", "/v1/plans")
    assert far.asked == []


def test_nobody_speaks_for_two_organisations(lab: Lab) -> None:
    lab.access.enrol(ISSUER, "s-17", "startup", PARTICIPANT, label="Ada's laptop")
    with pytest.raises(Conflict, match="is a member of startup"):
        lab.access.enrol(ISSUER, "s-17", "rival", PARTICIPANT)
    again = lab.access.enrol(ISSUER, "s-17", "startup", {"tiny": Role.REVIEWER})
    assert (again.roles, again.label) == ({"tiny": Role.REVIEWER}, "Ada's laptop")
    lab.access.expel(ISSUER, "s-17")
    assert lab.access.enrol(ISSUER, "s-17", "rival", PARTICIPANT).organisation == "rival"
    assert [member.organisation for member in lab.access.members()] == ["rival"]


@pytest.mark.parametrize(
    ("where", "wrong"), [("issuer", ""), ("subject", ""), ("subject", "a b"), ("subject", "s" * 256), ("organisation", "Start Up")]
)
def test_what_cannot_be_a_member(lab: Lab, where: str, wrong: str) -> None:
    with pytest.raises(Invalid, match=where):
        lab.access.enrol(**{"issuer": ISSUER, "subject": "s", "organisation": "startup", where: wrong}, roles=PARTICIPANT)
    assert lab.access.members() == ()


def test_expelling_is_once_and_only_of_members(lab: Lab) -> None:
    with pytest.raises(NotFound):
        lab.access.expel(ISSUER, "s-17")
    lab.access.enrol(ISSUER, "s-17", "startup", PARTICIPANT)
    lab.access.expel(ISSUER, "s-17")
    (first,) = lab.access.members()
    lab.access.expel(ISSUER, "s-17")
    assert lab.access.members() == (first,)


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(plan: dict[str, Any], startup: Any, authority: Any) -> str:
    agree(plan, startup, authority)
    run_id: str = request_run(startup, plan)["id"]
    return run_id


def follow(lab: Lab, client: TestClient, run: str, shown: str, meanwhile: Callable[[], None]) -> bytes:
    """The last message of a stream that is asked for, after whose first message something happens."""
    door: Any = client.app.state.door  # type: ignore[attr-defined]

    def again() -> Caller:
        found: Caller = door.caller_behind(shown)
        return found

    follower = following.Follower(lab, again(), again, run, 0, door.streams)

    async def all_of_it() -> list[bytes]:
        first = await heard(follower, 1)
        meanwhile()
        return first + await asyncio.wait_for(heard(follower, 1), 10)

    first, last = asyncio.run(all_of_it())
    assert b"run-queued" in first
    return last


@pytest.mark.parametrize("how", ["revoked", "expired", "expelled", "moved", "refused by its provider"])
def test_a_stream_ends_when_the_token_holds_no_more(
    lab: Lab, client: TestClient, far: Far, run: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ASK_AGAIN_SECONDS", 0.1)
    own, secret = lab.access.issue_token("startup", PARTICIPANT, lifetime=timedelta(seconds=1) if how == "expired" else None)
    lab.access.enrol(ISSUER, "s-17", "startup", PARTICIPANT)
    shown = secret if how in ("revoked", "expired") else token()

    def meanwhile() -> None:
        if how == "revoked":
            lab.access.revoke_token(own.id)
        elif how in ("expelled", "moved"):
            lab.access.expel(ISSUER, "s-17")
            if how == "moved":
                lab.access.enrol(ISSUER, "s-17", "rival", PARTICIPANT)
        elif how == "refused by its provider":
            far.keys = []
            client.app.state.door.provider = provider_of(far)  # type: ignore[attr-defined]

    last = follow(lab, client, run, shown, meanwhile)
    assert b"event: access-ended" in last
    told = json.loads(last.partition(b"data: ")[2])
    assert told["title"] == {"revoked": "unauthenticated", "expired": "unauthenticated", "expelled": "forbidden", "moved": "not-found",
                             "refused by its provider": "unauthenticated"}[how]  # fmt: skip
    assert shown not in last.decode()


def test_the_address_of_a_stream_takes_no_token(client: TestClient, startup: Any, run: str) -> None:
    secret = startup.headers["Authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token"):
        assert client.get(f"/v1/runs/{run}/events?{name}={secret}").status_code == 401


def test_the_lab_says_where_to_come_in(tmp_path: Any) -> None:
    from livinglab.bootstrap import open_lab
    from livinglab.settings import Settings
    from sandbox_api.app import create_app

    own = Settings(home=tmp_path / "home", oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_client="cli")
    with TestClient(create_app(open_lab(own))) as client:
        told = client.get("/.well-known/oauth-protected-resource").json()
    assert told == {"resource": AUDIENCE, "authorization_servers": [ISSUER], "scopes_supported": ["openid", "offline_access"],
                    "bearer_methods_supported": ["header"], "livinglab_client": "cli"}  # fmt: skip


def test_somebody_who_was_never_in_is_forbidden(lab: Lab) -> None:
    with pytest.raises(Forbidden):
        lab.access.caller_of(Identity(issuer=ISSUER, subject="s-17"))
