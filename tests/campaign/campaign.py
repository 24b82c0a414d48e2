"""The campaign: runs on three sites, faults at seeded random times, and the count of what went wrong.

    PYTHONPATH=. .venv/bin/python -m tests.campaign [--runs 200] [--seed 1] [--report docs/campaign.md]

Nobody helps the lab: a part is hurt, and after a while mended (a process that was killed is started again, as an init system would, and a node
that Slurm has taken out of service is given back, as its administrators would); what happens to the runs is the lab's affair.

Judged afterwards, by the lab's records and by those of the sites:

- lost: a run that was accepted, and is not there;
- stuck: one that is not over, long after the last fault;
- doubled: a request that made two runs, or a container that was started twice;
- wrongly blamed: one that ended otherwise than its pilot deserves, unless the lab took the blame itself;
- left behind: a container, job or mount at a site, after all is over;
- broken evidence: a plan whose dossier does not hold.
"""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from livinglab.domain.run import Cause, JobKey, Run, RunState
from livinglab.sites.staging import ROLES
from tests.campaign.house import House
from tests.labs import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livinglab.domain.plan import Plan
    from tests.campaign.parts import Part

KINDS: dict[str, tuple[tuple[str, ...], dict[str, float], tuple[RunState, str]]] = {
    "well": (("python3", "/app/tiny.py", "1"), {}, (RunState.COMPLETED, "PASS")),
    "slow": (("python3", "/app/tiny.py", "5"), {}, (RunState.COMPLETED, "PASS")),
    "exits": (("python3", "-c", "raise SystemExit(7)"), {}, (RunState.FAILED, "exit-code")),
    "too much": (("python3", "-c", "x = b'1' * (1 << 30)"), {"memory": 64 << 20}, (RunState.FAILED, "out-of-memory")),
    "too long": (("python3", "-c", "import time; time.sleep(60)"), {"wall_seconds": 4}, (RunState.FAILED, "out-of-time")),
    "nothing": (("python3", "-c", "pass"), {}, (RunState.FAILED, "output-missing")),
    "nonsense": (("python3", "-c", "open('/out/predictions.csv', 'wb').write(bytes(99))"), {}, (RunState.FAILED, "output-unusable")),
}
"""Kind of pilot → entry point, limits, and how a run of it deserves to end."""

IN_FLIGHT = 9
"""So many runs are under way at once, so that each fault meets some."""
PATIENCE = 420.0
"""Seconds after the last fault: whatever is not over then is stuck."""


@dataclass(frozen=True)
class Fault:
    """One that happened: when (seconds since the epoch), and when it was mended."""

    part: str
    kind: str
    site: str | None
    at: float
    mended: float


@dataclass
class Result:
    """What a campaign found. Everything in `wrong` is a defect of the lab's."""

    seed: int
    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    """How runs ended: `PASS`, the code of the failure, or `platform` for those that the lab gave up."""
    attempts: int = 0
    started: int = 0
    """Containers, by the sites' own records."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrongly_blamed: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    broken_evidence: list[str] = field(default_factory=list)
    recovery: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Part and fault → seconds from mending to the next step that was done, where runs were under way."""

    @property
    def wrong(self) -> dict[str, list[str]]:
        """What was counted, by name."""
        return {"lost": self.lost, "doubled": self.doubled, "stuck": self.stuck, "wrongly blamed": self.wrongly_blamed,
                "left behind": self.left_behind, "broken evidence": self.broken_evidence}  # fmt: skip


