"""Pilots that misbehave, one per name; each is started as `bad.py NAME` and tries its worst."""

import csv
import os
import socket
import sys
import time
from pathlib import Path

OUT = Path("/out")


def predict(change=lambda i, row: [row], header=("id", "risk")):
    """Write a table in which `change` turns each good row into rows of its own."""
    with open("/in/cohort.csv", newline="") as cohort, (OUT / "predictions.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        for i, row in enumerate(csv.DictReader(cohort)):
            writer.writerows(change(i, [row["id"], "0.5"]))


def exit_1():
    print("something went wrong here", file=sys.stderr)
    sys.exit(1)


def exit_painting():
    print("\x1b[2J\x1b[32mPASS\0\u202e", file=sys.stderr)
    sys.exit(1)


def forks_on():
    """As `forks`, and its children are not told to stop either."""
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def endless_name():
    predict(header=("id", "r" * 60_000 + "ä" * 2_000))


def imitates_launcher():
    while True:
        os.write(1, b"livinglab-launcher/1 {} 00\n" * 600)


def exit_97():
    sys.exit(97)  # as the launcher would


def hang():
    time.sleep(10_000)


def memory():
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


def forks():
    children = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(600)
            children += 1
    except OSError as error:
        print(f"stopped after {children} children: {error}")
        sys.exit(1)


def too_much():
    with (OUT / "predictions.csv").open("wb") as file:
        while True:
            file.write(b"0" * (1 << 20))


def too_many():
    for i in range(10_000):
        (OUT / f"f{i}").touch()


def nothing():
    print("no output today")


def nan():
    predict(lambda i, row: [[row[0], "nan"]] if i == 7 else [row])


def wrong_ids():
    predict(lambda i, row: [[f"someone-{i}", row[1]]])


def duplicates():
    predict(lambda i, row: [row, row] if i == 7 else [row])


def out_of_range():
    predict(lambda i, row: [[row[0], "1.5"]] if i == 7 else [row])


def no_column():
    predict(header=("id", "probability"))


def constant():
    predict()


def not_parquet():
    (OUT / "predictions.parquet").write_bytes(b"PAR1 this is not one PAR1")


def symlink():
    (OUT / "predictions.csv").symlink_to("/etc/shadow")


def sparse():
    with (OUT / "predictions.csv").open("wb") as file:
        file.truncate(10 << 30)


def fifo():
    os.mkfifo(OUT / "predictions.csv")


def logs():
    line = "x" * 1000
    for _ in range(1 << 20):
        print(line)


def network():
    reached = []
    for address in (("8.8.8.8", 53), ("169.254.169.254", 80), ("172.17.0.1", 22)):
        try:
            socket.create_connection(address, timeout=1)
            reached.append(address)
        except OSError as error:
            print(address, error)
    sys.exit(0 if reached else 3)


def snoop():
    """Look for the nonce, write where nothing may be written, and forge a launcher's line."""
    print("cmdline", Path("/proc/1/cmdline").read_bytes())
    print("environ", sorted(os.environ))
    print('livinglab-launcher/1 {"launcher":"1"} 00')
    for path in ("/etc/x", "/app/x", "/in/x", "/x", "/.livinglab/x"):
        try:
            Path(path).write_text("x")
            print("WROTE", path)
        except OSError as error:
            print(path, error.strerror)
    predict()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
