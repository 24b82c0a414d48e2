"""A clock that stands until it is told to go, and a site in memory whose every misfortune can be arranged.

`Backend` is what survives a crash: make a second `FakeSite` over it, and that is the process that was started afterwards.
"""

import errno
import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from livinglab.domain.canonical import canonical, digest_of, sha256
from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area, Finding, Property, Witness
from livinglab.domain.run import JobKey
from livinglab.ports import PARTNER_GRACE, Clock, ContainerSpec, Handle, JobSpec, Limit, Observation, Outcome, OutputFile, Seen

KILLED = 137


class FakeClock:
    """The `Clock` port: it moves when `advance` is called, and a microsecond at each look, so that no two moments are one."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2030, 1, 1, tzinfo=UTC)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """See the port."""
        with self._lock:
            self._now += timedelta(microseconds=1)
            return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        with self._lock:
            self._now += by


@dataclass
class FakeContainer:
    """What a script sees of the world, and what is seen of it."""

    key: JobKey
    spec: ContainerSpec
    files: dict[str, bytes]
    """What is mounted read-only, by absolute path."""
    socket: dict[str, bytes]
    """Shared by the containers of a job."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    limit: Limit | None = None
    log: bytes = b""
    outputs: dict[str, bytes] = field(default_factory=dict)
    problem: str | None = None
    """Why the outputs cannot be used, where a script left what no site takes."""
    report: bytes | None = None
    view: tuple[Finding, ...] = ()

    def say(self, data: bytes) -> None:
        """Write to the log."""
        self.log += data

    def write(self, path: str, data: bytes) -> None:
        """Write to `/out`; `OSError` where a sized volume is full."""
        limits = self.spec.resources
        if sum(map(len, self.outputs.values())) + len(data) > limits.output_bytes or len(self.outputs) >= limits.output_files:
            self.limit = "output_bytes"
            raise OSError(errno.ENOSPC, "no space left on device")
        self.outputs[path] = data

    def end(self, code: int, at: datetime, limit: Limit | None = None) -> None:
        """It is over, unless it was already."""
        if self.ended_at is None:
            self.exit_code, self.ended_at, self.limit = code, at, limit or (self.limit if code else None)


Script = Callable[[FakeContainer], int | None]
"""What a container does as soon as it is started: its exit code, or None if it goes on until something ends it."""


@dataclass
class Backend:
    """What is out there, whoever looks."""

    scripts: dict[str, Script]
    """By a container's first argument."""
    images: set[str] = field(default_factory=set)
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    areas: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    jobs: dict[JobKey, FakeContainer] = field(default_factory=dict)
    partners: dict[JobKey, tuple[JobKey, ...]] = field(default_factory=dict)
    digests: dict[JobKey, str] = field(default_factory=dict)
    runs: Counter[JobKey] = field(default_factory=Counter)
    """How often each was started: more than once is what must never be."""
    loads: Counter[str] = field(default_factory=Counter)
    """How often each image was built."""
    away: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def lose(self, key: JobKey) -> None:
        """The job is gone, and nobody said so."""
        del self.jobs[key]


