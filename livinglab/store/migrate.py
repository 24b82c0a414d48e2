"""Bringing a database to the newest schema, from the migrations that are shipped with the package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from livinglab.domain.errors import Invalid, PlatformFault

_HERE = Path(__file__).parent / "migrations"


def configuration(scripts: Path = _HERE) -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def revisions(engine: sa.Engine, scripts: Path = _HERE) -> tuple[str | None, str | None]:
    """The one that a database is at, and the newest."""
    with engine.connect().execution_options(read_only=True) as connection, connection.begin():
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory.from_config(configuration(scripts)).get_current_head()


def upgrade(engine: sa.Engine, scripts: Path = _HERE) -> None:
    """Run what is missing, all of it or nothing. Two processes that start at once take turns: the transaction holds the writers' lock.

    Raises:
        Invalid: the database was written by a newer version of the lab.
        PlatformFault: a migration would have left rows that refer to nothing; it was undone.
    """
    config = configuration(scripts)
    known = ScriptDirectory.from_config(config)
    present, newest = revisions(engine, scripts)
    if present == newest:
        return
    if present and present not in {script.revision for script in known.walk_revisions()}:
        msg = f"the database is at revision {present!r}, which this version of the lab does not know (its newest is {newest!r})."
        raise Invalid(msg, where="database", hint="It was written by a newer version: use that one.")
    with engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        _check_foreign_keys(connection)


@contextmanager
def _without_foreign_keys(connection: sa.Connection) -> Iterator[None]:
    """SQLite changes a table by building it anew and dropping the old one, which would take every row that refers to it along."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - it was just connected
    driver.execute("PRAGMA foreign_keys=OFF")  # without effect inside a transaction, so before it
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: sa.Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken:
        msg = f"the migration would leave rows of {broken[0]!r} that refer to nothing in {broken[2]!r}; nothing was changed."
        raise PlatformFault(msg)
