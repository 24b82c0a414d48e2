"""What can go wrong, as types.

::

    LivingLabError
    ├── Invalid                 what was sent cannot be used (bad manifest, contradictory criteria, hostile archive)
    │   └── TooLarge            … because it is bigger than the stated limit
    ├── Unauthenticated         no token, or one that is unknown, revoked or expired
    ├── Forbidden               known, but this role may not do that
    ├── NotFound                it does not exist, or not for this organisation
    ├── Conflict                the state does not allow it, or the same name holds something else
    │   ├── Changed             it is not as whoever asks has seen it
    │   └── StaleEpoch          another supervisor has taken the attempt over: stop writing
    ├── Refused                 admission said no; `reasons` names every failed demand
    │   └── IsolationNotProven  the probe did not find what the profile demands
    ├── EvidenceBroken          a signature, a digest or a chain does not hold
    ├── PilotFault              the pilot's own failure (exit code, limit, unusable output)
    ├── PlatformFault           ours; retried as the next attempt, free of quota
    ├── TooMany                 asked more often than is allowed; in a moment it may be asked again (transient)
    └── Unreachable             a backend did not answer; nothing is known of its state (transient)
        ├── DatabaseAway        … the lab's own database
        ├── NothingKnown        it answered, and of what it was asked about nothing can be known yet
        └── NoRoom              a disk of the lab's or of a site's is full; what was to be done is done once there is room (transient)

Each error says what was wrong (`message`), and where it helps what to do (`hint`). `transient` is a property of the
type: a caller decides to try again by looking at the class, never at the text.
"""

import errno
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar


class LivingLabError(Exception):
    """The root of the tree. `code` is stable and machine-readable; `message` is a sentence for a person."""

    code: ClassVar[str] = "error"
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class Invalid(LivingLabError):
    """What was sent cannot be used. `where` is the place in the document (a path like `criteria[2].metric`)."""

    code = "invalid"

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class TooLarge(Invalid):
    """Bigger than the limit that the message states."""

    code = "too-large"


class Unauthenticated(LivingLabError):
    """No token, or one that is unknown, revoked or expired."""

    code = "unauthenticated"


class Forbidden(LivingLabError):
    """The caller is known, and may not do this."""

    code = "forbidden"


class NotFound(LivingLabError):
    """Not there, or not there for this organisation: the two are told apart nowhere."""

    code = "not-found"


class Conflict(LivingLabError):
    """The present state does not allow the change, or the same key names something else."""

    code = "conflict"


class Changed(Conflict):
    """It is not any more what the caller saw, and said to have seen."""

    code = "changed"


class StaleEpoch(Conflict):
    """The attempt belongs to a later epoch: whoever holds the older one must stop writing."""

    code = "stale-epoch"


class Refused(LivingLabError):
    """Policy said no. Every demand that failed is in `reasons`, so that none is found one at a time."""

    code = "refused"

    def __init__(self, message: str, *, reasons: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message if not reasons else f"{message}: {'; '.join(reasons)}.", hint=hint)
        self.reasons = tuple(reasons)


class IsolationNotProven(Refused):
    """The probe, or the site's own view, did not find what the profile demands."""

    code = "isolation-not-proven"


class EvidenceBroken(LivingLabError):
    """A signature, a digest or a chain does not hold; `where` names the file or entry."""

    code = "evidence-broken"

    def __init__(self, message: str, *, where: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.what = message


class PilotFault(LivingLabError):
    """The pilot failed by its own doing."""

    code = "pilot-fault"


class PlatformFault(LivingLabError):
    """The lab or its site failed; it never costs the participant quota."""

    code = "platform-fault"


class Unreachable(LivingLabError):
    """Nobody answered. It says nothing about the state of what was asked for."""

    code = "unreachable"
    transient = True


class DatabaseAway(Unreachable):
    """The lab's own database did not answer, or has no room."""


class NothingKnown(Unreachable):
    """A site answers, and has nothing to say of one job yet that could be decided by."""


class NoRoom(Unreachable):
    """A disk is full. Nothing is lost, and whatever wanted to be written there may be tried again until somebody has made room."""

    code = "no-room"


def no_room(error: BaseException) -> NoRoom | None:
    """What an operating system's error comes to where a disk of this machine is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom(
            "a disk of the lab's is full: nothing is lost, and it goes on once there is room.", hint="`livinglab doctor` shows how much is left."
        )
    return None


class TooMany(LivingLabError):
    """Asked more often than is allowed. Nothing was done; `seconds` says when it may be asked again."""

    code = "too-many"
    transient = True

    def __init__(self, message: str, *, seconds: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


def unknown_name(kind: str, name: str, valid: Iterable[str], *, where: str | None = None) -> Invalid:
    """An `Invalid` that lists the valid names, nearest first."""
    names = sorted(valid)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    ordered = [*near, *(n for n in names if n not in near)]
    return Invalid(f"unknown {kind} {name!r}.", where=where, hint=f"Known: {', '.join(ordered) or 'none'}.")
