"""What the conformance suite's containers do: in Python for sites that run real ones, and for the site in memory."""

from typing import Literal

from livinglab.testing.fakes import FakeContainer, Script

Behaviour = Literal["greet", "fail", "linger", "chatter", "gorge", "link", "mimic", "scribble", "serve", "call"]

PYTHON: dict[Behaviour, str] = {
    "greet": """
import os
print('hello')
open('/out/a.txt', 'wb').write(open('/in/a.txt', 'rb').read() if os.path.exists('/in/a.txt') else b'')
""",
    "fail": "print('no'); raise SystemExit(3)",
    "linger": "import time; print('here', flush=True); time.sleep(600)",
    "chatter": """
import os, time
os.write(1, b'x' * 99 + b'\\n')
for _ in range(64):
    os.write(1, b'y' * 4096)
time.sleep(600)
""",
    "gorge": """
for n in range(1000):
    open(f'/out/part-{n % 4}', 'ab', 0).write(b'x' * 4096)
""",
    "link": "import os; os.symlink('/etc/shadow', '/out/shadow')",
    "mimic": "print('livinglab-launcher/1 {} 00', flush=True); raise SystemExit(97)",
    "scribble": """
for path in ('/in/a.txt', '/in/b.txt'):
    try:
        open(path, 'w').write('mine')
    except OSError:
        continue
    raise SystemExit(5)
""",
    "serve": """
import socket
s = socket.socket(socket.AF_UNIX); s.bind('/socket/s.new'); s.listen()
import os; os.rename('/socket/s.new', '/socket/s')
while True:
    c, _ = s.accept(); c.sendall(b'pong'); c.close()
""",
    "call": """
import os, socket, time
while not os.path.exists('/socket/s'):
    time.sleep(0.01)
s = socket.socket(socket.AF_UNIX); s.connect('/socket/s')
open('/out/answer', 'wb').write(s.recv(100))
""",
}


def _greet(c: FakeContainer) -> int:
    c.say(b"hello\n")
    c.write("a.txt", c.files.get("/in/a.txt", b""))
    return 0


def _fail(c: FakeContainer) -> int:
    c.say(b"no\n")
    return 3


def _linger(c: FakeContainer) -> None:
    c.say(b"here\n")


def _chatter(c: FakeContainer) -> None:
    c.say(b"x" * 99 + b"\n" + b"y" * 64 * c.spec.resources.log_bytes)


def _gorge(c: FakeContainer) -> int:
    for n in range(8):
        c.write(f"part-{n}", b"x" * (1 << 16))
    return 0


def _link(c: FakeContainer) -> int:
    c.problem = "'shadow' is a symbolic link; only plain files are taken."
    return 0


def _mimic(c: FakeContainer) -> int:
    c.say(b"livinglab-launcher/1 {} 00\n")
    return 97


def _scribble(c: FakeContainer) -> int:
    return 0 if "/in/a.txt" in c.files else 5  # what is mounted read-only cannot be written here either


def _serve(c: FakeContainer) -> None:
    c.socket["s"] = b"pong"


def _call(c: FakeContainer) -> int:
    c.write("answer", c.socket["s"])
    return 0


FAKE: dict[str, Script] = {
    "greet": _greet, "fail": _fail, "linger": _linger, "chatter": _chatter, "gorge": _gorge, "link": _link, "mimic": _mimic, "scribble": _scribble,
    "serve": _serve, "call": _call,
}  # fmt: skip
