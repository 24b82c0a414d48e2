"""What the lab makes of a slurmrestd that refuses, is busy, lies or is somebody else: a server of the test's own speaks its part."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from livinglab.domain.errors import Invalid, PlatformFault, Unreachable
from livinglab.sites.shell import Failed, local_shell
from livinglab.sites.slurm import rest
from livinglab.sites.slurm.config import RestAccess, SlurmSettings
from livinglab.sites.slurm.control import Request
from livinglab.sites.slurm.rest import RestControl

RECORDED = Path(__file__).parent / "slurmrestd"
TOKEN = "head.body.signature"
REQUEST = Request(name="ll-x", script="#!/bin/bash\n", cores=1, mebibytes=64, minutes=1)


@dataclass
class Daemon:
    """Answers each path with what it was told to; the OpenAPI document is the real one."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any, str]] = field(default_factory=list)
    """Method, path with query, body, token."""
    connections: set[tuple[str, int]] = field(default_factory=set)
    url: str = ""

    def says(self, path: str, status: int, body: object) -> None:
        self.answers[path] = (status, body if isinstance(body, bytes) else json.dumps(body).encode())


def handler(daemon: Daemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            daemon.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            daemon.asked.append((self.command, self.path, json.loads(body) if body else None, self.headers["X-SLURM-USER-TOKEN"]))
            status, said = daemon.answers.get(self.path.partition("?")[0], (404, b"Unable to find requested URL endpoint."))
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None: ...

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up in the middle is what some of the tests are about."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Daemon]:
    daemon = Daemon({"/openapi/v3": (200, (RECORDED / "openapi.json").read_bytes())})
    server = Server(("127.0.0.1", 0), handler(daemon))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    daemon.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield daemon
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


@contextmanager
def control_of(url: str, token: Path, *, timeout: float = 5.0, **options: Any) -> Iterator[RestControl]:
    settings = SlurmSettings(scratch=Path("/scratch"), partition="lab")
    control = RestControl(RestAccess(url=url, user="lab", token=token, **options), settings, local_shell(), timeout=timeout)
    yield control
    control.close()


@pytest.fixture
def control(daemon: Daemon, token: Path) -> Iterator[RestControl]:
    with control_of(daemon.url, token) as control:
        yield control


def errors(number: int, error: str, description: str = "It failed") -> dict[str, Any]:
    return {"errors": [{"description": description, "error_number": number, "error": error, "source": "x()"}], "warnings": []}


def test_one_question_each(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", 200, (RECORDED / "v0.0.45" / "jobs.json").read_bytes())
    daemon.says("/slurmdb/v0.0.45/jobs/", 200, (RECORDED / "v0.0.45" / "accounting.json").read_bytes())
    assert len(control.queue()) == 9
    assert len(control.accounted(["ll-b", "ll-a"])) == 7
    assert control.accounted([]) == ()
    assert [path.partition("?")[0] for _, path, _, _ in daemon.asked] == ["/openapi/v3", "/slurm/v0.0.45/jobs/", "/slurmdb/v0.0.45/jobs/"]
    assert "job_name=ll-a%2Cll-b&users=lab&" in daemon.asked[-1][1]  # a bare comma is more than slurmrestd's parser takes
    assert len(daemon.connections) == 1


def test_no_address_is_longer_than_a_packet(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurmdb/v0.0.45/jobs/", 200, {"jobs": []})
    names = {f"ll-{n:020x}" for n in range(100)}
    assert control.accounted(names) == ()
    asked = [path for _, path, _, _ in daemon.asked if path.startswith("/slurmdb/")]
    assert {name for path in asked for name in parse_qs(urlsplit(path).query)["job_name"][0].split(",")} == names
    assert len(asked) == 4
    assert max(map(len, asked)) < 1_200  # the least that any link carries is 1,280


def test_what_is_asked_of_jobs(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/job/submit", 200, (RECORDED / "v0.0.45" / "submitted.json").read_bytes())
    daemon.says("/slurm/v0.0.45/jobs/", 200, {"status": [], "errors": []})
    for id_ in ("7", "8"):
        daemon.says(f"/slurm/v0.0.45/job/{id_}", 200, {"results": None, "errors": []})
    assert control.submit(REQUEST).isdigit()
    control.cancel(["8", "17_3"])
    control.hold(["8", "7"])
    control.let_go(["7"])
    control.prioritise("7", -100)
    assert [(method, path.removeprefix("/slurm/v0.0.45/"), body) for method, path, body, _ in daemon.asked[2:]] == [
        ("DELETE", "jobs/", {"jobs": ["17_3", "8"], "user_name": "lab"}),
        ("POST", "job/7", {"hold": True}),
        ("POST", "job/8", {"hold": True}),
        ("POST", "job/7", {"hold": False}),
        ("POST", "job/7", {"nice": 2000}),
    ]


def test_one_job_that_cannot_be_held_keeps_no_other_from_it(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/job/7", 422, errors(2084, "Job has already finished"))
    daemon.says("/slurm/v0.0.45/job/8", 200, {"errors": []})
    with pytest.raises(Failed, match="Job has already finished"):
        control.hold(["7", "8"])
    assert daemon.asked[-1][1] == "/slurm/v0.0.45/job/8"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, b"Authentication failure"),
        (403, b"Forbidden"),
        (511, (RECORDED / "v0.0.45" / "unknown.json").read_bytes()),
        (200, json.dumps(errors(6001, "Expired")).encode()),
    ],
)
def test_a_token_that_is_not_accepted_is_told_and_nothing_is_known(
    daemon: Daemon, control: RestControl, token: Path, status: int, said: bytes
) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", status, said)
    with pytest.raises(Unreachable, match=f"token in {token} is expired, or not one of user lab") as refused:
        control.queue()
    assert "none is lost" in str(refused.value)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (502, errors(1800, "Unable to contact slurm controller (connect failure)")),
        (502, errors(7000, "Unable to connect to database")),
        (500, b"Unspecified error"),
        (503, b"<html>busy</html>"),
        (422, errors(2007, "MaxJobCount limit reached")),
        (422, errors(11, "Resource temporarily unavailable")),
        (403, errors(1, "Operation not permitted")),  # a request to cancel, while the controller is away
    ],
)
def test_away_and_busy_are_transient(daemon: Daemon, control: RestControl, status: int, said: object) -> None:
    daemon.says("/slurm/v0.0.45/job/submit", status, said)
    with pytest.raises(Unreachable, match="does not answer: ") as away:
        control.submit(REQUEST)
    assert "token" not in str(away.value)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (422, (RECORDED / "v0.0.45" / "refused.json").read_bytes(), "Batch job submission failed: Invalid partition name specified"),
        (500, errors(9202, "Unable to convert Data type", "Expected integer"), "Expected integer: Unable to convert Data type"),
        (400, b"Failure during parsing", "Failure during parsing"),
        (404, errors(2017, "Invalid job id specified"), "Invalid job id specified"),
        (200, errors(2050, "Job violates accounting/QOS policy"), "Job violates accounting/QOS policy"),
        (302, b"", "status 302"),
    ],
)
def test_a_refusal_is_told_in_slurms_words(daemon: Daemon, control: RestControl, status: int, said: object, words: str) -> None:
    daemon.says("/slurm/v0.0.45/job/submit", status, said)
    with pytest.raises(Failed, match=words):
        control.submit(REQUEST)


