"""What the lab's statements about runs and attempts must be to one another: admitted, isolated, carried out, measured, judged, in that order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from livinglab.domain.canonical import parse_json
from livinglab.evidence.ledger import Entry, Problem

ORDER = ("admission", "execution", "measurement", "verdict", "outcome")
"""Each of these stands at most once in an attempt, and in this order."""

_ADMITTED = {"image": "pilot_image", "manifest": "manifest", "criteria": "criteria", "release": "release", "isolation": "isolation",
             "harness": "harness_image", "commitment": "commitment", "measuredRuns": "measured_runs"}  # fmt: skip
"""Field of an admission statement → field of the plan that it must equal."""

_MEASURED = {"harness": "harness_image", "hiddenData": "hidden_data", "criteria": "criteria", "replicates": "replicates"}
"""The same, of a measurement."""

_TICK = timedelta(minutes=1)
"""Between asking for the date and writing the entry a day may end."""


class Stated(NamedTuple):
    """A statement of the lab's: its entry, the attempt that it is about, what it states, and the subjects' digests."""

    number: int
    kind: str
    attempt: str
    run: str | None
    predicate: dict[str, Any]
    subjects: dict[str, str]
    at: datetime

    @property
    def where(self) -> str:
        """As problems name it."""
        return f"ledger entry {self.number}"


@dataclass
class Told:
    """All that the lab states about one attempt."""

    name: str
    run: str
    statements: list[Stated] = field(default_factory=list)
    """In order; complete before anything else is asked."""

    @cached_property
    def _by_kind(self) -> dict[str, list[Stated]]:
        found: dict[str, list[Stated]] = {}
        for s in self.statements:
            found.setdefault(s.kind, []).append(s)
        return found

    def all_of(self, kind: str) -> list[Stated]:
        """Its statements of a kind, in order."""
        return self._by_kind.get(kind, [])

    def one(self, kind: str) -> Stated | None:
        """Its first statement of a kind."""
        return next(iter(self.all_of(kind)), None)

    def isolated(self, role: str) -> bool:
        """Is it stated of the container in this role that isolation held, and never that it did not?"""
        return self._isolated.get(role, False)

    @cached_property
    def _isolated(self) -> dict[str, bool]:
        held: dict[str, bool] = {}
        for s in self.all_of("isolation"):
            role = s.predicate["role"]
            held[role] = held.get(role, True) and s.predicate["holds"] is True
        return held

    @property
    def source(self) -> str:
        """The attempt whose pilot's outputs this one measured: its own, unless it was admitted to measure an earlier one's again."""
        admission = self.one("admission")
        return str((admission.predicate.get("reusedFrom") if admission else None) or self.name)


@dataclass(frozen=True)
class Runs:
    """Everything that is stated under a plan, and the plan that it is held against."""

    plan: dict[str, Any]
    plan_digest: str
    prepare: bool
    """Does the harness prepare inputs before the pilot starts?"""
    interactive: bool
    """Does the harness drive the pilot step by step, so that there is no table to decode?"""
    entries: Sequence[Entry]
    kinds: Sequence[str]
    """Of the entries."""
    attempts: dict[str, Told]

    def problems(self) -> Iterator[Problem]:
        """Whatever does not follow."""
        yield from self._numbering()
        for told in self.attempts.values():
            yield from self._shape(told)
            yield from self._admission(told)
            yield from self._measurement(told)
            yield from self._verdict(told)
        measured = {told.run for told in self.attempts.values() if told.one("measurement")}
        counted = measured | {told.run for told in self.attempts.values() for s in told.all_of("outcome") if s.predicate.get("counts")}
        if len(counted) > self.plan["measured_runs"]:
            yield Problem("ledger", f"{len(counted)} runs were measured or count as such, and the plan allows {self.plan['measured_runs']}")

    @cached_property
    def _queued(self) -> dict[tuple[str, int], int]:
        """(run, ordinal) of each run that was asked for, in order → its entry."""
        found = ((number, self.entries[number]) for number, kind in enumerate(self.kinds) if kind == "run-queued")
        return {(entry.header["run"], parse_json(entry.body)["predicate"]["data"]["ordinal"]): number for number, entry in found}

    @cached_property
    def _agreed(self) -> list[bool]:
        """Before each entry: had both sides signed, and was the plan neither suspended nor over?"""
        agreed, signatures, state = [], 0, ""
        for kind in self.kinds:
            agreed.append(signatures >= 2 and state == "plan-agreed")  # noqa: PLR2004 - both sides
            signatures += kind == "plan-signed"
            state = kind if kind.startswith("plan-") and kind not in ("plan-proposed", "plan-signed") else state
        return agreed

    def _numbering(self) -> Iterator[Problem]:
        """Runs are numbered without gaps, and so are the attempts of each; a further one follows from a failure of the platform's."""
        ordinals = [ordinal for _run, ordinal in self._queued]
        if ordinals != list(range(1, len(ordinals) + 1)):
            yield Problem("ledger", f"the runs are numbered {ordinals}: some are missing or out of order")
        of_run: dict[str, list[Told]] = {}
        for told in self.attempts.values():
            of_run.setdefault(told.run, []).append(told)
        for run, tried in of_run.items():
            if [told.name for told in tried] != [f"{run}.{number}" for number in range(1, len(tried) + 1)]:
                yield Problem(f"run {run}", f"its attempts are {', '.join(told.name for told in tried)}: some are missing or out of order")
            if sum(told.one("verdict") is not None for told in tried) > 1:
                yield Problem(f"run {run}", "it was judged more than once")
            for before, after in pairwise(tried):
                outcome = before.one("outcome")
                if outcome is None or outcome.predicate["triedAgain"] is not True or outcome.number > after.statements[0].number:
                    yield Problem(f"attempt {after.name}", "it follows an attempt that did not end in being tried again")

    def _shape(self, told: Told) -> Iterator[Problem]:
        where, kinds = f"attempt {told.name}", [s.kind for s in told.statements]
        ordered = [kind for kind in kinds if kind in ORDER]
        if ordered != [kind for kind in ORDER if kind in ordered]:
            yield Problem(where, f"its statements are not each there once and in order: {', '.join(ordered)}")
        if kinds != ["outcome"] and kinds[0] != "admission":
            yield Problem(where, "it was carried out without having been admitted first")
        if "outcome" in kinds and kinds[-1] != "outcome":
            yield Problem(where, "something is stated after its outcome")

    def _admission(self, told: Told) -> Iterator[Problem]:
        s = told.one("admission")
        if s is None:
            return
        yield from self._pinned(s, _ADMITTED, "admits")
        if s.predicate["plan"] != self.plan_digest:
            yield Problem(s.where, "it admits under another plan")
        if s.predicate["site"] not in self.plan["sites"]:
            yield Problem(s.where, f"it admits to the site {s.predicate['site']!r}, which the plan does not name")
        if self._queued.get((told.run, s.predicate["ordinal"]), s.number) >= s.number:
            yield Problem(s.where, f"no run {told.run} was asked for as number {s.predicate['ordinal']} before it")
        yield from self._in_force(s)
        if told.source != told.name and (told.source not in self.attempts or self.attempts[told.source].run != told.run):
            yield Problem(s.where, f"it is to measure again what {told.source} left, which is no attempt of this run")

    def _in_force(self, s: Stated) -> Iterator[Problem]:
        if not self._agreed[s.number]:
            yield Problem(s.where, "it admits while the plan is not agreed")
        first, last = date.fromisoformat(self.plan["valid_from"]), date.fromisoformat(self.plan["valid_until"])
        if s.at.date() < first or (s.at - _TICK).date() > last:
            yield Problem(s.where, f"it admits on {s.at.date()}, and the plan is valid from {first} to {last}")

    def _measurement(self, told: Told) -> Iterator[Problem]:
        execution = self.attempts[told.source].one("execution") if told.source in self.attempts else None
        for s in told.all_of("execution"):
            if s.predicate["image"] != self.plan["pilot_image"]:
                yield Problem(s.where, f"it executes {s.predicate['image']}, and the plan says {self.plan['pilot_image']}")
            if {f"left-{role}.json": digest for role, digest in s.predicate["left"].items()} != s.subjects:
                yield Problem(s.where, "it names two different things that were left")
        for s in told.all_of("measurement"):
            yield from self._pinned(s, _MEASURED, "measures with")
            if s.predicate["measurements"] != s.subjects.get("measurements.json"):
                yield Problem(s.where, "it names two different measurements")
            if execution is None or execution.number > s.number or s.predicate["left"] != execution.predicate["left"]:
                yield Problem(s.where, f"what it measures is not what the pilot of attempt {told.source} is stated to have left")

    def _pinned(self, s: Stated, pins: dict[str, str], does: str) -> Iterator[Problem]:
        for claimed, pinned in pins.items():
            if s.predicate[claimed] != self.plan[pinned]:
                yield Problem(s.where, f"it {does} {claimed} {s.predicate[claimed]}, and the plan says {self.plan[pinned]}")

    def isolated(self, told: Told) -> bool:
        """Did isolation hold in every container that the verdict rests on? The pilot's may stand in the attempt whose outputs were measured again."""
        source = self.attempts.get(told.source, told)
        first = (*(("prepare",) if self.prepare else ()), "pilot", *(("drive",) if self.interactive else ()))
        then = ("measure",) if self.interactive else ("decode", "measure")
        held = all(source.isolated(role) for role in first) and all(told.isolated(role) for role in then)
        return held and all(s.predicate["holds"] is True for s in told.all_of("isolation"))

    def _verdict(self, told: Told) -> Iterator[Problem]:
        verdict, measurement, outcome = told.one("verdict"), told.one("measurement"), told.one("outcome")
        if verdict:
            if not self.isolated(told):
                yield Problem(f"attempt {told.name}", "it has a verdict, and its isolation was not proven")
            if any(s.number > verdict.number for s in told.all_of("isolation")):
                yield Problem(verdict.where, "it was given before isolation was looked at")
            if measurement is None or verdict.subjects.get("measurements.json") != measurement.subjects.get("measurements.json"):
                yield Problem(verdict.where, "it judges measurements that are not those stated to have been made")
        if outcome and outcome.predicate["verdict"] != (verdict.predicate["verdict"] if verdict else None):
            yield Problem(outcome.where, f"it claims the verdict {outcome.predicate['verdict']}, which was not the one stated")
        if outcome and (outcome.predicate["state"] == "completed") != (verdict is not None):
            yield Problem(
                outcome.where, f"its state is said to be {outcome.predicate['state']}: what has a verdict is completed, and nothing else is"
            )
