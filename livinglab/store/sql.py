"""The `Store` port over SQLAlchemy Core.

Writers come one at a time, in SQLite by `BEGIN IMMEDIATE` and in PostgreSQL by an advisory lock that lasts as long as the
transaction. So what a transaction has read still holds when it commits, event ids are seen in the order of their
commits, and a chain has no gaps, without a retry anywhere. Readers never wait.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from livinglab.domain.errors import Conflict, Invalid, Unreachable
from livinglab.store.migrate import upgrade
from livinglab.store.tx import SqlTx

_BUSY_SECONDS = 30
_WRITERS = 0x11A8  # the advisory lock's number: any constant that nobody else in this database uses


def open_store(url: str, *, migrate: bool = True) -> "SqlStore":
    """Open the database at a SQLAlchemy URL (`sqlite:///path` or `postgresql+psycopg://…`), migrated to the newest schema.

    Raises:
        Invalid: not a URL of a database that the lab can use.
        Unreachable: it does not answer.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        msg = "the database URL cannot be read."
        raise Invalid(msg, where="database", hint="sqlite:///path/to/lab.db or postgresql+psycopg://user@host/name") from error
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        msg = f"the database {parsed.drivername!r} is not supported."
        raise Invalid(msg, where="database", hint="sqlite or postgresql+psycopg")
    engine = sa.create_engine(parsed, pool_pre_ping=parsed.drivername != "sqlite", pool_size=10, max_overflow=20)
    if parsed.drivername == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        sa.event.listen(engine, "begin", _begin_postgres)
    store = SqlStore(engine)
    if migrate:
        with store.translated():
            upgrade(engine)
    return store


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get("read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgres(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("read_only"):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


class SqlStore:
    """The database behind the `Store` port."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[SqlTx]:
        """See the port."""
        with self.translated(), self.engine.connect() as connection:
            connection.execution_options(read_only=read_only)
            with connection.begin():
                yield SqlTx(connection)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The database's errors as the domain's."""
        try:
            yield
        except IntegrityError as error:
            msg = f"the database refused it: {_first_line(error)}"
            raise Conflict(msg) from error
        except (OperationalError, PoolTimeoutError, sqlite3.OperationalError) as error:
            msg = f"the database does not answer: {_first_line(error)}"
            raise Unreachable(msg) from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            msg = f"the database went away: {_first_line(error)}"
            raise Unreachable(msg) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0]