def test_a_body_that_is_none_of_slurms_is_a_fault(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", 200, b"<html>It works!</html>")
    with pytest.raises(PlatformFault, match="not of the shape"):
        control.queue()


def test_a_body_without_end_is_not_read_to_it(daemon: Daemon, control: RestControl, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", 200, b" " * (3 << 20))
    with pytest.raises(PlatformFault, match="not of the shape"):
        control.queue()
    monkeypatch.setattr(rest, "_BODY_BYTES", 2 << 20)
    with pytest.raises(PlatformFault, match="more than 2 MiB"):
        control.queue()


def test_the_token_is_read_anew_and_never_told(daemon: Daemon, control: RestControl, token: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    daemon.says("/slurm/v0.0.45/jobs/", 418, f"what is {TOKEN}?".encode())
    with pytest.raises(Failed, match=r"what is …\?"):
        control.queue()
    token.write_text("SLURM_JWT=new.new.new\n")
    with pytest.raises(Failed):
        control.queue()
    assert [asked[3] for asked in daemon.asked] == [TOKEN, TOKEN, "new.new.new"]
    assert TOKEN not in caplog.text
    assert "new.new.new" not in caplog.text


@pytest.mark.parametrize("content", ["", "no token", "a.b.c\r\nX-Header: x", "a.b.c d", "é.b.c", "a" * 100_000])
def test_what_is_no_token_is_not_sent(daemon: Daemon, control: RestControl, token: Path, content: str) -> None:
    token.write_text(content)
    with pytest.raises(Unreachable, match="holds no JSON Web Token") as refused:
        control.queue()
    assert not daemon.asked
    assert not content or content not in str(refused.value)
    token.unlink()
    with pytest.raises(Unreachable, match="cannot be read"):
        control.queue()


def test_nobody_answers(token: Path) -> None:
    with control_of("http://127.0.0.1:9", token) as control, pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9 does not answer"):
        control.queue()


def test_a_connection_is_waited_for_no_longer_than_an_answer(daemon: Daemon, token: Path) -> None:
    with control_of(daemon.url, token, timeout=0.2) as control, ExitStack() as taken:
        for _ in range(8):
            taken.enter_context(control._client())
        with pytest.raises(Unreachable, match="all 8 connections"):
            control.queue()


class Silent(dict[str, tuple[int, bytes]]):
    """Answers that are not given before the test is over."""

    over = threading.Event()

    def get(self, *_: Any) -> Any:
        self.over.wait(30)
        return 200, b"{}"


def test_a_daemon_that_falls_silent_is_not_waited_for(daemon: Daemon, token: Path) -> None:
    daemon.answers = Silent()
    with control_of(daemon.url, token, timeout=0.2) as control, pytest.raises(Unreachable, match="ReadTimeout"):
        control.queue()
    Silent.over.set()


def test_a_daemon_that_was_replaced_is_asked_again_what_it_offers(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", 200, {"jobs": []})
    assert control.queue() == ()
    del daemon.answers["/slurm/v0.0.45/jobs/"]
    daemon.says("/slurm/v0.0.44/jobs/", 200, {"jobs": []})
    daemon.says("/openapi/v3", 200, {"paths": {"/slurm/v0.0.44/jobs/": {}, "/slurmdb/v0.0.44/jobs/": {}}})
    with pytest.raises(Unreachable, match="there is no such thing"):
        control.queue()
    assert control.queue() == ()


def test_ping_tells_who_answers(daemon: Daemon, control: RestControl) -> None:
    answer = json.loads((RECORDED / "v0.0.45" / "ping.json").read_bytes())
    daemon.says("/slurm/v0.0.45/ping/", 200, answer)
    assert control.ping() == "slurm 26.05.5 by slurmrestd v0.0.45"
    answer["pings"][0] |= {"responding": False, "status": "Protocol authentication error"}
    daemon.says("/slurm/v0.0.45/ping/", 200, answer)
    with pytest.raises(Unreachable, match="no controller"):
        control.ping()


def test_many_threads_share_one_control(daemon: Daemon, control: RestControl) -> None:
    daemon.says("/slurm/v0.0.45/jobs/", 200, (RECORDED / "v0.0.45" / "jobs.json").read_bytes())
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(len(control.queue()) for _ in range(10))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [9] * 160
    assert len(daemon.connections) <= 8
    assert sum(path == "/openapi/v3" for _, path, _, _ in daemon.asked) == 1


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that is its own authority, and the server's side of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slurmrestd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return folder / "ca.pem", server


def test_https_believes_the_authority_that_is_given_and_no_other(tmp_path: Path, token: Path) -> None:
    ca, tls = certified(tmp_path)
    with serving(tls) as daemon:
        daemon.says("/slurm/v0.0.45/jobs/", 200, {"jobs": []})
        with control_of(daemon.url, token, ca=ca) as control:
            assert control.queue() == ()
        with control_of(daemon.url, token) as control, pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            control.queue()


def test_authorities_that_cannot_be_read_are_told_at_once(tmp_path: Path, token: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "absent.pem"):
        with pytest.raises(Invalid, match=name), control_of("https://127.0.0.1:9", token, ca=tmp_path / name):
            pass
