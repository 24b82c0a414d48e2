"""Following the outbox: in order, one follower at a time, and no record holds up the others."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.dispatch.owner import owner_is_dead, this_owner
from livinglab.dispatch.projector import LEASE, Projector
from livinglab.domain.access import Event
from livinglab.domain.errors import Invalid, Unreachable
from livinglab.store.sql import SqlStore, open_store
from livinglab.testing.fakes import FakeClock


@dataclass
class Tracker:
    """Keeps what it was told, unless it is told to fail."""

    seen: list[str] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)

    def record(self, attempt: str) -> None:
        if attempt in self.failing:
            raise self.failing[attempt]
        self.seen.append(attempt)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path}/lab.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def emit(store: SqlStore, clock: FakeClock, *attempts: str, kind: str = "run-ended") -> None:
    with store.transaction() as tx:
        for attempt in attempts:
            tx.emit(
                Event(kind=kind, organisation="startup", sandbox="tiny", run=attempt.rpartition(".")[0], attempt=attempt, data={}, at=clock.now())
            )


def test_ended_attempts_are_recorded_once_in_order(store: SqlStore, clock: FakeClock) -> None:
    tracker = Tracker()
    projector = Projector.of_this_process(store, tracker, clock, "mlflow")
    emit(store, clock, *(f"run.{i}" for i in range(450)))
    emit(store, clock, "run.450", kind="step-done")
    assert projector.catch_up()
    assert projector.catch_up()
    assert tracker.seen == [f"run.{i}" for i in range(450)]


def test_a_tracker_that_is_away_is_waited_for_and_nothing_is_lost(store: SqlStore, clock: FakeClock) -> None:
    tracker = Tracker(failing={"run.2": Unreachable("away.")})
    projector = Projector.of_this_process(store, tracker, clock, "mlflow")
    emit(store, clock, "run.1", "run.2", "run.3")
    assert not projector.catch_up()
    assert tracker.seen == ["run.1"]
    tracker.failing.clear()
    assert projector.catch_up()
    assert tracker.seen == ["run.1", "run.2", "run.3"]


@pytest.mark.parametrize("error", [Invalid("MLflow will never take this."), KeyError("measurements.json")])
def test_a_record_that_cannot_be_made_is_reported_and_passed_by(
    store: SqlStore, clock: FakeClock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(failing={"run.2": error})
    emit(store, clock, "run.1", "run.2", "run.3")
    assert Projector.of_this_process(store, tracker, clock, "mlflow").catch_up()
    assert tracker.seen == ["run.1", "run.3"]
    assert "no record of attempt run.2" in caplog.text


def test_of_two_followers_one_follows_until_it_is_gone(store: SqlStore, clock: FakeClock) -> None:
    mine, other = Tracker(), Tracker()
    first = Projector(store, mine, clock, "mlflow", "elsewhere:1:1")
    second = Projector.of_this_process(store, other, clock, "mlflow")
    emit(store, clock, "run.1")
    assert first.catch_up()
    emit(store, clock, "run.2")
    assert second.catch_up()
    assert (mine.seen, other.seen) == (["run.1"], [])
    clock.advance(LEASE + timedelta(seconds=1))
    assert second.catch_up()
    assert other.seen == ["run.2"]


def test_serving_ends_with_what_is_left(store: SqlStore, clock: FakeClock) -> None:
    tracker, stopping = Tracker(), threading.Event()
    emit(store, clock, "run.1")
    stopping.set()
    Projector.of_this_process(store, tracker, clock, "mlflow").serve(stopping)
    assert tracker.seen == ["run.1"]


def test_an_owner_is_dead_when_its_process_is_gone_or_its_pid_is_anothers() -> None:
    host, pid, started = this_owner().rsplit(":", 2)
    assert not owner_is_dead(this_owner())
    assert owner_is_dead(f"{host}:{pid}:{int(started) - 1}")
    assert not owner_is_dead(f"another-{host}:{pid}:1"), "of other hosts nothing is known"
