"""The pilot's side of `livinglab.step/1`: connect, and answer each question until the lab says bye."""

import json
import os
import socket
import sys
import time

from controller import Controller

ADDRESS = os.environ.get("PILOT_SOCKET", "/socket/lab.sock")
PATIENCE = 60.0  # s to wait for the lab


def connect():
    """The lab's socket, as soon as it is there."""
    give_up = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(ADDRESS)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > give_up:
                sys.exit(f"nobody listens at {ADDRESS}")
            time.sleep(0.05)


def receive(stream):
    """One message: four bytes of length, then JSON."""
    header = stream.read(4)
    if len(header) < 4:
        sys.exit("the lab has gone")
    return json.loads(stream.read(int.from_bytes(header, "big")))


def answer(connection, message):
    body = json.dumps(message).encode()
    connection.sendall(len(body).to_bytes(4, "big") + body)


def main():
    connection, controller, episodes = connect(), Controller(), 0
    stream = connection.makefile("rb")
    while (message := receive(stream))["type"] != "bye":
        if message["type"] == "hello":
            answer(connection, {"type": "ready", "protocol": message["protocol"]})
        elif message["type"] == "begin":
            controller.begin(message["step_seconds"])
            episodes += 1
        elif message["type"] == "step":
            action = {"acceleration": controller.act(message["observation"]), "lateral_acceleration": 0.0}
            answer(connection, {"type": "act", "episode": message["episode"], "step": message["step"], "action": action})
    print("drove", episodes, "episodes")


if __name__ == "__main__":
    main()
