"""`kill -9` of the worker between any two side effects, by real process, on the real engine: the run goes on, nothing runs twice."""

from pathlib import Path

import docker
import pytest

from livinglab.domain.run import RunState
from tests.labs import Parties, assert_a_kill_changes_nothing, work

pytestmark = pytest.mark.docker

JOBS = ("pilot", "decode", "measure")
PLACES = [
    "admit:done", "images:ensured", "stage:pushed", "execute:intent", "execute:submitted", "execute:handle", "execute:done",
    "collect:stored",
    "collect:done", "attest:done",
    *(f"{step}:{at}" for step in ("decode", "measure") for at in ("pushed", "intent", "submitted", "handle", "stored", "done")),
    "judge:stored", "judge:done", "release:released", "seal:done",
]  # fmt: skip


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return Parties.gather(tmp_path_factory.mktemp("lab"))


def test_the_places_are_all_places(parties: Parties) -> None:
    run = parties.request(parties.plan())
    home = parties.lab.settings.home
    (home / "boundaries").unlink(missing_ok=True)
    assert work(home) == 0
    assert parties.state(run).state is RunState.COMPLETED
    assert list(dict.fromkeys((home / "boundaries").read_text().split())) == PLACES


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_worker_loses_nothing_and_the_next_repeats_nothing(parties: Parties, place: str, tmp_path: Path) -> None:
    assert_a_kill_changes_nothing(parties, parties.plan(), place, JOBS, tmp_path / "dossier.zip")


def test_nothing_is_left_behind(parties: Parties) -> None:
    instance = parties.lab.settings.instance
    assert docker.APIClient().containers(all=True, filters={"label": f"livinglab.instance={instance}"}) == []
    assert str(parties.lab.settings.home) not in Path("/proc/mounts").read_text()
