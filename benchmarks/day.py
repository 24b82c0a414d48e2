"""A day of a busy lab, in an hour at most: runs queued over 24 simulated hours, all carried to their verdict, at a site in memory.

    PYTHONPATH=. .venv/bin/python benchmarks/day.py [--runs 10000]

Real are engine, supervisor, journal, ledger, signatures and database (SQLite, in a temporary folder); containers are functions. Runs come in at
random times of a day that has a noon. Printed, for each four hours: runs carried, what one took (milliseconds, statements to the database), how many
threads there were, the process's memory, and the blocks of Python's heap that are in use, which memory that Python keeps for later is not in.
What grows with the number of runs that are over already, grows without an end.
"""

import argparse
import gc
import random
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from livinglab.dispatch.inline import carry_inline
from livinglab.domain.run import RunState
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner
from livinglab.store.sql import SqlStore
from livinglab.testing.fakes import FakeClock
from tests.unit.services.test_engine import World, make_world

HOURS, SHIFT = 24, 4
RUNS = 100
"""Of a plan: the most that a specification allows."""
LIMITS = {"memory": 536870912, "cpus": 1, "pids": 64, "wall_seconds": 60, "output_bytes": 4194304, "output_files": 16, "log_bytes": 65536}


def resident() -> float:
    """MiB of this process."""
    gc.collect()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def more_plans(world: World, folder: Path, count: int) -> list[str]:
    """So many more, agreed on, of pilots of their own."""
    signers = {role: KeySigner.load(folder / f"{role}.pem") for role in (Role.PARTICIPANT, Role.AUTHORITY)}
    with world.lab.store.transaction(read_only=True) as tx:
        plan = tx.plan(world.plan)
        pilot = tx.pilot(plan.body.pilot) if plan else None
    assert pilot
    made = [world.plan]
    for number in range(1, count):
        other = world.lab.applications.submit(world.participant, {**pilot.manifest.model_dump(mode="json"), "version": str(number)}, pilot.image)
        proposal = {"pilot": other.id, "objectives": ["x"], "valid_from": "2020-01-01", "valid_until": "2099-01-01"}
        agreed = world.lab.plans.propose(world.participant, proposal)
        for caller, role in ((world.participant, Role.PARTICIPANT), (world.authority, Role.AUTHORITY)):
            statement = statements.plan_signature(plan=agreed.id, version=1, digest=agreed.digest, role=role, organisation=caller.organisation)
            world.lab.plans.sign(caller, agreed.id, signers[role].sign(statement, dsse.IN_TOTO))
        made.append(agreed.id)
    return made


def forget(world: World) -> int:
    """What the site in memory would remember for ever of jobs that are over, which no real one does; how many of them were started more than once."""
    books, doubled = world.backend, sum(count > 1 for count in world.backend.runs.values())
    for book in (books.runs, books.digests, books.partners):
        book.clear()
    return doubled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = make_world(folder, {}, quota={"measured_runs": RUNS, "runs_in_flight": RUNS, "pilot_resources": LIMITS})
        plans, clock, store = more_plans(world, folder, -(-runs // RUNS)), world.lab.clock, world.lab.store
        assert isinstance(clock, FakeClock)
        assert isinstance(store, SqlStore)
        statements_sent = 0

        @sa.event.listens_for(store.engine, "after_cursor_execute")
        def count(*_: object) -> None:
            nonlocal statements_sent
            statements_sent += 1

        chance, begun = random.Random(1), clock.now()
        times = sorted(chance.triangular(0, HOURS * 3_600) for _ in range(runs))
        print(f"{'hours':>7} {'runs':>7} {'ms a run':>9} {'statements':>11} {'threads':>8} {'MiB':>6} {'blocks':>9}", flush=True)
        carried = doubled = 0
        for hour in range(HOURS):
            if hour % SHIFT == 0:
                since, before, sent = time.perf_counter(), carried, statements_sent
            ready = [at for at in times[carried:] if at < (hour + 1) * 3_600]
            for at in ready:
                clock.advance(max(timedelta(0), begun + timedelta(seconds=at) - clock.now()))
                world.lab.runs.request(world.participant, {"plan": plans[carried % len(plans)]}, f"key-{carried:08}")
                carried += 1
            supervisor = world.supervisor()
            supervisor.serve(lambda attempt, own=supervisor: carry_inline(own, attempt), until_idle=True)  # type: ignore[misc]
            if hour % SHIFT == SHIFT - 1:
                done = max(1, carried - before)
                took, asked = (time.perf_counter() - since) * 1000 / done, (statements_sent - sent) / done
                doubled += forget(world)
                threads, hours = threading.active_count(), f"{hour + 1 - SHIFT}–{hour + 1}"
                print(f"{hours:>7} {done:>7} {took:>9.1f} {asked:>11.1f} {threads:>8} {resident():>6.0f} {sys.getallocatedblocks():>9,}", flush=True)
        with store.transaction(read_only=True) as tx:
            counts = {str(c.state): c.runs for c in tx.run_counts()}
        print(f"{counts}; started more than once: {doubled}")
        assert counts == {RunState.COMPLETED: runs}


if __name__ == "__main__":
    main()
