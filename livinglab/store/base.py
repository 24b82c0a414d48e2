"""What the tables' classes share: a connection, and a few ways to read and write a row."""

from collections.abc import Collection
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, overload

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError

from livinglab.store.later import Write, Written, send
from livinglab.store.refusals import changed, conflict
from livinglab.store.tables import metadata

M = TypeVar("M", bound=BaseModel)


MOST = 2**62
"""What a number that came from outside is cut to: every database still compares it, and no id or offset comes near."""


def seconds(at: datetime | None) -> float | None:
    """A moment as it is stored."""
    return at.timestamp() if at else None


@overload
def moment(at: None) -> None: ...
@overload
def moment(at: float) -> datetime: ...
def moment(at: float | None) -> datetime | None:
    """A stored moment, in UTC."""
    return datetime.fromtimestamp(at, UTC) if at is not None else None


@cache
def _by(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> sa.Select[Any]:
    """Made once: putting a statement together takes about as long as the database's answer to it."""
    c = metadata.tables[table].c
    return sa.select(*(c[name] for name in columns)).where(*(c[name] == sa.bindparam(name) for name in key))


class Tables:
    """A connection within a transaction. Whatever was put off is written before anything else is asked."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._later: list[Written] = []
        self.heads: dict[str, tuple[int, str] | None] = {}
        """Of the chains that were looked at: nobody else writes meanwhile, or what others write is not seen."""

    @property
    def connection(self) -> sa.Connection:
        """For whoever waits for an answer."""
        self.flush()
        return self._connection

    def flush(self) -> None:
        """Write what was put off."""
        if later := self._later:
            self._later = []
            send(self._connection, later)

    def insert_later(self, table: sa.Table, **values: Any) -> None:
        """A new row: before anything else is asked, and at the latest before the commit."""
        self._put_off(Written(Write(table.name, tuple(values)), tuple(values.values())))

    def change_later(self, table: sa.Table, key: dict[str, Any], refusal: str, **values: Any) -> None:
        """Other values for the row that has a key; where there is none, a `Conflict` that says `refusal`."""
        self._put_off(Written(Write(table.name, tuple(values), tuple(key)), tuple(values.values()), tuple(key.values()), refusal))

    def _put_off(self, written: Written) -> None:
        if any(other.write.table == written.write.table for other in self._later):
            self.flush()  # a statement changes no row twice, and has no order of its own
        self._later.append(written)

    def insert(self, table: sa.Table, **values: Any) -> None:
        """A new row; `Conflict` where a constraint refuses it."""
        try:
            self.connection.execute(table.insert(), values)
        except IntegrityError as error:
            raise conflict(error) from error

    def put(self, table: sa.Table, key: dict[str, Any], **values: Any) -> None:
        """A row by its key: inserted, or replaced."""
        where = [table.c[name] == value for name, value in key.items()]
        if self.connection.execute(table.update().where(*where).values(**values)).rowcount == 0:
            self.insert(table, **key, **values)

    def scalar(self, column: sa.Column[Any], **key: Any) -> Any:
        """One value of the row with that key, or None."""
        return self.connection.execute(_by(column.table.name, (column.name,), tuple(key)), key).scalar()

    def row(self, table: sa.Table, columns: tuple[str, ...], **key: Any) -> Any:
        """Some columns of the row with that key, or None."""
        return self.connection.execute(_by(table.name, columns, tuple(key)), key).first()

    def one(self, model: type[M], table: sa.Table, **key: Any) -> M | None:
        """One model by its `doc`, or None."""
        doc = self.scalar(table.c.doc, **key)
        return model.model_validate_json(doc) if doc is not None else None

    def many(self, model: type[M], statement: sa.Select[Any]) -> tuple[M, ...]:
        """Models by a statement that selects `doc`."""
        return tuple(model.model_validate_json(doc) for doc in self.connection.execute(statement).scalars())

    def replace(self, table: sa.Table, where: list[Any], what: str, **values: Any) -> None:
        """Change exactly one row; `Conflict` if it is no longer as it was."""
        if self.connection.execute(table.update().where(*where).values(**values)).rowcount != 1:
            raise changed(what)


def seen_by(table: sa.Table, organisation: str | None, sandboxes: Collection[str] | None) -> list[Any]:
    """The filter for what an organisation may see: its own, and all of the sandboxes that it oversees (None: of all)."""
    if sandboxes is None:
        return []
    overseen = table.c.sandbox.in_(sorted(sandboxes))
    return [overseen if organisation is None else sa.or_(table.c.organisation == organisation, overseen)]
