"""Following a run, for as long as whoever follows may see it."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from time import monotonic

import anyio
from anyio.to_thread import run_sync
from fastapi import Request

from livinglab.bootstrap import Lab
from livinglab.domain.access import Caller, Event
from livinglab.domain.errors import Forbidden, LivingLabError, NotFound, TooMany, Unauthenticated, Unreachable
from sandbox_api.rates import Open

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 15
ASK_AGAIN_SECONDS = 5
"""How long a stream goes on, at most, after the token that asked for it was revoked."""
_LAST = {"run-ended", "run-cancelled"}


class Follower:
    """One stream of a run's events.

    Args:
        again: who the caller is by now; it raises where they may not come in any more.
        after: the last event that is known already.
        streams: all that are open.
    """

    def __init__(self, lab: Lab, caller: Caller, again: Callable[[], Caller], run: str, after: int, streams: Open) -> None:
        self.lab, self.caller, self.again, self.run, self.after, self.streams = lab, caller, again, run, after, streams
        self.asked = monotonic()

    async def events(self, request: Request) -> AsyncIterator[bytes]:
        """Server-sent events, as bytes."""
        try:
            with self.streams.one(self.caller.token):
                async for frame in self._frames(request):
                    yield frame
        except TooMany as error:  # another one was opened at the same moment
            yield _ended(error)

    async def _frames(self, request: Request) -> AsyncIterator[bytes]:
        silent = 0.0
        while not await request.is_disconnected():
            try:
                over, found = await run_sync(self._look)
            except (Unauthenticated, Forbidden, NotFound, Unreachable) as error:
                yield _ended(error)
                return
            for event in found:
                self.after = event.id
                yield f"id: {event.id}\n".encode() + _frame(event.kind, event.model_dump_json(include={"kind", "run", "attempt", "data", "at"}))
                if event.kind in _LAST:
                    return
            if not found:
                if over:
                    return
                await anyio.sleep(POLL_SECONDS)
            silent = 0.0 if found else silent + POLL_SECONDS
            if silent >= HEARTBEAT_SECONDS:
                silent = 0.0
                yield b": still here\n\n"

    def _look(self) -> tuple[bool, Sequence[Event]]:
        """Is the run over, and what happened since. First the state, then the events: a run that was over before has no more to come."""
        if monotonic() - self.asked >= ASK_AGAIN_SECONDS:
            self.caller, self.asked = self.again(), monotonic()
        found, _attempts = self.lab.runs.get(self.caller, self.run)
        return found.state.final, self.lab.runs.events(self.caller, self.run, self.after)


def _ended(error: LivingLabError) -> bytes:
    return _frame("access-ended", json.dumps({"title": error.code, "detail": error.message}))


def _frame(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()
