"""How often a client may ask: so much at once, so much a second for ever. Each API process counts for itself."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from livinglab.domain.errors import TooMany

_MANY = 10_000
"""Clients of whom something is remembered, before those are forgotten who have nothing against them."""


class Rate:
    """The generic cell rate algorithm (ITU-T I.371, annex A): one number for each client.

    Args:
        per_second: in the long run; 0: without limit.
        burst: at once.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._spare = self._interval * (burst - 1)
        self._due: dict[str, float] = {}
        """When a client would be due, if it had asked evenly, on the monotonic clock."""
        self._lock = threading.Lock()

    def wait(self, client: str) -> float:
        """Seconds until this client may ask; 0: now, which counts."""
        now = time.monotonic()
        with self._lock:
            due = max(self._due.get(client, now), now)
            early = due - now - self._spare
            if early > 1e-9:  # noqa: PLR2004 - what adding up intervals leaves over
                return early
            if self._interval:
                if len(self._due) >= _MANY:
                    self._due = {client: at for client, at in self._due.items() if at > now}
                self._due[client] = due + self._interval
            return 0.0

    def hit(self, client: str) -> None:
        """Count it; `TooMany` where it is one too many."""
        if seconds := self.wait(client):
            msg = f"that was too often; it may be asked again in {math.ceil(seconds)} s."
            raise TooMany(msg, seconds=seconds)


class Open:
    """How many of something a client may have open at a time."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what, self._count, self._lock = most, what, Counter[str](), threading.Lock()

    def check(self, client: str) -> None:
        """`TooMany` where others are open that should be closed first."""
        if self._count[client] >= self._most:
            msg = f"{self._most} {self._what} are open, and no more may be at a time."
            raise TooMany(msg, seconds=5, hint="Close one that nobody reads.")

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """As long as it is open."""
        with self._lock:
            self.check(client)
            self._count[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._count[client] -= 1
                if not self._count[client]:
                    del self._count[client]
