"""Attempts that wait hold no thread: a site that is a dictionary, an engine that only waits, a database of a few lists."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from livinglab.dispatch import lookout
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.access import Event
from livinglab.domain.errors import StaleEpoch, Unreachable
from livinglab.domain.run import Attempt, JobKey, Step
from livinglab.ports import Observation, Progress, Seen
from tests import waiting

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def attempt(n: int) -> Attempt:
    return Attempt(run=f"run-{n:05}", number=1, nonce="0" * 32, created_at=NOW)


def key(of: Attempt) -> JobKey:
    return JobKey(attempt=of.id, role="pilot")


@dataclass
class Cluster:
    """The site: jobs wait until they are said to be something else."""

    name: str = "cluster"
    states: dict[JobKey, tuple[Seen, str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    away: bool = False
    raw: str = ""
    """Its own word for the state of every job."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def say(self, of: Attempt, seen: Seen, reason: str = "") -> None:
        with self.changed:
            self.states[key(of)] = (seen, reason)
            self.changed.notify_all()

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        self.asked["wait"] += 1
        if self.away:
            msg = "nobody answers."
            raise Unreachable(msg)
        with self.changed:
            self.changed.wait_for(lambda: any(self.states.get(k, (Seen.PENDING, ""))[0] is Seen.EXITED for k in keys), timeout.total_seconds())

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        self.asked["observe"] += 1
        states = {k: self.states.get(k, (Seen.PENDING, "Priority")) for k in keys}
        return {k: Observation(key=k, seen=seen, raw=self.raw, reason=reason, at=NOW) for k, (seen, reason) in states.items()}


@dataclass
class Database:
    """The store, and its own transaction."""

    queued: list[Attempt] = field(default_factory=list)
    taken_over: set[str] = field(default_factory=set)
    log: list[Event] = field(default_factory=list)
    plans: dict[str, list[str]] = field(default_factory=dict)
    renewed: Counter[str] = field(default_factory=Counter)
    transactions: int = 0

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Any]:
        self.transactions += 1
        yield self

    def claim(self, _site: str, owner: str, _now: datetime, _lease: timedelta, _dead: object, most: int) -> tuple[Attempt, ...]:
        taken, self.queued = self.queued[:most], self.queued[most:]
        return tuple(attempt.model_copy(update={"owner": owner, "epoch": 1}) for attempt in taken)

    def renew(self, held: Mapping[str, int], _until: datetime) -> frozenset[str]:
        self.renewed.update(held.keys() - self.taken_over)
        return frozenset(held.keys() & self.taken_over)

    def last_event(self) -> int:
        return len(self.log)

    def events(self, after: int, limit: int) -> tuple[Event, ...]:
        return tuple(self.log[after : after + limit])

    def runs_under(self, plan: str) -> list[Any]:
        return [type("Named", (), {"id": run}) for run in self.plans.get(plan, [])]

    def tell(self, kind: str, **about: Any) -> None:
        self.log.append(Event(id=len(self.log) + 1, kind=kind, organisation="startup", sandbox="tiny", at=NOW, **about))


@dataclass
class Told:
    """What is told of the site: whether it is away, and how often that was said."""

    away: bool | None = None
    said: Counter[bool] = field(default_factory=Counter)

    def lost(self, _error: Unreachable) -> None:
        self.away = True
        self.said[True] += 1

    def found(self) -> None:
        self.away = False
        self.said[False] += 1


@dataclass
class Waiting:
    """The engine: each attempt is one job that is waited for."""

    site: Cluster
    database: Database
    advanced: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    by: dict[str, datetime] = field(default_factory=dict)
    reach: Told = field(default_factory=Told)

    def advance(self, id_: str, epoch: int) -> Progress:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if id_ in self.database.taken_over:
                msg = f"{id_} is not at {epoch}."
                raise StaleEpoch(msg)
            if self.site.away:
                msg = "nobody answers."
                raise Unreachable(msg)
            self.advanced[id_] += 1
            job = JobKey(attempt=id_, role="pilot")
            over = self.site.states.get(job, (Seen.PENDING, ""))[0] is Seen.EXITED
            return Progress(step=Step.EXECUTE, done=over, waiting=() if over else (job,), by=self.by.get(id_))
        finally:
            self.at_once -= 1


class FixedClock:
    def now(self) -> datetime:
        return NOW


