"""A site that is away is told in its record, once per change, and whoever waits for it reads it."""

from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.domain.errors import DatabaseAway, NoRoom, NothingKnown, Unreachable
from livinglab.services.reach import Reach
from tests.unit.services.test_engine import World, make_world

GONE = Unreachable("nobody answers at 10.0.0.7.")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


def reach_of(world: World, hold: float = 0.0) -> Reach:
    return Reach(world.lab.store, world.engine.recorder, "docker", hold)


def told(world: World) -> list[str]:
    with world.lab.store.transaction(read_only=True) as tx:
        return [event.kind for event in tx.events(0, 1_000) if event.kind in ("site-away", "site-back")]


def test_what_stays_as_it_is_is_written_once(world: World) -> None:
    reach = reach_of(world)
    for _ in range(3):
        reach.found()
    assert told(world) == []
    for _ in range(3):
        reach.lost(GONE)
    assert told(world) == ["site-away"]
    away = world.lab.sites.get("docker").away
    assert away
    assert (away.sentence, world.lab.clock.now() - away.since < timedelta(seconds=1)) == ("nobody answers at 10.0.0.7.", True)
    for _ in range(3):
        reach.found()
    assert told(world) == ["site-away", "site-back"]
    assert world.lab.sites.get("docker").away is None


def test_a_hiccup_is_not_told_and_what_lasts_is_told_from_its_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun = [100.0], world.lab.clock.now()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    reach = reach_of(world, hold=3)
    for seconds in (0.0, 2.9, 2.9, 2.9):
        now[0] += seconds
        reach.lost(GONE)
        reach.found()
    assert told(world) == []
    reach.lost(GONE)
    world.lab.clock.advance(timedelta(seconds=3))  # type: ignore[attr-defined]
    now[0] += 3
    reach.lost(GONE)
    away = world.lab.sites.get("docker").away
    assert away
    assert away.since - begun < timedelta(seconds=1)


def test_a_new_worker_takes_back_what_the_one_before_has_told(world: World) -> None:
    reach_of(world).lost(GONE)
    reach_of(world).found()
    assert told(world) == ["site-away", "site-back"]


@pytest.mark.parametrize("error", [DatabaseAway("the database does not answer."), NothingKnown("nothing is known of run-a.1.pilot.")])
def test_neither_the_labs_own_database_nor_one_job_is_a_site(world: World, error: Unreachable) -> None:
    reach_of(world).lost(error)
    assert told(world) == []


def test_where_it_cannot_be_written_it_is_written_the_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reach = reach_of(world)
    with monkeypatch.context() as away:
        away.setattr(world.lab.store, "transaction", lambda: (_ for _ in ()).throw(DatabaseAway("the database does not answer.")))
        reach.lost(GONE)
    assert told(world) == []
    reach.lost(NoRoom("no room."))
    assert told(world) == ["site-away"]


def test_whoever_waits_is_told_since_when_and_not_what_is_the_operators(world: World) -> None:
    run = world.request()
    before = world.lab.runs.why(world.participant, run.id)
    reach = reach_of(world)
    reach.lost(GONE)
    answer = world.lab.runs.why(world.participant, run.id)
    since = f"{world.lab.clock.now():%Y-%m-%d %H:%M} UTC"
    assert answer.sentence == f"{before.sentence} Nothing can be done at site docker since {since}, so nothing is decided."
    assert answer.next == f"It goes on by itself once the site is back. {before.next}"
    assert "10.0.0.7" not in answer.model_dump_json()
    reach.found()
    world.carry()
    reach.lost(GONE)
    assert "Nothing can be done" not in world.lab.runs.why(world.participant, run.id).sentence  # it is over
