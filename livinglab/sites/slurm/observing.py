"""What a job's line at the scheduler and what its script left come to. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from livinglab.domain.run import JobKey
from livinglab.ports import Limit, Observation, Seen
from livinglab.sites.slurm.control import Line
from livinglab.sites.slurm.states import Phase, advice, lives, phase_of

NOT_OURS, BROKEN, LOST = 96, 95, 94
"""The script's own exit codes: another job had the claim; the node cannot do what the lab needs; an earlier try is lost."""
KILLED = 137
_YOUNG_SECONDS = 60
"""For so long after its submission a job may be unknown to everybody."""
_BOOKED_SECONDS = 120
"""For so long after its end a job that the controller has forgotten may be unknown to accounting, which hears of it late. Later nobody will
tell: a controller that is killed comes back with what it had saved seconds before, and of a job of those seconds accounting never hears more."""

Facts = Mapping[str, str]
"""What lies in a job's folder: `there`, `leader` (the job that this container is part of, where it is not the first), `age` (seconds
since anything in it changed), `slurm` (its names at the scheduler besides its own: of tasks of arrays), `claim`, `cancelled` (by the
lab), `lost` (it must not begin again; why, where the lab found that out), `broken`, `end`, `since` (seconds since its end), and per role
`ROLE/exit`, `ROLE/stopped`, `ROLE/started`, `ROLE/ended`, `ROLE/full`, `ROLE/oom` (the kernel has ended some of it for its memory)."""

ASK = r"""
cd "$1/jobs" || exit
touch ../clock 2>/dev/null
now="$(stat -c %Y ../clock 2>/dev/null || date +%s)"
while read -r job; do
    [ -f "$job/spec" ] || continue # a folder without it is what a dying script made once more
    made="$(stat -L -c %Y "$job" 2>/dev/null)" || continue
    printf '%s\tthere\t1\n' "$job"
    [ -f "$job/slurm" ] && printf '%s\tslurm\t%s\n' "$job" "$(tr '\n' ' ' <"$job/slurm")"
    [ -L "$job" ] && printf '%s\tleader\t%s\n' "$job" "$(readlink "$job")"
    printf '%s\tage\t%s\n' "$job" "$((now - made))"
    ended="$(stat -c %Y "$job/left/end" 2>/dev/null)" && printf '%s\tsince\t%s\n' "$job" "$((now - ended))"
    for file in "$job"/claim "$job"/cancelled "$job"/lost "$job"/left/broken "$job"/left/end "$job"/left/*/exit "$job"/left/*/stopped \
        "$job"/left/*/started "$job"/left/*/ended "$job"/left/*/full "$job"/left/*/oom; do
        [ -f "$file" ] || continue
        name="${file#"$job"/}"
        IFS= read -r -n 200 value <"$file"
        printf '%s\t%s\t%s\n' "$job" "${name#left/}" "$value"
    done
done
"""
"""Bash for the far side: the facts of the jobs that standard input names. Ages are by the file system's own clock."""

_STOPPED: dict[str, Limit] = {"wall_seconds": "wall_seconds", "log_bytes": "log_bytes"}


def parse_facts(answer: str) -> dict[str, dict[str, str]]:
    """`ASK`'s answer, by job."""
    found: dict[str, dict[str, str]] = {}
    for line in answer.splitlines():
        job, name, value = [*line.split("\t", 2), "", ""][:3]
        found.setdefault(job, {})[name] = value
    return found


def the_line(lines: Iterable[Line], facts: Facts) -> Line | None:
    """The line that counts among those of one name: the one that has the claim, else one that may get it, else the last."""
    lines = sorted(lines, key=lambda line: (line.submitted or datetime.min.replace(tzinfo=UTC), [int(n) for n in re.findall(r"\d+", line.id)]))
    claimed = [line for line in lines if line.id == facts.get("claim")]
    others = [line for line in lines if line.exit_code != NOT_OURS] or lines
    alive = [line for line in others if lives(line.state)]
    return (claimed or alive or others or [None])[-1]  # type: ignore[list-item]


def never_begun(facts: Facts, queue: Mapping[str, object]) -> Line | None:
    """Of a job that nobody knows, the line that it would have had, if it has not begun and never will.

    One that the lab cancelled before it began does not begin. And of an array's tasks that are cancelled while they wait Slurm keeps
    no record, though it has one of the array.

    Args:
        queue: what the controller knows, by name.
    """
    names = facts.get("slurm", "").split()
    if "claim" in facts or not ("cancelled" in facts or names):
        return None
    arrays = {name.partition(".")[0] for name in queue}
    gone = bool(names) and all(name.partition(".")[0] in arrays for name in names)
    return Line(id="", name="", state="CANCELLED", reason="it never began") if "cancelled" in facts or gone else None


