"""How fast the API takes in runs, and how fast it lists them, on PostgreSQL as it is installed.

    PYTHONPATH=. .venv/bin/python benchmarks/api.py [--clients 50] [--plans 100] [--listed 100000] [--servers 2]

API processes beside each other, as behind a proxy, a server of PostgreSQL with its own defaults (a commit is on the disk before it is answered),
and clients that each send the next request when the last one is answered, or later: all on one machine. Printed: requests per second over
everything, and times in milliseconds as the clients see them; then the same of pages of 100 runs, among so many.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import yaml

from livinglab.bootstrap import Lab, open_lab
from livinglab.domain.access import Caller
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import new_key
from livinglab.services.ids import new_id
from livinglab.services.runs import new_attempt
from livinglab.settings import Settings
from tests.fixtures.postgres import private_postgres
from tests.fixtures.servers import running
from tests.unit.api.conftest import ROOT, image_archive

PORT = 8471
RUNS = 100
"""Of a plan: the most that a specification allows."""
DIGEST = "sha256:" + "1" * 64
Request = tuple[str, str, str, bytes]
"""Method, path, further header lines, body."""


def furnish(lab: Lab, folder: Path, plans: int) -> tuple[str, str, list[str]]:
    """A sandbox and agreed plans; the participant's token, the authority's, and the plans' ids."""
    authority, participant = (Caller(organisation=o, roles={"tiny": r}, token=o) for o, r in
                              (("ministry", Role.AUTHORITY), ("startup", Role.PARTICIPANT)))  # fmt: skip
    images = {c.organisation: lab.images.upload(c, [image_archive(text=c.organisation.encode())]).digest for c in (authority, participant)}
    spec = yaml.safe_load((ROOT / "tests" / "sandboxes" / "tiny" / "sandbox.yaml").read_text())
    spec["quota"] |= {"measured_runs": RUNS, "runs_in_flight": RUNS}
    data = {"digest": DIGEST}
    lab.sandboxes.register(authority, {"spec": spec, "harness_image": images["ministry"], "commitment": DIGEST, "participant_data": data,
                                       "hidden_data": data})  # fmt: skip
    signers = {c.organisation: new_key(folder / f"{c.organisation}.pem") for c in (authority, participant)}
    for caller in (authority, participant):
        lab.access.register_key(caller, signers[caller.organisation].public_pem.decode())
    manifest = {"name": "p", "version": "1", "title": "A pilot", "summary": "Of a benchmark.", "sandbox": "tiny", "task": "survival",
                "entrypoint": ["/x"], "resources": {"memory": 64 << 20, "cpus": 1, "pids": 16, "wall_seconds": 10, "output_bytes": 1 << 20,
                                                    "output_files": 4, "log_bytes": 4096}}  # fmt: skip
    made = []
    for number in range(plans):
        pilot = lab.applications.submit(participant, {**manifest, "version": str(number)}, images["startup"])
        plan = lab.plans.propose(participant, {"pilot": pilot.id, "objectives": ["x"], "valid_from": "2020-01-01", "valid_until": "2099-01-01"})
        for caller, role in ((participant, Role.PARTICIPANT), (authority, Role.AUTHORITY)):
            statement = statements.plan_signature(plan=plan.id, version=1, digest=plan.digest, role=role, organisation=caller.organisation)
            lab.plans.sign(caller, plan.id, signers[caller.organisation].sign(statement, dsse.IN_TOTO))
        made.append(plan.id)
    tokens = [lab.access.issue_token(c.organisation, c.roles)[1] for c in (participant, authority)]
    return tokens[0], tokens[1], made