class FakeSite:
    """The `Site` port in memory. See `fail` for misfortunes; `findings` changes what its probe and its own view report."""

    def __init__(self, backend: Backend, clock: Clock, name: str = "fake") -> None:
        self.name = name
        self.backend = backend
        self.clock = clock
        self.calls: Counter[str] = Counter()
        self.findings: dict[Property, bool] = {}
        self._faults: dict[tuple[str, bool], list[BaseException | None]] = {}

    def fail(self, method: str, error: BaseException, *, after: bool = False, skip: int = 0) -> None:
        """Let a later call of `method` raise, before or after it has had its effect; `skip` calls pass before."""
        self._faults.setdefault((method, after), []).extend([None] * skip + [error])

    def _called(self, method: str, *, after: bool = False) -> None:
        if not after:
            self.calls[method] += 1
        faults = self._faults.get((method, after))
        error = faults.pop(0) if faults else None
        if error is not None:
            raise error
        if self.backend.away:
            msg = "the fake backend is away."
            raise Unreachable(msg)

    # --- images and data -----------------------------------------------------------------------------------------------

    def ensure_image(self, digest: str) -> str:
        """See the port."""
        self._called("ensure_image")
        with self.backend.lock:
            if digest not in self.backend.images:
                msg = f"there is no blob {digest}."
                raise NotFound(msg)
            self.backend.loads.setdefault(digest, 1)
        self._called("ensure_image", after=True)
        return f"fake-{digest}"

    def has_dataset(self, digest: str) -> bool:
        """See the port."""
        self._called("has_dataset")
        return digest in self.backend.datasets

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """See the port."""
        self._called("push")
        odd = [name for name in files if not name or name.startswith("/") or ".." in name.split("/")]
        if odd:
            msg = f"{odd[0]!r} leads out of its area."
            raise Invalid(msg)
        self.backend.areas[attempt, area] = {name: path.read_bytes() for name, path in files.items()}
        self._called("push", after=True)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        """See the port."""
        self._called("submit")
        keys = [JobKey(attempt=spec.attempt, role=c.role) for c in spec.containers]
        if keys[0] != key:
            msg = f"a job is submitted under the key of its first container, {keys[0]}, not {key}."
            raise Invalid(msg)
        with self.backend.lock:
            created = key not in self.backend.jobs
            if not created and self.backend.digests[key] != digest_of(spec):
                msg = f"job {key} exists with another specification."
                raise Conflict(msg)
            if created:
                self._start(spec, keys)
        self._called("submit", after=True)
        return Handle(key=key, id=f"fake-{key}", created=created)

    def _start(self, spec: JobSpec, keys: list[JobKey]) -> None:
        socket: dict[str, bytes] = {}
        made = [FakeContainer(key=key, spec=c, files=self._files(spec, c), socket=socket) for key, c in zip(keys, spec.containers, strict=True)]
        for container in made:
            key = container.key
            self.backend.jobs[key], self.backend.digests[key] = container, digest_of(spec)
            self.backend.partners[key] = tuple(k for k in keys if k != key)
            self.backend.runs[key] += 1
            container.started_at = self.clock.now()
            container.view = self._findings("engine")
            container.report = fake_report(spec, container.spec, self._findings("probe", spec, container.spec))
            code = self._run(container) if all(f.holds for f in self._findings("probe")) else 97
            if code is not None:
                container.end(code, self.clock.now())

    def _run(self, container: FakeContainer) -> int | None:
        script = self.backend.scripts.get(container.spec.argv[0])
        if script is None:
            container.say(f"livinglab-launcher: cannot execute {container.spec.argv[0]}: No such file or directory\n".encode())
            return 99
        try:
            return script(container)
        except OSError as error:
            container.say(f"{error}\n".encode())
            return 1

    def _files(self, spec: JobSpec, container: ContainerSpec) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for mount in container.mounts:
            if mount.area in ("outputs", "socket"):
                continue
            held = self.backend.datasets.get(mount.dataset) if mount.dataset else self.backend.areas.get((spec.attempt, mount.area))
            if held is None:
                msg = f"the area {mount.area!r} of {spec.attempt} is not there."
                raise PlatformFault(msg)
            files |= {f"{mount.target}/{name}": data for name, data in held.items()}
        return files

    def _findings(self, witness: Witness, spec: JobSpec | None = None, container: ContainerSpec | None = None) -> tuple[Finding, ...]:
        demanded = _demands(spec, container) if spec and container else {}
        seen = {name: "as demanded" if self.findings.get(name, True) else "something else" for name in get_args(Property)}
        return tuple(Finding(property=name, demanded=demanded.get(name, "as demanded"), seen=text, witness=witness,
                             holds=self.findings.get(name, True)) for name, text in seen.items())  # fmt: skip

    # --- looking -------------------------------------------------------------------------------------------------------

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """See the port."""
        now = self.clock.now()
        try:
            self._called("observe")
        except Unreachable as error:
            return {key: Observation(key=key, seen=Seen.UNREACHABLE, reason=error.message, at=now) for key in keys}
        return {key: self._look(key, now) for key in keys}

    def _look(self, key: JobKey, now: datetime) -> Observation:
        container = self.backend.jobs.get(key)
        if container is None:
            return Observation(key=key, seen=Seen.ABSENT, at=now)
        limit = None
        if container.ended_at is None:
            limit = self._end_if_over(container, now)
            return Observation(key=key, seen=Seen.RUNNING, raw="running", at=now, started_at=container.started_at, limit=limit)
        return Observation(key=key, seen=Seen.EXITED, raw="exited", at=now, started_at=container.started_at, ended_at=container.ended_at,
                           exit_code=container.exit_code, limit=container.limit)  # fmt: skip

    def _end_if_over(self, container: FakeContainer, now: datetime) -> Limit | None:
        limits, limit = container.spec.resources, None
        assert container.started_at is not None
        if len(container.log) > limits.log_bytes:
            limit = "log_bytes"
        elif (now - container.started_at).total_seconds() > limits.wall_seconds:
            limit = "wall_seconds"
        partners = [self.backend.jobs.get(k) for k in self.backend.partners[container.key]]
        alone = any(p is None or (p.ended_at and now - p.ended_at > PARTNER_GRACE) for p in partners)
        if limit or alone:
            container.end(KILLED, now, limit)  # type: ignore[arg-type]
        return limit  # type: ignore[return-value]

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. Where nothing has ended, a fake clock is moved instead of waiting."""
        self._called("wait")
        jobs = [self.backend.jobs.get(key) for key in keys]
        if all(job is not None and job.ended_at is None for job in jobs) and isinstance(self.clock, FakeClock):
            self.clock.advance(timeout)

    def cancel(self, key: JobKey, grace: timedelta) -> None:  # noqa: ARG002 - nothing here hears a signal
        """See the port."""
        self._called("cancel")
        for each in (key, *self.backend.partners.get(key, ())):
            if each in self.backend.jobs:
                self.backend.jobs[each].end(KILLED, self.clock.now())
        self._called("cancel", after=True)

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """See the port."""
        self._called("logs")
        container = self.backend.jobs.get(key)
        return container.log[offset : offset + limit] if container else b""

    # --- what is left --------------------------------------------------------------------------------------------------

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """See the port."""
        self._called("collect")
        c = self.backend.jobs.get(key)
        if c is None:
            msg = f"job {key} is not there."
            raise NotFound(msg)
        if c.ended_at is None or c.started_at is None or c.exit_code is None:
            msg = f"job {key} is running; only what has ended is collected."
            raise Conflict(msg)
        most = c.spec.resources.log_bytes
        (into / "log").write_bytes(c.log[:most])
        (into / "outputs").mkdir()
        outputs = () if c.problem else tuple(_copy(into / "outputs", path, data) for path, data in sorted(c.outputs.items()))
        over: Limit | None = "log_bytes" if len(c.log) > most else None
        self._called("collect", after=True)
        return Outcome(key=key, exit_code=c.exit_code, limit=c.limit or over, started_at=c.started_at, ended_at=c.ended_at, report=c.report,
                       site_view=c.view, log_path=into / "log", log_bytes=min(len(c.log), most), log_truncated=len(c.log) > most, outputs=outputs,
                       outputs_dir=into / "outputs", output_problem=c.problem)  # fmt: skip

    def release(self, attempt: str) -> None:
        """See the port."""
        self._called("release")
        with self.backend.lock:
            self.backend.jobs = {key: job for key, job in self.backend.jobs.items() if key.attempt != attempt}
            self.backend.areas = {place: files for place, files in self.backend.areas.items() if place[0] != attempt}
        self._called("release", after=True)

    def owned(self) -> set[JobKey]:
        """See the port."""
        self._called("owned")
        return set(self.backend.jobs)


def _copy(folder: Path, path: str, data: bytes) -> OutputFile:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
    return OutputFile(path=path, size=len(data), digest=sha256(data))


def _demands(spec: JobSpec, container: ContainerSpec) -> dict[str, str]:
    limits, profile = container.resources, spec.profile
    writable = [m.target for m in container.mounts if not m.read_only] + ["/tmp", "/dev/shm"]  # noqa: S108 - in the container
    return {"user": f"{profile.uid}:{profile.gid}", "memory": str(limits.memory), "cpu": str(round(limits.cpus * 1000)), "pids": str(limits.pids),
            "gpus": str(limits.gpus),
            "mounts": f"writable {':'.join(writable)}, readable {':'.join(m.target for m in container.mounts if m.read_only)}"}  # fmt: skip


def fake_report(spec: JobSpec, container: ContainerSpec, findings: tuple[Finding, ...] | None = None) -> bytes:
    """A launcher's line as the real one writes it, authenticated by the job's nonce; all demands hold unless `findings` says otherwise."""
    if findings is None:
        demanded = _demands(spec, container)
        findings = tuple(Finding(property=name, demanded=demanded.get(name, "as demanded"), seen="as demanded", witness="probe", holds=True)
                         for name in get_args(Property))  # fmt: skip
    body = canonical({"launcher": "1", "nonce": spec.nonce, "runtime": "linux", "findings": [f.model_dump(mode="json") for f in findings]})
    mac = hmac.new(bytes.fromhex(spec.nonce), body, hashlib.sha256).hexdigest()
    return b"livinglab-launcher/1 " + body + b" " + mac.encode() + b"\n"
