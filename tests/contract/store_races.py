"""What must hold when many use a store at once, in threads and in processes, and when one of them is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.access import Event
from livinglab.domain.canonical import canonical, sha256
from livinglab.domain.errors import Unreachable
from livinglab.ports import Store
from livinglab.store.sql import open_store
from tests.contract import store_records as r
from tests.contract.store_suite import Somewhere

ROOT = Path(__file__).resolve().parents[2]
MANY = 8


@contextmanager
def process(verb: str, url: str, argument: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that is gone afterwards."""
    command = [sys.executable, "-m", "tests.contract.store_process", verb, url, argument]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def at_once(work: Callable[[int], Any], count: int = MANY) -> list[Any]:
    """The work of so many threads, all let go at the same moment."""
    barrier = threading.Barrier(count)

    def begin(n: int) -> Any:
        barrier.wait(30)
        return work(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def is_whole(store: Store) -> int:
    """Every transaction of `write_everywhere` is there in all of its tables, or in none; how many there are."""
    with store.transaction(read_only=True) as tx:
        rows, events = tx.ledger("chain"), tx.events(0, 1 << 30)
        assert [row.sequence for row in rows] == list(range(len(rows)))
        assert [event.data["sequence"] for event in events] == list(range(len(rows)))
        assert tx.cursor("written") == len(rows)
        assert all(tx.idempotent("startup", "runs", f"key-{row.sequence}") == (row.digest, "run") for row in rows)
        assert tx.idempotent("startup", "runs", f"key-{len(rows)}") is None
    return len(rows)


class StoreRaces:
    """One class, so that each database's module says in a line that it is held to all of it."""

    def test_no_attempt_is_claimed_twice_by_threads(self, somewhere: Somewhere) -> None:
        made = r.with_attempts(somewhere.store, 30)

        def claim(n: int) -> list[str]:
            mine: list[str] = []
            while True:
                with somewhere.store.transaction() as tx:
                    got = tx.claim("docker", f"owner-{n}", r.T0, timedelta(seconds=30), lambda _: False, 1 + n % 3)
                if not got:
                    return mine
                mine += [attempt.id for attempt in got]

        claimed = [id_ for mine in at_once(claim) for id_ in mine]
        assert sorted(claimed) == sorted(a.id for a in made)

    def test_no_attempt_is_claimed_twice_by_processes(self, somewhere: Somewhere) -> None:
        made = r.with_attempts(somewhere.store, 60)
        with (
            process("claim_all", somewhere.url, "a") as a,
            process("claim_all", somewhere.url, "b") as b,
            process("claim_all", somewhere.url, "c") as c,
        ):
            claimed = [line for each in (a, b, c) for line in each.communicate(timeout=120)[0].split()]
        assert sorted(claimed) == sorted(x.id for x in made)

    def test_a_chain_has_no_gap_whoever_appends(self, somewhere: Somewhere) -> None:
        def append(n: int) -> None:
            for k in range(10):
                with somewhere.store.transaction() as tx:
                    r.append(tx, "chain", f"{n}-{k}")

        at_once(append)
        with somewhere.store.transaction(read_only=True) as tx:
            rows = tx.ledger("chain")
        assert [row.sequence for row in rows] == list(range(10 * MANY))
        previous = ""
        for row in rows:
            assert row.entry == canonical({"chain": "chain", "seq": row.sequence, "previous": previous, "body": sha256(row.body)})
            previous = row.digest
        assert len({row.body for row in rows}) == 10 * MANY

    def test_an_idempotency_key_makes_one_thing(self, somewhere: Somewhere) -> None:
        def request(n: int) -> str:
            with somewhere.store.transaction() as tx:
                before = tx.idempotent("startup", "runs", "key")
                if before:
                    return before[1]
                tx.emit(r.event(data={"made": n}))
                tx.remember("startup", "runs", "key", r.digest("request"), f"run-{n}")
                return f"run-{n}"

        answers = set(at_once(request))
        with somewhere.store.transaction(read_only=True) as tx:
            assert len(answers) == len(tx.events(0, 99)) == 1

    def test_the_last_free_place_is_taken_once(self, somewhere: Somewhere) -> None:
        """Whoever counts before writing counts everybody before it: no two writers find the same number of runs."""
        with somewhere.store.transaction() as tx:
            tx.add_pilot(r.pilot())

        def queue(n: int) -> bool:
            with somewhere.store.transaction() as tx:
                there = len(tx.runs_under("plan-0000"))
                if there >= 3:
                    return False
                made = r.run(r.pilot(), n, ordinal=there + 1)
                tx.add_run(made, r.attempt(made))
                return True

        assert sum(at_once(queue)) == 3

    def test_a_follower_of_events_misses_none(self, somewhere: Somewhere) -> None:
        """Ids that are given in one order and committed in another would be passed by a cursor before they can be seen."""
        each, seen = 12, list[Event]()
        writing = threading.Event()
        writing.set()

        def emit(n: int) -> None:
            for k in range(each):
                with somewhere.store.transaction() as tx:
                    tx.emit(r.event(data={"n": n, "k": k}))
                    if (n + k) % 3 == 0:
                        time.sleep(0.003)  # so that a later writer could commit first, if one might begin
                    if k % 5 == 4:
                        tx.emit(r.event(data={"n": n, "k": -k}))

        def follow() -> None:
            after = 0
            while True:
                over = not writing.is_set()
                with somewhere.store.transaction(read_only=True) as tx:
                    page = tx.events(after, 7)
                seen.extend(page)
                after = page[-1].id if page else after
                if over and not page:
                    return

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            at_once(emit)
        finally:
            writing.clear()
            follower.join(60)
        with somewhere.store.transaction(read_only=True) as tx:
            everything = tx.events(0, 1 << 30)
        assert len(everything) == MANY * (each + each // 5)
        assert seen == list(everything)

    def test_many_more_threads_than_connections(self, somewhere: Somewhere) -> None:
        def work(n: int) -> None:
            with somewhere.store.transaction(read_only=n % 2 == 0) as tx:
                if n % 2 == 0:
                    tx.cursor("any")
                else:
                    tx.emit(r.event())

        at_once(work, 64)
        with somewhere.store.transaction(read_only=True) as tx:
            events = tx.events(0, 99)
            assert len(events) == 32
            assert tx.last_event() == events[-1].id

    def test_waiting_for_other_writers_has_an_end(self, somewhere: Somewhere) -> None:
        impatient = open_store(somewhere.url, patience=0.3)
        try:
            with somewhere.store.transaction() as tx:
                tx.emit(r.event())
                with pytest.raises(Unreachable) as caught, impatient.transaction() as other:
                    other.emit(r.event())
                with impatient.transaction(read_only=True) as other:
                    assert other.events(0, 9) == ()
            assert caught.value.transient
            with impatient.transaction() as other:
                other.emit(r.event())
        finally:
            impatient.close()

    def test_a_process_killed_inside_a_transaction_leaves_nothing(self, somewhere: Somewhere) -> None:
        with process("write_and_hang", somewhere.url) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "inside\n"
            victim.send_signal(signal.SIGKILL)
            victim.wait(30)
            assert is_whole(somewhere.store) == 0
            with somewhere.store.transaction() as tx:  # and its lock went with it
                tx.add_pilot(r.pilot())

    @pytest.mark.parametrize("after", [1, 17, 40])
    def test_a_process_killed_while_it_writes_leaves_whole_transactions(self, somewhere: Somewhere, after: int) -> None:
        with process("write_for_ever", somewhere.url) as victim:
            assert victim.stdout is not None
            for _ in range(after):
                victim.stdout.readline()
            victim.send_signal(signal.SIGKILL)
            told = after + len(victim.stdout.read().splitlines())  # what was buffered by `readline` too
        assert is_whole(somewhere.store) - told in {0, 1}, "what was told is there; at most one was committed and not yet told"

    def test_processes_that_open_the_same_new_database_at_once(self, somewhere_empty: str) -> None:
        with process("open", somewhere_empty) as a, process("open", somewhere_empty) as b, process("open", somewhere_empty) as c:
            assert [each.communicate(timeout=120)[0] for each in (a, b, c)] == ["opened\n"] * 3
        store = open_store(somewhere_empty)
        with store.transaction() as tx:
            tx.emit(r.event())
        store.close()
