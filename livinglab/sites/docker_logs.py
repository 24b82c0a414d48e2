"""What containers say: read from a Docker Engine within limits, the launcher's line told apart from what the pilot wrote."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from livinglab.domain.errors import NotFound
from livinglab.domain.run import JobKey
from livinglab.sites.attest import MARK, REPORT_LIMIT
from livinglab.sites.docker_engine import API, translated
from livinglab.sites.docker_spec import container_name
from livinglab.sites.staging import Staging

_FRAME = 8  # bytes before each piece of a log: stream, three zeros, length
_STDOUT = 1


@dataclass(frozen=True)
class EngineLogs:
    """The logs of one lab's containers at one engine."""

    engine: Any
    instance: str
    staging: Staging

    def report(self, key: JobKey) -> bytes | None:
        """The first line of standard output, which only the launcher can have written."""
        kept = self.staging.report(key)
        if kept is None:
            with log_pieces(self.engine, container_name(self.instance, key)) as pieces:
                line = first_line(pieces, REPORT_LIMIT)
            kept = line if line and line.startswith(MARK) else None
            if kept:
                self.staging.write_report(key, kept)
        return kept

    def read(self, key: JobKey, most: int) -> bytes:
        """At most `most` bytes of both streams as they came, without the launcher's line."""
        report = self.report(key)
        data, out = bytearray(), len(report or b"")
        with log_pieces(self.engine, container_name(self.instance, key)) as pieces:
            begun = False
            for is_stdout, piece in pieces:
                if is_stdout and not begun:
                    begun = True  # the launcher's line is the first piece, unless it was washed away
                    piece = piece[out:] if report and piece.startswith(report) else piece  # noqa: PLW2901
                data += piece
                if len(data) >= most:
                    break
        return bytes(data[:most])

    def is_over(self, key: JobKey, inspected: dict[str, Any], limit: int) -> bool:
        """The engine has rotated the log (so it was far over), or what it kept is too long."""
        path = Path(inspected["LogPath"])
        if log_was_rotated(path):
            return True
        try:
            kept = path.stat().st_size
        except OSError:
            return False
        return kept > limit and len(self.read(key, limit + 1)) > limit


@contextmanager
def log_pieces(engine: Any, identity: str) -> Iterator[Iterator[tuple[bool, bytes]]]:
    """Pieces of a container's log as they came, each with whether it is standard output. The connection is closed at the end.

    Raises:
        NotFound: there is no such container.
        TimedOut: nothing came for as long as this client waits.
    """
    with translated():
        url = f"{engine.base_url}/v{API}/containers/{identity}/logs"
        with engine.get(url, params={"stdout": 1, "stderr": 1}, stream=True, timeout=engine.timeout) as response:
            if response.status_code == requests.codes.not_found:
                msg = f"there is no container {identity}."
                raise NotFound(msg)
            response.raise_for_status()
            yield _pieces(response.raw)


def _pieces(raw: Any) -> Iterator[tuple[bool, bytes]]:
    """The engine's framing, undone; an incomplete frame ends it."""
    while len(header := raw.read(_FRAME)) == _FRAME:
        data = raw.read(int.from_bytes(header[4:], "big"))
        if data:
            yield header[0] == _STDOUT, data


def first_line(pieces: Iterator[tuple[bool, bytes]], most: int) -> bytes | None:
    """The first line of standard output, with its end; None if it has not come whole within `most` bytes."""
    data = b""
    for is_stdout, piece in pieces:
        if is_stdout:
            data += piece
            if b"\n" in data or len(data) > most:
                break
    line, end, _ = data.partition(b"\n")
    return line + end if end else None


def log_was_rotated(path: Path) -> bool:
    """Has the engine put an older part of this log aside?"""
    return path.with_name(path.name + ".1").exists()
