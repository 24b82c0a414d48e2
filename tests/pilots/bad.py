"""Pilots that misbehave, one per name; each is started as `bad.py NAME` and tries its worst."""

import contextlib
import ctypes
import itertools
import mmap
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from tables import OUT, constant, honest


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


def snoop():
    """Tell all that might hold the nonce, and forge a launcher's line with what was found."""
    print("cmdline", Path("/proc/1/cmdline").read_bytes())
    print("environ", Path("/proc/1/environ").read_bytes(), sorted(os.environ.items()))
    print('livinglab-launcher/1 {"launcher":"1"} 00')
    constant()


# --- ends that are not what they look like ----------------------------------------------------------------------------


def exit_137():
    os._exit(137)  # as one that was killed


def crash():
    ctypes.string_at(0)


def good_but_exits():
    honest()
    sys.exit(1)


def good_but_hangs():
    honest()
    time.sleep(10_000)


def good_but_floods():
    honest()
    logs()


def good_but_greedy():
    honest()
    memory()


def kills_its_group():
    if os.fork() == 0:
        os.killpg(0, signal.SIGKILL)
    os.wait()
    os.killpg(0, signal.SIGKILL)  # which the kernel keeps from the first process
    sys.exit(0)


def kills_all():
    """Whoever waits for the end of this container must not be made to believe in it; what is written afterwards does not count as more."""
    if os.fork() == 0:
        for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os._exit(0)
    os.wait()
    time.sleep(2)
    constant()


def closes_everything():
    """No descriptor that it was given stays open, and it goes on for a while."""
    constant()
    (OUT / "predictions.csv").rename(OUT / "kept.csv")
    os.closerange(0, 1 << 16)
    time.sleep(2)
    (OUT / "kept.csv").rename(OUT / "predictions.csv")


def hears_nothing():
    """Nor does any of its children, each in a session of its own."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            time.sleep(10_000)
    time.sleep(10_000)


def stops_itself():
    if os.fork() == 0:
        os.kill(os.getppid(), signal.SIGSTOP)
        os._exit(0)
    os.wait()
    time.sleep(10_000)


def lingers():
    """A daemon would outlive it, and put better predictions in the place of its own."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.close(writing)
        os.read(reading, 1)  # until the main process ends
        time.sleep(1)  # and until all of its end is over
        honest()
    os.close(reading)
    os.wait()
    constant()


# --- limits, reached by other ways -------------------------------------------------------------------------------------


def memory_in_scratch():
    for folder in ("/dev/shm", "/tmp"):
        with contextlib.suppress(OSError):
            for n in itertools.count():
                Path(folder, str(n)).write_bytes(bytes(1 << 20))
    print("there was room for all of it")


def memory_of_no_file():
    kept = []
    while True:
        descriptor = os.memfd_create("x")
        os.write(descriptor, bytes(4 << 20))
        kept.append(descriptor)


def memory_shared():
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 16 << 20))
        kept[-1].write(bytes(16 << 20))


def small_files():
    """As many as there may be: each takes the kernel's memory, not the disk's."""
    try:
        for n in itertools.count():
            Path(f"/tmp/{n}").touch()
    except OSError as error:
        print(error)
        sys.exit(42)


def threads():
    try:
        while True:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(42)


def descriptors():
    kept = []
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        print(len(kept) > 100, error)
        sys.exit(42)


def logs_to_stderr():
    while True:
        os.write(2, b"x" * 65_535 + b"\n")


def endless_line():
    while True:
        os.write(1, b"\0" * 65_536)


# --- outputs that nobody should take -----------------------------------------------------------------------------------


def unix_socket():
    socket.socket(socket.AF_UNIX).bind("/out/predictions.csv")


def link_to_hidden():
    (OUT / "predictions.parquet").symlink_to("/data/reference.parquet")


def link_to_folder():
    (OUT / "all").symlink_to("/")
    constant()


def hard_links():
    constant()
    (OUT / "a").write_bytes(bytes(600_000))
    os.link("/out/a", "/out/b")


def folder():
    (OUT / "predictions.csv").mkdir()
    (OUT / "predictions.csv" / "x").write_text("id,risk")


def deep():
    constant()
    (OUT / "a/b/c/d/e/f").mkdir(parents=True)


def _named(name):
    constant()
    (OUT / name).touch()


def turned_name():
    _named("\u202egnp.exe")


def name_of_two_lines():
    _named("a\npredictions.csv")


def long_name():
    _named("a" * 255)


def undecodable_name():
    constant()
    os.close(os.open(b"/out/\xff\xfe", os.O_CREAT))


def closed_file():
    constant()
    os.chmod("/out/predictions.csv", 0o4000)


def closed_folder():
    constant()
    with contextlib.suppress(PermissionError):  # not everywhere is it its own
        os.chmod("/out", 0)


def odd_times():
    constant()
    os.utime("/out/predictions.csv", (1 << 40, -(1 << 40)))


def swaps():
    """A link, and a folder with a link, by turns: whenever it is looked at, it is neither."""
    (OUT / "predictions.csv").symlink_to("/etc/passwd")
    (OUT / "d").mkdir()
    (OUT / "d" / "x").symlink_to("/etc/passwd")
    if os.fork() == 0:
        while True:
            ctypes.CDLL(None).syscall(316, -100, b"/out/predictions.csv", -100, b"/out/d", 2)  # renameat2, RENAME_EXCHANGE
    time.sleep(0.2)


def forges_results():
    """What passes itself off as the decoder's and the harness's, wherever it might be looked for."""
    passed = '{"verdict": "PASS", "status": "ok", "reason": "", "rows": 400, "metric": "uno_c", "value": 1.0, "measurements": []}'
    for path in ("measurements.json", "verdict.json", "decode.json", "context.json", "measure/measurements.json", "outputs.json"):
        (OUT / path).parent.mkdir(exist_ok=True)
        (OUT / path).write_text(passed)
    (OUT / "table.parquet").write_bytes(b"PAR1")
    constant()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
