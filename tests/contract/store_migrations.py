"""Migrations: they make what the tables say, all of it or nothing, and keep what is there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from livinglab.domain.errors import Invalid, PlatformFault
from livinglab.domain.run import RunState
from livinglab.store import migrate, tables
from livinglab.store.sql import SqlStore, open_store
from tests.contract import store_records as r

WIDER_PILOTS = """
from alembic import op
import sqlalchemy as sa

revision, down_revision = "next", "{before}"

def upgrade():
    with op.batch_alter_table("{table}") as batch:
        batch.add_column(sa.Column("note", sa.String(40), nullable=False, server_default="kept"))
        batch.alter_column("state", type_=sa.String(90), existing_type=sa.String(80), existing_nullable=False)
    {then}
"""
"""A later migration, of the kind for which SQLite builds a table anew."""


def engine_of(store: SqlStore) -> sa.Engine:
    return store.engine


def shape(engine: sa.Engine) -> dict[str, Any]:
    """Everything that the database knows of its tables, but for Alembic's own."""
    seen = sa.inspect(engine)
    shapes = {}
    for table in set(seen.get_table_names()) - {"alembic_version"}:
        columns = [{**column, "type": repr(column["type"])} for column in seen.get_columns(table)]
        shapes[table] = [columns, seen.get_pk_constraint(table), *(
            sorted(find(table), key=lambda found: str(found["name"]))
            for find in (seen.get_foreign_keys, seen.get_unique_constraints, seen.get_check_constraints, seen.get_indexes))]  # fmt: skip
    return shapes


