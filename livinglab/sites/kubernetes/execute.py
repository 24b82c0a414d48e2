"""The shell in the cluster's staging pod: scripts over the API server's `exec`, like any other shell."""

import os
import time
import weakref
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.sites.kubernetes.api import Api, message, translated
from livinglab.sites.shell import TIMEOUT, Failed

if TYPE_CHECKING:
    from kubernetes.stream.ws_client import WSClient

_BASH = ["bash", "--noprofile", "--norc", "-p", "-c"]
_BOUNDED = """
size="$1" script="$2"
shift 2
if [ "$size" = 0 ]; then exec bash --noprofile --norc -p -c "$script" livinglab "$@" </dev/null; fi
head -c "$size" | bash --noprofile --norc -p -c "$script" livinglab "$@"
"""
"""An `exec` has no end of its standard input (before version 5 of its protocol), so its size is told."""
_SERVE = r"""
errors="$(mktemp)" && trap 'rm -f "$errors"' EXIT
while IFS= read -r -d '' -t 300 count; do
    words=()
    while [ "${#words[@]}" -lt "$count" ]; do IFS= read -r -d '' word || exit; words+=("$word"); done
    said="$(base64 -d <<<"${words[0]}" | bash --noprofile --norc -p -c "${words[1]}" livinglab "${words[@]:2}" 2>"$errors" | base64 -w0
        exit "${PIPESTATUS[1]}")"
    printf '%s %s %s\n' "$?" "$said" "$(tail -c 2000 "$errors" | base64 -w0)"
done
"""
"""One command after the other over one connection, since to make one takes ten times as long as a command: how many words, then what it
reads, the script and its arguments, each ended by a zero byte; its exit code, output and complaints come back as a line."""
_CHUNK = 32 << 10
_SMALL, _FRESH = 32 << 10, 60.0
"""What a command in a session reads at most, in bytes; and for how many seconds nobody used a session that is used once more."""
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def _close(idle: "list[tuple[float, WSClient]]") -> None:
    for _, session in idle:
        session.sock.shutdown()


class CutError(Unreachable):
    """The connection is gone; whether the command ran is not known."""


