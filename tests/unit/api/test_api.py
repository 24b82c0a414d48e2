"""The API as its callers meet it: who may what, what is refused and how it is said, and nothing about others."""

import asyncio
import errno
import gc
import json
import os
import tarfile
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab
from livinglab.domain.errors import LivingLabError
from sandbox_api import following
from sandbox_api.app import serving_app
from sandbox_api.errors import STATUS
from sandbox_api.rates import Open


def image_archive(**config: Any) -> bytes:
    from importlib import import_module

    archive: bytes = import_module("tests.unit.api.conftest").image_archive(**config)
    return archive


def agree(plan: dict[str, Any], startup: Any, authority: Any) -> dict[str, Any]:
    startup.sign(plan, "participant")
    agreed: dict[str, Any] = authority.sign(plan, "authority")
    return agreed


def request_run(startup: Any, plan: dict[str, Any], expected: int = 201, key: str = "key-00000001") -> Any:
    return startup.call("POST", "/v1/runs", expected, json={"plan": plan["body"]["id"]}, headers={"Idempotency-Key": key})


def test_every_domain_error_has_a_status() -> None:
    def kinds(kind: type[LivingLabError]) -> set[type[LivingLabError]]:
        return {kind}.union(*(kinds(k) for k in kind.__subclasses__()))

    assert all(any(parent in STATUS for parent in kind.__mro__) for kind in kinds(LivingLabError))


