"""The `Store` port over SQLAlchemy Core.

Writers come one at a time, in SQLite by `BEGIN IMMEDIATE` and in PostgreSQL by an advisory lock that lasts as long as the
transaction. So what a transaction has read still holds when it commits, event ids are seen in the order of their
commits, and a chain has no gaps, without a retry anywhere. Those of one process share a transaction where several wait
(`together`). Readers never wait, and see one moment throughout.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from livinglab.domain.errors import DatabaseAway, Invalid
from livinglab.store.migrate import upgrade
from livinglab.store.refusals import conflict, first_line
from livinglab.store.together import Writers
from livinglab.store.tx import SqlTx

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds. The longest wait for the writers before, and for a connection; then it is `Unreachable`."""
_WRITERS = 0x11A8  # the advisory lock's number: any constant that nobody else in this database uses
# Under the lock each statement must see what was committed before it, whatever the server's default is. And others wait meanwhile: a
# statement is planned once, since planning it for its values takes longer than its answer.
_BEGIN_TO_WRITE = f"""
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL plan_cache_mode = force_generic_plan; SELECT pg_advisory_xact_lock({_WRITERS})
"""
_EXAMPLES = "sqlite:////path/to/lab.db or postgresql+psycopg://user@host/name"


def open_store(url: str, *, migrate: bool = True, patience: float = PATIENCE) -> "SqlStore":
    """Open the database at a SQLAlchemy URL (`sqlite:///path` or `postgresql+psycopg://…`), migrated to the newest schema.

    Args:
        url: where it is. What the URL's query says of a connection is left as it is.
        migrate: bring it to the newest schema first.
        patience: seconds to wait for other writers, and for a free connection.

    Raises:
        Invalid: not a URL of a database that the lab can use.
        Unreachable: it does not answer.
    """
    parsed = _checked(url)
    if parsed.drivername == "sqlite":
        engine = sa.create_engine(parsed, pool_size=10, max_overflow=30, pool_timeout=patience, connect_args={"timeout": patience})
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        # "AUTOCOMMIT": the driver begins nothing by itself, `_begin_postgres` does.
        engine = sa.create_engine(parsed, pool_size=20, max_overflow=0, pool_timeout=patience,
                                  isolation_level="AUTOCOMMIT", connect_args=_postgres_arguments(parsed, patience))  # fmt: skip
        sa.event.listen(engine, "begin", _begin_postgres)
    store = SqlStore(engine, patience)
    if migrate:
        try:
            with store.translated():
                upgrade(engine)
        except BaseException:
            store.close()
            raise
    return store


def _postgres_arguments(url: sa.URL, patience: float) -> dict[str, Any]:
    # A writer whose process was stopped holds the lock: the server ends its transaction before the patience of the others does.
    limits = f"-c lock_timeout={int(patience * 1000)} -c idle_in_transaction_session_timeout={int(patience * 2000 / 3)}"
    theirs = url.query.get("options", "")
    # A host that vanishes says nothing: without these a statement would wait for hours.
    ours: dict[str, Any] = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    kept = {name: value for name, value in ours.items() if name not in url.query}
    return kept | {"options": " ".join([limits, *([theirs] if isinstance(theirs, str) else theirs)])}


def _checked(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        msg = "the database URL cannot be read."
        raise Invalid(msg, where="database", hint=f"Expected {_EXAMPLES}.") from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        msg = f"the database {parsed.drivername!r} is not supported."
        raise Invalid(msg, where="database", hint=f"Expected {_EXAMPLES}.")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        msg = "a database in memory is lost with its process, and each connection would see its own."
        raise Invalid(msg, where="database", hint=f"Expected {_EXAMPLES}.")
    return parsed


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    # FULL: a commit is on the disk before anybody is told of it. A ledger that forgets its newest entry in a power cut is no ledger.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    read_only = bool(options.get("read_only"))
    if connection.info.get("read_only") is not read_only:
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        connection.info["read_only"] = read_only
    if not options.get("alone"):
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgres(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("alone"):
        return
    if options.get("read_only"):
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql(_BEGIN_TO_WRITE)


class SqlStore:
    """The database behind the `Store` port."""

    def __init__(self, engine: sa.Engine, patience: float = PATIENCE) -> None:
        self.engine = engine
        # Whoever waits for SQLite's lock looks again every now and then, and is overtaken by whoever looks first; on PostgreSQL it keeps
        # a connection meanwhile. So the writers of one process queue here, and only those of several processes meet there.
        self._writers = Writers(lambda: self._begin(read_only=False), patience)

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[SqlTx]:
        """See the port."""
        with self.translated(), self._reading() if read_only else self._writers.part() as connection:
            tx = SqlTx(connection)
            yield tx
            tx.flush()

    def ask(self, question: Callable[[SqlTx], T]) -> T:
        """See the port."""
        with self.translated():
            return self._twice(lambda: self._ask_once(question))

    def _ask_once(self, question: Callable[[SqlTx], T]) -> T:
        with self.engine.connect().execution_options(read_only=True, alone=True) as connection:
            return question(SqlTx(connection))

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        connection, transaction = self._begin(read_only=True)
        with connection, transaction:
            yield connection

    def _begin(self, *, read_only: bool) -> tuple[sa.Connection, sa.RootTransaction]:
        return self._twice(lambda: self._begin_once(read_only=read_only))

    def _twice(self, what: Callable[[], T]) -> T:
        """What loses nothing where its connection has died in the pool, which its first statement finds out: once more, with another one."""
        try:
            return what()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return what()

    def _begin_once(self, *, read_only: bool) -> tuple[sa.Connection, sa.RootTransaction]:
        connection = self.engine.connect().execution_options(read_only=read_only)
        try:
            return connection, connection.begin()
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The database's errors as the domain's."""
        try:
            yield
        except IntegrityError as error:
            raise conflict(error) from error
        except DataError as error:
            msg = f"the database cannot hold this value: {first_line(error)}"
            raise Invalid(msg) from error
        except PoolTimeoutError as error:
            msg = "every connection to the database is busy."
            raise DatabaseAway(msg) from error
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.Error) and _code(error.orig) == sqlite3.SQLITE_NOTADB:
                msg = "the file is not a database."
                raise Invalid(msg, where="database", hint="Name another file, or move this one away.") from error
            if _is_a_mistake_of_ours(error):
                raise
            msg = f"the database does not answer: {first_line(error)}"
            raise DatabaseAway(msg) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _is_a_mistake_of_ours(error: DBAPIError) -> bool:
    """Would the same statement fail again, however well the database is?"""
    if isinstance(error.orig, sqlite3.Error):
        return _code(error.orig) in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_MISUSE)
    return not (error.connection_invalidated or isinstance(error, OperationalError))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; that of misuse where the driver refused before SQLite was asked."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)) & 0xFF