@dataclass
class PodShell:
    """A shell in a pod that waits there. Commands are such as may be run once more when an answer was not heard."""

    api: Api
    namespace: str
    pod: str
    where: str = field(init=False)
    _idle: "list[tuple[float, WSClient]]" = field(default_factory=list)
    """Sessions that nobody uses at the moment, and since when."""

    def __post_init__(self) -> None:
        self.where = f"pod {self.pod} of namespace {self.namespace}"
        weakref.finalize(self, _close, self._idle)

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = TIMEOUT) -> bytes:
        """See `Shell`."""
        size = len(stdin) if isinstance(stdin, bytes) else os.fstat(stdin.fileno()).st_size - stdin.tell()
        end = time.monotonic() + timeout
        if out is None and size <= _SMALL:
            return self._in_session([script, *arguments], stdin if isinstance(stdin, bytes) else stdin.read(), end)
        command = [*_BASH, _BOUNDED, "livinglab", str(size), script, *arguments]
        with translated(self.where):
            socket = self._connected(command)
            try:
                said = _Said(out)
                self._send(socket, stdin, size, said, end)
                while socket.is_open():
                    self._hear(socket, said, end)
                said.take(socket)
                return self._end(socket, said)
            finally:
                socket.sock.shutdown()  # without the farewells of a `close`, which are waited for

    # --- a session -------------------------------------------------------------------------------------------------------

    def _in_session(self, words: list[str], stdin: bytes, end: float) -> bytes:
        with translated(self.where):
            while session := self._used_before():
                try:
                    return self._ask(session, words, stdin, end)
                except CutError:
                    continue  # it was gone before it was asked, as far as anybody can tell
            return self._ask(self._connected([*_BASH, _SERVE]), words, stdin, end)

    def _used_before(self) -> "WSClient | None":
        while self._idle:
            since, session = self._idle.pop()
            if time.monotonic() - since < _FRESH:
                return session
            session.sock.shutdown()
        return None

    def _ask(self, session: "WSClient", words: list[str], stdin: bytes, end: float) -> bytes:
        from websocket import WebSocketException

        said = _Said(None)
        try:
            session.write_stdin(b"".join(word.encode() + b"\0" for word in (str(len(words) + 1), b64encode(stdin).decode(), *words)))
            while session.is_open() and not said.out.endswith(b"\n"):
                self._hear(session, said, end)
            code, out, complaints = said.out.removesuffix(b"\n").split(b" ")
        except (WebSocketException, OSError, ValueError) as error:
            session.sock.shutdown()
            msg = f"the connection to {self.where} was cut."
            raise CutError(msg) from error
        except Unreachable:
            session.sock.shutdown()
            raise
        self._idle.append((time.monotonic(), session))
        return self._told(int(code), b64decode(out), b64decode(complaints))

    # --- a command with a connection of its own -------------------------------------------------------------------------

    def _connected(self, command: list[str]) -> "WSClient":
        from kubernetes.stream.ws_client import WSClient, get_websocket_url
        from websocket import WebSocketException

        client, headers = self.api.client, dict[str, str]()
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}/exec"
        client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        query = [("stdin", "1"), ("stdout", "1"), ("stderr", "1"), *(("command", word) for word in command)]
        try:
            return WSClient(client.configuration, get_websocket_url(client.configuration.host + path, query),
                            {name.lower(): value for name, value in headers.items()}, capture_all=False, binary=True)  # fmt: skip
        except WebSocketException as error:
            # Whatever the reason, nothing is known: a pod that is not there says nothing of what was asked for in it.
            said = message(getattr(error, "resp_body", None) or b"").strip() or str(error).partition(" -+-+-")[0]
            msg = f"nothing can be run in {self.where}: {said[:300]}"
            raise Unreachable(msg) from error

    def _send(self, socket: "WSClient", stdin: bytes | BinaryIO, size: int, said: "_Said", end: float) -> None:
        sent = 0
        while sent < size:
            chunk = stdin[sent : sent + _CHUNK] if isinstance(stdin, bytes) else stdin.read(min(_CHUNK, size - sent))
            if not chunk:
                msg = "what was to be sent became shorter while it was read."
                raise PlatformFault(msg)
            socket.write_stdin(chunk)
            sent += len(chunk)
            self._hear(socket, said, end, wait=0)
            if not socket.is_open():
                return

    def _hear(self, socket: "WSClient", said: "_Said", end: float, wait: float = 1.0) -> None:
        left = end - time.monotonic()
        if left <= 0:
            msg = f"{self.where} did not answer in time."
            raise Unreachable(msg)
        socket.update(timeout=min(left, wait))
        said.take(socket)

    def _end(self, socket: "WSClient", said: "_Said") -> bytes:
        try:
            code = socket.returncode
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            msg = f"the connection to {self.where} was cut."
            raise Unreachable(msg) from error
        return self._told(int(code or 0), bytes(said.out), bytes(said.err))

    def _told(self, code: int, out: bytes, complaints: bytes) -> bytes:
        if code == 0:
            return out
        words = "; ".join(line.strip() for line in complaints.decode(errors="replace").splitlines()[-3:] if line.strip())[-600:]
        msg = f"a command in {self.where} ended with exit code {code}: {words or 'it gave no reason'}"
        raise Failed(msg, code, words)


class _Said:
    """What a command says, as it comes."""

    def __init__(self, file: BinaryIO | None) -> None:
        self.file, self.out, self.err = file, bytearray(), bytearray()

    def take(self, socket: "WSClient") -> None:
        channels = socket._channels  # noqa: SLF001 - the client's own way to one reads the connection first
        out, err = channels.pop(_STDOUT, b""), channels.pop(_STDERR, b"")
        self.err += err
        if self.file is None:
            self.out += out
        else:
            self.file.write(out)
