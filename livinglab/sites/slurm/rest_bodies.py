"""What is said to slurmrestd, and what its answers mean, for each version of its interface that the lab speaks. Pure functions.

Of an answer only what the lab needs is read, so that what one version adds or another drops is no matter: `pinged` is gone since
v0.0.45, a number is bare or `{"set", "infinite", "number"}`, a state is a list of a base state and flags. What is read must be there
and of its kind: an answer of another shape is a `PlatformFault`, and nothing in it is guessed.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from livinglab.domain.errors import PlatformFault
from livinglab.sites.slurm.commands import nice
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Line, Request
from livinglab.sites.slurm.states import STATES

VERSIONS = ("v0.0.45", "v0.0.44", "v0.0.43", "v0.0.42")
"""Those of Slurm 24.11 to 26.05, the best first."""

_FLAGS = ("COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED",
          "RESV_DEL_HOLD", "SIGNALING")  # fmt: skip
"""Flags that squeue shows in place of the base state, in the order in which it looks for them (`job_state_string`)."""
_NOWHERE = "None assigned"
_ENVIRONMENT = ("PATH=/usr/local/bin:/usr/bin:/bin",)
"""Slurm takes no job without an environment; this one says nothing of who submitted it."""


def _number(value: object) -> object:
    if isinstance(value, dict) and "number" in value:
        return value["number"] if value.get("set", True) and not value.get("infinite", False) else None
    return value


Number = Annotated[Annotated[float, Field(strict=True)] | None, BeforeValidator(_number)]
"""None where it is not set, or is infinite."""


class _Read(BaseModel):
    """The part of an answer that is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Error(_Read):
    description: str = ""
    error: str = ""
    error_number: int = 0


class _Said(_Read):
    errors: tuple[_Error, ...] = ()


class SlurmSaysError(Exception):
    """What went wrong, in Slurm's own `words` and `numbers` (`slurm_errno.h`)."""

    def __init__(self, words: str, numbers: Iterable[int] = ()) -> None:
        super().__init__(words)
        self.words, self.numbers = words, frozenset(numbers)


class _Signal(_Read):
    id: Number


class _Exit(_Read):
    return_code: Number
    signal: _Signal

    @property
    def code(self) -> int | None:
        """As a shell would say it: that of a kill is 128 and the signal's number."""
        if self.signal.id:
            return 128 + int(self.signal.id)
        return None if self.return_code is None else int(self.return_code)


State = Annotated[tuple[str, ...], Field(min_length=1)]


class _Job(_Read):
    job_id: int
    name: str
    user_name: str
    job_state: State
    state_reason: str
    state_description: str = ""
    nodes: str
    exit_code: _Exit
    restart_cnt: int
    submit_time: Number
    start_time: Number
    end_time: Number


class _Jobs(_Said):
    jobs: tuple[_Job, ...]


class _Resource(_Read):
    type: str
    name: str = ""
    count: float


class _Cpu(_Read):
    seconds: float
    microseconds: float


class _StepTime(_Read):
    total: _Cpu


class _Peaks(_Read):
    max: tuple[_Resource, ...]


class _StepResources(_Read):
    requested: _Peaks
    """So Slurm calls what came in: memory that was used is in it."""


class _Energy(_Read):
    consumed: Number


class _Statistics(_Read):
    energy: _Energy


class _Step(_Read):
    time: _StepTime
    tres: _StepResources
    statistics: _Statistics


class _Time(_Read):
    elapsed: float
    submission: Number
    start: Number
    end: Number


class _Allocated(_Read):
    allocated: tuple[_Resource, ...]


class _Current(_Read):
    current: State


class _Entry(_Read):
    job_id: int
    name: str
    user: str
    state: _Current
    nodes: str
    exit_code: _Exit
    restart_cnt: int
    time: _Time
    tres: _Allocated
    steps: tuple[_Step, ...]

    @property
    def started(self) -> float | None:
        """Of a job that was cancelled in the queue Slurm says that it started when it ended."""
        return None if self.nodes == _NOWHERE else self.time.start


class _Entries(_Said):
    jobs: tuple[_Entry, ...]


class _Submitted(_Said):
    job_id: Annotated[int, Field(gt=0)]


class _Ping(_Read):
    hostname: str
    responding: bool
    status: str = ""


class _Cluster(_Read):
    release: str


class _Meta(_Read):
    slurm: _Cluster


class _Pings(_Said):
    pings: tuple[_Ping, ...]
    meta: _Meta


class _Offer(_Said):
    paths: dict[str, object]


Answer = TypeVar("Answer", bound=_Said)


# --- saying -----------------------------------------------------------------------------------------------------------


def build_job(settings: SlurmSettings, request: Request) -> dict[str, object]:
    """The body that submits a job: the same job as `commands.sbatch` asks for. Of one shape in all versions that are spoken."""
    job: dict[str, object] = {
        "name": request.name, "script": request.script, "environment": list(_ENVIRONMENT), "current_working_directory": "/",
        "standard_input": "/dev/null", "standard_output": "/dev/null", "standard_error": "/dev/null", "minimum_nodes": 1, "maximum_nodes": 1,
        "tasks": 1, "cpus_per_task": request.cores, "tres_per_task": f"cpu={request.cores}", "memory_per_node": _given(request.mebibytes),
        "time_limit": _given(request.minutes), "requeue": True, "nice": nice(request.priority),
    }  # fmt: skip
    where = {"partition": settings.partition, "account": settings.account, "qos": settings.qos, "constraints": settings.constraint,
             "reservation": settings.reservation}  # fmt: skip
    job |= {name: value for name, value in where.items() if value}
    if request.gpus:
        job["tres_per_node"] = f"gres/{settings.gpu}:{request.gpus}"
    return {"job": job}


