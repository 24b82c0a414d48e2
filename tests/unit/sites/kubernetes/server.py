"""An API server that says what it is told to say, and remembers what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]
Answer = tuple[int, bytes]


class Server:
    """Answers by a function of method, path with query, and token; and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.sent: list[Json] = []
        self.answer: Callable[[str, str, str], Answer] = lambda *_: (200, b"{}")
        self.stream: Callable[[], Iterator[Json]] = lambda: iter(())
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                if size := int(self.headers.get("Content-Length") or 0):
                    server.sent.append(json.loads(self.rfile.read(size)))
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                server.asked.append((self.command, self.path, token))
                if "watch=1" in self.path:
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for event in server.stream():
                        line = json.dumps(event).encode() + b"\n"
                        for part in (line[:7], line[7:]):  # a line may come in pieces
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                            self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                    return
                status, body = server.answer(self.command, self.path, token)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Nothing is told."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # who asked has gone away
        self.kubeconfig = folder / "kubeconfig"
        self.let_in("first")
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def let_in(self, token: str) -> None:
        where = {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "k", "cluster": where}],
            "users": [{"name": "u", "user": {"token": token}}], "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        }))  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
