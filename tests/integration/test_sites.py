"""A site that is taken out of service and back, on the real engine: what runs goes on, and what waits goes on waiting."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from livinglab.bootstrap import open_supervisor
from livinglab.dispatch.inline import carry_inline
from livinglab.domain.run import RunState
from tests.labs import Parties
from tests.waiting import until

pytestmark = pytest.mark.docker


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    """A lab, and a worker of its site with places for both runs of the test."""
    parties = Parties.gather(tmp_path)
    supervisor = open_supervisor(parties.lab, "docker", slots=2)
    thread = threading.Thread(target=supervisor.serve, args=(lambda attempt: carry_inline(supervisor, attempt),))
    thread.start()
    yield parties
    supervisor.stopping.set()
    thread.join(60)
    assert not thread.is_alive()


def test_what_runs_at_a_draining_site_ends_and_what_is_queued_waits_until_it_is_open_again(parties: Parties, tmp_path: Path) -> None:
    lab, plan = parties.lab, parties.plan("python3", "/app/tiny.py", "2")
    first = parties.request(plan)
    until(lambda: any(event.kind == "pilot-started" for event in lab.runs.events(parties.authority, first.id, 0)), seconds=120)
    lab.sites.drain("docker", "ops", "a new kernel")
    second = parties.request(plan)
    lab.runs.prioritise(parties.authority, second.id, 100)
    lab.runs.hold(parties.participant, second.id, "not yet")
    lab.runs.let_go(parties.participant, second.id)
    until(lambda: parties.state(first).state.final, seconds=120)
    assert (parties.state(first).state, parties.state(first).verdict) == (RunState.COMPLETED, "PASS")
    waits = parties.state(second)
    assert waits.state is RunState.QUEUED, "the worker had a place free all the while"
    why = lab.runs.why(parties.participant, second.id).sentence
    assert f"Run {second.id} waits: site docker is being drained since " in why
    assert why.endswith(", by ops, because: a new kernel.")
    found = lab.sites.status("docker")
    assert (found.queued, found.held, found.running) == (1, 0, 0)
    lab.sites.resume("docker", "ops")
    until(lambda: parties.state(second).state.final, seconds=120)
    assert (parties.state(second).state, parties.state(second).verdict) == (RunState.COMPLETED, "PASS")
    used = lab.results.usage(parties.authority, first.id)[f"{first.id}.1"]
    assert set(used) == {"pilot", "decode", "measure"}
    assert used["pilot"]["wall_seconds"] >= 2
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems
