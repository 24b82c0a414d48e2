"""What the API tells of itself: requests by address, never by who asked."""

import logging
import secrets
from collections.abc import MutableMapping
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livinglab.monitoring.logs import about

log = logging.getLogger("livinglab.api")

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds."""


class Requests:
    """Counts requests, and how long until each answer began. An address is that of its route: what is asked for is in no label."""

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self.app = app
        labels = ("method", "route")
        self.answers = Counter("livinglab_api_requests", "Requests by address and status.", (*labels, "status"), registry=registry)
        self.seconds = Histogram("livinglab_api_seconds", "Seconds until the answer begins.", labels, buckets=BUCKETS, registry=registry)
        self.open = Gauge("livinglab_api_open", "Requests, and streams, that are not over.", registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, told, id_ = perf_counter(), False, secrets.token_hex(8)

        async def watched(message: Message) -> None:
            nonlocal told
            if message["type"] == "http.response.start" and not told:
                told = True
                self._count(scope, message["status"], perf_counter() - begun)
                message.setdefault("headers", []).append((b"x-request-id", id_.encode()))
            await send(message)

        with self.open.track_inprogress(), about(request=id_):
            try:
                await self.app(scope, receive, watched)
            except Exception:
                if not told:
                    self._count(scope, 500, perf_counter() - begun)
                raise

    def _count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        route = route_of(scope)
        method = scope["method"] if route != "none" else "any"  # both are whatever somebody sent
        self.answers.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)
        named = {name: value for name, value in scope.get("path_params", {}).items() if name in ("run", "plan", "pilot", "sandbox")}
        details = {**named, "method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        level = logging.DEBUG if route == "/healthz" else logging.INFO  # asked every few seconds by whatever watches
        log.log(level, "%s %s: %d in %.1f ms", method, route, status, seconds * 1000, extra={"about": details})


def route_of(scope: MutableMapping[str, Any]) -> str:
    """The address as it is written in the document, such as `/v1/runs/{run}`; `none` for what is there nowhere."""
    own: str | None = getattr(scope.get("route"), "path_format", None)
    if own is None:
        return "none"
    prefix: str = scope["path"].removesuffix(own.format(**scope["path_params"]))  # a route knows its router's part only
    return prefix + own if prefix != scope["path"] else own