@dataclass
class Worker:
    """A supervisor at work in a thread of its own."""

    count: int
    slots: int = 1
    in_flight: int = 10_000
    site: Cluster = field(default_factory=Cluster)
    database: Database = field(default_factory=Database)

    def __post_init__(self) -> None:
        self.attempts = [attempt(n) for n in range(self.count)]
        self.database.queued = list(self.attempts)
        self.engine = Waiting(self.site, self.database)
        self.supervisor = Supervisor(store=self.database, engine=self.engine, clock=FixedClock(), slots=self.slots, in_flight=self.in_flight)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.supervisor.serve, args=(lambda a: carry_inline(self.supervisor, a),))

    @contextmanager
    def at_work(self) -> Iterator["Worker"]:
        self.thread.start()
        try:
            yield self
        finally:
            self.supervisor.stopping.set()
            self.thread.join(20)
            assert not self.thread.is_alive()

    def parked(self) -> int:
        lookout = getattr(self.supervisor, "_lookout", None)
        return len(lookout._parked) if lookout else 0

    def all_parked(self) -> bool:
        return self.parked() == self.count

    def settle(self) -> Counter[str]:
        """Wait until nothing happens to anybody over several looks; how often each was advanced."""
        until(lambda: all(self.engine.advanced[a.id] >= 2 for a in self.attempts))
        before: Counter[str] = Counter()
        while before != self.engine.advanced:
            before, looks = self.engine.advanced.copy(), self.site.asked["observe"]
            until(lambda: self.site.asked["observe"] >= looks + 4)  # noqa: B023 - it is called at once
        return before


until = partial(waiting.until, seconds=30, pause=0.005)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "WAIT", timedelta(seconds=0.1))
    monkeypatch.setattr(lookout, "BACK_OFF", 0.05)
    monkeypatch.setattr("livinglab.dispatch.supervisor.BACK_OFF", 0.05)
    monkeypatch.setattr("livinglab.dispatch.supervisor.IDLE", 0.01)


def test_a_thousand_that_wait_hold_no_more_threads_than_ten() -> None:
    for count in (10, 1_000):
        before = threading.active_count()
        with Worker(count, slots=2).at_work() as worker:
            until(worker.all_parked)
            assert threading.active_count() - before <= 1 + 2 + 2 + 2  # the loop's, those that do steps, those that look out, those at the desk


def test_the_site_is_asked_once_for_all() -> None:
    with Worker(300).at_work() as worker:
        advanced = worker.settle()
        before, begun = worker.site.asked["observe"], time.monotonic()
        transactions = worker.database.transactions
        until(lambda: worker.site.asked["observe"] >= before + 5)
        looks = worker.site.asked["observe"] - before
        assert worker.site.asked["observe"] <= before + 1 + (time.monotonic() - begun) / 0.05
        idle = (time.monotonic() - begun) / 0.01
        assert worker.database.transactions - transactions <= 2 * looks + idle + 5
        assert worker.engine.advanced == advanced


def test_only_what_changed_goes_on_and_of_what_ended_all_at_once() -> None:
    with Worker(100).at_work() as worker:
        advanced = worker.settle()
        for one in worker.attempts[:40]:
            worker.site.say(one, Seen.EXITED)
        until(lambda: worker.parked() == 60)
        for one in worker.attempts[40:50]:
            worker.site.say(one, Seen.PENDING, "Resources")
        until(lambda: all(worker.engine.advanced[a.id] > advanced[a.id] for a in worker.attempts[:50]))
        assert all(worker.engine.advanced[a.id] == advanced[a.id] for a in worker.attempts[50:])


def test_what_runs_is_tended_in_turn_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "TENDED", 5)
    with Worker(30).at_work() as worker:
        worker.settle()
        for one in worker.attempts:
            worker.site.say(one, Seen.RUNNING)
        until(lambda: all(worker.engine.advanced[a.id] >= 5 for a in worker.attempts))
        counts = [worker.engine.advanced[a.id] for a in worker.attempts]
        assert max(counts) - min(counts) <= 3


@pytest.mark.parametrize(("kind", "about"), [("run-cancelling", {"run": "run-00007"}), ("run-held", {"run": "run-00007", "plan": "plan-1"}),
                                             ("plan-suspended", {"plan": "plan-1"})])  # fmt: skip
def test_what_people_do_to_a_run_is_heeded_at_once(kind: str, about: dict[str, str]) -> None:
    with Worker(50).at_work() as worker:
        worker.database.plans = {"plan-1": ["run-00007"]}
        advanced = worker.settle()
        worker.database.tell("step-done", run="run-00008", attempt="run-00008.1", plan="plan-1")
        worker.database.tell(kind, **about)
        until(lambda: worker.engine.advanced["run-00007.1"] > advanced["run-00007.1"])
        assert worker.settle() - advanced == Counter({"run-00007.1": 1})


@pytest.mark.parametrize("kind", ["site-window-added", "site-window-removed"])
def test_of_maintenance_all_hear_that_wait_at_the_site(kind: str) -> None:
    with Worker(50).at_work() as worker:
        advanced = worker.settle()
        worker.database.tell(kind, data={"site": "another"})
        worker.database.tell("site-draining", data={"site": "cluster"})
        assert worker.settle() == advanced
        worker.database.tell(kind, data={"site": "cluster"})
        until(lambda: all(worker.engine.advanced[a.id] > advanced[a.id] for a in worker.attempts))


