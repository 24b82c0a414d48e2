"""Runs, attempts and the journal."""

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from livinglab.domain.errors import Conflict, StaleEpoch
from livinglab.domain.pilot import PilotState
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, JournalEntry, Run, RunCount, RunState, Spent, Step
from livinglab.domain.site import SiteRecord
from livinglab.domain.standing import Asked, Standing
from livinglab.store import tables as t
from livinglab.store.base import M, moment, seconds, seen_by
from livinglab.store.content import page
from livinglab.store.sites import SiteTables

_FINAL = tuple(state for state in RunState if state.final)
_TURN = (t.runs.c.priority.desc(), t.runs.c.created_at, t.runs.c.id)
# Constants within the statement: as parameters, each time it is asked it would be put together anew for as many as there are.
_GOING = t.runs.c.state.not_in([sa.literal_column(f"'{state}'") for state in _FINAL])
_COSTS = (
    sa.func.count().label("runs"), sa.func.count().filter(t.runs.c.counts).label("counted"), sa.func.count().filter(_GOING).label("under_way"),
    sa.func.count().filter(t.runs.c.counts | _GOING).label("at_stake"), sa.func.coalesce(sa.func.sum(t.runs.c.core_seconds), 0).label("core_seconds"),
)  # fmt: skip
_OF_PLAN = (t.runs.c.plan == sa.bindparam("plan"), t.runs.c.id != sa.bindparam("without"))
_SPENT = sa.select(*_COSTS).where(*_OF_PLAN)
_SITE = sa.select(t.sites.c.doc).where(t.sites.c.name == sa.bindparam("site")).scalar_subquery().label("site")
_STANDING = sa.select(
    *_COSTS, sa.select(t.pilots.c.state).where(t.pilots.c.id == sa.bindparam("pilot")).scalar_subquery().label("pilot"), _SITE,
).where(*_OF_PLAN)  # fmt: skip


def _asked() -> sa.Select[Any]:
    """Of a plan under which a run is asked for under a key: everything that decides."""
    newest = sa.select(t.plans.c.doc, t.plans.c.pilot).where(t.plans.c.id == sa.bindparam("plan")).order_by(t.plans.c.version.desc()).limit(1)
    known = sa.select(t.idempotency.c.request, t.idempotency.c.made).where(
        *(t.idempotency.c[name] == sa.bindparam(name) for name in ("organisation", "what", "key")))  # fmt: skip
    head = sa.select(t.chains.c.sequence, t.chains.c.head).where(t.chains.c.chain == sa.bindparam("plan"))
    plan, before, chain = newest.subquery("newest"), known.subquery("known"), head.subquery("chain")
    pilot = sa.select(t.pilots.c.state).where(t.pilots.c.id == plan.c.pilot).scalar_subquery().label("pilot")
    costs = sa.select(*_COSTS).where(t.runs.c.plan == sa.bindparam("plan")).subquery("costs")
    joined = costs.outerjoin(plan, sa.true()).outerjoin(before, sa.true()).outerjoin(chain, sa.true())
    return sa.select(*costs.c, plan.c.doc, pilot, _SITE, before.c.request, before.c.made, chain.c.sequence, chain.c.head).select_from(joined)


_ASKED = _asked()
_ATTEMPT = sa.select(t.attempts.c.doc, t.attempts.c.lease_until)
_RENEWED_AT_ONCE = 500  # so that a statement has fewer parameters than any database allows
_STEPS = {step: index for index, step in enumerate(Step)}


@lru_cache(256)
def _read(model: type[M], doc: str) -> M:
    """Documents that are asked for again and again, as long as they stay the same. Nobody changes what is frozen."""
    return model.model_validate_json(doc)


def _spent(row: Any) -> Spent:
    return Spent(runs=row.runs, counted=row.counted, under_way=row.under_way, at_stake=row.at_stake, core_seconds=row.core_seconds)


def _standing(row: Any) -> Standing:
    site = _read(SiteRecord, row.site) if row.site is not None else None
    return Standing(spent=_spent(row), pilot=PilotState(row.pilot) if row.pilot else None, site=site)