def _given(number: int) -> dict[str, object]:
    return {"set": True, "infinite": False, "number": number}


def choose_version(document: bytes | bytearray) -> str:
    """The newest version that both the lab and the daemon speak, by the daemon's own OpenAPI document."""
    paths = _read(_Offer, document).paths
    offered = {match["version"] for path in paths if (match := re.match(r"/slurm/(?P<version>v\d+\.\d+\.\d+)/jobs/?$", path))}
    accounted = {match["version"] for path in paths if (match := re.match(r"/slurmdb/(?P<version>v\d+\.\d+\.\d+)/jobs/?$", path))}
    for version in VERSIONS:
        if version in offered & accounted:
            return version
    msg = (
        f"slurmrestd offers {_listed(offered)} for jobs and {_listed(accounted)} for accounting, and the lab speaks {_listed(VERSIONS)}. "
        "Both must be offered in one of them: see the daemon's options -d and -s, or use another access for this site."
    )
    raise PlatformFault(msg)


def _listed(versions: Iterable[str]) -> str:
    return ", ".join(sorted(versions)) or "nothing"


# --- understanding; each may raise `SlurmSaysError`, and `PlatformFault` for an answer of another shape -----------------


def parse_submitted(body: bytes | bytearray) -> str:
    """The job's id."""
    return str(_read(_Submitted, body).job_id)


def parse_jobs(body: bytes | bytearray, user: str) -> tuple[Line, ...]:
    """The user's jobs in the controller's list. Where the cluster shows everybody's, another's job by the same name is not ours."""
    return tuple(
        Line(id=str(job.job_id), name=job.name, state=_state(job.job_state), reason=_reason(job), nodes=job.nodes, exit_code=job.exit_code.code,
             restarts=job.restart_cnt, submitted=_moment(job.submit_time), started=_moment(job.start_time), ended=_moment(job.end_time))
        for job in _read(_Jobs, body).jobs if job.user_name == user
    )  # fmt: skip


def parse_accounting(body: bytes | bytearray, user: str) -> tuple[Line, ...]:
    """Accounting's list of the user's jobs, one line per try of a job; what its steps used is added up."""
    entries = sorted(_read(_Entries, body).jobs, key=lambda entry: (entry.time.submission or 0.0, entry.job_id))
    return tuple(
        Line(id=str(entry.job_id), name=entry.name, state=_state(entry.state.current), nodes=entry.nodes, exit_code=entry.exit_code.code,
             restarts=entry.restart_cnt, submitted=_moment(entry.time.submission), started=_moment(entry.started), ended=_moment(entry.time.end),
             usage=tuple(sorted(_usage(entry).items())))
        for entry in entries if entry.user == user
    )  # fmt: skip


def parse_ping(body: bytes | bytearray) -> tuple[str, tuple[str, ...]]:
    """Slurm's release, and the controllers that answer."""
    answer = _read(_Pings, body)
    return answer.meta.slurm.release, tuple(ping.hostname for ping in answer.pings if ping.responding)


def parse_done(body: bytes | bytearray) -> None:
    """Nothing but that it was done."""
    _read(_Said, body)


def find_errors(body: bytes | bytearray) -> SlurmSaysError | None:
    """What an answer says went wrong; None where it says nothing, or is not Slurm's."""
    try:
        return _error_of(_Said.model_validate_json(body))
    except ValidationError:
        return None


def _error_of(answer: _Said) -> SlurmSaysError | None:
    words = [": ".join(filter(None, (error.description, error.error))) for error in answer.errors]
    return SlurmSaysError("; ".join(words)[:600], [error.error_number for error in answer.errors]) if words else None


def _read(shape: type[Answer], body: bytes | bytearray) -> Answer:
    try:
        answer = shape.model_validate_json(body)
    except ValidationError as error:
        if said := find_errors(body):
            raise said from error
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        msg = f"slurmrestd's answer is not of the shape that is expected of it ({where}: {first['msg']})."
        raise PlatformFault(msg) from error
    if said := _error_of(answer):
        raise said
    return answer


def _state(words: tuple[str, ...]) -> str:
    """One word for a base state and its flags, as squeue would say it. One that nobody knows is handed on, so as not to be taken for another."""
    unknown = [word for word in words if word not in STATES]
    return (unknown or [flag for flag in _FLAGS if flag in words] or list(words))[0]


def _reason(job: _Job) -> str:
    reason = job.state_description or job.state_reason
    return "" if reason == "None" else reason


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _usage(entry: _Entry) -> dict[str, float]:
    usage = {
        "cpu_seconds": sum((step.time.total.seconds + step.time.total.microseconds / 1e6 for step in entry.steps), 0.0),
        "elapsed_seconds": entry.time.elapsed,
    }
    if entry.time.submission and entry.started:
        usage["queue_seconds"] = max(0.0, entry.started - entry.time.submission)
    if energy := max((step.statistics.energy.consumed or 0.0 for step in entry.steps), default=0.0):
        usage["energy_joules"] = energy
    if gpus := sum(resource.count for resource in entry.tres.allocated if (resource.type, resource.name) == ("gres", "gpu")):
        usage["gpu_seconds"] = gpus * entry.time.elapsed
    if peak := max((resource.count for step in entry.steps for resource in step.tres.requested.max if resource.type == "mem"), default=0.0):
        usage["memory_peak_bytes"] = peak
    return usage