def fill(lab: Lab, plan: str, count: int) -> None:
    """So many runs of a hundred organisations in the tables, every tenth of them this plan's organisation's."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    with lab.store.transaction(read_only=True) as tx:
        of = tx.plan(plan)
    assert of
    for start in range(0, count, 1_000):
        with lab.store.transaction() as tx:
            for number in range(start, start + 1_000):
                at = begun + timedelta(seconds=number)
                whose = "startup" if number % 10 == 0 else f"org-{number % 99}"
                run = Run(id=new_id("run", at), plan=plan, plan_digest=DIGEST, pilot=of.body.pilot, organisation=whose, sandbox="tiny", site="docker",
                          ordinal=1_000 + number, created_at=at)  # fmt: skip
                tx.add_run(run, new_attempt(run, 1, at))


async def one_after_the_other(port: int, requests: list[Request], token: str, pause: float, times: list[float], wrong: list[str]) -> None:
    """Each once the one before is answered, and no sooner than `pause` seconds after it was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter() + pause * random.Random(id(requests)).random()
    for method, path, more, body in requests:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        due = max(due, time.perf_counter()) + pause
        head = f"{method} {path} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {token}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        begun = time.perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        times.append((time.perf_counter() - begun) * 1000)
        if answer[9:10] != b"2":
            wrong.append(answer.split(b"\r\n")[0].decode())
    writer.close()


def measure(name: str, clients: int, requests: list[Request], token: str, rate: float = 0, servers: int = 1) -> None:
    """Print what `clients` saw who together sent `rate` requests a second (0: as many as are answered)."""
    times, wrong = list[float](), list[str]()

    async def everybody() -> None:
        shares, pause = [requests[n::clients] for n in range(clients)], clients / rate if rate else 0.0
        await asyncio.gather(*(one_after_the_other(PORT + n % servers, share, token, pause, times, wrong) for n, share in enumerate(shares)))

    gc.collect()
    gc.freeze()  # what the clients' own process takes to look for garbage is nobody's answer
    begun = time.perf_counter()
    asyncio.run(everybody())
    reached = len(times) / (time.perf_counter() - begun)
    p50, p99 = (sorted(times)[int(len(times) * share)] for share in (0.5, 0.99))
    print(f"{name:<58} {reached:6.0f}/s   p50 {p50:6.1f}   p99 {p99:6.1f}   {len(wrong)} refused {sorted(set(wrong))[:2] or ''}", flush=True)


def serving(home: Path, url: str, port: int) -> AbstractContextManager[None]:
    command = [sys.executable, "-m", "livinglab.cli", "serve", "--port", str(port)]
    settings = {"LIVINGLAB_HOME": str(home), "LIVINGLAB_DATABASE": url, "LIVINGLAB_RATE": "0"}
    return running(command, f"http://127.0.0.1:{port}/healthz", home.parent / f"server-{port}", settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--clients", 50), ("--plans", 100), ("--listed", 100_000), ("--servers", 2)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, private_postgres({"listen_addresses": ""}) as url:
        home = Path(folder) / "home"
        lab = open_lab(Settings(home=home, database=url))
        participant, authority, plans = furnish(lab, Path(folder), given.plans)
        with ExitStack() as servers:
            for number in range(given.servers):
                servers.enter_context(serving(home, url, PORT + number))
            keyed = [("POST", "/v1/runs", f"Content-Type: application/json\r\nIdempotency-Key: key-{n:08}\r\n", json.dumps({"plan": plan}).encode())
                     for n, plan in enumerate(plan for _ in range(RUNS) for plan in plans)]  # fmt: skip
            asked = iter(keyed)
            for what, share, rate in (("warm-up", 0.1, 0), ("as many as go", 0.3, 0), ("100/s", 0.1, 100), ("200/s", 0.2, 200), ("300/s", 0.3, 300)):
                some = list(islice(asked, int(share * len(keyed))))
                measure(f"runs asked for by {given.clients} clients: {what}", given.clients, some, participant, rate, given.servers)
            measure("one client alone: health", 1, [("GET", "/healthz", "", b"")] * 500, participant)
            fill(lab, plans[0], given.listed)
            for who, token in (("participant", participant), ("authority", authority)):
                for what, query in (("its runs", ""), ("a plan's", f"&plan={plans[1]}")):
                    pages = [("GET", f"/v1/runs?limit=100{query}", "", b"")] * 300
                    measure(f"100 of {given.listed:,} runs, {who}, {what}, one client", 1, pages, token)


if __name__ == "__main__":
    main()
