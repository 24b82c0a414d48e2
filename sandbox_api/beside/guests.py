"""Who comes to the door before MLflow and Prefect, and what of them they oversee."""

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Request

from livinglab.domain.access import Caller
from livinglab.domain.errors import Forbidden, Unauthenticated
from livinglab.domain.sandbox import Role
from sandbox_api.auth import TheDoor

_HINT = "Authorization: Bearer …; or, in a browser, any name, and the token as password."


def token_in(header: str) -> str:
    """The token of an `Authorization` header: as a bearer's, or where a browser asks a person for it, as a password (RFC 7617)."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            _name, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = password = ""
        if colon and password:
            return password
    raise Unauthenticated("a token is needed.", hint=_HINT)


def current_guest(request: Request, door: TheDoor) -> Caller:
    """The caller behind the token; `Unauthenticated` without one that holds."""
    return door.let_in(token_in(request.headers.get("authorization", "")))


TheGuest = Annotated[Caller, Depends(current_guest)]


def overseen_as(caller: Caller, *roles: Role) -> frozenset[str] | None:
    """The sandboxes in which the caller has one of these roles; None: in all.

    Raises:
        Forbidden: in none.
    """
    if caller.roles.get("*") in roles:
        return None
    found = frozenset(sandbox for sandbox, role in caller.roles.items() if role in roles)
    if not found:
        msg = f"this needs the role {' or '.join(roles)} in a sandbox; {caller.organisation} has none of them anywhere."
        raise Forbidden(msg)
    return found
