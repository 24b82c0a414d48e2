"""The lab's side of `livinglab.step/1`: one question and one answer per step, with a stranger at the other end of a Unix socket.

A frame is four bytes of length (big-endian) and as many bytes of JSON, an object in UTF-8. The lab asks and the pilot answers;
unasked it says nothing. What is wrong with the *form* of an answer raises `Rejected`, with a sentence for the pilot's author.
What is wrong with its *content* (a number that is not finite or out of range, an answer after the deadline) is returned and counted.
"""

import contextlib
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from livinglab.measuring.rejection import Rejected

PROTOCOL = "livinglab.step/1"
SOCKET = "lab.sock"
MAX_FRAME = 64 << 10
"""Bytes of one message, its length not counted."""
MAX_DEPTH = 8
"""Objects and lists inside one another; an answer needs two."""
MAX_DIGITS = 20
"""Of an integer: more is no number that anybody means, and takes long to read."""

_HEADER = 4
_LEAST = 1e-6
"""Seconds that a socket may wait when no time is left: 0 would mean something else to it."""
_QUOTED = 40
"""Characters of a stranger's text that a sentence repeats."""


class Left(Rejected):
    """The pilot closed the connection. Where its container failed, that says more."""


@dataclass(frozen=True)
class Action:
    """A number that every answer must hold, and the range in which it is valid."""

    name: str
    low: float
    high: float

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """One of the context's `actions`."""
        return cls(document["name"], float(document["low"]), float(document["high"]))


@dataclass(frozen=True)
class Answer:
    """What came back at one step. Values out of range or not finite are as they came: whoever asked decides what to do instead."""

    values: dict[str, float]
    valid: bool
    """All values are finite and in range."""
    late: bool
    """It came after the soft deadline."""
    latency: float
    """Seconds from when the question began to be sent to the answer complete."""


