"""Keys over the API, and by the commands that organisations use: registered, listed, revoked; nothing new is signed with a revoked one."""

import json
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from livinglab.cli.client import Client
from livinglab.cli.keys import key as key_commands
from livinglab.domain.errors import Invalid
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from tests.unit.api.conftest import Door
from tests.unit.api.test_api import agree, request_run


def another(door: Door, folder: Path) -> KeySigner:
    """A second key of that organisation."""
    made = new_key(folder / "another.pem")
    door.call("PUT", "/v1/keys", content=made.public_pem)
    return made


def test_a_key_that_is_revoked_stays_listed_and_is_not_registered_again(startup: Door) -> None:
    (key,) = startup.call("GET", "/v1/keys")
    assert key["revoked_at"] is None
    revoked = startup.call("DELETE", f"/v1/keys/{key['key_id']}")
    assert revoked == {**key, "revoked_at": revoked["revoked_at"]}
    assert revoked["revoked_at"] >= key["created_at"]
    assert startup.call("DELETE", f"/v1/keys/{key['key_id']}") == revoked
    assert startup.call("GET", "/v1/keys") == [revoked]
    refused = startup.call("PUT", "/v1/keys", 409, content=startup.signer.public_pem)
    assert (refused["detail"], refused["hint"]) == (f"this key was revoked on {revoked['revoked_at'][:10]}.", "Make another: livinglab key new.")


def test_another_organisations_key_is_not_there(startup: Door, door: Any) -> None:
    rival, key_id, nobodys = door("rival", tiny="participant"), startup.signer.key_id, "0" * 64
    theirs, unknown = (rival.call("DELETE", f"/v1/keys/{asked}", 404) for asked in (key_id, nobodys))
    assert json.loads(json.dumps(theirs).replace(key_id, nobodys)) == unknown
    assert startup.call("GET", "/v1/keys")[0]["revoked_at"] is None
    before = rival.call("PUT", "/v1/keys", 409, content=startup.signer.public_pem)
    startup.call("DELETE", f"/v1/keys/{key_id}")
    assert rival.call("PUT", "/v1/keys", 409, content=startup.signer.public_pem) == before


def test_nothing_new_is_signed_with_a_revoked_key(plan: dict[str, Any], startup: Door, authority: Door, tmp_path: Path) -> None:
    revoked = startup.call("DELETE", f"/v1/keys/{startup.signer.key_id}")
    refused = startup.sign(plan, "participant", 403)
    said = f"key {startup.signer.key_id[:16]} of startup was revoked on {revoked['revoked_at'][:10]}"
    assert said in refused["detail"]
    assert "livinglab key new" in refused["hint"]
    assert "no signature of a known key holds" in startup.sign(plan, "participant", 422, signer=authority.signer)["detail"]
    other = another(startup, tmp_path)
    assert said in startup.sign(plan, "participant", 403)["detail"]
    assert startup.sign(plan, "participant", signer=other)["signatures"][0]["key_id"] == other.key_id


def test_a_signature_by_a_revoked_key_beside_another_is_not_the_one_that_counts(plan: dict[str, Any], startup: Door, tmp_path: Path) -> None:
    other = another(startup, tmp_path)
    startup.call("DELETE", f"/v1/keys/{startup.signer.key_id}")
    claims = {"plan": plan["body"]["id"], "version": 1, "digest": plan["digest"], "role": "participant", "organisation": "startup"}
    statement = statements.plan_signature(**claims)
    envelopes = [json.loads(signer.sign(statement, dsse.IN_TOTO)) for signer in (startup.signer, other)]
    both = {**envelopes[0], "signatures": [e["signatures"][0] for e in envelopes]}
    signed = startup.call("POST", f"/v1/plans/{plan['body']['id']}/signatures", 201, json=both)
    assert [s["key_id"] for s in signed["signatures"]] == [other.key_id]


def test_what_a_key_signed_before_it_was_revoked_stays_signed(plan: dict[str, Any], startup: Door, authority: Door) -> None:
    agree(plan, startup, authority)
    for party in (startup, authority):
        party.call("DELETE", f"/v1/keys/{party.signer.key_id}")
    assert startup.sign(plan, "participant")["state"] == "agreed"  # the same signature once more
    assert request_run(startup, plan)["state"] == "queued"


def test_a_plan_does_not_come_into_force_by_a_key_that_was_revoked_since_it_signed(plan: dict[str, Any], startup: Door, authority: Door) -> None:
    startup.sign(plan, "participant")
    startup.call("DELETE", f"/v1/keys/{startup.signer.key_id}")
    refused = authority.sign(plan, "authority", 409)
    assert f"the participant's key {startup.signer.key_id[:16]} was revoked after it signed" in refused["detail"]
    seen = authority.call("GET", f"/v1/plans/{plan['body']['id']}")
    assert (seen["state"], len(seen["signatures"])) == ("proposed", 1)


# --- the command line -------------------------------------------------------------------------------------------------


def test_commands_list_keys_and_revoke_one_by_the_beginning_of_its_id(livinglab: Any, startup: Door, tmp_path: Path) -> None:
    other = another(startup, tmp_path)
    listed = startup.call("GET", "/v1/keys")
    assert json.loads(livinglab(key_commands, "list", "--json").output) == listed
    assert livinglab(key_commands, "list").output.splitlines() == [f"{k['key_id']}  startup  since {k['created_at'][:10]}" for k in listed]
    revoked = livinglab(key_commands, "revoke", other.key_id[:8])
    day = next(k["revoked_at"] for k in startup.call("GET", "/v1/keys") if k["key_id"] == other.key_id)[:10]
    assert revoked.output == f"startup signs nothing more with key {other.key_id}: it was revoked on {day}.\n"
    assert livinglab(key_commands, "revoke", other.key_id).output == revoked.output
    assert [k["key_id"] for k in startup.call("GET", "/v1/keys") if k["revoked_at"]] == [other.key_id]
    assert f"{other.key_id}  startup  revoked on {day}" in livinglab(key_commands, "list").output.splitlines()


def test_a_command_revokes_no_key_that_is_not_meant(livinglab: Any, startup: Door, authority: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = livinglab(key_commands, "revoke", authority.signer.key_id)
    assert isinstance(unknown.exception, Invalid)
    assert str(unknown.exception) == f"unknown key {authority.signer.key_id!r}. Known: {startup.signer.key_id}."
    short = livinglab(key_commands, "revoke", startup.signer.key_id[:7])
    assert (short.exit_code, "8 characters of a key's id are needed" in short.output) == (click.UsageError.exit_code, True)
    assert [k["revoked_at"] for door in (startup, authority) for k in door.call("GET", "/v1/keys")] == [None, None]

    ids = ["abcdef12" + end * 56 for end in "34"]
    way = httpx.MockTransport(lambda asked: httpx.Response(200 if asked.method == "GET" else 500, json=[{"key_id": id_} for id_ in ids]))
    monkeypatch.setattr("livinglab.cli.client.connect", lambda _api, _token: Client(httpx.Client(base_url="http://lab", transport=way)))
    several = livinglab(key_commands, "revoke", "abcdef12")
    assert several.exit_code == click.UsageError.exit_code
    assert "begins the ids of 2 keys" in several.output
    assert all(id_ in several.output for id_ in ids)
