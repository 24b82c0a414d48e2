"""A pilot that is asked step by step, on the real engine: two containers that share a socket and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.plan import Plan
from livinglab.domain.run import Cause, RunState
from tests.labs import ROOT, Parties, assert_a_kill_changes_nothing, manifest, pilots_archive

pytestmark = pytest.mark.docker

ROLES = ("pilot", "drive", "measure")
PLACES = [
    "execute:pushed", "execute:intent", "execute:submitted", "execute:handle", "execute:done", "collect:stored", "collect:done", "attest:done",
    *(f"measure:{at}" for at in ("pushed", "intent", "submitted", "handle", "stored", "done")),
]  # fmt: skip


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    home = tmp_path_factory.mktemp("lab")
    return Parties.gather(home, sandbox=ROOT / "tests" / "sandboxes" / "turns", harness=pilots_archive())


def plan_of(parties: Parties, name: str, **resources: float) -> Plan:
    return parties.plan_for(manifest("python3", "/app/turns.py", name, **resources) | {"sandbox": "turns", "task": "doubling"})


def document(parties: Parties, attempt: str, name: str) -> Any:
    with parties.lab.store.transaction(read_only=True) as tx:
        found = {d.name: d.digest for d in tx.documents(attempt)}
    return json.loads(parties.lab.artifacts.read(found[name]))


MEASURED = [("honest", "PASS"), ("stays", "PASS"), ("takes_the_socket", "PASS"), ("lies", "FAIL"), ("out_of_range", "FAIL")]


@pytest.mark.parametrize(("name", "verdict"), MEASURED)
def test_what_was_answered_is_measured(parties: Parties, name: str, verdict: str, tmp_path: Path) -> None:
    plan = plan_of(parties, name)
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert (run.state, run.verdict) == (RunState.COMPLETED, verdict), run.failure
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems
    recorded = document(parties, f"{run.id}.1", "drive/answers.json")
    assert len(recorded) == 20
    for role in ROLES:
        assert document(parties, f"{run.id}.1", f"isolation-{role}.json")["holds"] is True


@pytest.mark.parametrize(("name", "resources", "code", "sentence"), [
    ("dies", {}, "exit-code", "exited with code 3; 0 was expected"),
    ("hangs_up", {}, "protocol", "in episode 1, step 5: the pilot closed the connection"),
    ("floods", {}, "protocol", "in episode 1, step 5: a frame of 2021161080 bytes was announced"),
    ("sleeps", {}, "protocol", "in episode 1, step 5: no complete answer came within 2 s"),
    ("never_comes", {}, "protocol", "no connection to /socket/lab.sock within 10 s"),
    ("sleeps", {"wall_seconds": 1}, "out-of-time", "longer than its time limit of 1 seconds"),
    ("eats_memory", {"memory": 64 << 20}, "out-of-memory", "more memory than its limit"),
    ("fails_at_the_end", {}, "exit-code", "exited with code 4"),
])  # fmt: skip
def test_a_pilots_fault_is_named(parties: Parties, name: str, resources: dict[str, float], code: str, sentence: str, tmp_path: Path) -> None:
    plan = plan_of(parties, name, **resources)
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert run.state is RunState.FAILED
    assert run.failure
    assert (run.failure.cause, run.failure.code) == (Cause.PILOT, code)
    assert sentence in run.failure.sentence
    assert run.attempts == 1
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_worker_loses_nothing_and_the_next_repeats_nothing(parties: Parties, place: str, tmp_path: Path) -> None:
    assert_a_kill_changes_nothing(parties, plan_of(parties, "honest"), place, ROLES, tmp_path / "dossier.zip")
