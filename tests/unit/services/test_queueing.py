"""Whose turn it is: holds and priorities, sites that drain, and jobs that wait in a site's own queue."""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.access import Caller
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unreachable
from livinglab.domain.run import Attempt, JobKey, Run, RunState, Step
from livinglab.domain.sandbox import Role
from livinglab.domain.site import SiteRecord
from livinglab.ports import Observation, Queueing, Seen
from livinglab.testing.fakes import FakeClock, FakeSite
from tests.unit.services.test_engine import World, make_world

OPERATOR = Caller(organisation="lab-ops", roles={"*": Role.OPERATOR}, token="o")
REVIEWER = Caller(organisation="experts", roles={"tiny": Role.REVIEWER}, token="r")
RIVAL = Caller(organisation="rival", roles={"tiny": Role.PARTICIPANT}, token="x")
LIMIT = ("PENDING", "QOSMaxCpuPerUserLimit", "A limit of the QOS is reached.")


class ClusterSite(FakeSite):
    """A site with a queue of its own, in which jobs wait for as long as `waits` says why."""

    waits: tuple[str, str, str] | None = None

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self.told: list[tuple[Any, ...]] = []

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        seen = super().observe(keys)
        if self.waits is None:
            return seen
        raw, reason, advice = self.waits
        return {key: Observation(key=key, seen=Seen.PENDING, raw=raw, reason=reason, advice=advice, at=o.at) for key, o in seen.items()}

    def hold(self, attempt: str) -> None:
        self._called("hold")
        self.told.append(("hold", attempt))

    def let_go(self, attempt: str) -> None:
        self._called("let_go")
        self.told.append(("let_go", attempt))

    def prioritise(self, attempt: str, priority: int) -> None:
        self._called("prioritise")
        self.told.append(("prioritise", attempt, priority))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


@pytest.fixture
def cluster(world: World) -> World:
    """The same lab, and its site has a queue."""
    site = ClusterSite(world.backend, world.lab.clock, name="docker")
    site.waits = LIMIT
    with world.lab.store.transaction() as tx:
        before = tx.site("docker")
        assert before is not None
        tx.update_site(before.model_copy(update={"kind": "slurm"}), before)
    return replace(world, site=site, engine=replace(world.engine, site=site))


def told(world: World) -> list[tuple[Any, ...]]:
    assert isinstance(world.site, ClusterSite)
    return world.site.told


def waits(world: World, words: tuple[str, str, str] | None) -> None:
    assert isinstance(world.site, ClusterSite)
    world.site.waits = words


def until_pending(world: World) -> Attempt:
    """The first attempt, carried until its pilot's job waits in the site's queue."""
    attempt = world.claim()
    while not world.engine.advance(attempt.id, attempt.epoch).waiting:
        pass
    world.engine.advance(attempt.id, attempt.epoch)
    return attempt


def written(world: World, attempt: Attempt) -> dict[str, Any]:
    with world.lab.store.transaction(read_only=True) as tx:
        return dict(tx.journal(attempt.id)[Step.EXECUTE].data)


def kinds(world: World, run: Run) -> list[str]:
    return [event.kind for event in world.lab.runs.events(world.authority, run.id, 0)]


# --- who may --------------------------------------------------------------------------------------------------------


def test_a_held_run_waits_until_it_is_let_go(world: World) -> None:
    run = world.request()
    held = world.lab.runs.hold(world.participant, run.id, "the data card is wrong")
    assert (held.held_by, held.held_reason) == ("startup", "the data card is wrong")
    assert world.lab.runs.hold(world.participant, run.id, "said again") == held
    world.carry()
    assert world.look(run)[0].state is RunState.QUEUED
    answer = world.lab.runs.why(world.participant, run.id)
    assert answer.sentence == f"Run {run.id} is held by startup: the data card is wrong."
    world.lab.runs.let_go(world.participant, run.id)
    assert world.lab.runs.let_go(world.participant, run.id).held_by is None
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED
    assert [kind for kind in kinds(world, run) if kind in ("run-held", "run-let-go")] == ["run-held", "run-let-go"]
    with pytest.raises(Conflict, match="cannot be held any more: it is completed"):
        world.lab.runs.hold(world.authority, run.id, "too late")
    with pytest.raises(Conflict, match="is over: it is completed"):
        world.lab.runs.prioritise(world.authority, run.id, 1)


