"""Events, documents, logs and cursors."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from livinglab.domain.access import Document, Event
from livinglab.domain.errors import Conflict
from livinglab.store import tables as t
from livinglab.store.base import MOST, Tables, seconds, seen_by


class RecordTables(Tables):
    """See the port."""

    def emit(self, event: Event) -> None:
        self.insert_later(t.events, kind=event.kind, organisation=event.organisation, sandbox=event.sandbox, run=event.run,
                          doc=event.model_dump_json(exclude={"id"}))  # fmt: skip

    def events(self, after: int, limit: int, *, run: str | None = None, organisation: str | None = None,
               sandboxes: Collection[str] | None = None) -> tuple[Event, ...]:  # fmt: skip
        where = [t.events.c.id > min(after, MOST), *seen_by(t.events, organisation, sandboxes)]
        if run:
            where.append(t.events.c.run == run)
        rows = self.connection.execute(sa.select(t.events.c.id, t.events.c.doc).where(*where).order_by(t.events.c.id).limit(limit))
        return tuple(Event.model_validate_json(row.doc).model_copy(update={"id": row.id}) for row in rows)

    def last_event(self) -> int:
        return int(self.connection.execute(sa.select(sa.func.max(t.events.c.id))).scalar() or 0)

    def cursor(self, name: str) -> int:
        return int(self.scalar(t.cursors.c.position, name=name) or 0)

    def move_cursor(self, name: str, to: int) -> None:
        self.put(t.cursors, {"name": name}, position=to)

    def hold_cursor(self, name: str, owner: str, now: datetime, lease: timedelta, dead: Callable[[str], bool]) -> bool:
        held = self.connection.execute(sa.select(t.cursors.c.owner, t.cursors.c.lease_until).where(t.cursors.c.name == name)).first()
        if held and held.owner not in (None, owner) and held.lease_until > seconds(now) and not dead(held.owner):
            return False
        self.put(t.cursors, {"name": name}, position=self.cursor(name), owner=owner, lease_until=seconds(now + lease))
        return True

    def add_document(self, document: Document) -> None:
        known = self.one(Document, t.documents, subject=document.subject, name=document.name)
        if known is None:
            self.insert(t.documents, subject=document.subject, name=document.name, doc=document.model_dump_json())
        elif known.digest != document.digest:
            msg = f"{document.name} of {document.subject} is already {known.digest}."
            raise Conflict(msg)

    def put_document(self, document: Document) -> None:
        self.put(t.documents, {"subject": document.subject, "name": document.name}, doc=document.model_dump_json())

    def documents(self, subject: str) -> tuple[Document, ...]:
        return self.many(Document, sa.select(t.documents.c.doc).where(t.documents.c.subject == subject).order_by(t.documents.c.name))

    def append_log(self, attempt: str, role: str, offset: int, data: bytes) -> None:
        size = self.log_size(attempt, role)
        fresh = data[max(0, size - offset) :]
        if fresh and offset <= size:
            self.insert(t.logs, attempt=attempt, role=role, start=size, size=len(fresh), data=fresh)

    def read_log(self, attempt: str, role: str, offset: int, limit: int) -> bytes:
        offset = min(offset, MOST)
        rows = self.connection.execute(
            sa.select(t.logs.c.start, t.logs.c.data)
            .where(t.logs.c.attempt == attempt, t.logs.c.role == role, t.logs.c.start + t.logs.c.size > offset, t.logs.c.start < offset + limit)
            .order_by(t.logs.c.start)
        )
        whole = b"".join(bytes(row.data)[max(0, offset - row.start) :] for row in rows)
        return whole[:limit]

    def log_size(self, attempt: str, role: str) -> int:
        longest = sa.select(sa.func.max(t.logs.c.start + t.logs.c.size)).where(t.logs.c.attempt == attempt, t.logs.c.role == role)
        return int(self.connection.execute(longest).scalar() or 0)
