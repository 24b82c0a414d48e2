"""The database's refusals, as a person may read them."""

from sqlalchemy.exc import IntegrityError

from livinglab.domain.errors import Conflict


def first_line(error: BaseException) -> str:
    """What a database said, without its context."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def conflict(error: IntegrityError) -> Conflict:
    """A constraint's refusal, as a person may read it."""
    return Conflict(f"the database refused it: {first_line(error)}.")


def changed(what: str) -> Conflict:
    """It is no longer as it was read."""
    return Conflict(f"{what} changed in the meantime.")