@pytest.mark.parametrize("caller", [OPERATOR, None], ids=["an operator", "the authority"])
def test_a_hold_by_those_who_oversee_is_theirs_to_undo(world: World, caller: Caller | None) -> None:
    run, overseer = world.request(), caller or world.authority
    world.lab.runs.hold(world.participant, run.id, "wait")
    assert world.lab.runs.hold(overseer, run.id, "an incident").held_by == overseer.organisation
    assert world.lab.runs.hold(world.participant, run.id, "mine").held_reason == "an incident"
    with pytest.raises(Forbidden, match=f"is held by {overseer.organisation}, who alone lets it go"):
        world.lab.runs.let_go(world.participant, run.id)
    assert world.lab.runs.let_go(overseer, run.id).held_by is None


@pytest.mark.parametrize(("caller", "error"), [(REVIEWER, Forbidden), (RIVAL, NotFound)])
def test_nobody_else_changes_a_turn(world: World, caller: Caller, error: type[Exception]) -> None:
    run = world.request()
    with pytest.raises(error):
        world.lab.runs.hold(caller, run.id, "wait")
    with pytest.raises(error):
        world.lab.runs.let_go(caller, run.id)
    with pytest.raises(error):
        world.lab.runs.prioritise(caller, run.id, -1)


def test_a_participant_puts_its_runs_back_and_no_run_forward(world: World) -> None:
    run = world.request()
    assert world.lab.runs.prioritise(OPERATOR, run.id, 50).priority == 50
    assert world.lab.runs.prioritise(world.participant, run.id, -5).priority == -5
    with pytest.raises(Forbidden, match=r"does not raise the priority of a run \(-5\)"):
        world.lab.runs.prioritise(world.participant, run.id, 0)
    with pytest.raises(Invalid, match="priority: "):
        world.lab.runs.prioritise(OPERATOR, run.id, 101)
    assert kinds(world, run).count("run-priority") == 2


def test_the_run_that_was_put_forward_is_carried_first(world: World) -> None:
    first, second = world.request(), world.request("key-00000002")
    assert world.lab.runs.why(world.authority, second.id).sentence.endswith("one run is ahead of it.")
    world.lab.runs.prioritise(OPERATOR, second.id, 1)
    assert world.lab.runs.why(world.authority, first.id).sentence.endswith("one run is ahead of it.")
    assert world.claim().run == second.id
    world.lab.runs.hold(OPERATOR, second.id, "too late: a worker has it")
    assert world.lab.runs.why(world.authority, first.id).sentence.endswith("it is next.")


def test_what_runs_where_there_is_no_queue_cannot_be_held(world: World) -> None:
    run = world.request()
    attempt = world.claim()
    world.engine.advance(attempt.id, attempt.epoch)
    assert world.look(run)[0].state is RunState.RUNNING
    with pytest.raises(Conflict, match="cannot be held any more: it is running"):
        world.lab.runs.hold(world.authority, run.id, "wait")


# --- a site that drains or goes away --------------------------------------------------------------------------------


def test_a_draining_site_begins_nothing_and_says_so(world: World) -> None:
    run = world.request()
    drained = world.lab.sites.drain("docker", "ops", "a new kernel")
    world.carry()
    assert world.look(run)[0].state is RunState.QUEUED
    answer = world.lab.runs.why(world.participant, run.id)
    since = f"{drained.changed_at:%Y-%m-%d %H:%M} UTC"
    assert answer.sentence == f"Run {run.id} waits: site docker is being drained since {since}, by ops, because: a new kernel."
    world.lab.sites.resume("docker", "ops")
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED


