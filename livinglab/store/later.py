"""Writes whose answers nobody waits for: gathered, and sent to the database at once where it takes several in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import IntegrityError

from livinglab.domain.errors import Conflict
from livinglab.store.refusals import conflict
from livinglab.store.tables import metadata


@dataclass(frozen=True)
class Write:
    """A new row of a table, or other values for the one row that has a `key`.

    Args:
        columns: those that are written.
        key: those by which the row is found; none: it is a new one.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()

    def statement(self, mark: str = "") -> Any:
        """With a parameter for each column, whose name begins with `mark`."""
        table = metadata.tables[self.table]
        values = {name: sa.bindparam(f"{mark}new_{name}", type_=table.c[name].type) for name in self.columns}
        if not self.key:
            return sa.insert(table).values(values)
        return sa.update(table).where(*(table.c[name] == sa.bindparam(f"{mark}old_{name}") for name in self.key)).values(values)


@dataclass(frozen=True)
class Written:
    """One write with its values; `refusal` says what it means where no row has the key."""

    write: Write
    new: tuple[Any, ...]
    old: tuple[Any, ...] = ()
    refusal: str = ""

    def parameters(self, mark: str = "") -> dict[str, Any]:
        """As the statement names them."""
        new = {f"{mark}new_{name}": value for name, value in zip(self.write.columns, self.new, strict=True)}
        return new | {f"{mark}old_{name}": value for name, value in zip(self.write.key, self.old, strict=True)}


def send(connection: sa.Connection, all_: Sequence[Written]) -> None:
    """Write them; `Conflict` where a constraint refuses one, or where no row has a key."""
    try:
        if connection.dialect.name == "postgresql":
            written = _together(connection, all_)
        else:
            written = [connection.execute(_alone(one.write), one.parameters()).rowcount for one in all_]
    except IntegrityError as error:
        raise conflict(error) from error
    for one, count in zip(all_, written, strict=True):
        if count != 1:
            raise Conflict(one.refusal)


@cache
def _alone(write: Write) -> Any:
    return write.statement()


def _together(connection: sa.Connection, all_: Sequence[Written]) -> Sequence[int]:
    """How many rows each has written, in their order. Constraints are checked once all is written."""
    statement = _statement_of(tuple(one.write for one in all_))
    parameters: dict[str, Any] = {}
    for number, one in enumerate(all_):
        parameters |= one.parameters(f"p{number}_")
    return tuple(connection.exec_driver_sql(statement, parameters).one())


@cache
def _statement_of(writes: tuple[Write, ...]) -> str:
    """Put together once for each kind of change: there are a few."""
    parts = [write.statement(f"p{number}_").returning(sa.literal_column("1")).cte(f"w{number}") for number, write in enumerate(writes)]
    counts = [sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in parts]
    return str(sa.select(*counts).compile(dialect=psycopg.dialect()))  # type: ignore[no-untyped-call] # it has no types