def test_a_time_that_has_come_wakes_its_attempt() -> None:
    worker = Worker(20)
    worker.engine.by = {"run-00003.1": NOW, "run-00004.1": NOW + timedelta(days=1)}
    with worker.at_work():
        until(lambda: worker.engine.advanced["run-00003.1"] > 5)
        assert worker.engine.advanced["run-00004.1"] <= 3


def test_nobody_is_forgotten_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "SWEEP", 0.5)
    with Worker(20).at_work() as worker:
        advanced = worker.engine.advanced.copy()
        until(lambda: all(worker.engine.advanced[a.id] > advanced[a.id] + 2 for a in worker.attempts))


def test_one_that_is_alone_finds_out_for_itself() -> None:
    with Worker(1).at_work() as worker:
        until(lambda: worker.engine.advanced["run-00000.1"] > 3)
        assert worker.site.asked["observe"] == 0


def test_steps_are_done_a_few_at_a_time_and_no_more_are_held_than_may_be() -> None:
    with Worker(40, slots=3, in_flight=25).at_work() as worker:
        until(lambda: worker.parked() == 25)
        assert worker.engine.most_at_once <= 3
        assert len(worker.database.queued) == 15
        worker.site.say(worker.attempts[0], Seen.EXITED)
        until(lambda: len(worker.engine.advanced) == 26 and worker.parked() == 25)
        assert len(worker.database.queued) == 14
    assert len(worker.engine.advanced) == 26


def test_leases_are_kept_and_what_was_taken_over_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livinglab.dispatch.supervisor.LEASE", timedelta(seconds=0.3))
    with Worker(250).at_work() as worker:
        until(lambda: worker.parked() == 250)
        until(lambda: all(worker.database.renewed[a.id] >= 2 for a in worker.attempts))
        worker.database.taken_over = {"run-00003.1", "run-00200.1"}
        until(lambda: worker.parked() == 248)
        renewed = worker.database.renewed["run-00003.1"]
        until(lambda: worker.database.renewed["run-00004.1"] >= renewed + 2)
        assert worker.database.renewed["run-00003.1"] == renewed


def test_a_site_that_is_away_is_waited_for_and_nothing_is_decided() -> None:
    with Worker(100).at_work() as worker:
        advanced = worker.settle()
        worker.site.away = True
        asked = worker.site.asked["wait"]
        time.sleep(0.5)  # it is shown how little is done in that time
        assert worker.engine.advanced == advanced
        assert worker.site.asked["wait"] - asked <= 0.5 / 0.05 + 1
        assert worker.engine.reach.away
        worker.site.away = False
        worker.site.say(worker.attempts[5], Seen.EXITED)
        until(lambda: worker.parked() == 99 and not worker.engine.reach.away)


@pytest.mark.parametrize(("unreachable", "raw", "said"), [(10, "", {True}), (9, "", set()), (0, "", {False}), (10, "TRANSCENDED", {False})])
def test_a_site_is_away_that_can_tell_of_none_of_its_jobs(unreachable: int, raw: str, said: set[bool]) -> None:
    with Worker(10).at_work() as worker:
        worker.settle()
        worker.site.raw = raw
        for one in worker.attempts[:unreachable]:
            worker.site.say(one, Seen.UNREACHABLE)
        looks = worker.site.asked["observe"]
        until(lambda: worker.site.asked["observe"] >= looks + 2)
        worker.engine.reach.said.clear()
        until(lambda: worker.site.asked["observe"] >= looks + 4)
        assert set(worker.engine.reach.said) == said


def test_one_that_is_alone_tells_of_its_site_too() -> None:
    with Worker(1).at_work() as worker:
        until(worker.all_parked)
        worker.site.away = True
        until(lambda: worker.engine.reach.away)
        worker.site.away = False
        until(lambda: worker.engine.reach.away is False)


def test_a_job_that_is_gone_wakes_its_attempt() -> None:
    with Worker(30).at_work() as worker:
        advanced = worker.settle()
        worker.site.say(worker.attempts[3], Seen.ABSENT)
        until(lambda: worker.engine.advanced["run-00003.1"] > advanced["run-00003.1"])


def test_who_is_told_to_stop_stops_soon_and_leaves_everything_as_it_is() -> None:
    worker = Worker(500)
    with worker.at_work():
        advanced = worker.settle()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert worker.engine.advanced == advanced


def test_it_ends_when_nothing_is_left() -> None:
    worker = Worker(20)
    for one in worker.attempts:
        worker.site.say(one, Seen.EXITED)
    worker.supervisor.serve(lambda a: carry_inline(worker.supervisor, a), until_idle=True)
    assert all(worker.engine.advanced[a.id] == 1 for a in worker.attempts)