def test_what_was_begun_at_a_draining_site_goes_on(world: World) -> None:
    run = world.request()
    attempt = world.claim()
    world.engine.advance(attempt.id, attempt.epoch)
    world.lab.sites.drain("docker", "ops", "a new kernel")
    assert isinstance(world.lab.clock, FakeClock)
    world.lab.clock.advance(timedelta(minutes=5))  # whoever held it is gone, and another worker takes it up
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED


def test_a_run_that_would_reach_into_maintenance_waits_for_its_end(world: World) -> None:
    run, clock = world.request(), world.lab.clock
    assert isinstance(clock, FakeClock)
    begin = clock.now() + timedelta(seconds=run.longest_seconds - 1)
    window = world.lab.sites.add_window("docker", begin, begin + timedelta(hours=1), "new disks", "ops")
    world.carry()
    assert world.look(run)[0].state is RunState.QUEUED
    times = f"from {window.begin:%Y-%m-%d %H:%M} UTC to {window.end:%Y-%m-%d %H:%M} UTC (new disks)"
    says = f"Run {run.id} waits for the maintenance window of site docker {times}"
    early = world.lab.runs.why(world.participant, run.id)
    assert early.sentence == f"{says}: it may take {run.longest_seconds:,.0f} s, and would reach into it."
    clock.advance(timedelta(seconds=run.longest_seconds))
    assert world.lab.runs.why(world.participant, run.id).sentence == f"{says}."
    world.carry()
    assert world.look(run)[0].state is RunState.QUEUED
    clock.advance(timedelta(hours=1))
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED


def test_a_run_that_fits_in_before_maintenance_begins(world: World) -> None:
    run = world.request()
    begin = world.lab.clock.now() + timedelta(seconds=run.longest_seconds + 60)
    world.lab.sites.add_window("docker", begin, begin + timedelta(hours=1), "new disks", "ops")
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED


def test_what_is_to_begin_in_maintenance_is_put_off_until_it_is_over(world: World) -> None:
    """A run that was begun long before, and came only now to its next job."""
    run, clock = world.request(), world.lab.clock
    assert isinstance(clock, FakeClock)
    attempt = world.claim()
    while not (progress := world.engine.advance(attempt.id, attempt.epoch)).waiting:
        pass
    assert progress.by is None  # no window, and no queue
    window = world.lab.sites.add_window("docker", clock.now() + timedelta(seconds=5), clock.now() + timedelta(seconds=30), "new disks", "ops")
    while (progress := world.engine.advance(attempt.id, attempt.epoch)).by is None:
        pass
    assert (progress.done, progress.waiting) == (False, ())
    assert timedelta(seconds=9) < progress.by - clock.now() < timedelta(seconds=10)
    before = len(world.backend.jobs)
    answer = world.lab.runs.why(world.participant, run.id)
    assert answer.sentence == f"Run {run.id} waits: Its next job would reach into the site's maintenance {window.times}."
    assert answer.next == "It goes on once the window is over."
    clock.advance(timedelta(seconds=29))
    assert world.engine.advance(attempt.id, attempt.epoch).by == window.end
    assert len(world.backend.jobs) == before
    clock.advance(timedelta(seconds=1))
    while not world.engine.advance(attempt.id, attempt.epoch).done:
        pass
    assert world.look(run)[0].state is RunState.COMPLETED


def test_what_may_have_been_submitted_before_maintenance_is_looked_for_all_the_same(world: World) -> None:
    world.request()
    attempt, now = world.claim(), world.lab.clock.now()

    def die(place: str) -> None:
        if place == "execute:submitted":
            raise KeyboardInterrupt

    dying = replace(world.engine, boundary=die)
    with suppress(KeyboardInterrupt):
        while True:
            dying.advance(attempt.id, attempt.epoch)
    world.lab.sites.add_window("docker", now, now + timedelta(hours=1), "new disks", "ops")
    progress = world.engine.advance(attempt.id, attempt.epoch)
    assert progress.waiting == (JobKey(attempt=attempt.id, role="pilot"),)
    assert written(world, attempt)["created"] is False


# --- a site's own queue ---------------------------------------------------------------------------------------------


def test_only_a_site_with_a_queue_is_told_of_it(world: World) -> None:
    assert isinstance(ClusterSite(world.backend, world.lab.clock), Queueing)
    assert not isinstance(world.site, Queueing)