def with_next(folder: Path, then: str = "pass", table: str = "pilots") -> Path:
    """The shipped migrations, and one more."""
    shutil.copytree(Path(migrate.__file__).parent / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(p.name[:4] for p in (folder / "versions").glob("[0-9]*.py"))
    (folder / "versions" / "next.py").write_text(WIDER_PILOTS.format(before=newest, then=then, table=table))
    return folder


EARLIER = list(ScriptDirectory.from_config(migrate.configuration()).walk_revisions())[1:]
"""Every revision that a lab may be at, but for the newest."""


def rows(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    """What is in each table that has any rows but what a migration put there."""
    seen = sa.MetaData()
    seen.reflect(engine)
    with engine.connect() as connection:
        read = {table.name: [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]
                for table in seen.sorted_tables if table.name not in ("alembic_version", "sites")}  # fmt: skip
    return {name: found for name, found in read.items() if found}


def fill(engine: sa.Engine, written: dict[str, list[dict[str, Any]]]) -> None:
    """These rows, as far as the tables are there and have such columns."""
    seen = sa.MetaData()
    seen.reflect(engine)
    with engine.begin() as connection:
        for table in seen.sorted_tables:
            for row in written.get(table.name, []):
                connection.execute(table.insert().values({name: value for name, value in row.items() if name in table.c}))


class StoreMigrations:
    """One class, so that each database's module says in a line that it is held to all of it."""

    @pytest.fixture
    def empty(self, somewhere_empty: str) -> Any:
        store = open_store(somewhere_empty, migrate=False)
        yield store
        store.close()

    def test_the_migrations_make_what_the_tables_say(self, empty: SqlStore) -> None:
        engine = engine_of(empty)
        migrate.upgrade(engine)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection, opts={"compare_server_default": True}), tables.metadata) == []
        migrated = shape(engine)
        with engine.begin() as connection:
            tables.metadata.drop_all(connection)
            tables.metadata.create_all(connection)
        assert migrated == shape(engine)
        assert len(migrated) == len(tables.metadata.tables)

    def test_an_upgrade_of_what_is_new_already_changes_nothing(self, empty: SqlStore) -> None:
        migrate.upgrade(empty.engine)
        r.with_attempts(empty, 2)
        before = shape(empty.engine)
        migrate.upgrade(empty.engine)
        assert shape(empty.engine) == before
        with empty.transaction(read_only=True) as tx:
            assert len(tx.queue("docker", 9)) == 2

    def test_a_later_migration_keeps_every_row_and_every_reference(self, empty: SqlStore, tmp_path: Path) -> None:
        migrate.upgrade(empty.engine)
        (made,) = r.with_attempts(empty)
        migrate.upgrade(empty.engine, with_next(tmp_path / "scripts"))
        with empty.transaction() as tx:
            assert tx.connection.exec_driver_sql("SELECT note FROM pilots").scalars().all() == ["kept"]
            assert tx.pilot("pilot-0000") == r.pilot()
            assert tx.attempt(made.id) == made
        for statement in ("DELETE FROM pilots", "UPDATE pilots SET state = 'nonsense'"):  # the constraints are still there
            with pytest.raises(sa.exc.IntegrityError), empty.engine.begin() as connection:
                connection.exec_driver_sql(statement)
        with empty.transaction() as tx:
            run = tx.run("run-0000")
            assert run is not None
            tx.update_run(run.to(RunState.RUNNING), run)

    @pytest.mark.parametrize("revision", [script.revision for script in EARLIER])
    def test_what_an_earlier_version_wrote_is_kept(self, empty: SqlStore, revision: str) -> None:
        engine = engine_of(empty)
        migrate.upgrade(engine)
        r.with_attempts(empty, 2)
        with empty.transaction() as tx:
            tx.add_token(r.token(1))
            tx.add_key(r.key(1))
            tx.remember("startup", "runs", "key-1", r.digest(1), "run-0000")
        written = rows(engine)
        with engine.begin() as connection:
            tables.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")
            config = migrate.configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        fill(engine, written)
        before = rows(engine)
        assert len(before["runs"]) == 2
        migrate.upgrade(engine)
        after = rows(engine)
        for table, kept in before.items():
            assert [{name: row[name] for name in kept[0]} for row in after[table]] == kept, table
        with empty.transaction(read_only=True) as tx:
            assert len(tx.queue("docker", 9)) == 2
            assert tx.token_by_hash(r.token(1).hash) == r.token(1)
            assert tx.idempotent("startup", "runs", "key-1") == (r.digest(1), "run-0000")

    @pytest.mark.parametrize("then", ["raise RuntimeError('half way')", "op.execute('SELECT nonsense FROM nowhere')"])
    def test_a_migration_that_fails_leaves_everything_as_it_was(self, empty: SqlStore, tmp_path: Path, then: str) -> None:
        migrate.upgrade(empty.engine)
        r.with_attempts(empty)
        before = shape(empty.engine)
        with pytest.raises((RuntimeError, sa.exc.DBAPIError)):
            migrate.upgrade(empty.engine, with_next(tmp_path / "scripts", then))
        assert shape(empty.engine) == before
        with empty.transaction() as tx:
            assert tx.pilot("pilot-0000") == r.pilot()
        with pytest.raises(sa.exc.IntegrityError), empty.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM pilots")

    def test_a_migration_that_breaks_a_reference_is_undone(self, empty: SqlStore, tmp_path: Path) -> None:
        migrate.upgrade(empty.engine)
        r.with_attempts(empty)
        with pytest.raises((PlatformFault, sa.exc.IntegrityError)):
            migrate.upgrade(empty.engine, with_next(tmp_path / "scripts", "op.execute('DELETE FROM pilots')"))
        with empty.transaction() as tx:
            assert tx.pilot("pilot-0000") == r.pilot()

    def test_a_database_of_a_newer_version_is_left_alone(self, empty: SqlStore, tmp_path: Path) -> None:
        migrate.upgrade(empty.engine, with_next(tmp_path / "scripts"))
        before = shape(empty.engine)
        with pytest.raises(Invalid, match="newer version"):
            migrate.upgrade(empty.engine)
        assert shape(empty.engine) == before