def test_what_a_serving_process_has_loaded_is_not_looked_through_for_garbage_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVINGLAB_HOME", str(tmp_path))
    try:
        app = serving_app()
        assert not any(held is app for held in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(held is app for held in gc.get_objects())


@pytest.mark.parametrize(("method", "path", "status", "says"), [
    ("GET", "/nowhere", 404, "there is no address '/nowhere'"), ("DELETE", "/v1/pilots", 405, "does not take DELETE"),
    ("POST", "/healthz", 405, "does not take POST"),
])  # fmt: skip
def test_an_address_or_a_method_that_there_is_not_is_a_problem_that_says_so(startup: Any, method: str, path: str, status: int, says: str) -> None:
    assert says in startup.call(method, path, status)["detail"]


def test_a_method_that_is_not_taken_is_answered_with_those_that_are(client: TestClient) -> None:
    assert client.delete("/v1/pilots").headers["allow"] == "GET, POST"
    assert client.delete("/v1/keys").headers["allow"] == "GET, PUT"


def test_what_is_not_json_says_where_it_ceases_to_be(startup: Any) -> None:
    answer = startup.call("POST", "/v1/pilots", 422, content=b'{"manifest": oh}', headers={"Content-Type": "application/json"})
    assert answer["detail"] == "body: this is not JSON: Expecting value at character 13"


def test_a_fault_of_the_labs_own_is_a_problem_too(lab: Lab, client: TestClient, startup: Any) -> None:
    lab.store.close()  # type: ignore[attr-defined]
    lab.__dict__["runs"] = None
    answer = startup.call("GET", "/v1/runs", 500)
    assert "its log says how" in answer["detail"]
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer ll_wrong"}, {"Authorization": "Basic x"}])
def test_without_a_token_that_holds_there_is_nothing(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.get("/v1/pilots", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_revoked_token_opens_nothing(lab: Lab, startup: Any) -> None:
    startup.call("GET", "/v1/pilots")
    lab.access.revoke_token(next(t.id for t in lab.access.tokens() if t.organisation == "startup"))
    startup.call("GET", "/v1/pilots", 401)


def test_tokens_are_kept_as_hashes_only(lab: Lab, startup: Any) -> None:
    secret = startup.headers["Authorization"].removeprefix("Bearer ")
    database = (lab.settings.home / "lab.db").read_bytes() + (lab.settings.home / "lab.db-wal").read_bytes()
    assert secret.encode() not in database
    assert b"PRIVATE KEY" not in database


def test_a_plan_comes_into_force_when_both_sides_have_signed(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    refused = request_run(startup, plan, 409)
    assert set(refused["reasons"]) == {"the participant has not signed the plan", "the authority has not signed the plan",
                                       "the pilot is plan_negotiation"}  # fmt: skip
    assert startup.sign(plan, "participant")["state"] == "proposed"
    assert "the authority has not signed the plan" in request_run(startup, plan, 409)["detail"]
    assert authority.sign(plan, "authority")["state"] == "agreed"
    run = request_run(startup, plan)
    assert (run["state"], run["ordinal"]) == ("queued", 1)
    kinds = [json.loads(e["entry"])["kind"] for e in authority.call("GET", f"/v1/plans/{plan['body']['id']}/evidence")]
    assert kinds == ["plan-proposed", "run-refused", "plan-signed", "run-refused", "plan-signed", "plan-agreed", "run-queued"]


@pytest.mark.parametrize(("changes", "expected"), [
    ({"digest": "sha256:" + "0" * 64}, 422), ({"role": "authority"}, 422), ({"organisation": "ministry"}, 422), ({"plan": "pln-other"}, 422),
    ({"version": 2}, 422),
])  # fmt: skip
def test_a_signature_over_anything_else_is_rejected(plan: dict[str, Any], startup: Any, changes: dict[str, Any], expected: int) -> None:
    body = plan["body"]
    claims = {"role": "participant", **changes}
    startup.sign(plan, claims.pop("role"), expected, **claims)
    assert startup.call("GET", f"/v1/plans/{body['id']}")["signatures"] == []


def test_a_signature_by_a_key_that_is_not_the_organisations_is_rejected(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    answer = startup.sign(plan, "participant", 422, signer=authority.signer)
    assert "no signature of a known key holds" in answer["detail"]


def test_one_key_cannot_sign_for_both_sides(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    startup.sign(plan, "participant")
    authority.call("PUT", "/v1/keys", 409, content=startup.signer.public_pem)


@pytest.mark.parametrize(("change", "where"), [
    ({"objectives": []}, "objectives"), ({"objectives": [""]}, "objectives.0"), ({"valid_from": "tomorrow"}, "valid_from"),
    ({"valid_until": "2019-12-31"}, "valid_until"), ({"measured_runs": 0}, "measured_runs"), ({"sites": ["moon"]}, "sites"),
])  # fmt: skip
def test_a_proposal_that_cannot_be_agreed_says_where(pilot: dict[str, Any], startup: Any, change: dict[str, Any], where: str) -> None:
    proposal = {"pilot": pilot["id"], "objectives": ["to be tested"], "valid_from": "2020-01-01", "valid_until": "2099-12-31"}
    assert where in startup.call("POST", "/v1/plans", 422, json={**proposal, **change})["detail"]


def test_an_expired_plan_admits_nothing(pilot: dict[str, Any], startup: Any, authority: Any) -> None:
    plan = startup.call(
        "POST", "/v1/plans", 201, json={"pilot": pilot["id"], "objectives": ["to end"], "valid_from": "2020-01-01", "valid_until": "2020-02-01"}
    )
    agree(plan, startup, authority)
    assert "the plan ended on 2020-02-01" in request_run(startup, plan, 409)["reasons"]


def test_a_suspended_plan_admits_nothing_and_only_the_authority_suspends(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    path = f"/v1/plans/{plan['body']['id']}/state"
    startup.call("POST", path, 403, json={"state": "suspended", "reason": "a rival's wish"})
    authority.call("POST", path, json={"state": "suspended", "reason": "a question"})
    assert "the plan is suspended" in request_run(startup, plan, 409)["reasons"]
    authority.call("POST", path, json={"state": "agreed", "reason": "answered"})
    request_run(startup, plan)


def test_nobody_agrees_to_a_plan_but_by_both_signatures(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    path = f"/v1/plans/{plan['body']['id']}/state"
    answer = authority.call("POST", path, 409, json={"state": "agreed", "reason": "without a signature"})
    assert "only a suspended plan is resumed" in answer["detail"]
    agree(plan, startup, authority)
    assert startup.call("GET", f"/v1/plans/{plan['body']['id']}")["state"] == "agreed"


def test_an_idempotency_key_asks_once(plan: dict[str, Any], startup: Any, authority: Any, door: Any) -> None:
    agree(plan, startup, authority)
    first, again = request_run(startup, plan), request_run(startup, plan)
    assert first["id"] == again["id"]
    startup.call("POST", "/v1/runs", 409, json={"plan": plan["body"]["id"], "site": "moon"}, headers={"Idempotency-Key": "key-00000001"})
    startup.call("POST", "/v1/runs", 422, json={"plan": plan["body"]["id"]})
    # Another organisation's use of the same key is another key.
    request_run(door("elsewhere", tiny="participant"), plan, 404)


def test_an_idempotency_key_belongs_to_what_it_asks_for(pilot: dict[str, Any], manifest: dict[str, Any], startup: Any, authority: Any) -> None:
    key, brought = {"Idempotency-Key": "key-00000001"}, {"manifest": manifest, "image": pilot["image"]}
    first, again = (startup.call("POST", "/v1/pilots", 201, json=brought, headers=key) for _ in range(2))
    other, without = (startup.call("POST", "/v1/pilots", 201, json=brought, headers=more) for more in ({"Idempotency-Key": "key-00000002"}, {}))
    assert len({found["id"] for found in (first, again, other, without)}) == 3
    assert first == again
    said = startup.call("POST", "/v1/pilots", 409, json={**brought, "manifest": {**manifest, "title": "Another"}}, headers=key)
    assert "was used for another request" in said["detail"]
    proposal = {"pilot": first["id"], "objectives": ["to be tested"], "valid_from": "2020-01-01", "valid_until": "2099-12-31"}
    plan, once_more = (startup.call("POST", "/v1/plans", 201, json=proposal, headers=key) for _ in range(2))
    assert plan == once_more  # though a pilot has one open plan at a time
    startup.call("POST", "/v1/plans", 409, json=proposal)
    agree(plan, startup, authority)
    assert startup.call("POST", "/v1/plans", 201, json=proposal, headers=key)["state"] == "agreed"
    assert request_run(startup, plan)["plan"] == plan["body"]["id"]


def test_a_digest_that_others_know_is_unknown_here(pilot: dict[str, Any], door: Any) -> None:
    rival = door("rival", tiny="participant")
    unknown = rival.call("POST", "/v1/pilots", 422, json={"manifest": pilot["manifest"], "image": pilot["image"]})
    assert "has uploaded no image" in unknown["detail"]


@pytest.mark.parametrize(("change", "where"), [
    ({"surprise": 1}, "surprise"), ({"entrypoint": []}, "entrypoint"), ({"name": "Not A Slug"}, "name"), ({"task": "chess"}, "task"),
    ({"resources": {"memory": 1 << 40}}, "memory"), ({"resources": {"cpus": -1}}, "cpus"), ({"title": None}, "title"),
])  # fmt: skip
def test_a_manifest_that_cannot_be_used_says_where(
    authority: Any, startup: Any, manifest: dict[str, Any], change: dict[str, Any], where: str
) -> None:
    image = startup.call("POST", "/v1/images", 201, content=image_archive())["digest"]
    answer = startup.call("POST", "/v1/pilots", 422, json={"manifest": {**manifest, **change}, "image": image})
    assert where in answer["detail"]


@pytest.mark.parametrize(("config", "what"), [
    ({"user": "root"}, "user is root"), ({"user": ""}, "user is root"), ({"user": "0:0"}, "user is root"), ({"user": "nobody"}, "is a name"),
    ({"Volumes": {"/data": {}}}, "declares volumes"),
])  # fmt: skip
def test_an_image_that_the_lab_does_not_take_says_why(startup: Any, config: dict[str, Any], what: str) -> None:
    assert what in startup.call("POST", "/v1/images", 422, content=image_archive(**config))["detail"]


def test_hostile_archives_are_refused_and_leave_nothing(lab: Lab, startup: Any) -> None:
    for name, kind in (("../x", tarfile.REGTYPE), ("/etc/x", tarfile.REGTYPE), ("manifest.json", tarfile.SYMTYPE), ("x", tarfile.CHRTYPE)):
        data = BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/shadow"
            tar.addfile(member)
        startup.call("POST", "/v1/images", 422, content=data.getvalue())
    startup.call("POST", "/v1/images", 422, content=b"no archive at all")
    assert list((lab.settings.home / "blobs" / "incoming").iterdir()) == []


def test_bodies_and_uploads_are_bounded(startup: Any) -> None:
    assert "65536" in startup.call("POST", "/v1/pilots", 413, content=b"x" * (65 << 10))["detail"]
    startup.call("POST", "/v1/images", 413, content=b"x" * ((1 << 20) + 1))

    chunked = (b"x" * 65_536 for _ in range(17))  # without a length in its header
    startup.call("POST", "/v1/images", 413, content=chunked)
    for method, path in (("POST", "/v1/pilots"), ("PUT", "/v1/keys"), ("POST", "/v1/plans/pln-x/signatures")):
        small = (b"x" * 16_384 for _ in range(5))
        assert "65536" in startup.call(method, path, 413, content=small, headers={"Content-Type": "application/json"})["detail"]


def test_lists_are_paged_by_cursor(authority: Any, startup: Any, manifest: dict[str, Any]) -> None:
    image = startup.call("POST", "/v1/images", 201, content=image_archive())["digest"]
    made = [startup.call("POST", "/v1/pilots", 201, json={"manifest": manifest, "image": image})["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = startup.call("GET", "/v1/pilots", params={"limit": 2, **({"after": cursor} if cursor else {})})
        seen += [p["id"] for p in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    for wrong in ({"limit": 0}, {"limit": 201}, {"after": ""}, {"after": "a cursor"}, {"after": "\0"}, {"after": "x" * 101}):
        for path in ("/v1/sandboxes", "/v1/pilots", "/v1/plans", "/v1/runs"):
            startup.call("GET", path, 422, params=wrong)


def test_a_queued_run_that_nobody_began_is_cancelled_at_once_and_says_so(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    run = request_run(startup, plan)
    assert "waits for a place" in startup.call("GET", f"/v1/runs/{run['id']}/why")["sentence"]
    assert startup.call("POST", f"/v1/runs/{run['id']}/cancel", 202, json={"reason": "changed our mind"})["state"] == "cancelled"
    why = startup.call("GET", f"/v1/runs/{run['id']}/why")
    assert "changed our mind" in why["sentence"]
    assert why["whose"] == "policy"
    startup.call("POST", f"/v1/runs/{run['id']}/cancel", 409, json={})


def test_events_are_streamed_and_resumed(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    run = request_run(startup, plan)
    startup.call("POST", f"/v1/runs/{run['id']}/cancel", 202, json={"reason": "enough"})
    text = startup.call("GET", f"/v1/runs/{run['id']}/events").text
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert kinds == ["run-queued", "run-cancelling", "run-cancelled"]
    first = next(line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: "))
    resumed = startup.call("GET", f"/v1/runs/{run['id']}/events", headers={"Last-Event-ID": first}).text
    assert "run-queued" not in resumed
    assert "run-cancelled" in resumed


class Listening:
    async def is_disconnected(self) -> bool:
        return False


async def heard(follower: following.Follower, count: int) -> list[bytes]:
    """So many messages of a stream, or all, if it ends before."""
    messages: list[bytes] = []
    async with aclosing(cast("Any", follower.events(cast("Any", Listening())))) as stream:
        async for message in stream:
            messages.append(message)
            if len(messages) == count:
                break
    return messages


def test_a_stream_without_news_shows_that_it_lives(
    lab: Lab, plan: dict[str, Any], startup: Any, authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.3)
    agree(plan, startup, authority)
    run = request_run(startup, plan)["id"]
    caller = lab.access.authenticate(startup.headers["Authorization"].removeprefix("Bearer "))

    event, beat = asyncio.run(heard(following.Follower(lab, caller, lambda: caller, run, 0, Open(9, "streams")), 2))
    assert b"event: run-queued" in event
    assert beat == b": still here\n\n"


def test_a_client_has_so_many_streams_at_a_time(client: TestClient, plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    run = request_run(startup, plan)["id"]
    mine = client.app.state.door.caller_behind(startup.headers["Authorization"].removeprefix("Bearer ")).token  # type: ignore[attr-defined]
    with client.app.state.door.streams.one(mine):  # type: ignore[attr-defined]
        refused = startup.client.get(f"/v1/runs/{run}/events", headers=startup.headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
        startup.call("POST", f"/v1/runs/{run}/cancel", 202, json={"reason": "enough"})
        assert authority.client.get(f"/v1/runs/{run}/events", headers=authority.headers).status_code == 200
    assert startup.client.get(f"/v1/runs/{run}/events", headers=startup.headers).status_code == 200


def test_a_version_of_a_sandbox_never_changes(authority: Any, startup: Any) -> None:
    release = authority.call("GET", "/v1/sandboxes/tiny")["document"]
    authority.call("POST", "/v1/sandboxes", 201, json=release)
    release["spec"]["title"] = "Another title"
    authority.call("POST", "/v1/sandboxes", 409, json=release)
    release["spec"]["version"] = 2
    authority.call("POST", "/v1/sandboxes", 201, json=release)
    startup.call("POST", "/v1/sandboxes", 403, json=release)


def test_private_keys_are_turned_away(startup: Any, tmp_path: Any) -> None:
    answer = startup.call("PUT", "/v1/keys", 422, content=(tmp_path / "startup.pem").read_bytes())
    assert "private key" in answer["detail"]


@pytest.mark.parametrize(("number", "status", "title"), [(errno.ENOSPC, 503, "no-room"), (errno.EDQUOT, 503, "no-room"), (errno.EIO, 500, "error")])
def test_a_disk_that_is_full_is_told_and_may_be_tried_again(
    client: TestClient, startup: Any, monkeypatch: pytest.MonkeyPatch, number: int, status: int, title: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/lab/blobs/secret")

    monkeypatch.setattr("livinglab.services.plans.Plans.page", fails)
    answer = client.get("/v1/plans", headers=startup.headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:livinglab:problem:{title}")
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "/lab" not in answer.text
