"""Who is calling. Tokens today; OpenID Connect will make the same `Caller` behind the same door."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from livinglab.bootstrap import Lab
from livinglab.domain.access import Caller
from livinglab.domain.errors import Unauthenticated

_bearer = HTTPBearer(auto_error=False, description="A token from `livinglab token issue`.")


def current_lab(request: Request) -> Lab:
    """The lab that the application was made with."""
    lab: Lab = request.app.state.lab
    return lab


def current_caller(
    lab: Annotated[Lab, Depends(current_lab)], credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller behind the bearer token; `Unauthenticated` without one that holds."""
    if credentials is None:
        raise Unauthenticated("a bearer token is needed.", hint="Authorization: Bearer ll_…")
    return lab.access.authenticate(credentials.credentials)


TheLab = Annotated[Lab, Depends(current_lab)]
TheCaller = Annotated[Caller, Depends(current_caller)]
