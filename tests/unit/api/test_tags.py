"""ETags: what has not changed is not sent again, and nobody changes what has become something else since it was seen."""

from typing import Any

import pytest

from tests.unit.api.test_api import agree, request_run


@pytest.fixture
def run(plan: dict[str, Any], startup: Any, authority: Any) -> str:
    agree(plan, startup, authority)
    return str(request_run(startup, plan)["id"])


def tag(door: Any, path: str) -> str:
    answer = door.client.get(path, headers=door.headers)
    return str(answer.headers["ETag"])


def asked(door: Any, path: str, tags: str) -> Any:
    return door.client.get(path, headers={**door.headers, "If-None-Match": tags})


def test_what_has_not_changed_is_not_sent_again(run: str, plan: dict[str, Any], startup: Any, authority: Any) -> None:
    for path in (f"/v1/runs/{run}", f"/v1/plans/{plan['body']['id']}"):
        seen = tag(startup, path)
        for tags in (seen, f'"other", {seen}', "*"):
            again = asked(startup, path, tags)
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", seen)
        for tags in ('"other"', f"W/{seen}", ""):
            assert asked(startup, path, tags).status_code == 200
    authority.call("POST", f"/v1/runs/{run}/hold", json={"reason": "a look"})
    assert asked(startup, f"/v1/runs/{run}", tag(authority, f"/v1/runs/{run}")).status_code == 200, "others see other things"


def test_two_that_saw_the_same_do_not_both_change_it(run: str, startup: Any, authority: Any) -> None:
    seen = tag(authority, f"/v1/runs/{run}")
    authority.call("POST", f"/v1/runs/{run}/priority", json={"priority": 5}, headers={"If-Match": seen})
    for what, body in (("priority", {"priority": 9}), ("hold", {"reason": "a look"}), ("cancel", {"reason": "a look"}), ("release", {})):
        refused = authority.call("POST", f"/v1/runs/{run}/{what}", 412, json=body, headers={"If-Match": seen})
        assert refused["type"] == "urn:livinglab:problem:changed"
        assert tag(authority, f"/v1/runs/{run}") in refused["detail"]
    assert startup.call("GET", f"/v1/runs/{run}")["run"]["priority"] == 5
    authority.call("POST", f"/v1/runs/{run}/hold", json={"reason": "a look"}, headers={"If-Match": "*"})
    authority.call("POST", f"/v1/runs/{run}/release", json={}, headers={"If-Match": tag(authority, f"/v1/runs/{run}")})


def test_a_plan_is_signed_and_stopped_as_it_was_seen(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    path = f"/v1/plans/{plan['body']['id']}"
    seen = tag(authority, path)
    startup.sign(plan, "participant")
    change = {"state": "terminated", "reason": "enough"}
    authority.call("POST", f"{path}/state", 412, json=change, headers={"If-Match": seen})
    authority.call("POST", f"{path}/state", json=change, headers={"If-Match": tag(authority, path)})


def test_who_may_not_see_it_learns_nothing_by_a_tag(run: str, door: Any) -> None:
    rival = door("rival", tiny="participant")
    assert asked(rival, f"/v1/runs/{run}", "*").status_code == 404
    rival.call("POST", f"/v1/runs/{run}/cancel", 404, json={"reason": "a look"}, headers={"If-Match": '"x"'})