def test_a_job_in_a_sites_queue_says_what_it_waits_for(cluster: World) -> None:
    run = cluster.request()
    attempt = until_pending(cluster)
    answer = cluster.lab.runs.why(cluster.participant, run.id)
    assert answer.sentence == f"Run {run.id} waits in the queue of site docker: A limit of the QOS is reached."
    assert answer.backend == "PENDING, QOSMaxCpuPerUserLimit"
    waits(cluster, ("PENDING", "Priority", ""))
    cluster.engine.advance(attempt.id, attempt.epoch)
    answer = cluster.lab.runs.why(cluster.participant, run.id)
    assert (answer.sentence, answer.backend) == (f"Run {run.id} waits in the queue of site docker.", "PENDING, Priority")
    assert told(cluster) == []


def test_what_it_waits_for_is_written_when_it_changes_and_not_otherwise(cluster: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.request()
    attempt = until_pending(cluster)
    before = written(cluster, attempt)
    assert before["waiting"] == {"raw": LIMIT[0], "reason": LIMIT[1], "advice": LIMIT[2]}
    with monkeypatch.context() as patched:
        patched.setattr("livinglab.services.journal.Journal.note", lambda *_: pytest.fail("nothing has changed"))
        for _ in range(3):
            cluster.engine.advance(attempt.id, attempt.epoch)
    cluster.backend.scripts["pilot"] = lambda _c: None
    job = cluster.backend.jobs[JobKey(attempt=attempt.id, role="pilot")]
    job.ended_at = job.exit_code = None  # it has started
    waits(cluster, None)
    cluster.engine.advance(attempt.id, attempt.epoch)
    assert written(cluster, attempt)["waiting"] is None
    assert "the pilot's container has begun" in cluster.lab.runs.why(cluster.participant, attempt.run).sentence


def test_a_hold_and_a_priority_reach_the_sites_queue_once_per_change(cluster: World) -> None:
    run = cluster.request()
    attempt = until_pending(cluster)
    runs = cluster.lab.runs
    changes: list[tuple[Callable[[], Run], tuple[Any, ...]]] = [
        (lambda: runs.hold(OPERATOR, run.id, "an incident"), ("hold", attempt.id)),
        (lambda: runs.prioritise(OPERATOR, run.id, 7), ("prioritise", attempt.id, 7)),
        (lambda: runs.let_go(OPERATOR, run.id), ("let_go", attempt.id)),
    ]
    for change, expected in changes:
        change()
        for _ in range(3):
            cluster.engine.advance(attempt.id, attempt.epoch)
        assert told(cluster) == [expected]
        told(cluster).clear()


def test_a_job_in_the_queue_is_held_for_maintenance_and_let_go_after_it(cluster: World) -> None:
    run, clock = cluster.request(), cluster.lab.clock
    assert isinstance(clock, FakeClock)
    attempt = until_pending(cluster)
    begin = clock.now() + timedelta(seconds=70)
    last = begin - timedelta(seconds=10)  # the pilot's wall time
    window = cluster.lab.sites.add_window("docker", begin, begin + timedelta(hours=1), "new disks", "ops")
    assert cluster.engine.advance(attempt.id, attempt.epoch).by == last
    assert told(cluster) == []
    clock.advance(last - clock.now())
    assert cluster.engine.advance(attempt.id, attempt.epoch).by == window.end
    assert told(cluster) == [("hold", attempt.id)]
    answer = cluster.lab.runs.why(cluster.participant, run.id)
    assert f"would reach into the site's maintenance {window.times}. It is held there, and let go once the window is over." in answer.sentence
    cluster.lab.runs.hold(OPERATOR, run.id, "an incident")
    clock.advance(window.end - clock.now())
    assert cluster.engine.advance(attempt.id, attempt.epoch).by is None
    assert told(cluster) == [("hold", attempt.id)]  # somebody else holds it still
    cluster.lab.runs.let_go(OPERATOR, run.id)
    cluster.engine.advance(attempt.id, attempt.epoch)
    assert told(cluster) == [("hold", attempt.id), ("let_go", attempt.id)]


def test_maintenance_that_is_called_off_lets_a_job_go(cluster: World) -> None:
    cluster.request()
    attempt, now = until_pending(cluster), cluster.lab.clock.now()
    window = cluster.lab.sites.add_window("docker", now, now + timedelta(hours=1), "new disks", "ops")
    cluster.engine.advance(attempt.id, attempt.epoch)
    cluster.lab.sites.remove_window("docker", window.id, "ops")
    cluster.engine.advance(attempt.id, attempt.epoch)
    assert told(cluster) == [("hold", attempt.id), ("let_go", attempt.id)]


def test_a_held_job_says_so(cluster: World) -> None:
    run = cluster.request()
    until_pending(cluster)
    cluster.lab.runs.hold(OPERATOR, run.id, "an incident")
    answer = cluster.lab.runs.why(cluster.participant, run.id)
    assert answer.sentence.endswith("A limit of the QOS is reached. It is held by lab-ops: an incident.")


def test_a_priority_from_before_is_told_when_the_job_waits(cluster: World) -> None:
    run = cluster.request()
    cluster.lab.runs.prioritise(OPERATOR, run.id, -3)
    attempt = until_pending(cluster)
    assert told(cluster) == [("prioritise", attempt.id, -3)]


def test_a_site_that_is_away_is_told_later(cluster: World) -> None:
    run = cluster.request()
    attempt = until_pending(cluster)
    cluster.lab.runs.hold(OPERATOR, run.id, "an incident")
    cluster.site.fail("hold", Unreachable("nobody there."))
    with pytest.raises(Unreachable):
        cluster.engine.advance(attempt.id, attempt.epoch)
    cluster.engine.advance(attempt.id, attempt.epoch)
    assert told(cluster) == [("hold", attempt.id)]


def test_the_queue_leaves_nothing_in_what_is_sealed(cluster: World) -> None:
    run = cluster.request()
    attempt = until_pending(cluster)
    waits(cluster, None)
    while not cluster.engine.advance(attempt.id, attempt.epoch).done:
        pass
    assert cluster.look(run)[0].state is RunState.COMPLETED
    assert set(written(cluster, attempt)) == {"handle", "created"}


def test_a_site_is_what_its_record_says() -> None:
    now = FakeClock().now()
    has_queue = {kind: SiteRecord(name="x", kind=kind, added_at=now, changed_at=now).has_queue for kind in ("docker", "slurm")}
    assert has_queue == {"docker": False, "slurm": True}


# --- accounts -------------------------------------------------------------------------------------------------------


def test_what_a_run_used_is_kept_stated_and_shown_to_those_whom_the_specification_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"cpu_seconds": 1.5, "memory_peak_bytes": 1 << 20, "queue_seconds": 310.0, "elapsed_seconds": 4.0, "gpu_seconds": 8.0,
            "energy_joules": 900.0, "wall_seconds": 3.5}  # fmt: skip
    collect = world.site.collect
    monkeypatch.setattr(world.site, "collect", lambda key, into: collect(key, into).model_copy(update={"usage": used}))
    run = world.request()
    world.carry()
    attempt = f"{run.id}.1"
    assert world.lab.results.usage(world.authority, run.id) == {attempt: {"pilot": used, "decode": used, "measure": used}}
    with pytest.raises(Forbidden, match="does not show usage to participant"):
        world.lab.results.usage(world.participant, run.id)
    _document, path = world.lab.results.content(world.authority, run.id, "left-pilot.json")
    left = path.read_bytes()
    assert json.loads(left)["usage"] == used
    with world.lab.store.transaction(read_only=True) as tx:
        stated = [json.loads(dsse_payload(row.body)) for row in tx.ledger(run.plan) if b'"kind":"execution"' in row.entry]
    assert [s["predicate"]["left"] for s in stated] == [{"pilot": sha256(left)}]


def dsse_payload(envelope: bytes) -> bytes:
    return base64.b64decode(json.loads(envelope)["payload"])
