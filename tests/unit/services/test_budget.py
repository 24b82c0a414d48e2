"""What a plan's runs cost: who is charged, who is not, and when no more is to be had."""

from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.domain.errors import Conflict, NotFound, PlatformFault, Refused
from livinglab.domain.run import RunState
from livinglab.evidence.ledger import Entry
from livinglab.evidence.receipt import check_receipt
from livinglab.testing.fakes import FakeClock, FakeContainer
from tests.unit.services.test_disclosure import all_closed
from tests.unit.services.test_engine import World, honest, make_world

WALL = 10.0  # seconds, the manifest's
RESTRICTED = {"data": {"card": "none", "visibility": "restricted"}}


def quota(world_: dict[str, object]) -> dict[str, object]:
    limits = {"memory": 536870912, "cpus": 1, "pids": 64, "wall_seconds": 60, "output_bytes": 4194304, "output_files": 16, "log_bytes": 65536}
    return {"quota": {"measured_runs": 20, "runs_in_flight": 20, "pilot_resources": limits, **world_}}


def lasting(seconds: float, world: World, code: int = 0) -> None:
    """Pilots that take so long."""

    def script(c: FakeContainer) -> int:
        clock = world.lab.clock
        assert isinstance(clock, FakeClock)
        clock.advance(timedelta(seconds=seconds))
        return code or honest(c)

    world.backend.scripts["pilot"] = script


@pytest.mark.parametrize("code", [0, 3])
def test_a_pilots_time_is_charged_whether_it_did_well_or_not(tmp_path: Path, code: int) -> None:
    world = make_world(tmp_path, {}, **quota({"core_hours": 1.0}))
    lasting(5, world, code)
    run = world.request()
    assert world.lab.plans.budget(world.participant, world.plan).core_hours_reserved == pytest.approx(WALL / 3600)
    world.carry()
    budget = world.lab.plans.budget(world.participant, world.plan)
    assert world.look(run)[0].core_seconds == pytest.approx(5, abs=0.5)
    assert budget.core_hours_used == pytest.approx(5 / 3600, rel=0.1)
    assert budget.core_hours_reserved == 0


def test_what_the_platform_failed_is_not_charged_and_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path, {}, **quota({"core_hours": 1.0}))
    lasting(5, world)

    def broken(*_: object) -> None:
        raise PlatformFault("the disk is full.")

    monkeypatch.setattr(world.site, "collect", broken)
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.core_seconds, ended.counts, len(attempts)) == (RunState.FAILED, 0, False, 3)
    assert world.lab.plans.budget(world.participant, world.plan).left == 20


def test_no_run_begins_that_might_take_more_than_is_left(tmp_path: Path) -> None:
    world = make_world(tmp_path, {}, **quota({"core_hours": 2.5 * WALL / 3600}))
    lasting(9, world)
    first, _second = world.request(), world.request("key-00000002")
    with pytest.raises(Refused, match=r"core-hours 0 are used and 0\.00556 spoken for, and a run may take 0\.00278"):
        world.request("key-00000003")
    world.carry()
    assert world.look(first)[0].core_seconds == pytest.approx(9, abs=0.5)
    with pytest.raises(Refused, match=r"core-hours 0\.00[45]"):
        world.request("key-00000004")


def test_a_run_that_was_cancelled_before_it_began_costs_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path, {}, **quota({"core_hours": 1.0}))
    run = world.request()
    world.lab.runs.cancel(world.participant, run.id, "enough")
    assert world.lab.plans.budget(world.participant, world.plan).core_hours_used == 0


def test_a_specification_without_such_a_limit_has_the_digest_it_had(tmp_path: Path) -> None:
    world = make_world(tmp_path, {})
    with world.lab.store.transaction(read_only=True) as tx:
        plan = tx.plan(world.plan)
        release = tx.release(plan.body.release) if plan else None
    assert release
    assert "core_hours" not in release.spec.quota.model_dump()
    assert world.lab.plans.budget(world.participant, world.plan).core_hours is None


@pytest.mark.parametrize(("more", "opened", "counts"), [
    (RESTRICTED, {}, False), (RESTRICTED, {"logs": ["participant"]}, True), (RESTRICTED, {"usage": ["participant"]}, True),
    ({}, {"logs": ["participant"]}, False),
])  # fmt: skip
def test_a_failed_run_counts_once_something_hidden_was_disclosed(tmp_path: Path, more: dict[str, object], opened: dict[str, list[str]],
                                                                *, counts: bool) -> None:  # fmt: skip
    world = make_world(tmp_path, {}, disclosure=all_closed() | opened, **more)

    def failing(c: FakeContainer) -> int:
        c.say(b"the first case is 71 years old\n")
        return 3

    world.backend.scripts["pilot"] = failing
    run = world.request()
    world.carry()
    ended = world.look(run)[0]
    assert (ended.state, ended.counts) == (RunState.FAILED, counts)
    budget = world.lab.plans.budget(world.participant, world.plan)
    assert (budget.counted, budget.left) == (int(counts), 20 - counts)


def chain(world: World) -> list[Entry]:
    return [Entry(data=row.entry, digest=row.digest, body=row.body) for row in world.lab.dossiers.ledger(world.authority, world.plan)]


def test_a_receipt_is_found_in_the_chain_and_missed_where_it_was_cut_off_or_changed(tmp_path: Path) -> None:
    world = make_world(tmp_path, {})
    run = world.request()
    with pytest.raises(Conflict, match="is not over"):
        world.lab.results.receipt(world.participant, run.id)
    with pytest.raises(NotFound):
        world.lab.results.receipt(world.participant.model_copy(update={"organisation": "rival"}), run.id)
    world.carry()
    receipt = world.lab.results.receipt(world.participant, run.id)
    assert (receipt.counts, receipt.ordinal, receipt.verdict) == (True, 1, "PASS")
    data, entries = receipt.model_dump_json().encode(), chain(world)
    assert list(check_receipt(data, entries)) == []
    assert "were cut off" in str(next(check_receipt(data, entries[:-1])))
    other = [*entries[:-1], Entry(data=entries[-1].data, digest=entries[-1].digest, body=b"{}")]
    assert "is not the one that the lab gave" in str(next(check_receipt(data, other)))
    assert "it is none" in str(next(check_receipt(b"{}", entries)))


def test_a_run_that_never_began_has_a_receipt_too(tmp_path: Path) -> None:
    world = make_world(tmp_path, {})
    run = world.request()
    world.lab.runs.cancel(world.participant, run.id, "enough")
    receipt = world.lab.results.receipt(world.participant, run.id)
    assert (receipt.state, receipt.counts, '"run-cancelled"' in receipt.entry) == (RunState.CANCELLED, False, True)