class RunTables(SiteTables):
    """See the port."""

    def add_run(self, run: Run, attempt: Attempt) -> None:
        self.insert_later(t.runs, id=run.id, plan=run.plan, ordinal=run.ordinal, pilot=run.pilot, organisation=run.organisation, sandbox=run.sandbox,
                          site=run.site, created_at=seconds(run.created_at), **_run_columns(run))  # fmt: skip
        self._insert_attempt(attempt, run.site)

    def run(self, id_: str) -> Run | None:
        return self.one(Run, t.runs, id=id_)

    def update_run(self, run: Run, before: Run) -> None:
        self.replace(t.runs, [t.runs.c.id == run.id, t.runs.c.state == before.state], f"run {run.id}", **_run_columns(run))

    def runs(self, *, plan: str | None, organisation: str | None, sandboxes: Collection[str] | None, after: str | None,
             limit: int) -> tuple[Run, ...]:  # fmt: skip
        where = seen_by(t.runs, organisation, sandboxes)
        if plan:
            where.append(t.runs.c.plan == plan)
        return self.many(Run, page(t.runs, where, after, limit))

    def runs_under(self, plan: str) -> tuple[Run, ...]:
        return self.many(Run, sa.select(t.runs.c.doc).where(t.runs.c.plan == plan).order_by(t.runs.c.ordinal))

    def spent(self, plan: str, without: str | None = None) -> Spent:
        return _spent(self.connection.execute(_SPENT, {"plan": plan, "without": without or ""}).one())

    def standing(self, plan: str, pilot: str, site: str, without: str | None = None) -> Standing:
        row = self.connection.execute(_STANDING, {"plan": plan, "pilot": pilot, "site": site, "without": without or ""}).one()
        return _standing(row)

    def asked(self, organisation: str, what: str, key: str, plan: str, site: str) -> Asked:
        asked = {"organisation": organisation, "what": what, "key": key, "plan": plan, "site": site}
        row = self.connection.execute(_ASKED, asked).one()
        self.heads[plan] = (row.sequence, row.head) if row.head is not None else None
        before = (row.request, row.made) if row.request is not None else None
        return Asked(before=before, plan=_read(Plan, row.doc) if row.doc is not None else None, standing=_standing(row))

    def runs_before(self, organisation: str, sandbox: str, created_at: datetime) -> int:
        where = (t.runs.c.organisation == organisation, t.runs.c.sandbox == sandbox, t.runs.c.created_at < seconds(created_at))
        return int(self.connection.execute(sa.select(sa.func.count(t.runs.c.id)).where(*where)).scalar_one())

    def run_counts(self) -> tuple[RunCount, ...]:
        runs = t.runs.c
        counted = sa.select(runs.site, runs.state, sa.func.count().label("runs"), sa.func.min(runs.created_at).label("oldest"))
        rows = self.connection.execute(counted.group_by(runs.site, runs.state).order_by(runs.site, runs.state))
        return tuple(RunCount(site=row.site, state=row.state, runs=row.runs, oldest=moment(row.oldest)) for row in rows)

    def held(self, site: str) -> int:
        runs = t.runs.c
        counted = sa.select(sa.func.count(runs.id)).where(runs.site == site, runs.state == RunState.QUEUED, runs.held.is_(True))
        return int(self.connection.execute(counted).scalar_one())

    def queue(self, site: str, limit: int) -> tuple[Run, ...]:
        places = _places(site)
        return self.many(Run, sa.select(t.runs.c.doc).join(places, places.c.id == t.runs.c.id).order_by(places.c.place).limit(limit))

    def ahead(self, run: Run) -> int:
        places = _places(run.site)
        mine = sa.select(places.c.place).where(places.c.id == run.id).scalar_subquery()
        counted = sa.select(sa.func.count()).select_from(places).where(places.c.place < mine, places.c.held.is_(False))
        return int(self.connection.execute(counted).scalar_one())

    def add_attempt(self, attempt: Attempt) -> None:
        self._insert_attempt(attempt, self.scalar(t.runs.c.site, id=attempt.run))

    def _insert_attempt(self, attempt: Attempt, site: str) -> None:
        self.insert_later(t.attempts, id=attempt.id, run=attempt.run, number=attempt.number, site=site, created_at=seconds(attempt.created_at),
                          **_attempt_columns(attempt))  # fmt: skip

    def attempt(self, id_: str) -> Attempt | None:
        return next(iter(self._attempts(_ATTEMPT.where(t.attempts.c.id == id_))), None)

    def attempts(self, run: str) -> tuple[Attempt, ...]:
        return self._attempts(_ATTEMPT.where(t.attempts.c.run == run).order_by(t.attempts.c.number))

    def _attempts(self, statement: sa.Select[Any]) -> tuple[Attempt, ...]:
        """Leases change far more often than all else, so they stand in their column only."""
        rows = self.connection.execute(statement)
        return tuple(Attempt.model_validate_json(row.doc).model_copy(update={"lease_until": moment(row.lease_until)}) for row in rows)

    def update_attempt(self, attempt: Attempt, epoch: int) -> None:
        self._write_attempt(attempt, epoch)

    def _write_attempt(self, attempt: Attempt, epoch: int) -> None:
        where = (t.attempts.c.id == attempt.id, t.attempts.c.epoch == epoch)
        if self.connection.execute(t.attempts.update().where(*where).values(**_attempt_columns(attempt))).rowcount != 1:
            raise _stale(attempt.id, epoch)

    def claim(self, site: str, owner: str, now: datetime, lease: timedelta, dead: Callable[[str], bool], most: int = 1) -> tuple[Attempt, ...]:
        c = t.attempts.c
        is_open = (c.site == site, c.final.is_(False))
        lapsed = sa.and_(c.lease_until.is_not(None), c.lease_until <= seconds(now))
        holders = self.connection.execute(sa.select(c.owner).distinct().where(*is_open, c.owner.is_not(None), ~lapsed)).scalars().all()
        free = sa.or_(c.owner.is_(None), lapsed, c.owner.in_([holder for holder in holders if dead(holder)]))
        going, begun = _going(site), sa.case((c.state != RunState.QUEUED, 0), else_=1)
        share = _share(going, begun, t.runs.c.priority.desc(), c.created_at, c.id)
        joined = _ATTEMPT.join(t.runs, t.runs.c.id == c.run).outerjoin(going, going.c.organisation == t.runs.c.organisation)
        turn = (begun, t.runs.c.priority.desc(), share, c.created_at, c.id)
        found = self._attempts(joined.where(*is_open, free, self._may_go_on(site, now)).order_by(*turn).limit(most))
        taken = tuple(one.model_copy(update={"owner": owner, "epoch": one.epoch + 1, "lease_until": now + lease}) for one in found)
        for attempt in taken:
            self._write_attempt(attempt, attempt.epoch - 1)
        return taken

    def _may_go_on(self, site: str, now: datetime) -> sa.ColumnElement[bool]:
        """What was begun or is to be ended, and what may begin: nobody holds its run, and the site takes it for as long as it may last."""
        record = self.site(site)
        room = record.room(now) if record else math.inf
        fits = sa.true() if room == math.inf else t.runs.c.longest_seconds < room
        begun = sa.or_(t.attempts.c.state != RunState.QUEUED, t.runs.c.state == RunState.CANCELLING)
        return sa.or_(begun, sa.and_(t.runs.c.held.is_(False), fits))

    def renew(self, held: Mapping[str, int], until: datetime) -> frozenset[str]:
        renewed: set[str] = set()
        own, c = list(held.items()), t.attempts.c
        for first in range(0, len(own), _RENEWED_AT_ONCE):
            mine = sa.tuple_(c.id, c.epoch).in_(own[first : first + _RENEWED_AT_ONCE])
            renewed.update(self.connection.execute(t.attempts.update().where(mine).values(lease_until=seconds(until)).returning(c.id)).scalars())
        return frozenset(held) - renewed

    def journal(self, attempt: str) -> Mapping[Step, JournalEntry]:
        entries = self.many(JournalEntry, sa.select(t.journal.c.doc).where(t.journal.c.attempt == attempt))
        return {entry.step: entry for entry in sorted(entries, key=lambda e: _STEPS[e.step])}

    def write_journal(self, entry: JournalEntry, epoch: int) -> None:
        if self.scalar(t.attempts.c.epoch, id=entry.attempt) != epoch:
            raise _stale(entry.attempt, epoch)
        known = self.one(JournalEntry, t.journal, attempt=entry.attempt, step=entry.step)
        if known and known.status == "done":
            if entry.status == "done" and known.data == JournalEntry.model_validate_json(entry.model_dump_json()).data:
                return
            msg = f"step {entry.step} of {entry.attempt} is done already."
            raise Conflict(msg)
        self.put(t.journal, {"attempt": entry.attempt, "step": entry.step}, status=entry.status, doc=entry.model_dump_json())


