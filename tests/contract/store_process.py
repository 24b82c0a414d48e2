"""A process of its own that uses a store, for tests that kill one: `python -m tests.contract.store_process VERB URL [ARGUMENT]`."""

import sys
import time
from datetime import timedelta

from livinglab.ports import Tx
from livinglab.store.sql import SqlStore, open_store
from tests.contract import store_records as r


def say(word: object) -> None:
    """For the test that listens."""
    print(word, flush=True)  # noqa: T201 - this is a process's output


def write_and_hang(store: SqlStore, _: str) -> None:
    """Get into the middle of a transaction, and stay there."""
    with store.transaction() as tx:
        write_everywhere(tx, 0)
        say("inside")
        time.sleep(600)


def write_everywhere(tx: Tx, n: int) -> None:
    """What a transition does, and a little more: several tables in one transaction."""
    row = r.append(tx, "chain", f"entry {n}")
    tx.emit(r.event(data={"sequence": row.sequence}))
    tx.remember("startup", "runs", f"key-{row.sequence}", row.digest, "run")
    tx.move_cursor("written", row.sequence + 1)


def write_for_ever(store: SqlStore, _: str) -> None:
    """One transaction after the other, each told once it is committed."""
    n = 0
    while True:
        with store.transaction() as tx:
            write_everywhere(tx, n)
        say(n)
        n += 1


def claim_all(store: SqlStore, owner: str) -> None:
    """Claim until nothing is left."""
    while True:
        with store.transaction() as tx:
            got = tx.claim("docker", owner, r.T0, timedelta(seconds=30), lambda _: False)
        if not got:
            return
        say(got[0].id)


VERBS = {verb.__name__: verb for verb in (write_and_hang, write_for_ever, claim_all)}

if __name__ == "__main__":
    name, url, argument = (*sys.argv[1:], "")[:3]
    opened = open_store(url)
    if name in VERBS:
        VERBS[name](opened, argument)
    else:
        say("opened")
