"""The whole contract of the store, on a real PostgreSQL; and what only a server can do."""

import signal
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from livinglab.domain.errors import DatabaseAway, Invalid, Unreachable
from livinglab.ports import Tx
from livinglab.store.sql import SqlStore, open_store
from tests.contract import store_records as r
from tests.contract.store_migrations import StoreMigrations
from tests.contract.store_races import StoreRaces, at_once, process
from tests.contract.store_runs import StoreRunsSuite
from tests.contract.store_sites import StoreSitesSuite
from tests.contract.store_suite import Somewhere, StoreSuite
from tests.contract.store_together import StoreTogether, put, share, write

pytestmark = pytest.mark.postgres


@pytest.fixture
def somewhere_empty(postgres_database: str) -> str:
    return postgres_database


@pytest.fixture
def somewhere(somewhere_empty: str) -> Iterator[Somewhere]:
    store = open_store(somewhere_empty)
    yield Somewhere(somewhere_empty, store)
    store.close()


class TestPostgres(StoreSuite):
    """A server, through psycopg."""


class TestPostgresRuns(StoreRunsSuite):
    """The same server, for runs."""


class TestPostgresSites(StoreSitesSuite):
    """The same server, for sites and for what waits for a place there."""


class TestPostgresRaces(StoreRaces):
    """The same server, by many at once."""


class TestPostgresTogether(StoreTogether):
    """The same server, its writers in one transaction."""


class TestPostgresMigrations(StoreMigrations):
    """The migrations, on this database."""


@pytest.fixture
def admin(postgres_url: str) -> Iterator[sa.Connection]:
    """Whoever runs the server, on another database of it."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def database(where: Somewhere) -> str:
    return str(sa.make_url(where.url).database)


def end_connections(admin: sa.Connection, name: str) -> int:
    ended = admin.execute(sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
    return len(ended.all())


def writes(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.emit(r.event("afterwards"))


def test_a_server_that_ends_the_connection_inside_a_transaction_is_unreachable_and_then_is_not(somewhere: Somewhere, admin: sa.Connection) -> None:
    def work(tx: Tx) -> None:
        tx.emit(r.event("lost"))
        assert end_connections(admin, database(somewhere)) == 1
        tx.emit(r.event("lost"))

    with pytest.raises(Unreachable), somewhere.store.transaction() as tx:
        work(tx)
    writes(somewhere.store)
    with somewhere.store.transaction(read_only=True) as tx:
        assert [e.kind for e in tx.events(0, 9)] == ["afterwards"]


def test_a_server_that_is_away_at_the_commit_is_unreachable(somewhere: Somewhere, admin: sa.Connection) -> None:
    def work(tx: Tx) -> None:
        tx.emit(r.event("lost"))
        end_connections(admin, database(somewhere))

    with pytest.raises(Unreachable), somewhere.store.transaction() as tx:
        work(tx)
    with somewhere.store.transaction(read_only=True) as tx:
        assert tx.events(0, 9) == ()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_connection_that_ends_is_told_to_all_who_share_it(somewhere: Somewhere, admin: sa.Connection, place: int) -> None:
    def end(tx: Tx) -> None:
        tx.emit(r.event("lost"))
        assert tx.last_event()
        end_connections(admin, database(somewhere))

    works = [put("a"), put("b"), put("c")]
    works[place] = end
    found_by = min(place + 1, 2)  # whoever begins its part next, or commits; those behind it begin anew
    assert share(somewhere.store, *works) == [DatabaseAway] * (found_by + 1) + [["c"]] * (2 - found_by)
    assert write(somewhere.store, put("d")) == [*"c"[found_by - 1 :], "d"]


def test_a_pool_recovers_from_a_restart_without_a_failure(somewhere: Somewhere, admin: sa.Connection) -> None:
    at_once(lambda _: writes(somewhere.store))
    for work in (writes, lambda store: store.ask(lambda tx: tx.last_event())):
        assert end_connections(admin, database(somewhere)) > 0
        at_once(lambda _: work(somewhere.store))  # noqa: B023 # it is called before the next


def test_a_server_that_lets_nobody_in_is_unreachable_until_it_does(somewhere: Somewhere, admin: sa.Connection) -> None:
    name = database(somewhere)
    admin.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
    end_connections(admin, name)
    with pytest.raises(Unreachable):
        writes(somewhere.store)
    with pytest.raises(Unreachable):
        open_store(somewhere.url)
    admin.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
    writes(somewhere.store)


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        open_store("postgresql+psycopg://lab@127.0.0.1:1/lab")


def test_the_servers_default_isolation_does_not_matter(somewhere: Somewhere, admin: sa.Connection) -> None:
    """With a snapshot from before the wait for the lock, a writer would not see what the writers before it committed."""
    admin.execute(sa.text(f"ALTER DATABASE \"{database(somewhere)}\" SET default_transaction_isolation = 'repeatable read'"))
    store = open_store(somewhere.url)

    def append(n: int) -> None:
        for k in range(5):
            with store.transaction() as tx:
                r.append(tx, "chain", f"{n}-{k}")

    at_once(append)
    with store.transaction(read_only=True) as tx:
        assert len(tx.ledger("chain")) == 40
    store.close()


def test_a_stopped_writer_does_not_stop_the_others(somewhere: Somewhere) -> None:
    """It holds the writers' lock and says nothing: the server ends its transaction before the others lose their patience."""
    impatient = f"{somewhere.url}&options=-c%20idle_in_transaction_session_timeout=1000"
    with process("write_and_hang", impatient) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "inside\n"
        victim.send_signal(signal.SIGSTOP)
        writes(somewhere.store)
        victim.send_signal(signal.SIGCONT)
    with somewhere.store.transaction(read_only=True) as tx:
        assert [e.kind for e in tx.events(0, 9)] == ["afterwards"]


def test_patience_is_longer_than_the_servers_with_a_silent_writer(somewhere: Somewhere) -> None:
    store = open_store(somewhere.url, patience=30)
    with store.transaction() as tx:
        shown = {name: tx.connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("lock_timeout", "idle_in_transaction_session_timeout")}
    store.close()
    assert shown == {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "20s"}


def test_a_value_that_postgresql_cannot_hold_is_the_senders_fault(somewhere: Somewhere) -> None:
    for key in ("nul \x00", "long" * 100):
        with pytest.raises(Invalid) as caught, somewhere.store.transaction() as tx:
            tx.remember("startup", "runs", key, r.digest(1), "x")
        assert not caught.value.transient


def test_a_plain_postgresql_url_will_do(somewhere: Somewhere) -> None:
    store = open_store(somewhere.url.replace("+psycopg", ""))
    writes(store)
    store.close()
