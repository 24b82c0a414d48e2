"""Bounds on what a request may bring: counted as it comes, so that a length that lies helps nobody."""

import re
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livinglab.domain.errors import TooLarge
from sandbox_api.errors import problem


class BodyLimit:
    """Refuses a body of more than `limit` bytes; paths that match a pattern in `larger` have limits of their own."""

    def __init__(self, app: ASGIApp, *, limit: int, larger: dict[str, int]) -> None:
        self.app = app
        self.limit = limit
        self.larger = [(re.compile(pattern), most) for pattern, most in larger.items()]

    def _limit_of(self, path: str) -> int:
        return next((most for pattern, most in self.larger if pattern.fullmatch(path)), self.limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, seen, begun = self._limit_of(scope["path"]), 0, False
        error = TooLarge(f"the body has more than the {limit} bytes that this address takes.")

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise error
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if seen > limit and not begun:
                return  # whatever was made of it within: FastAPI calls it a body that cannot be parsed
            begun = True
            await send(message)

        announced: Any = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            seen = int(announced)
        else:
            with suppress(TooLarge):
                await self.app(scope, counted, watched)
        if seen > limit and not begun:
            await problem(413, error.code, error.message)(scope, receive, send)
