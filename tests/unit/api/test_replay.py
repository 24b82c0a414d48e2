"""A run's replay: for those whom the specification shows plots, and only if it is one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from livinglab.bootstrap import Lab
from livinglab.domain.access import Document
from livinglab.domain.replay import REPLAY_LIMIT
from sandbox_api import examples
from tests.unit.api.test_api import agree, request_run


@pytest.fixture
def run(plan: dict[str, Any], startup: Any, authority: Any) -> str:
    agree(plan, startup, authority)
    return str(request_run(startup, plan)["id"])


@pytest.fixture
def leave(lab: Lab, run: str) -> Callable[[bytes], None]:
    """Leaves a replay among the attempt's documents, as collecting does."""

    def left(data: bytes) -> None:
        with lab.store.transaction() as tx:
            attempt = tx.attempts(run)[-1].id
            tx.add_document(Document(subject=attempt, name="measure/replay.json", media_type="application/octet-stream",
                                     digest=lab.artifacts.put(data), size=len(data)))  # fmt: skip

    return left


def test_who_sees_plots_gets_it_as_it_was_written(run: str, leave: Callable[[bytes], None], authority: Any) -> None:
    leave(json.dumps(examples.REPLAY).encode())
    found = authority.call("GET", f"/v1/runs/{run}/replay")
    assert found["episodes"][0]["ttc"] == [0.92, 0.89]
    assert found["episodes"][0]["why"] == "0.89 s from a collision at the nearest"


def test_who_does_not_see_plots_does_not_get_it(run: str, leave: Callable[[bytes], None], startup: Any) -> None:
    leave(json.dumps(examples.REPLAY).encode())
    assert "does not show plots to participant" in startup.call("GET", f"/v1/runs/{run}/replay", 403)["detail"]


def test_a_run_without_one_says_how_it_stands(run: str, authority: Any) -> None:
    assert authority.call("GET", f"/v1/runs/{run}/replay", 404)["detail"] == f"run {run} has no replay: it is queued."


@pytest.mark.parametrize(("data", "says"), [
    (b"{}", "ttc_threshold: Field required"), (b"\xff", "Invalid JSON"), (b" " * (REPLAY_LIMIT + 1), f"more than {REPLAY_LIMIT} bytes"),
    (json.dumps({**examples.REPLAY, "script": "x"}).encode(), "Extra inputs are not permitted"),
])  # fmt: skip
def test_what_a_harness_wrote_and_is_no_replay_is_not_handed_on(
    data: bytes, says: str, run: str, leave: Callable[[bytes], None], authority: Any
) -> None:
    leave(data)
    answer = authority.call("GET", f"/v1/runs/{run}/replay", 500)
    assert says in answer["detail"]
