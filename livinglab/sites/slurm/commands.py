"""Slurm's command line: what is said to it, and what its answers mean. Pure functions."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from livinglab.domain.errors import PlatformFault
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Line, Request, task_name

SEPARATOR = "|"
NICE_PER_POINT = 10
"""A lab's priority of −1 is this much `--nice`. Raising above others needs a privilege, so a positive one asks for less of it."""
_NICE_AT_ZERO = 1_000

_QUEUE = ("JobArrayID", "State", "NodeList", "exit_code", "RestartCnt", "SubmitTime", "StartTime", "EndTime", "Reason", "Name")
_ACCOUNT = ("JobID", "JobName", "State", "NodeList", "ExitCode", "Submit", "Start", "End", "ElapsedRaw", "TotalCPU", "MaxRSS",
            "ConsumedEnergyRaw", "AllocTRES", "Restarts")  # fmt: skip
_A_JOB = re.compile(r"\d[^|]*\|[A-Z_]+\|")
_TASKS = re.compile(r"(?P<array>\d+)_\[(?P<tasks>[\d,:-]+)(%\d+)?\]")
"""Tasks of an array that wait, with the reasons of them all. (`squeue --array` would write a line for each, with its own; but of tasks
in regular distances it forgets the last, as 26.05 does: a job that is not seen would be taken for one that is lost.)"""
_CLEAN = ("env", "TZ=UTC", "LC_ALL=C", "SLURM_TIME_FORMAT=%Y-%m-%dT%H:%M:%S", "SLURM_BITSTR_LEN=0")
"""Times in UTC, whatever the login node's zone; and an array's tasks in full length."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_UNKNOWN = float(1 << 62)
"""Numbers from here on are Slurm's way of saying that there is none."""


def sbatch(settings: SlurmSettings, request: Request) -> list[str]:
    """Argv; the script goes to standard input. `NIL`: nothing of the submitter's environment goes along, and none is loaded."""
    command = [*_CLEAN, "sbatch", "--parsable", f"--job-name={request.name}", "--export=NIL", "--chdir=/",
               "--input=/dev/null", "--output=/dev/null", "--error=/dev/null", "--nodes=1", "--ntasks=1",
               f"--cpus-per-task={request.cores}", f"--mem={request.mebibytes}M", f"--time={request.minutes}",
               "--requeue", f"--nice={nice(request.priority)}"]  # fmt: skip
    place = ((name, getattr(settings, name)) for name in ("partition", "account", "qos", "constraint", "reservation"))
    command += [f"--{name}={value}" for name, value in place if value]
    if request.gpus:
        command.append(f"--gres={settings.gpu}:{request.gpus}")
    if request.tasks:
        command.append(f"--array=0-{request.tasks - 1}")
    return command


def nice(priority: int) -> int:
    """What the lab's priority is in the scheduler's terms."""
    return _NICE_AT_ZERO - NICE_PER_POINT * priority


def submitted(answer: str) -> str:
    """The job's id in sbatch's answer (`ID` or `ID;CLUSTER`)."""
    id_ = answer.strip().partition(";")[0]
    if not id_.isdigit():
        msg = f"sbatch answered {answer.strip()[:100]!r}, which is no job's id."
        raise PlatformFault(msg)
    return id_


def squeue() -> list[str]:
    """Argv: every job of this account, also those that have ended and are not forgotten yet."""
    return [*_CLEAN, "squeue", "--me", "--noheader", "--states=all", "--Format=" + ",".join(f"{name}:{SEPARATOR}" for name in _QUEUE)]


def queued(answer: str) -> tuple[Line, ...]:
    """Squeue's answer. A line that is not of the form asked for is a fault: guessing at states is not done.

    Others may use the account too, and call their jobs what they like; so the name comes last, and may go on over several lines.
    """
    lines: list[str] = []
    for line in filter(str.strip, answer.split("\n")):
        if _A_JOB.match(line) or not lines:
            lines.append(line)
        else:
            lines[-1] += "\n" + line
    return tuple(found for line in lines for found in _queue_lines(line))


def _queue_lines(line: str) -> Iterator[Line]:
    fields = _fields(line, len(_QUEUE), "squeue")
    id_, state, nodes, exit_code, restarts, submitted_at, started, ended, reason, name = fields
    one = Line(id=id_, name=name, state=state, reason="" if reason == "None" else reason, nodes=nodes, exit_code=_exit(exit_code),
               restarts=int(_number(restarts)), submitted=moment(submitted_at), started=moment(started), ended=moment(ended))  # fmt: skip
    several = _TASKS.fullmatch(id_)
    ids = [f"{several['array']}_{task}" for task in tasks_of(several["tasks"])] if several else [id_]
    yield from (replace(one, id=own, name=name_of(own, name)) for own in ids)


def tasks_of(text: str) -> Iterator[int]:
    """The numbers in `0,2-3,10-20:5`."""
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def name_of(id_: str, name: str) -> str:
    """The lab's name of a job that has that id and that name at the scheduler."""
    _, _, task = id_.partition("_")
    return task_name(name, int(task)) if task.isdigit() else name


def sacct(names: Collection[str]) -> list[str]:
    """Argv: what accounting knows of jobs of these names, their steps and earlier tries included; of arrays, all of their tasks."""
    own = sorted({name.partition(".")[0] for name in names})
    return [*_CLEAN, "sacct", "--noheader", "--parsable2", "--duplicates", "--starttime=now-30days", f"--name={','.join(own)}",
            "--format=" + ",".join(_ACCOUNT)]  # fmt: skip


def accounted(answer: str) -> tuple[Line, ...]:
    """Sacct's answer, one line per try of a job; what its steps used is added to it."""
    lines: list[Line] = []
    for row in filter(str.strip, answer.split("\n")):
        fields = dict(zip(_ACCOUNT, _fields(row, len(_ACCOUNT), "sacct"), strict=True))
        if _TASKS.match(fields["JobID"]):
            continue  # they have not begun
        if "." not in fields["JobID"]:
            lines.append(_account_line(fields))
        elif lines:
            lines[-1] = _with_step(lines[-1], fields)
    return tuple(lines)


def _account_line(fields: dict[str, str]) -> Line:
    submitted_at, started, ended = (moment(fields[name]) for name in ("Submit", "Start", "End"))
    usage = {"cpu_seconds": duration(fields["TotalCPU"]), "elapsed_seconds": _number(fields["ElapsedRaw"])}
    if submitted_at and started:
        usage["queue_seconds"] = max(0.0, (started - submitted_at).total_seconds())
    if energy := _number(fields["ConsumedEnergyRaw"]):
        usage["energy_joules"] = energy
    if gpus := _gpus(fields["AllocTRES"]):
        usage["gpu_seconds"] = gpus * usage["elapsed_seconds"]
    return Line(id=fields["JobID"], name=name_of(fields["JobID"], fields["JobName"]), state=fields["State"], nodes=fields["NodeList"],
                exit_code=_exit(fields["ExitCode"]), restarts=int(_number(fields["Restarts"])), submitted=submitted_at,
                started=started, ended=ended, usage=tuple(sorted(usage.items())))  # fmt: skip


def _with_step(line: Line, fields: dict[str, str]) -> Line:
    usage = dict(line.usage)
    if peak := size(fields["MaxRSS"]):
        usage["memory_peak_bytes"] = max(peak, usage.get("memory_peak_bytes", 0.0))
    if energy := _number(fields["ConsumedEnergyRaw"]):
        usage["energy_joules"] = max(energy, usage.get("energy_joules", 0.0))
    return replace(line, usage=tuple(sorted(usage.items())))


def scancel(ids: Collection[str]) -> list[str]:
    """Argv: those of them that are this account's. Their scripts hear it, and end their containers.

    Told to be quiet it would fail for one that has just ended, and not say why.
    """
    return [*_CLEAN, "scancel", "--me", *sorted(ids)]


def update(id_: str, **fields: object) -> list[str]:
    """Argv: change a waiting job."""
    return [*_CLEAN, "scontrol", "update", f"JobId={id_}", *(f"{name}={value}" for name, value in fields.items())]


# --- words ------------------------------------------------------------------------------------------------------------


def _fields(line: str, count: int, who: str) -> list[str]:
    fields = line.split(SEPARATOR, count - 1)
    if len(fields) != count:
        msg = f"{who} answered {line[:100]!r}, which has not the {count} fields that were asked for."
        raise PlatformFault(msg)
    return [field.strip() for field in (*fields[:-1], fields[-1].rstrip().removesuffix(SEPARATOR))]


def moment(text: str) -> datetime | None:
    """A time in UTC; None for one that is not known (yet)."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def duration(text: str) -> float:
    """Seconds of `[DAYS-][HOURS:]MINUTES:SECONDS[.MILLI]`."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + _number(part)
    return seconds + 86_400 * _number(days)


def size(text: str) -> float:
    """Bytes of `123456K`."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    return _number(text[:-1]) * units[text[-1]] if text[-1:] in units else _number(text)


def _number(text: str) -> float:
    """A number that is not negative; 0 for none."""
    found = float(text) if _NUMBER.fullmatch(text) else 0.0
    return found if found < _UNKNOWN else 0.0


def _exit(text: str) -> int | None:
    """The exit code of `CODE:SIGNAL` (accounting) or of a wait status (the queue)."""
    code, _, signal = text.partition(":")
    if not code.isdigit():
        return None
    if signal or ":" in text:
        return 128 + int(signal) if signal.isdigit() and int(signal) else int(code)
    status = int(code)
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8


def _gpus(tres: str) -> float:
    """`billing=1,cpu=1,gres/gpu=2,…` → 2."""
    counts = dict(part.partition("=")[::2] for part in tres.split(","))
    return _number(counts.get("gres/gpu", ""))
