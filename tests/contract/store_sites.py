"""What every database behind the `Store` port must do with sites, and with the turn of what waits for a place there."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from livinglab.domain.errors import Conflict
from livinglab.domain.run import Attempt, RunState
from livinglab.domain.site import Away, Offer, SiteRecord, SiteState, Window
from livinglab.ports import Tx
from livinglab.store import migrate
from livinglab.store import tables as t
from livinglab.store.sql import SqlStore, open_store
from tests.contract import store_records as r
from tests.contract.store_suite import WithStore

LEASE = timedelta(seconds=30)


def site(name: str = "meluxina", **changes: Any) -> SiteRecord:
    settings = {"scratch": "/scratch", "access": {"kind": "local", "prefix": ["sudo", "-n"]}, "poll_seconds": 0.25}
    return SiteRecord.model_validate({"name": name, "kind": "slurm", "settings": settings, "added_at": r.T0, "changed_at": r.T0, **changes})


def claim(tx: Tx, site: str = "docker", now: datetime = r.T0, owner: str = "a") -> Attempt | None:
    return next(iter(tx.claim(site, owner, now, LEASE, lambda _: False)), None)


class StoreSitesSuite(WithStore):
    """One class, so that a database's module takes it on in a line."""

    def test_every_database_has_the_site_docker_without_bounds(self, store: SqlStore) -> None:
        with store.transaction(read_only=True) as tx:
            (docker,) = tx.sites()
        assert (docker.name, docker.kind, docker.settings, docker.offer, docker.state) == ("docker", "docker", {}, Offer(), SiteState.OPEN)

    def test_sites(self, store: SqlStore) -> None:
        window = Window(id="win-1", begin=r.at(60), end=r.at(120), reason="new disks")
        made = site(offer={"memory": 1 << 40, "witnesses": {"pids": ["rlimit"]}, "public_data_only": "one account"}, windows=[window])
        with store.transaction() as tx:
            tx.add_site(made)
            tx.add_site(site("another"))
        with store.transaction(read_only=True) as tx:
            assert tx.site("meluxina") == made
            assert tx.site("nowhere") is None
            assert [s.name for s in tx.sites()] == ["another", "docker", "meluxina"]
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_site(site())
        with store.transaction() as tx:
            tx.remove_site("another")
            assert [s.name for s in tx.sites()] == ["docker", "meluxina"]

    def test_a_site_changes_from_what_was_seen(self, store: SqlStore) -> None:
        before = site()
        after = before.model_copy(update={"state": SiteState.DRAINING, "reason": "new disks"})
        with store.transaction() as tx:
            tx.add_site(before)
            tx.update_site(after, before)
            assert tx.site("meluxina") == after
        for stale in (before, before.model_copy(update={"state": SiteState.DRAINING})):
            with pytest.raises(Conflict), store.transaction() as tx:
                tx.update_site(before, stale)
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.update_site(site("nowhere"), site("nowhere"))
        with pytest.raises(Conflict), pytest.warns(UserWarning, match="serialized value"), store.transaction() as tx:
            tx.update_site(after.model_copy(update={"state": "nonsense"}), after)

    def test_that_a_site_is_away_is_kept_and_not_said_of_one_that_is_not(self, store: SqlStore) -> None:
        """A process of an earlier version reads the others."""
        here, away = site(), site().model_copy(update={"away": Away(since=r.T0, sentence="nobody answers.")})
        with store.transaction() as tx:
            tx.add_site(here)
            assert "away" not in tx.connection.execute(sa.select(t.sites.c.doc).where(t.sites.c.name == here.name)).scalar_one()
            tx.update_site(away, here)
            assert tx.site(here.name) == away
            tx.update_site(here, away)
            assert tx.site(here.name) == here

    def test_runs_are_counted_by_state(self, store: SqlStore) -> None:
        r.with_attempts(store, 3)
        with store.transaction() as tx:
            run = tx.run("run-0000")
            assert run is not None
            tx.update_run(run.to(RunState.RUNNING), run)
            assert tx.tally("docker") == {RunState.QUEUED: 2, RunState.RUNNING: 1}
            assert tx.tally("meluxina") == {}

    # --- whose turn it is ---

    def test_the_higher_priority_begins_first_and_then_the_older(self, store: SqlStore) -> None:
        r.with_attempts(store, 5)
        with store.transaction() as tx:
            for number, priority in {1: -1, 2: 7, 4: 7}.items():
                run = tx.run(f"run-{number:04}")
                assert run is not None
                tx.update_run(run.model_copy(update={"priority": priority}), run)
            order = [f"run-{number:04}" for number in (2, 4, 0, 3, 1)]
            assert [run.id for run in tx.queue("docker", 9)] == order
            claimed = [claim(tx) for _ in range(6)]
        assert [a and a.run for a in claimed] == [*order, None]

    def test_a_held_run_is_not_begun_but_goes_on_once_it_was(self, store: SqlStore) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            run = tx.run(made.run)
            assert run is not None
            held = run.model_copy(update={"held_by": "ministry", "held_reason": "wait"})
            tx.update_run(held, run)
            assert claim(tx) is None
            assert (tx.held("docker"), tx.held("meluxina")) == (1, 0)
            assert [queued.id for queued in tx.queue("docker", 9)] == [run.id]
            tx.update_attempt(made.to(RunState.RUNNING), 0)
            assert claim(tx) is not None
            tx.update_run(held.to(RunState.RUNNING), held)
            assert tx.held("docker") == 0

    def test_a_run_that_is_to_be_cancelled_waits_for_nobody(self, store: SqlStore) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            run, docker = tx.run(made.run), tx.site("docker")
            assert run is not None
            assert docker is not None
            tx.update_site(docker.model_copy(update={"state": SiteState.DRAINING}), docker)
            held = run.model_copy(update={"held_by": "ministry"})
            tx.update_run(held, run)
            assert claim(tx) is None
            tx.update_run(held.to(RunState.CANCELLING), held)
            assert claim(tx) is not None

    def test_what_is_let_go_has_its_turn(self, store: SqlStore) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            run = tx.run(made.run)
            assert run is not None
            held = run.model_copy(update={"held_by": "ministry"})
            tx.update_run(held, run)
            tx.update_run(run, held)
            taken = claim(tx)
        assert taken is not None
        assert taken.id == made.id

    @pytest.mark.parametrize(("begun", "state", "begins", "longest", "free"), [
        (False, "open", None, 1e6, True),
        (False, "draining", None, 0.0, False),
        (False, "draining", None, 1e6, False),
        (True, "draining", None, 1e6, True),
        (False, "open", 100, 99.9, True),
        (False, "open", 100, 100.1, False),
        (True, "open", 100, 100.1, True),
        (False, "open", -10, 0.0, False),
        (True, "open", -10, 1e6, True),
    ])  # fmt: skip
    def test_a_site_that_drains_or_goes_away_begins_nothing_that_would_be_in_the_way(
        self, store: SqlStore, begun: bool, state: SiteState, begins: float | None, longest: float, free: bool
    ) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            run, docker = tx.run(made.run), tx.site("docker")
            assert run is not None
            assert docker is not None
            tx.update_run(run.model_copy(update={"longest_seconds": longest}), run)
            if begun:
                tx.update_attempt(made.to(RunState.RUNNING), 0)
            windows = () if begins is None else (Window(id="w", begin=r.at(begins), end=r.at(begins + 60), reason="new disks"),)
            changed = docker.model_copy(update={"state": SiteState(state), "windows": windows})
            tx.update_site(changed, docker)
            assert (claim(tx) is not None) == free
            if begins is not None:
                assert claim(tx, now=r.at(begins + 3_600), owner="b") is not None, "the window is over"

    def test_a_run_that_is_too_long_does_not_stand_before_a_shorter_one(self, store: SqlStore) -> None:
        r.with_attempts(store, 2)
        with store.transaction() as tx:
            run, docker = tx.run("run-0000"), tx.site("docker")
            assert run is not None
            assert docker is not None
            tx.update_run(run.model_copy(update={"longest_seconds": 1_000.0}), run)
            window = Window(id="w", begin=r.at(100), end=r.at(200), reason="new disks")
            tx.update_site(docker.model_copy(update={"windows": (window,)}), docker)
            taken = claim(tx)
            assert taken is not None
            assert taken.run == "run-0001"
            assert claim(tx) is None

    def test_a_database_without_a_registry_keeps_its_runs_and_gets_the_site_that_they_are_at(self, somewhere_empty: str) -> None:
        store = open_store(somewhere_empty, migrate=False)
        try:
            config = migrate.configuration()
            with store.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "0002")
            before = r.run(r.pilot())
            later = {"priority", "held_by", "held_reason", "longest_seconds"}
            columns = {"id": before.id, "plan": before.plan, "ordinal": 1, "pilot": before.pilot, "organisation": before.organisation,
                       "sandbox": before.sandbox, "site": "docker", "state": "queued", "created_at": 0.0,
                       "doc": before.model_dump_json(exclude=later)}  # fmt: skip
            with store.transaction() as tx:
                tx.add_pilot(r.pilot())
                tx.connection.execute(sa.table("runs", *map(sa.column, columns)).insert().values(**columns))
                tx.add_attempt(r.attempt(before))
            migrate.upgrade(store.engine)
            with store.transaction() as tx:
                assert tx.run(before.id) == before
                assert json.loads(tx.connection.exec_driver_sql("SELECT doc FROM sites").scalar_one())["kind"] == "docker"
                assert claim(tx) is not None
        finally:
            store.close()