def listen(folder: Path) -> socket.socket:
    """A socket that listens at `folder`/lab.sock. It appears there only once it listens, so a pilot may connect as soon as it sees it."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hidden = folder / f".{SOCKET}"
    listening.bind(str(hidden))
    hidden.chmod(0o666)  # the pilot's user is another one
    listening.listen(1)
    hidden.rename(folder / SOCKET)
    return listening


def accept(listening: socket.socket, timeout: float) -> socket.socket:
    """The first pilot that connects; after it, nobody can.

    Raises:
        Rejected: nobody came within `timeout` seconds.
    """
    path = Path(listening.getsockname()).with_name(SOCKET)
    listening.settimeout(timeout)
    try:
        connection, _ = listening.accept()
    except TimeoutError:
        raise Rejected(f"no connection to /socket/{SOCKET} within {timeout:g} s; connect to it, and retry while it is not there.") from None
    finally:
        listening.close()
        path.unlink(missing_ok=True)
    return connection


class Peer:
    """A conversation with one pilot. All methods raise `Rejected` where its form breaks; the connection is of no use after that.

    Args:
        actions: what each answer must hold.
        step_timeout: seconds of wall clock for any one answer (hard).
        deadline: seconds after which an answer is late (soft).
        total: seconds of wall clock for the whole conversation.
    """

    def __init__(
        self, connection: socket.socket, actions: tuple[Action, ...], *, step_timeout: float = 2, deadline: float = 0.05, total: float = 600
    ) -> None:
        self._connection, self._actions = connection, actions
        self._step_timeout, self._deadline = step_timeout, deadline
        self._total, self._ends = total, time.monotonic() + total
        self._names = {action.name for action in actions}
        self._buffer = bytearray()
        self._episode, self._episodes, self._where = "", 0, "at the greeting"
        self._encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
        self._decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)

    def greet(self, task: dict[str, Any]) -> None:
        """Say hello and what the task is; wait until the pilot is ready."""
        message, _ = self._ask({"type": "hello", "protocol": PROTOCOL, "task": task})
        self._check(message, {"type": "ready", "protocol": PROTOCOL}, set())

    def begin(self, episode: str, step_seconds: float) -> None:
        """Announce an episode; no answer is due."""
        self._episode, self._episodes = episode, self._episodes + 1
        self._where = f"at the beginning of episode {self._episodes}"
        self._send({"type": "begin", "episode": episode, "step_seconds": step_seconds}, self._limit())

    def ask(self, step: int, observation: dict[str, Any]) -> Answer:
        """What the pilot does at this step of the episode that was announced last."""
        self._where = f"in episode {self._episodes}, step {step}"
        message, latency = self._ask({"type": "step", "episode": self._episode, "step": step, "observation": observation})
        self._check(message, {"type": "act", "episode": self._episode, "step": step}, {"action"})
        values = self._values(message["action"])
        valid = all(action.low <= values[action.name] <= action.high for action in self._actions)  # a NaN is in no range
        return Answer(values, valid, latency > self._deadline, latency)

    def end(self) -> None:
        """Say that the episode is over, and nothing of how it went; no answer is due."""
        self._send({"type": "end", "episode": self._episode}, self._limit())

    def part(self) -> None:
        """Say goodbye and close. A pilot that is gone already has missed nothing."""
        self._where = "at the end"
        self._quiet()
        with contextlib.suppress(Rejected):
            self._send({"type": "bye"}, self._limit())
        self._connection.close()

    def _ask(self, message: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """A question and its answer, and how long that took."""
        self._quiet()
        start, limit = time.monotonic(), self._limit()
        self._send(message, limit)
        frame = self._receive(limit)
        return self._parse(frame), time.monotonic() - start

    def _limit(self) -> float:
        """When waiting ends, on the monotonic clock."""
        return min(time.monotonic() + self._step_timeout, self._ends)

    def _timed_out(self, what: str) -> Rejected:
        if time.monotonic() >= self._ends:
            return Rejected(f"{self._where}: the run took more than {self._total:g} s.")
        return Rejected(f"{self._where}: {what} within {self._step_timeout:g} s.")

    def _quiet(self) -> None:
        """Nothing may have come that nobody asked for."""
        self._connection.settimeout(0)
        try:
            waiting = self._buffer or self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            waiting = b""
        if waiting:
            raise Rejected(f"{self._where}: bytes came unasked; one answer per question is expected, and nothing else.")
        raise Left(f"{self._where}: the pilot closed the connection; it is expected to stay until the lab says bye.")

    def _send(self, message: dict[str, Any], limit: float) -> None:
        body = self._encoder.encode(message).encode()
        if len(body) > MAX_FRAME:
            msg = f"a message of {len(body)} bytes is more than the protocol's {MAX_FRAME}."
            raise ValueError(msg)
        try:
            self._connection.settimeout(max(limit - time.monotonic(), _LEAST))
            self._connection.sendall(len(body).to_bytes(_HEADER, "big") + body)
        except TimeoutError:
            raise self._timed_out("the pilot did not read the lab's message") from None
        except OSError:
            raise Left(f"{self._where}: the pilot closed the connection before the lab had spoken.") from None

    def _receive(self, limit: float) -> bytes:
        """The body of one frame. What came beyond it stays in the buffer, for `_quiet` to find."""
        self._fill(_HEADER, limit)
        size = int.from_bytes(self._buffer[:_HEADER], "big")
        if size > MAX_FRAME:
            raise Rejected(f"{self._where}: a frame of {size} bytes was announced; at most {MAX_FRAME} are expected, after four bytes of length.")
        self._fill(_HEADER + size, limit)
        body = bytes(self._buffer[_HEADER : _HEADER + size])
        del self._buffer[: _HEADER + size]
        return body

    def _fill(self, size: int, limit: float) -> None:
        """Read until the buffer holds `size` bytes. One limit for all of them, so that dribbling gains no time."""
        while len(self._buffer) < size:
            if (left := limit - time.monotonic()) <= 0:
                raise self._timed_out("no complete answer came")
            self._connection.settimeout(left)
            try:
                part = self._connection.recv(MAX_FRAME)
            except TimeoutError:
                continue
            except OSError:
                part = b""
            if not part:
                raise Left(f"{self._where}: the pilot closed the connection; an answer is expected.")
            self._buffer += part

    def _parse(self, frame: bytes) -> dict[str, Any]:
        try:
            text = frame.decode()
            if _too_deep(text):
                raise Rejected(f"{self._where}: the answer is nested more than {MAX_DEPTH} deep.")
            message = self._decoder.decode(text)
        except ValueError as error:
            raise Rejected(f"{self._where}: the answer is not JSON that can be read ({_reason(error)}).") from None
        if not isinstance(message, dict):
            raise Rejected(f"{self._where}: the answer is {_kind(message)}; a JSON object is expected.")
        return message

    def _check(self, message: dict[str, Any], expected: dict[str, Any], further: set[str]) -> None:
        """The fields that are there are those that are due, and those whose value is known have it."""
        self._check_names(message, expected.keys() | further, "the answer")
        for name, value in expected.items():
            found = message[name]
            if type(found) is not type(value) or found != value:
                raise Rejected(f"{self._where}: the answer's {name} is {_quoted(found)}; {_quoted(value)} is expected.")

    def _check_names(self, found: dict[str, Any], wanted: "set[str]", where: str) -> None:
        if missing := sorted(wanted - found.keys()):
            raise Rejected(f"{self._where}: {where} has no {', '.join(missing)}.")
        if unknown := sorted(found.keys() - wanted):
            raise Rejected(f"{self._where}: {where} has the unknown field {_quoted(unknown[0])}; {', '.join(sorted(wanted))} are expected.")

    def _values(self, action: Any) -> dict[str, float]:
        if not isinstance(action, dict):
            raise Rejected(f"{self._where}: the action is {_kind(action)}; an object is expected.")
        self._check_names(action, self._names, "the action")
        for name, value in action.items():
            if type(value) not in (int, float):
                raise Rejected(f"{self._where}: the action's {name} is {_kind(value)}; a number is expected.")
        return {name: float(value) for name, value in action.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "an object has a name twice"
        raise ValueError(msg)
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        msg = f"an integer of more than {MAX_DIGITS} digits"
        raise ValueError(msg)
    return int(digits)


def _too_deep(text: str) -> bool:
    """Whether brackets are open `MAX_DEPTH` deep anywhere; those in strings count too, which no honest answer has so many of."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _kind(value: Any) -> str:
    """What it is, in JSON's words."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _quoted(value: Any) -> str:
    """A stranger's value as a sentence may repeat it."""
    if isinstance(value, dict | list):
        return _kind(value)
    text = json.dumps(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
