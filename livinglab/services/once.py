"""Asking once, however often one asks: an idempotency key belongs to an organisation, what it asks for, and how."""

from dataclasses import dataclass

from livinglab.domain.access import Caller
from livinglab.domain.errors import Conflict
from livinglab.ports import Tx


@dataclass(frozen=True)
class Once:
    """A request under a key of the caller's own.

    Args:
        what: is asked for, such as `runs`. The same key for something else is another key.
        key: the caller's; None: each asking is another one.
        asked: the digest of what was asked.
    """

    what: str
    key: str | None
    asked: str

    def made(self, tx: Tx, caller: Caller) -> str | None:
        """The id of what was made when it was asked before; `Conflict` where something else was asked under this key."""
        return self.made_by(tx.idempotent(caller.organisation, self.what, self.key) if self.key else None)

    def made_by(self, before: tuple[str, str] | None) -> str | None:
        """The same, of a request that is known to have been made under this key."""
        if before is None:
            return None
        if before[0] != self.asked:
            msg = f"the idempotency key {self.key!r} was used for another request."
            raise Conflict(msg)
        return before[1]

    def remember(self, tx: Tx, caller: Caller, made: str) -> None:
        """In the transaction that makes it."""
        if self.key:
            tx.remember(caller.organisation, self.what, self.key, self.asked, made)
