"""Pilots of the mobility sandbox that misbehave, one per name; each is started as `driving.py NAME` and tries its worst."""

import json
import os
import socket
import sys
import time
from pathlib import Path

IN, ADDRESS = Path(os.environ.get("PILOT_IN", "/in")), os.environ.get("PILOT_SOCKET", "/socket/lab.sock")


def connect():
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(ADDRESS)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            time.sleep(0.02)
        else:
            return connection


def frame(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def act(question, acceleration=0.0, lateral=0.0):
    return {
        "type": "act", "episode": question["episode"], "step": question["step"],
        "action": {"acceleration": acceleration, "lateral_acceleration": lateral},
    }  # fmt: skip


def run(reply, ready=lambda message: frame({"type": "ready", "protocol": message["protocol"]})):
    """Talk; `reply` turns a question into the bytes that are sent."""
    connection = connect()
    stream = connection.makefile("rb")
    while header := stream.read(4):
        message = json.loads(stream.read(int.from_bytes(header, "big")))
        if message["type"] == "hello":
            connection.sendall(ready(message))
        elif message["type"] == "step":
            connection.sendall(reply(message))
        elif message["type"] == "bye":
            return


def never_brakes():
    run(lambda question: frame(act(question)))


def stands_still():
    run(lambda question: frame(act(question, -9.0)))


def swerves():
    """Always to the left, whoever is there."""
    run(lambda question: frame(act(question, 0.0, 3.0)))


def late():
    """As never_brakes, and every tenth answer takes 80 ms."""

    def reply(question):
        time.sleep(0.08 if question["step"] % 10 == 0 else 0)
        return frame(act(question))

    run(reply)


def hangs():
    run(lambda question: time.sleep(1000))


def out_of_order():
    run(lambda question: frame({**act(question), "step": question["step"] + 1}))


def replays():
    """The first answer, again and again."""
    first = []

    def reply(question):
        first.append(frame(act(question)))
        return first[0]

    run(reply)


def nan():
    run(lambda question: frame(act(question, float("nan"))))


def out_of_range():
    run(lambda question: frame(act(question, -90.0)))


def closes():
    run(lambda question: sys.exit(0))


def floods():
    run(lambda question: frame(act(question)) * 3)


def oversize():
    run(lambda question: (1 << 30).to_bytes(4, "big") + bytes(1 << 20))


def not_json():
    run(lambda question: frame(b"\x80\x04K\x01."))


def another_protocol():
    run(lambda question: b"", ready=lambda message: frame({"type": "ready", "protocol": "livinglab.step/0"}))


def never_connects():
    time.sleep(1000)


def memorised():
    """Knows the examples by heart: brakes when their road users do, by the step. Whatever it does not know, it drives through."""
    known = {}
    for example in json.loads((IN / "examples.json").read_text()):
        first = example["observations"][0]
        known[round(first["ego"]["speed"], 2)] = max(0, len(example["observations"]) - 60) if example["ends_in_contact"] else 10_000
    brakes = {}

    def reply(question):
        if question["step"] == 0:
            brakes[question["episode"]] = known.get(round(question["observation"]["ego"]["speed"], 2), 10_000)
        return frame(act(question, -9.0 if question["step"] >= brakes[question["episode"]] else 0.0))

    run(reply)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
