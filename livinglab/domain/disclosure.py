"""What a container left, sealed so that its digest tells nothing, and who may read which of a run's documents.

A pilot chooses its exit code, its files and their names, the length of its log, even when it ends: each could carry something of
what it was shown to somebody who is not to see it. So the chain, which all sides read, holds of all that one salted digest.
"""

import secrets

from pydantic import Field

from livinglab.domain.access import Caller
from livinglab.domain.canonical import Digest
from livinglab.domain.model import Frozen, Moment
from livinglab.domain.run import JobRole
from livinglab.domain.sandbox import Channel, Disclosure

PILOTS = frozenset({Channel.LOGS, Channel.OUTPUTS, Channel.EXIT_CODE, Channel.USAGE})
"""The channels that a pilot itself could tell something by."""


class Log(Frozen):
    """A container's whole log, as it was kept."""

    digest: Digest
    bytes: int = Field(ge=0)
    truncated: bool


class Left(Frozen):
    """All that a container left, as the document `left-<role>.json`, whose digest the lab signs."""

    salt: str = Field(min_length=64, max_length=64)
    """256 random bits: without them, few enough exit codes and files could be tried out until the digest fits."""
    role: JobRole
    exit_code: int
    limit: str | None
    output_problem: str | None
    started_at: Moment
    ended_at: Moment
    log: Log
    outputs: dict[str, Digest]
    """Path below /out → digest."""
    usage: dict[str, float]

    @staticmethod
    def name_of(role: str) -> str:
        """The document's name."""
        return f"left-{role}.json"

    @staticmethod
    def new_salt() -> str:
        """A fresh one, for one document."""
        return secrets.token_hex(32)


def channels_of(name: str) -> frozenset[Channel]:
    """The channels by which the document of that name would reach its reader: all of them must be open."""
    folder, _, file = name.rpartition("/")
    match folder, file:
        case "measure", "replay.json":
            return frozenset({Channel.PLOTS})
        case "", "verdict.json":
            return frozenset({Channel.VERDICT, Channel.MEASUREMENTS})
        case "", "measurements.json":
            return frozenset({Channel.MEASUREMENTS})
        case "", _ if file.startswith("isolation-"):
            return frozenset()
        case "", _ if file.startswith("left-"):
            return PILOTS
        case "", _ if file.endswith(".log"):
            return frozenset({Channel.LOGS})
    return frozenset({Channel.OUTPUTS})


def is_sealed(name: str) -> bool:
    """Does the chain name this document, so that its digest is for everybody who sees the run?"""
    return name in ("verdict.json", "measurements.json") or ("/" not in name and name.startswith(("isolation-", "left-")))


def may_read(disclosure: Disclosure, caller: Caller, sandbox: str, name: str) -> bool:
    """May this caller read that document of a run which it sees? What a harness left besides plots is for those who oversee the sandbox."""
    role = caller.role_in(sandbox)
    channels = channels_of(name)
    if channels & PILOTS and not caller.oversees(sandbox) and name not in ("pilot.log", Left.name_of("pilot")) and not name.startswith("pilot/"):
        return False
    return role is not None and all(disclosure.allows(channel, role) for channel in channels)
