"""The tables. What is queried has a column; the rest of a frozen model stands in `doc`; what was digested is kept as bytes.

What must never be is forbidden here as well as in the services: a second run with the same ordinal, a state that does not
exist, a journal of no attempt.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from livinglab.domain.pilot import PilotState
from livinglab.domain.plan import PlanState
from livinglab.domain.run import RunState, Step
from livinglab.domain.site import SiteState

metadata = sa.MetaData(naming_convention={
    "ix": "ix_%(column_0_N_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s",
})  # fmt: skip

_ID = sa.String(80)
_DIGEST = sa.String(71)
_NAME = sa.String(80)
_DOC = sa.Text()
_TIME = sa.Float()  # seconds since the epoch, UTC: sorts the same in every database
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *columns)


def _one_of(column: str, values: Iterable[str]) -> sa.CheckConstraint:
    known = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({known})", name=column)


def _at_least(column: str, least: int) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} >= {least}", name=column)


tokens = _table("tokens", sa.Column("id", _ID, primary_key=True), sa.Column("hash", sa.String(64), unique=True, nullable=False),
                sa.Column("doc", _DOC, nullable=False))  # fmt: skip
members = _table("members", sa.Column("issuer", sa.String(300), primary_key=True), sa.Column("subject", sa.String(255), primary_key=True),
                 sa.Column("organisation", _NAME, nullable=False), sa.Column("doc", _DOC, nullable=False))  # fmt: skip
keys = _table("keys", sa.Column("key_id", sa.String(64), primary_key=True), sa.Column("organisation", _NAME, nullable=False, index=True),
              sa.Column("doc", _DOC, nullable=False))  # fmt: skip
images = _table("images", sa.Column("digest", _DIGEST, primary_key=True), sa.Column("doc", _DOC, nullable=False))
uploads = _table("uploads", sa.Column("organisation", _NAME, primary_key=True),
                 sa.Column("digest", _DIGEST, sa.ForeignKey("images.digest"), primary_key=True))  # fmt: skip
partial_uploads = _table("partial_uploads", sa.Column("id", _ID, primary_key=True), sa.Column("organisation", _NAME, nullable=False),
                         sa.Column("doc", _DOC, nullable=False))  # fmt: skip
idempotency = _table("idempotency", sa.Column("organisation", _NAME), sa.Column("key", sa.String(200)),
                     sa.Column("request", _DIGEST, nullable=False), sa.Column("made", _ID, nullable=False),
                     sa.Column("what", _NAME, server_default="runs"), sa.PrimaryKeyConstraint("organisation", "what", "key"))  # fmt: skip
releases = _table("releases", sa.Column("digest", _DIGEST, primary_key=True), sa.Column("sandbox", _NAME, nullable=False),
                  sa.Column("version", sa.Integer, nullable=False), sa.Column("authority", _NAME, nullable=False),
                  sa.Column("document", sa.LargeBinary, nullable=False), sa.Column("at", _TIME, nullable=False),
                  sa.UniqueConstraint("sandbox", "version"))  # fmt: skip
pilots = _table("pilots", sa.Column("id", _ID, primary_key=True), sa.Column("organisation", _NAME, nullable=False, index=True),
                sa.Column("sandbox", _NAME, nullable=False, index=True), sa.Column("state", _NAME, nullable=False),
                sa.Column("doc", _DOC, nullable=False), _one_of("state", PilotState))  # fmt: skip
plans = _table("plans", sa.Column("id", _ID, primary_key=True), sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
               sa.Column("digest", _DIGEST, unique=True, nullable=False),
               sa.Column("pilot", _ID, sa.ForeignKey("pilots.id"), nullable=False, index=True),
               sa.Column("organisation", _NAME, nullable=False, index=True), sa.Column("sandbox", _NAME, nullable=False, index=True),
               sa.Column("state", _NAME, nullable=False), sa.Column("body", sa.LargeBinary, nullable=False),
               sa.Column("doc", _DOC, nullable=False), _one_of("state", PlanState), _at_least("version", 1))  # fmt: skip
sites = _table("sites", sa.Column("name", _NAME, primary_key=True), sa.Column("state", _NAME, nullable=False), sa.Column("doc", _DOC, nullable=False),
               _one_of("state", SiteState))  # fmt: skip
runs = _table("runs", sa.Column("id", _ID, primary_key=True), sa.Column("plan", _ID, nullable=False),
              sa.Column("ordinal", sa.Integer, nullable=False), sa.Column("pilot", _ID, sa.ForeignKey("pilots.id"), nullable=False, index=True),
              sa.Column("organisation", _NAME, nullable=False), sa.Column("sandbox", _NAME, nullable=False),
              sa.Column("site", _NAME, nullable=False), sa.Column("state", _NAME, nullable=False), sa.Column("created_at", _TIME, nullable=False),
              sa.Column("doc", _DOC, nullable=False), sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
              sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
              sa.Column("longest_seconds", sa.Float, nullable=False, server_default="0"),
              sa.Column("counts", sa.Boolean, nullable=False, server_default=sa.false()),
              sa.Column("core_seconds", sa.Float, nullable=False, server_default="0"), _one_of("state", RunState), _at_least("ordinal", 1),
              sa.UniqueConstraint("plan", "ordinal"), sa.Index("ix_runs_queue", "site", "state", "created_at"),
              sa.Index("ix_runs_organisation_sandbox", "organisation", "sandbox"))  # fmt: skip
attempts = _table("attempts", sa.Column("id", _ID, primary_key=True), sa.Column("run", _ID, sa.ForeignKey("runs.id"), nullable=False),
                  sa.Column("number", sa.Integer, nullable=False), sa.Column("site", _NAME, nullable=False),
                  sa.Column("final", sa.Boolean, nullable=False), sa.Column("state", _NAME, nullable=False), sa.Column("owner", sa.String(200)),
                  sa.Column("lease_until", _TIME), sa.Column("epoch", sa.Integer, nullable=False), sa.Column("created_at", _TIME, nullable=False),
                  sa.Column("doc", _DOC, nullable=False), _one_of("state", RunState), _at_least("number", 1), _at_least("epoch", 0),
                  sa.UniqueConstraint("run", "number"), sa.Index("ix_attempts_claim", "site", "final", "created_at"))  # fmt: skip
journal = _table("journal", sa.Column("attempt", _ID, sa.ForeignKey("attempts.id"), primary_key=True), sa.Column("step", _NAME, primary_key=True),
                 sa.Column("status", sa.String(8), nullable=False), sa.Column("doc", _DOC, nullable=False),
                 _one_of("step", Step), _one_of("status", ("intent", "done")))  # fmt: skip
# AUTOINCREMENT, so that no id is ever given twice: a cursor that has passed it would never see the second one.
events = sa.Table("events", metadata, sa.Column("id", _BIG, primary_key=True, autoincrement=True), sa.Column("kind", _NAME, nullable=False),
                  sa.Column("organisation", _NAME, nullable=False), sa.Column("sandbox", _NAME, nullable=False), sa.Column("run", _ID, index=True),
                  sa.Column("doc", _DOC, nullable=False), sqlite_autoincrement=True)  # fmt: skip
cursors = _table("cursors", sa.Column("name", _NAME, primary_key=True), sa.Column("position", _BIG, nullable=False),
                 sa.Column("owner", sa.String(200)), sa.Column("lease_until", _TIME))  # fmt: skip
documents = _table("documents", sa.Column("subject", _ID, primary_key=True), sa.Column("name", sa.String(300), primary_key=True),
                   sa.Column("doc", _DOC, nullable=False))  # fmt: skip
logs = _table("logs", sa.Column("attempt", _ID, sa.ForeignKey("attempts.id"), primary_key=True), sa.Column("role", _NAME, primary_key=True),
              sa.Column("start", _BIG, primary_key=True, autoincrement=False), sa.Column("size", _BIG, nullable=False),
              sa.Column("data", sa.LargeBinary, nullable=False))  # fmt: skip
ledger = _table("ledger", sa.Column("chain", _ID, primary_key=True), sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("digest", _DIGEST, unique=True, nullable=False), sa.Column("entry", sa.LargeBinary, nullable=False),
                sa.Column("body", sa.LargeBinary, nullable=False), _at_least("sequence", 0))  # fmt: skip
chains = _table("chains", sa.Column("chain", _ID, primary_key=True), sa.Column("sequence", sa.Integer, nullable=False),
                sa.Column("head", _DIGEST, nullable=False), sa.Column("leaf_head", _DIGEST))  # fmt: skip
leaves = _table("leaves", sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("chain", _ID, sa.ForeignKey("chains.chain"), nullable=False, index=True), sa.Column("head", _DIGEST, nullable=False),
                sa.Column("salt", sa.LargeBinary, nullable=False), sa.Column("leaf", sa.LargeBinary, nullable=False))  # fmt: skip
checkpoints = _table("checkpoints", sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
                     sa.Column("root", sa.LargeBinary, nullable=False), sa.Column("envelope", sa.LargeBinary, nullable=False),
                     sa.Column("at", _TIME, nullable=False), sa.Column("frontier", sa.LargeBinary))  # fmt: skip
