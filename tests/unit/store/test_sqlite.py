"""The whole contract of the store, on SQLite; and what a file can be that is no database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from livinglab.domain.errors import Invalid, Unreachable
from livinglab.store.sql import open_store
from tests.contract.store_migrations import StoreMigrations
from tests.contract.store_races import StoreRaces
from tests.contract.store_runs import StoreRunsSuite
from tests.contract.store_sites import StoreSitesSuite
from tests.contract.store_suite import Somewhere, StoreSuite
from tests.contract.store_together import StoreTogether


@pytest.fixture
def somewhere_empty(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


@pytest.fixture
def somewhere(somewhere_empty: str) -> Iterator[Somewhere]:
    store = open_store(somewhere_empty)
    yield Somewhere(somewhere_empty, store)
    store.close()


class TestSqlite(StoreSuite):
    """Embedded, one file."""


class TestSqliteRuns(StoreRunsSuite):
    """The same file, for runs."""


class TestSqliteSites(StoreSitesSuite):
    """The same file, for sites and for what waits for a place there."""


class TestSqliteRaces(StoreRaces):
    """The same file, by many at once."""


class TestSqliteTogether(StoreTogether):
    """The same file, its writers in one transaction."""


class TestSqliteMigrations(StoreMigrations):
    """The migrations, on this database."""


def test_how_every_connection_is_set_up(somewhere: Somewhere) -> None:
    """Commits are on the disk before they are told, references hold, readers do not stop writers; also after a migration."""
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    for read_only in (False, True):
        with somewhere.store.transaction(read_only=read_only) as tx:
            assert {name: tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected} == expected


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/name", "sqlite+aiosqlite:///x.db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_will_not_do_is_answered_with_one_that_will(url: str) -> None:
    with pytest.raises(Invalid, match=r"sqlite:////path/to/lab\.db"):
        open_store(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "lab.db").write_text("hello, " * 1000)
    with pytest.raises(Invalid, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/lab.db")
    assert (tmp_path / "lab.db").read_text().startswith("hello")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/no/such/lab.db")


def test_a_mistake_in_a_statement_is_not_a_database_that_is_away(somewhere: Somewhere) -> None:
    with pytest.raises(sa.exc.OperationalError, match="no such table"), somewhere.store.transaction() as tx:
        tx.connection.exec_driver_sql("SELECT * FROM nowhere")
