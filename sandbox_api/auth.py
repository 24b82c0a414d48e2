"""Who is calling: somebody with a token of the lab's own, or with an access token of its identity provider."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from livinglab.bootstrap import Lab
from livinglab.domain.access import Caller
from livinglab.domain.errors import Unauthenticated
from livinglab.services.access import PREFIX
from sandbox_api.oidc import Provider
from sandbox_api.rates import Open, Rate

_bearer = HTTPBearer(auto_error=False, description="A token from `livinglab token issue`, or an access token of the lab's identity provider.")


class Door:
    """Whoever shows a token, as the lab knows them. Asked again, it answers by what holds now."""

    def __init__(self, lab: Lab) -> None:
        own = lab.settings
        self._access = lab.access
        self._rate = Rate(own.rate, own.rate_burst)
        self.streams = Open(own.streams, "streams of events")
        self.provider = Provider(own.oidc_issuer, own.oidc_audience, own.oidc_algorithms, own.oidc_types) if own.oidc_issuer else None

    def let_in(self, token: str) -> Caller:
        """The caller behind a token, who asks once more; `TooMany` where that is too often."""
        caller = self.caller_behind(token)
        self._rate.hit(caller.token)
        return caller

    def caller_behind(self, token: str) -> Caller:
        """`Unauthenticated` where it does not hold, `Forbidden` where the lab has not let in who shows it."""
        if self.provider is None or token.startswith(PREFIX):
            return self._access.authenticate(token)
        return self._access.caller_of(self.provider.identity_of(token))


# Those that wait for nothing are coroutines: a function would be sent to a thread, and back, for each request.
async def current_lab(request: Request) -> Lab:
    """The lab that the application was made with."""
    lab: Lab = request.app.state.lab
    return lab


async def current_door(request: Request) -> Door:
    """The application's door."""
    door: Door = request.app.state.door
    return door


async def current_token(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """The bearer token, from its header: none is ever taken from an address."""
    if credentials is None:
        raise Unauthenticated("a bearer token is needed.", hint="Authorization: Bearer …")
    return credentials.credentials


def current_caller(door: Annotated[Door, Depends(current_door)], token: Annotated[str, Depends(current_token)]) -> Caller:
    """The caller behind the bearer token; `Unauthenticated` without one that holds."""
    return door.let_in(token)


async def ask_again(door: Annotated[Door, Depends(current_door)], token: Annotated[str, Depends(current_token)]) -> Callable[[], Caller]:
    """Who the caller is, by what holds when it is asked."""
    return lambda: door.caller_behind(token)


TheLab = Annotated[Lab, Depends(current_lab)]
TheCaller = Annotated[Caller, Depends(current_caller)]
TheDoor = Annotated[Door, Depends(current_door)]
AskAgain = Annotated[Callable[[], Caller], Depends(ask_again)]