def _going(site: str) -> sa.Subquery:
    """How many attempts of each organisation are under way at a site."""
    c = t.attempts.c
    under_way = sa.or_(c.owner.is_not(None), c.state != RunState.QUEUED)
    counted = sa.select(t.runs.c.organisation, sa.func.count().label("count")).join(t.attempts, c.run == t.runs.c.id)
    return counted.where(c.site == site, c.final.is_(False), under_way).group_by(t.runs.c.organisation).subquery("going")


def _share(going: sa.Subquery, *turn: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """How many an organisation would have under way, were this one of its own begun and those of them that come before it."""
    own: sa.ColumnElement[int] = sa.func.row_number().over(partition_by=t.runs.c.organisation, order_by=turn)
    return own + sa.func.coalesce(going.c.count, 0)


def _places(site: str) -> sa.Subquery:
    """The place of each queued run of a site: by priority, then in fair shares, then by age. What is held takes nobody's share."""
    c, going = t.runs.c, _going(site)
    share = _share(going, c.held, *_TURN)
    queued = sa.select(c.id, c.held, c.priority, c.created_at, share.label("share")).where(c.site == site, c.state == RunState.QUEUED)
    s = queued.outerjoin(going, going.c.organisation == c.organisation).subquery("shared").c
    place = sa.func.row_number().over(order_by=(s.priority.desc(), s.share, s.created_at, s.id))
    return sa.select(s.id, s.held, place.label("place")).subquery("places")


def _run_columns(run: Run) -> dict[str, object]:
    return {"state": run.state, "priority": run.priority, "held": run.held_by is not None, "longest_seconds": run.longest_seconds,
            "counts": run.counts, "core_seconds": run.core_seconds, "doc": run.model_dump_json()}  # fmt: skip


def _attempt_columns(attempt: Attempt) -> dict[str, object]:
    return {"state": attempt.state, "final": attempt.state in _FINAL, "owner": attempt.owner, "lease_until": seconds(attempt.lease_until),
            "epoch": attempt.epoch, "doc": attempt.model_dump_json(exclude={"lease_until"})}  # fmt: skip


def _stale(attempt: str, epoch: int) -> StaleEpoch:
    return StaleEpoch(f"attempt {attempt} is no longer at epoch {epoch}: another supervisor has it.")
