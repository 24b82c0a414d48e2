"""What a transaction costs: `python benchmarks/store.py [--url postgresql+psycopg://…] [--count 300]`.

A transition, as the engine makes it at each step: the attempt and its journal are written, an event goes to the outbox and
an entry to the chain. Times in milliseconds. Without `--url`, SQLite in `--folder`, beside what a bare fsync costs there.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from livinglab.domain.canonical import sha256
from livinglab.domain.run import Attempt, JournalEntry, Step
from livinglab.store.sql import SqlStore, open_store
from tests.contract import store_records as r


def timed(work: Callable[[int], object], count: int) -> list[float]:
    taken = []
    for n in range(count):
        begun = time.perf_counter()
        work(n)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def show(name: str, taken: list[float]) -> None:
    ordered = sorted(taken)
    print(f"{name:<46} p50 {statistics.median(ordered):7.2f}   p99 {ordered[int(len(ordered) * 0.99)]:7.2f}")


def transition(store: SqlStore, attempt: Attempt, n: int) -> None:
    with store.transaction() as tx:
        held = tx.attempt(attempt.id)
        assert held is not None
        tx.update_attempt(held.model_copy(update={"step": Step.ADMIT}), 0)
        tx.write_journal(JournalEntry(attempt=attempt.id, step=Step.ADMIT, status="intent", data={"n": n}, at=r.T0), 0)
        tx.emit(r.event(run=attempt.run, data={"step": "admit"}))
        r.append(tx, f"chain-{attempt.run}", f"{n}: {sha256(str(n).encode())}" * 10)


def measure(store: SqlStore, count: int) -> None:
    attempts = r.with_attempts(store, 1000)
    show("a transition", timed(lambda n: transition(store, attempts[0], n), count))
    show("a writer that writes nothing", timed(lambda _: nothing(store), count))
    show("reading an attempt", timed(lambda _: look(store, attempts[0].id), count))
    for threads in (4, 16):
        each = count // threads
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda n, each=each: timed(lambda k: transition(store, attempts[n], k), each), range(threads))
            taken = [one for part in parts for one in part]
        show(f"a transition, {threads} threads ({len(taken) / (time.perf_counter() - begun):.0f}/s in all)", taken)
    show("a claim among 1000 queued attempts", timed(lambda n: claim(store, n), count))


def nothing(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.cursor("x")


def look(store: SqlStore, attempt: str) -> None:
    with store.transaction(read_only=True) as tx:
        tx.attempt(attempt)


def claim(store: SqlStore, n: int) -> None:
    with store.transaction() as tx:
        assert tx.claim("docker", f"owner-{n % 4}", r.T0, timedelta(days=1), lambda _: False)


def fsync(folder: Path, count: int) -> list[float]:
    with (folder / "fsync").open("wb") as file:

        def write(_: int) -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        return timed(write, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if not given.url:
            show("bare write + fsync of 4 KiB", fsync(Path(folder), given.count))
        begun = time.perf_counter()
        store = open_store(given.url or f"sqlite:///{folder}/lab.db")
        print(f"{'opening, all migrations':<46} {(time.perf_counter() - begun) * 1000:11.2f}")
        measure(store, given.count)
        store.close()
        begun = time.perf_counter()
        open_store(given.url or f"sqlite:///{folder}/lab.db").close()
        print(f"{'opening, at head':<46} {(time.perf_counter() - begun) * 1000:11.2f}")


if __name__ == "__main__":
    main()
