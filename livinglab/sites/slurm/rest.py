"""The scheduler by slurmrestd, with a JSON Web Token. Jobs only: this daemon moves no files."""

import re
import ssl
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from threading import Lock
from typing import TypeVar
from urllib.parse import quote

import httpx

from livinglab.domain.errors import Invalid, LivingLabError, PlatformFault, Unreachable
from livinglab.sites.shell import TIMEOUT, Failed, Shell
from livinglab.sites.slurm import rest_bodies as bodies
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.commands import nice
from livinglab.sites.slurm.config import RestAccess, SlurmSettings
from livinglab.sites.slurm.control import Line, Request

_CONNECT_SECONDS = 10.0
_CONNECTIONS = 8
"""Kept open at most, whatever the number of threads: the daemon serves 124 in all."""
_IDLE_SECONDS = 30.0
_BODY_BYTES = 512 << 20
"""About 50,000 jobs, as the daemon lists them."""
_NAMES = 32
"""In one address, so that it fits into one packet: slurmrestd takes an address that arrives in two pieces for a malformed one."""
_TOKEN_BYTES = 16 << 10
_TOKEN = re.compile(r"(SLURM_JWT=)?(?P<token>[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
"""As `scontrol token` prints it, or the token alone."""

_REFUSED = frozenset({401, 403, 511})
_REFUSED_BY_SLURM = frozenset({1007, *range(6000, 6013), 9008})
"""Slurm's numbers for "who are you?" (`slurm_errno.h`)."""
_NOT_ALLOWED = 1
"""What a request to cancel comes back with while the controller is away, whoever asks."""
_AWAY = frozenset({11, *range(1001, 1005), *range(1013, 1026), *range(1800, 1806), 2007, 2016, 2027, 2059, 2131, *range(5003, 5006), 7000, 7008})
"""Slurm's numbers for a daemon that is away, in standby, shutting down or busy: too many requests (11), a full queue (2007), …"""

Answer = TypeVar("Answer")


class RestControl:
    """`Control` over slurmrestd. Threads may share one: they share its connections.

    A busy controller ("temporarily unable to accept job", a full queue) is `Unreachable`, like one that is away: sbatch would sleep and
    try again, and so does whoever calls, who looks for the job's name first.

    Args:
        access: the daemon's address, and whose token it is sent.
        settings: how the cluster may be used.
        shell: the way to the files; the one thing that no daemon tells, the cluster's configuration, is asked over it.
        timeout: seconds after which an answer is no longer waited for.
    """

    def __init__(self, access: RestAccess, settings: SlurmSettings, shell: Shell, *, timeout: float = TIMEOUT) -> None:
        self._access, self._settings = access, settings
        self._commands = CommandControl(shell, settings)
        self._lock = Lock()
        self._version: str | None = None
        try:
            trusted = ssl.create_default_context(cafile=access.ca)
        except OSError as error:
            msg = f"{access.ca} holds no certificates that can be read: {error.strerror or error}."
            raise Invalid(msg, hint="A file in PEM format is expected.") from error
        self._timeout = httpx.Timeout(timeout, connect=_CONNECT_SECONDS)
        limits = httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_SECONDS)
        self._clients: LifoQueue[httpx.Client] = LifoQueue()
        for _ in range(_CONNECTIONS):
            self._clients.put(httpx.Client(base_url=access.url, verify=trusted, limits=limits, timeout=self._timeout, trust_env=False))

    @property
    def array_size(self) -> int:
        """See the protocol. The daemon cuts the list of an array's tasks short, so that some would not be seen; and it is fast without."""
        return 1

    def submit(self, request: Request) -> str:
        """See the protocol."""
        return self._ask(bodies.parse_submitted, "POST", "slurm/{}/job/submit", json=bodies.build_job(self._settings, request))

    def queue(self) -> tuple[Line, ...]:
        """See the protocol."""
        return self._ask(lambda body: bodies.parse_jobs(body, self._access.user), "GET", "slurm/{}/jobs/")

    def accounted(self, names: Collection[str]) -> tuple[Line, ...]:
        """See the protocol; one query for each `_NAMES` of them."""
        ordered = sorted(names)
        return tuple(line for begin in range(0, len(ordered), _NAMES) for line in self._accounted(ordered[begin : begin + _NAMES]))

    def _accounted(self, names: list[str]) -> tuple[Line, ...]:
        wanted = {"job_name": ",".join(names), "users": self._access.user, "start_time": "now-30days", "show_duplicates": "true",
                  "disable_truncate_usage_time": "true"}  # fmt: skip
        return self._ask(lambda body: bodies.parse_accounting(body, self._access.user), "GET", "slurmdb/{}/jobs/", params=wanted)

    def cancel(self, ids: Collection[str]) -> None:
        """See the protocol."""
        if ids:
            self._ask(bodies.parse_done, "DELETE", "slurm/{}/jobs/", json={"jobs": sorted(ids), "user_name": self._access.user})

    def hold(self, ids: Collection[str]) -> None:
        """See the protocol."""
        self._update_all(ids, hold=True)

    def let_go(self, ids: Collection[str]) -> None:
        """See the protocol."""
        self._update_all(ids, hold=False)

    def prioritise(self, id_: str, priority: int) -> None:
        """See the protocol."""
        self._update(id_, nice=nice(priority))

    def config(self) -> str:
        """See the protocol. Only v0.0.45 has it, in another form: it is asked where the files go, as it is by commands."""
        return self._commands.config()

    def ping(self) -> str:
        """Who answers, by which version; `Unreachable` where the daemon does, but no controller behind it."""
        release, controllers = self._ask(bodies.parse_ping, "GET", "slurm/{}/ping/")
        if not controllers:
            msg = f"slurmrestd at {self._access.url} answers, but no controller of its cluster does, or none to this token."
            raise Unreachable(msg)
        return f"slurm {release} by slurmrestd {self._version}"

    def close(self) -> None:
        """End the connections; nobody may be using one."""
        while not self._clients.empty():
            self._clients.get().close()

    def _update_all(self, ids: Collection[str], **changes: object) -> None:
        """As scontrol does it: one that is refused keeps none of the others from being changed."""
        refused: list[Failed] = []
        for id_ in sorted(ids):
            try:
                self._update(id_, **changes)
            except Failed as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _update(self, id_: str, **changes: object) -> None:
        self._ask(bodies.parse_done, "POST", f"slurm/{{}}/job/{quote(id_, safe='')}", json=changes)

    # --- one question ---------------------------------------------------------------------------------------------------

    def _ask(
        self, parse: Callable[[bytearray], Answer], method: str, path: str, *, json: object = None, params: dict[str, str] | None = None
    ) -> Answer:
        """Ask slurmctld or slurmdbd, in the version that both sides speak; what its answer means."""
        with self._lock:
            if self._version is None:
                self._version = self._send(bodies.choose_version, "GET", "openapi/v3")
            path = path.format(self._version)
        return self._send(parse, method, path, json=json, params=params)

    def _send(
        self, parse: Callable[[bytearray], Answer], method: str, path: str, *, json: object = None, params: dict[str, str] | None = None
    ) -> Answer:
        token = self._token()
        headers = {"X-SLURM-USER-NAME": self._access.user, "X-SLURM-USER-TOKEN": token, "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            with self._client() as client, client.stream(method, path, json=json, params=params, headers=headers) as answer:
                status, body = answer.status_code, self._body_of(answer)
        except httpx.TransportError as error:
            msg = f"slurmrestd at {self._access.url} does not answer ({type(error).__name__}: {error})."
            raise Unreachable(msg) from error
        if not httpx.codes.is_success(status):
            said = bodies.find_errors(body) or bodies.SlurmSaysError(body[:300].decode(errors="replace").strip())
            raise self._refusal(status, said, token)
        try:
            return parse(body)
        except bodies.SlurmSaysError as error:
            raise self._refusal(status, error, token) from error

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """One for this thread alone: the pool of a client that is shared closes connections which another thread was just given
        (encode/httpcore#1110). The one that was used last comes first, so that few connections stay open.
        """  # noqa: D205
        try:
            client = self._clients.get(timeout=self._timeout.read)
        except Empty as error:
            msg = f"all {_CONNECTIONS} connections to slurmrestd at {self._access.url} are waiting for answers."
            raise Unreachable(msg) from error
        try:
            yield client
        finally:
            self._clients.put(client)

    def _body_of(self, answer: httpx.Response) -> bytearray:
        body = bytearray()
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > _BODY_BYTES:
                msg = f"slurmrestd at {self._access.url} answers with more than {_BODY_BYTES >> 20} MiB, more than any list of jobs has."
                raise PlatformFault(msg)
        return body

    def _refusal(self, status: int, error: bodies.SlurmSaysError, token: str) -> LivingLabError:
        """What is raised for it. A token is in no sentence, not even where somebody sends it back."""
        said, numbers = error.words.replace(token, "…") or f"status {status}", error.numbers
        if numbers & _REFUSED_BY_SLURM or (status in _REFUSED and _NOT_ALLOWED not in numbers):
            return Unreachable(
                f"the token in {self._access.token} is expired, or not one of user {self._access.user} at this cluster: {said}.",
                hint="Nothing is known of the jobs, and none is lost. Put a new one into the file (`scontrol token`); it is used at once.",
            )
        if status == httpx.codes.NOT_FOUND and not numbers:
            self._version = None  # the daemon was replaced by one that offers others, perhaps: asked again next time
            hint = "Is it the address of slurmrestd? If it was updated just now, the next try finds what it offers."
            return Unreachable(f"there is no such thing at {self._access.url}: {said}", hint=hint)
        if numbers & _AWAY or _NOT_ALLOWED in numbers or (status >= httpx.codes.INTERNAL_SERVER_ERROR and not numbers):
            return Unreachable(f"Slurm does not answer: {said}")
        return Failed(f"Slurm refuses: {said}", status, said)

    def _token(self) -> str:
        try:
            with self._access.token.open("rb") as file:
                match = _TOKEN.fullmatch(file.read(_TOKEN_BYTES).decode(errors="replace").strip())
        except OSError as error:
            msg = f"the token for slurmrestd cannot be read from {self._access.token}: {error.strerror}."
            raise Unreachable(msg) from error
        if match is None:
            msg = f"{self._access.token} holds no JSON Web Token."
            raise Unreachable(msg, hint="What `scontrol token` prints is expected, and nothing else.")
        return match["token"]
