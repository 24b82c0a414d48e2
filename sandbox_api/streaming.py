"""Bodies as they come, for services that read them in a thread."""

from collections.abc import Iterator

import anyio.from_thread
from fastapi import Request


def chunks_of(request: Request) -> Iterator[bytes]:
    """The body's pieces, one at a time; to be read in a worker's thread (`anyio.to_thread`), and once."""
    stream = request.stream()

    async def next_chunk() -> bytes:
        async for chunk in stream:
            if chunk:
                return chunk
        return b""

    while chunk := anyio.from_thread.run(next_chunk):
        yield chunk
