"""Sandboxes, pilots and plans."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from livinglab.domain.errors import Conflict
from livinglab.domain.pilot import Pilot
from livinglab.domain.plan import Plan
from livinglab.domain.sandbox import Release
from livinglab.store import tables as t
from livinglab.store.base import Tables, seconds, seen_by

_NEWEST_PLAN = sa.select(t.plans.c.doc).where(t.plans.c.id == sa.bindparam("id")).order_by(t.plans.c.version.desc()).limit(1)


class ContentTables(Tables):
    """See the port."""

    def add_release(self, release: Release, authority: str, document: bytes, at: datetime) -> None:
        spec = release.spec
        known = self.scalar(t.releases.c.digest, sandbox=spec.id, version=spec.version)
        if known == release.digest:
            return
        if known:
            msg = f"version {spec.version} of sandbox {spec.id!r} exists with other contents ({known}); a change is a new version."
            raise Conflict(msg)
        self.insert(t.releases, digest=release.digest, sandbox=spec.id, version=spec.version, authority=authority, document=document, at=seconds(at))

    def release(self, digest: str) -> Release | None:
        document = self.release_document(digest)
        return Release.model_validate_json(document) if document else None

    def release_document(self, digest: str) -> bytes | None:
        document = self.scalar(t.releases.c.document, digest=digest)
        return bytes(document) if document is not None else None

    def sandbox(self, id_: str) -> tuple[Release, str] | None:
        newest = sa.select(t.releases).where(t.releases.c.sandbox == id_).order_by(t.releases.c.version.desc()).limit(1)
        row = self.connection.execute(newest).first()
        return (Release.model_validate_json(row.document), row.authority) if row else None

    def sandboxes(self, after: str | None, limit: int) -> tuple[tuple[Release, str], ...]:
        names = sa.select(t.releases.c.sandbox).distinct().order_by(t.releases.c.sandbox).limit(limit)
        if after:
            names = names.where(t.releases.c.sandbox > after)
        found = (self.sandbox(name) for name in self.connection.execute(names).scalars().all())
        return tuple(f for f in found if f)

    def add_pilot(self, pilot: Pilot) -> None:
        self.insert(t.pilots, id=pilot.id, organisation=pilot.organisation, sandbox=pilot.sandbox, state=pilot.state, doc=pilot.model_dump_json())

    def pilot(self, id_: str) -> Pilot | None:
        return self.one(Pilot, t.pilots, id=id_)

    def update_pilot(self, pilot: Pilot, before: Pilot) -> None:
        as_it_was = [t.pilots.c.id == pilot.id, t.pilots.c.state == before.state]
        self.replace(t.pilots, as_it_was, f"pilot {pilot.id}", state=pilot.state, doc=pilot.model_dump_json())

    def pilots(self, *, organisation: str | None, sandboxes: Collection[str] | None, after: str | None, limit: int) -> tuple[Pilot, ...]:
        return self.many(Pilot, page(t.pilots, seen_by(t.pilots, organisation, sandboxes), after, limit))

    def add_plan(self, plan: Plan, body: bytes) -> None:
        self.insert(t.plans, id=plan.id, version=plan.body.version, digest=plan.digest, pilot=plan.body.pilot, organisation=plan.body.participant,
                    sandbox=plan.body.sandbox, state=plan.state, body=body, doc=plan.model_dump_json())  # fmt: skip

    def plan(self, id_: str) -> Plan | None:
        doc = self.connection.execute(_NEWEST_PLAN, {"id": id_}).scalar()
        return Plan.model_validate_json(doc) if doc is not None else None

    def plan_body(self, digest: str) -> bytes | None:
        body = self.scalar(t.plans.c.body, digest=digest)
        return bytes(body) if body is not None else None

    def update_plan(self, plan: Plan, before: Plan) -> None:
        as_it_was = [t.plans.c.digest == plan.digest, t.plans.c.state == before.state, t.plans.c.doc == before.model_dump_json()]
        self.replace(t.plans, as_it_was, f"plan {plan.id}", state=plan.state, doc=plan.model_dump_json())

    def plans(self, *, pilot: str | None, organisation: str | None, sandboxes: Collection[str] | None, after: str | None,
              limit: int) -> tuple[Plan, ...]:  # fmt: skip
        newer = t.plans.alias("newer")
        superseded = sa.exists().where(newer.c.id == t.plans.c.id, newer.c.version > t.plans.c.version)
        where = [*seen_by(t.plans, organisation, sandboxes), ~superseded]
        if pilot:
            where.append(t.plans.c.pilot == pilot)
        return self.many(Plan, page(t.plans, where, after, limit))


def page(table: sa.Table, where: list[Any], after: str | None, limit: int) -> sa.Select[Any]:
    """Newest first: ids begin with their time."""
    if after:
        where = [*where, table.c.id < after]
    return sa.select(table.c.doc).where(*where).order_by(table.c.id.desc()).limit(limit)