def observe(key: JobKey, line: Line | None, facts: Facts, now: datetime) -> Observation:
    """One container as it stands. A state that is not known is none: it is waited for, and told."""
    if not facts and line is None:
        return Observation(key=key, seen=Seen.ABSENT, at=now)
    if line is None:
        return _observe_unknown(key, facts, now)
    phase = phase_of(line.state)
    raw, reason = line.state, line.reason
    if phase is None:
        return Observation(
            key=key, seen=Seen.UNREACHABLE, raw=raw, at=now, reason=f"the scheduler calls it {line.state!r}, which is no state that is known"
        )
    if phase is Phase.WAITING:
        return Observation(key=key, seen=Seen.PENDING, raw=raw, reason=reason, at=now, advice=advice(line.state, reason))
    started = stamp(facts.get(f"{key.role}/started")) or line.started
    if phase is Phase.RUNNING:
        return Observation(key=key, seen=Seen.RUNNING, raw=raw, reason=reason, at=now, started_at=started)
    ended = stamp(facts.get(f"{key.role}/ended")) or line.ended
    return Observation(key=key, seen=Seen.EXITED, raw=raw, reason=reason, at=now, started_at=started, ended_at=ended,
                       exit_code=exit_code(key, facts), limit=limit_of(key, facts, phase))  # fmt: skip


def _observe_unknown(key: JobKey, facts: Facts, now: datetime) -> Observation:
    """One that neither the controller nor accounting knows, though its folder is there."""
    raw = "unknown to the scheduler"
    if "end" in facts and float(facts.get("since", 0)) < _BOOKED_SECONDS:
        return Observation(key=key, seen=Seen.UNREACHABLE, raw=raw, at=now, reason="it has ended, and accounting has not been told how")
    young = "end" not in facts and float(facts.get("age", 0)) < _YOUNG_SECONDS
    return Observation(key=key, seen=Seen.PENDING if young else Seen.ABSENT, raw=raw, at=now)


def lost_before(tries: Iterable[Line], facts: Facts) -> bool:
    """Did an earlier try of a job that was put back into the queue begin on a node that failed? It may be running there still."""
    return any(name.endswith("/started") for name in facts) and any(line.state.startswith("NODE_FAIL") for line in tries)


def exit_code(key: JobKey, facts: Facts) -> int:
    """The container's own, where the script could write it down; that of a kill otherwise."""
    own = facts.get(f"{key.role}/exit", "")
    return int(own) if own.isdigit() else KILLED


def limit_of(key: JobKey, facts: Facts, phase: Phase) -> Limit | None:
    """The limit that ended it."""
    stopped, code = facts.get(f"{key.role}/stopped", ""), facts.get(f"{key.role}/exit", "")
    if stopped in _STOPPED:
        return _STOPPED[stopped]
    if phase is Phase.OUT_OF_TIME and f"{key.role}/started" in facts:
        return "wall_seconds"
    alone = phase is Phase.OUT_OF_MEMORY and not any(name.endswith("/oom") for name in facts)
    if code != "0" and (alone or f"{key.role}/oom" in facts):
        return "memory"
    return "output_bytes" if code not in ("", "0") and f"{key.role}/full" in facts else None


def fault_of(key: JobKey, line: Line, facts: Facts) -> str | None:
    """Why the end was the platform's doing, as a sentence; None where it was the container's own, or the lab's."""
    if "cancelled" in facts:
        return None
    if fault := _fault_of_cluster(line, facts):
        return fault
    return None if limit_of(key, facts, phase_of(line.state) or Phase.LOST) else _fault_of_node(key, line, facts)


def _fault_of_cluster(line: Line, facts: Facts) -> str | None:
    phase, state = phase_of(line.state), _told(line)
    if "lost" in facts:
        return facts["lost"] or "the job had begun on a node that failed, so it was not begun again on another."
    if phase is Phase.LOST:
        return f"the job was lost with its node {line.nodes or '(none)'}: {state}."
    if phase is Phase.CANCELLED:
        return f"somebody cancelled the job at the cluster, and it was not the lab: {state}."
    if "broken" in facts:
        return f"node {line.nodes} cannot run the lab's containers: {facts['broken']}."
    return None


def _fault_of_node(key: JobKey, line: Line, facts: Facts) -> str | None:
    node, stopped = line.nodes or "(none)", facts.get(f"{key.role}/stopped")
    if stopped == "terminated":
        return f"the job was told to end on node {node}, and not by the lab: {_told(line)}."
    if stopped == "namespaces":
        return f"node {node} does not let the lab forbid its containers further namespaces."
    if "end" not in facts or not facts.get(f"{key.role}/exit"):
        return f"the job ended before its script did ({_told(line)}, exit code {line.exit_code}, node {node})."
    return None


def _told(line: Line) -> str:
    return f"the cluster says {line.state}" + (f", {line.reason}" if line.reason else "")


def parse_usage(written: bytes) -> dict[str, float]:
    """What the script read of the job's control group: lines of a name and a number, which may be missing."""
    found = dict(line.split(" ", 1) for line in written.decode(errors="replace").splitlines() if " " in line)
    units = {"memory_peak_bytes": ("memory_peak_bytes", 1.0), "cpu_nanoseconds": ("cpu_seconds", 1e-9)}
    return {name: int(found[word]) * unit for word, (name, unit) in units.items() if found.get(word, "").isdigit()}


def stamp(text: str | None) -> datetime | None:
    """`date +%s.%N` of the node's clock."""
    try:
        return datetime.fromtimestamp(float(text or ""), UTC)
    except (ValueError, OverflowError, OSError):
        return None