class Campaign:
    """One, in a house that is up."""

    def __init__(self, house: House, runs: int, seed: int) -> None:
        self.house, self.runs, self.result = house, runs, Result(seed)
        self.asking, self.breaking = random.Random(f"{seed} asking"), random.Random(f"{seed} breaking")
        self.accepted: dict[str, tuple[str, str]] = {}
        """Run → kind of pilot, idempotency key."""
        self.plans: dict[tuple[str, str], Plan] = {}
        self.done = threading.Event()
        self.trouble: Exception | None = None
        """Something could not be mended: that is the campaign's fault, and no finding."""

    def run(self) -> Result:
        """From the first request to the judgement."""
        begun = time.monotonic()
        for site in self.house.sites:
            for kind, (entrypoint, limits, _end) in KINDS.items():
                self.plans[site, kind] = self.house.agree(manifest(*entrypoint, **limits))
        breaker = threading.Thread(target=self._break_all, name="breaker")
        others = [
            threading.Thread(target=what, args=(self.done,), name=what.__name__)
            for what in (self.house.watch, self.house.follow, self.house.administer)
        ]
        for thread in (*others, breaker):
            thread.start()
        try:
            self._ask()
            breaker.join()
            self._await_ends()
        finally:
            self.done.set()
            for thread in (*others, breaker):
                thread.join()
        if self.trouble:
            raise self.trouble
        self.result.seconds = time.monotonic() - begun
        self._judge()
        return self.result

    # --- what is asked for, and what breaks meanwhile ---------------------------------------------------------------------

    def _ask(self) -> None:
        places = [(site, kind) for site in self.house.sites for kind in KINDS]
        order = [places[n % len(places)] for n in range(self.runs)]
        self.asking.shuffle(order)
        for number, (site, kind) in enumerate(order):
            while not self.trouble and self._under_way() >= IN_FLIGHT:
                time.sleep(0.3)
            if self.trouble:
                return
            key = f"campaign-{number:06}"
            for _again in range(1 + (self.asking.random() < 0.2)):  # some ask twice
                self.accepted[self._accepted(self.plans[site, kind].id, site, key)] = kind, key

    def _accepted(self, plan: str, site: str, key: str) -> str:
        """Asked until it is answered, as a client does: under one key that is one run."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = httpx.post(f"{self.house.api}/v1/runs", json={"plan": plan, "site": site}, timeout=20, trust_env=False,
                                    headers={"Authorization": f"Bearer {self.house.token}", "Idempotency-Key": key})  # fmt: skip
                if answer.status_code == httpx.codes.CREATED:
                    return str(answer.json()["id"])
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    raise AssertionError(answer.text)
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, "the API takes no run any more"
            time.sleep(0.3)

    def _under_way(self) -> int:
        try:
            found = self.house.known(list(self.accepted))
        except Exception:  # noqa: BLE001 - the database is away just now
            return IN_FLIGHT
        return sum(not run.state.final for run in found.values())

    def _break_all(self) -> None:
        try:
            self._break()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self.trouble = error

    def _break(self) -> None:
        """A fault after the other, each with time to be mended, as long as runs are asked for."""
        faults = self._in_turn()
        while not self.done.is_set():
            if self.done.wait(self.breaking.uniform(1, 5)):
                return
            if len(self.accepted) >= self.runs:
                return
            part, fault = next(faults)
            at = time.time()
            part.hurt(fault)
            try:
                self.done.wait(self.breaking.uniform(1, 6))
            finally:
                part.mend(fault)
            self.result.faults.append(Fault(part.name, fault, part.site, at, time.time()))

    def _in_turn(self) -> "Iterator[tuple[Part, str]]":
        """Every part with each of its faults once, in an order of chance, and again."""
        pairs = [(part, fault) for part in self.house.parts for fault in part.faults]
        while True:
            yield from self.breaking.sample(pairs, len(pairs))

    def _await_ends(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.trouble and self._under_way() and time.monotonic() < end:
            time.sleep(0.5)

    # --- the judgement ----------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        runs = self.house.known(list(self.accepted))
        self.result.lost = sorted(set(self.accepted) - set(runs))
        self.result.stuck = [f"{run.id} is {run.state} at {run.site}" for run in runs.values() if not run.state.final]
        for run in runs.values():
            if run.state.final:
                self._judge_run(run)
        self._judge_doubles(list(runs.values()))
        self.result.left_behind = self.house.leftovers()
        for plan in self.plans.values():
            report = self.house.verified(plan)
            self.result.broken_evidence += [f"{plan.id}: {problem}" for problem in report.problems]
        self._time_recoveries(list(runs.values()))

    def _judge_run(self, run: Run) -> None:
        deserved = KINDS[self.accepted[run.id][0]][2]
        code = str(run.verdict) if run.state is RunState.COMPLETED else run.failure.code if run.failure else "nothing"
        ours = run.failure is not None and run.failure.cause is Cause.PLATFORM
        self.result.ends["platform" if ours else code] += 1
        if not ours and (run.state, code) != deserved:
            said = run.failure.sentence if run.failure else ""
            self.result.wrongly_blamed.append(f"{run.id} at {run.site}, {self.accepted[run.id][0]}: {run.state}, {code}. {said}")
        attempts = self.house.attempts(run)
        self.result.attempts += len(attempts)
        for attempt in attempts[:-1]:
            if attempt.failure is None or attempt.failure.cause is not Cause.PLATFORM:
                self.result.wrongly_blamed.append(f"{attempt.id} was tried again, and the lab is not to blame")

    def _judge_doubles(self, runs: list[Run]) -> None:
        keys = Counter(key for _kind, key in self.accepted.values())
        self.result.doubled += [f"the key {key} made {count} runs" for key, count in keys.items() if count > 1]
        names = {str(JobKey(attempt=attempt.id, role=role)) for run in runs for attempt in self.house.attempts(run) for role in ROLES}
        starts = self.house.starts(names)
        self.result.started = starts.total()
        for key, count in starts.items():
            if count > 1:
                self.result.doubled.append(f"{key} was started {count} times")

    def _time_recoveries(self, runs: list[Run]) -> None:
        sites = {run.id: run.site for run in runs}
        for fault in self.result.faults:
            concerned = [(at, event) for at, event in self.house.events if event.run and fault.site in (None, sites.get(event.run))]
            under_way = Counter(event.kind for at, event in concerned if at < fault.mended)
            after = [at for at, event in concerned if event.kind == "step-done" and at >= fault.mended]
            if under_way["run-queued"] > under_way["run-ended"] and after:
                self.result.recovery[f"{fault.part}, {fault.kind}"].append(min(after) - fault.mended)


def told(result: Result) -> str:
    """A report for people, in Markdown."""
    counted = ", ".join(f"{name} **{len(found)}**" for name, found in result.wrong.items())
    lines = [
        "# The campaign", "",
        "Runs on three sites, while parts of the lab are killed, stopped and woken, filled up and set wrong, one after the other, at random times.",
        "Made by `make campaign`; what is counted, and how, [`tests/campaign/campaign.py`](../tests/campaign/campaign.py) says.", "",
        f"{sum(result.ends.values()):,} runs, {result.attempts:,} attempts, {result.started:,} containers and {len(result.faults)} faults",
        f"in {result.seconds / 60:.0f} minutes on two cores; seed {result.seed}; {datetime.now(UTC):%Y-%m-%d}.", "",
        f"Of all runs: {counted}.", "",
        "| how runs ended | runs |", "|---|---|", *(f"| {end} | {count} |" for end, count in sorted(result.ends.items())), "",
        "| part, fault | times | seconds from mending to the next step done (median, most) |", "|---|---|---|",
    ]  # fmt: skip
    happened = Counter(f"{fault.part}, {fault.kind}" for fault in result.faults)
    for name, count in sorted(happened.items()):
        times = sorted(result.recovery.get(name, []))
        took = f"{times[len(times) // 2]:.1f}, {times[-1]:.1f}" if times else "–"
        lines.append(f"| {name} | {count} | {took} |")
    return "\n".join(lines) + "\n"


def as_json(result: Result) -> str:
    """All of it, for programs."""
    document: dict[str, Any] = {name: vars(result)[name] for name in ("seed", "seconds", "attempts", "started", "ends", "recovery")}
    document |= {**result.wrong, "faults": [vars(fault) for fault in result.faults]}
    return json.dumps(document, indent=2)
