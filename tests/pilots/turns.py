"""Pilots for the sandbox `turns`, one per name: `turns.py NAME`. All but the first misbehave."""

import errno
import json
import socket
import sys
import time
from pathlib import Path


def connect():
    line = socket.socket(socket.AF_UNIX)
    while True:
        try:
            line.connect("/socket/lab.sock")
        except OSError:
            time.sleep(0.01)
        else:
            return line


def receive(line):
    head = line.recv(4, socket.MSG_WAITALL)
    return json.loads(line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)) if head else {"type": "bye"}


def send(line, message):
    body = json.dumps(message).encode()
    line.sendall(len(body).to_bytes(4, "big") + body)


def play(answer=lambda message: 2 * message["observation"]["number"], before=lambda line, step: None):
    """Until the lab says bye: `before` each answer, then what `answer` makes of the question."""
    line = connect()
    while (message := receive(line))["type"] != "bye":
        if message["type"] == "hello":
            send(line, {"type": "ready", "protocol": message["protocol"]})
        elif message["type"] == "step":
            before(line, message["step"])
            named = {name: message[name] for name in ("episode", "step")}
            send(line, {"type": "act", **named, "action": {"double": answer(message)}})


def honest():
    play()


def lies():
    play(lambda message: 3)


def out_of_range():
    play(lambda message: 1e9)


def dies():
    play(before=lambda line, step: sys.exit(3) if step == 5 else None)


def hangs_up():
    def leave(line, step):
        if step == 5:
            line.close()
            time.sleep(30)

    play(before=leave)


def floods():
    def shout(line, step):
        if step == 5:
            while True:
                line.sendall(b"x" * 65536)

    play(before=shout)


def sleeps():
    play(before=lambda line, step: time.sleep(30) if step == 5 else None)


def never_comes():
    time.sleep(60)


def stays():
    play()
    time.sleep(60)


def fails_at_the_end():
    play()
    sys.exit(4)


def takes_the_socket():
    """The socket is another's: it cannot be removed, replaced, or joined by a file."""
    theirs, refused = Path("/socket/lab.sock"), 0
    for deed in (theirs.unlink, lambda: Path("/socket/mine").write_text(""), lambda: theirs.rename("/socket/b")):
        try:
            deed()
        except OSError as error:
            refused += error.errno == errno.EROFS
    play(lambda message: 2 * message["observation"]["number"] if refused == 3 else 0)


def eats_memory():
    play(before=lambda line, step: bytearray(1 << 30) if step == 5 else None)


globals()[sys.argv[1]]()
