"""The Docker Engine is away in the middle of a run: nothing is known, so nothing is decided, and nobody is blamed but the lab."""

import signal
import time
from collections.abc import Iterator

import docker
import pytest

from livinglab.domain.run import Cause, RunState
from livinglab.sites.tmpfs import unmount
from tests.disks import empty, fill
from tests.fixtures.engine import OwnEngine
from tests.integration.test_bad_pilots import Carried, started, until_it_is
from tests.labs import Parties
from tests.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.dockerd]


@pytest.fixture(scope="module")
def parties(own_engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    home = tmp_path_factory.mktemp("lab")
    yield Parties.gather(home, docker_url=own_engine.url)
    for out in home.glob("work/docker/*/*/out"):  # of a test that failed: nothing else could remove the folder
        unmount(out)


def causes(parties: Parties, run: str) -> list[tuple[RunState, Cause | None]]:
    attempts = parties.lab.runs.get(parties.authority, run)[1]
    return [(a.state, a.failure.cause if a.failure else None) for a in attempts]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_that_ends_under_a_pilot_and_comes_back_costs_an_attempt_and_nothing_else(
    parties: Parties, own_engine: OwnEngine, number: signal.Signals
) -> None:
    run = parties.request(parties.plan("python3", "/app/tiny.py", "4"))
    with Carried(parties):
        started(parties, run)
        own_engine.end(number)
        until(lambda: "Nothing can be done at site docker since" in parties.lab.runs.why(parties.participant, run.id).sentence)
        assert parties.state(run).state is RunState.RUNNING
        assert "does not answer" in str(parties.lab.sites.get("docker").away)
        own_engine.start()
        ended = until_it_is(parties, run, RunState.COMPLETED, RunState.FAILED, seconds=90)
    assert causes(parties, run.id) == [(RunState.FAILED, Cause.PLATFORM), (RunState.COMPLETED, None)]
    assert (ended.verdict, ended.ordinal) == ("PASS", 1)
    assert own_engine.containers() == []
    assert parties.lab.sites.get("docker").away is None


def test_an_engine_that_is_silent_for_a_while_costs_nothing(parties: Parties, own_engine: OwnEngine) -> None:
    run = parties.request(parties.plan("python3", "/app/tiny.py", "1"))
    with Carried(parties):
        started(parties, run)
        own_engine.pause(signal.SIGSTOP)
        time.sleep(2.5)  # the pilot ends meanwhile
        own_engine.pause(signal.SIGCONT)
        ended = until_it_is(parties, run, RunState.COMPLETED, RunState.FAILED, seconds=90)
    assert (ended.verdict, causes(parties, run.id)) == ("PASS", [(RunState.COMPLETED, None)])


def test_an_engine_that_stays_silent_is_told_to_those_who_wait_for_it(parties: Parties, own_engine: OwnEngine) -> None:
    """It takes connections, and answers nothing."""
    run = parties.request(parties.plan("python3", "/app/tiny.py", "1"))
    with Carried(parties):
        started(parties, run)
        own_engine.pause(signal.SIGSTOP)
        try:
            until(lambda: "Nothing can be done at site docker since" in parties.lab.runs.why(parties.participant, run.id).sentence)
            assert "did not answer in time" in str(parties.lab.sites.get("docker").away)
        finally:
            own_engine.pause(signal.SIGCONT)
        ended = until_it_is(parties, run, RunState.COMPLETED, RunState.FAILED, seconds=90)
    assert (ended.verdict, causes(parties, run.id)) == ("PASS", [(RunState.COMPLETED, None)])


def test_an_engine_without_room_is_waited_for(parties: Parties, own_engine: OwnEngine) -> None:
    run = parties.request(parties.plan("python3", "/app/tiny.py"))
    fill(own_engine.data)
    with Carried(parties):
        until(lambda: "Nothing can be done at site docker since" in parties.lab.runs.why(parties.participant, run.id).sentence)
        assert "no space left on device" in str(parties.lab.sites.get("docker").away)
        empty(own_engine.data)
        ended = until_it_is(parties, run, RunState.COMPLETED, RunState.FAILED, seconds=90)
    assert (ended.verdict, causes(parties, run.id)) == ("PASS", [(RunState.COMPLETED, None)])
    assert parties.lab.sites.get("docker").away is None


def test_a_container_that_somebody_else_kills_is_not_the_pilots_fault(parties: Parties, own_engine: OwnEngine) -> None:
    run = parties.request(parties.plan("python3", "/app/tiny.py", "3"))
    with Carried(parties):
        started(parties, run)
        engine = docker.APIClient(base_url=own_engine.url)
        (container,) = engine.containers(filters={"label": f"livinglab.key={run.id}.1.pilot"})
        engine.kill(container["Id"])
        until_it_is(parties, run, RunState.COMPLETED, seconds=60)
    first = parties.lab.runs.get(parties.authority, run.id)[1][0]
    assert first.failure
    assert (first.failure.cause, "killed from outside" in first.failure.sentence) == (Cause.PLATFORM, True)


def test_a_pilot_that_exits_as_if_it_had_been_killed_is_to_blame_itself(parties: Parties) -> None:
    run = parties.run("sh", "-c", "exit 137")
    assert run.failure
    assert (run.state, run.failure.cause, run.failure.code) == (RunState.FAILED, Cause.PILOT, "exit-code")
