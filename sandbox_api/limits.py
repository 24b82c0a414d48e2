"""Bounds on what a request may bring: counted as it comes, so that a length that lies helps nobody."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livinglab.domain.errors import TooLarge
from sandbox_api.errors import problem


class BodyLimit:
    """Refuses a body of more than `limit` bytes; paths in `larger` have limits of their own."""

    def __init__(self, app: ASGIApp, *, limit: int, larger: dict[str, int]) -> None:
        self.app = app
        self.limit = limit
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, seen, begun = self.larger.get(scope["path"], self.limit), 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise TooLarge(f"the body has more than the {limit} bytes that this address takes.")
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        announced: Any = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if announced.isdigit() and int(announced) > limit:
                raise TooLarge(f"the body has {int(announced)} bytes; this address takes {limit}.")  # noqa: TRY301 - answered like the rest
            await self.app(scope, counted, watched)
        except TooLarge as error:
            if begun:
                raise
            await problem(413, error.code, error.message)(scope, receive, send)
