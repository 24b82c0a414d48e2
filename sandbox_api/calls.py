"""What a call says of itself, besides who calls and what for."""

from typing import Annotated, Any

from fastapi import Depends, Request

from livinglab.domain.trace import parent_of


async def current_trace(request: Request) -> str | None:
    """The `traceparent` of this request: its own span's where there is one, or else what the caller sent, if that is one."""
    own: Any = request.scope.get("state", {}).get("traceparent") or request.headers.get("traceparent")
    return str(own) if parent_of(own) else None


TheTrace = Annotated[str | None, Depends(current_trace)]
