"""A Docker Engine as a site. The worker runs as root on the engine's own machine, since it mounts the sized volumes."""

import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from docker.errors import NotFound as DockerNotFound

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area
from livinglab.domain.run import JobKey
from livinglab.ports import PARTNER_GRACE, Clock, ContainerSpec, Handle, Images, JobSpec, Limit, Observation, Outcome, OutputFile, Seen
from livinglab.sites import docker_spec
from livinglab.sites.docker_engine import KILLED, TimedOut, connect, events, moment, times, told_of, translated
from livinglab.sites.docker_images import EngineImages
from livinglab.sites.docker_logs import EngineLogs
from livinglab.sites.docker_spec import LABEL_INSTANCE, LABEL_SPEC, container_name
from livinglab.sites.kernel import age_of, killed_for_memory
from livinglab.sites.outputs import copy_outputs
from livinglab.sites.staging import ROLES, SOCKET_BYTES, SOCKET_INODES, JobRecord, Staging, dataset_in
from livinglab.sites.tmpfs import is_full, mount_sized, unmount

_SEEN = {"created": Seen.PENDING, "running": Seen.RUNNING, "paused": Seen.RUNNING, "restarting": Seen.RUNNING, "removing": Seen.EXITED,
         "exited": Seen.EXITED, "dead": Seen.EXITED}  # fmt: skip
_UNHEARD = 1.0  # seconds; when nothing is in the log of a container that has run for so long, the engine does not keep it
_BLINK = 0.025  # seconds; the launcher needs less, and a flood more
_LOOK_WAIT = 15.0  # seconds; a busy engine answers whoever only looks in two, and may need minutes to make or remove something
_REMOVAL_WAIT = 20.0  # seconds, for a removal that someone else began


class DockerSite:
    """The `Site` port over one engine.

    Args:
        root: the site's work folder on the engine's machine; everything in it belongs to one lab, `instance`.
        vault: where datasets lie, by the hexadecimal digits of their digest.
        launcher: the launcher's binary.
        runtime: an engine's runtime other than its default, `runsc` for gVisor.
        url: the engine's unix socket.

    Raises:
        IsolationNotProven: the engine is on another machine.
    """

    def __init__(self, *, name: str, instance: str, root: Path, vault: Path, launcher: Path, images: Images, clock: Clock,
                 runtime: str | None = None, url: str | None = None) -> None:  # fmt: skip
        self.name = name
        self.instance = instance
        self.vault = vault
        self.launcher = launcher
        self.clock = clock
        self.runtime = runtime
        self._engine, self._eyes = connect(url), connect(url, _LOOK_WAIT)
        self._staging = Staging(root)
        self._logs = EngineLogs(self._eyes, instance, self._staging)
        self._images = EngineImages(self._engine, images, self._staging)

    # --- images and data -----------------------------------------------------------------------------------------------

    def ensure_image(self, digest: str) -> str:
        """See the port. The engine's id must be the digest of the configuration that we normalised, or its layers must be ours."""
        return self._images.ensure(digest)

    def has_dataset(self, digest: str) -> bool:
        """See the port."""
        return dataset_in(self.vault, digest).is_dir()

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """See the port."""
        self._staging.push(attempt, area, files)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        """See the port. The lock keeps two processes of this machine from both starting a container that neither has started."""
        spec = spec.model_copy(update={"runtime": spec.runtime or self.runtime})
        if spec.keys[0] != key:
            msg = f"a job is submitted under the key of its first container, {spec.keys[0]}, not {key}."
            raise Invalid(msg)
        with self._staging.locked(f"attempt-{spec.attempt}"), translated():
            found = [self._find_ours(k, digest_of(spec)) for k in spec.keys]
            identities = [str(f["Id"]) if f else self._create(spec, c) for f, c in zip(found, spec.containers, strict=True)]
            for identity, before in zip(identities, found, strict=True):
                if before is None or before["State"]["Status"] == "created":
                    self._engine.start(identity)
        return Handle(key=key, id=identities[0], created=found[0] is None)

    def _find_ours(self, key: JobKey, spec_digest: str) -> dict[str, Any] | None:
        found = self._find(container_name(self.instance, key))
        if found and self._staging.record(key) is None:
            msg = f"there is a container {container_name(self.instance, key)} that this site has no record of."
            raise Conflict(msg, hint="Give each lab that shares an engine its own instance name.")
        if found and found["Config"]["Labels"].get(LABEL_SPEC) != spec_digest:
            msg = f"job {key} exists with another specification."
            raise Conflict(msg)
        return found

    def _create(self, spec: JobSpec, container: ContainerSpec) -> str:
        key = JobKey(attempt=spec.attempt, role=container.role)
        image = self._images.find(container.image)
        if image is None:
            msg = f"image {container.image} is not at site {self.name}."
            raise PlatformFault(msg)
        docker_spec.check_runtime(spec.runtime, container.resources)
        together = tuple(c.role for c in spec.containers)
        self._staging.write_record(key, JobRecord(container=container, together=together, user=f"{spec.profile.uid}:{spec.profile.gid}"))
        body = self._body(spec, container, image, self._sources(spec, container))
        return str(self._engine.create_container_from_config(body, container_name(self.instance, key))["Id"])

    def _body(self, spec: JobSpec, container: ContainerSpec, image: str, sources: dict[str, Path]) -> dict[str, Any]:
        return docker_spec.create_body(self.instance, spec, container, image, sources, self.launcher)

    def _sources(self, spec: JobSpec, container: ContainerSpec) -> dict[str, Path]:
        """Mount target → folder on this machine; sized volumes are mounted."""
        limits, profile = container.resources, spec.profile
        sources: dict[str, Path] = {}
        for mount in container.mounts:
            source = self._source(JobKey(attempt=spec.attempt, role=container.role), mount.area, mount.dataset)
            if mount.area == "outputs":
                mount_sized(source, size=limits.output_bytes, inodes=limits.output_files, uid=profile.uid, gid=profile.gid)
            elif mount.area == "socket":
                mount_sized(source, size=SOCKET_BYTES, inodes=SOCKET_INODES, uid=profile.uid, gid=profile.gid)
            elif not source.is_dir():
                msg = f"the area {mount.area!r} of {spec.attempt} is not there."
                raise PlatformFault(msg)
            sources[mount.target] = source
        return sources

    def _source(self, key: JobKey, area: Area, dataset: str | None) -> Path:
        if area == "outputs":
            return self._staging.outputs(key)
        if area == "socket":
            return self._staging.folder(key.attempt) / "socket" / "out"
        return dataset_in(self.vault, dataset) if dataset else self._staging.area(key.attempt, area)

    def _record(self, key: JobKey) -> JobRecord:
        record = self._staging.record(key)
        if record is None:
            msg = f"the site has no record of job {key}."
            raise NotFound(msg)
        return record

    def _find(self, name: str) -> dict[str, Any] | None:
        with translated():
            try:
                return dict(self._eyes.inspect_container(name))
            except DockerNotFound:
                return None

    # --- looking -------------------------------------------------------------------------------------------------------

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """See the port. For several keys, one list of the lab's containers tells which of them are there to be looked into."""
        now = self.clock.now()
        try:
            present = set(keys) if len(keys) == 1 else set(self._list())
            return {key: self._look(key, now) if key in present else Observation(key=key, seen=Seen.ABSENT, at=now) for key in keys}
        except Unreachable as error:
            return {key: Observation(key=key, seen=Seen.UNREACHABLE, reason=error.message, at=now) for key in keys}

    def _list(self) -> dict[JobKey, str]:
        """The lab's containers by key, with the engine's word for their state. Name, label and our own record must agree."""
        with translated():
            summaries = self._eyes.containers(all=True, filters={"label": f"{LABEL_INSTANCE}={self.instance}"})
        found = ((docker_spec.key_of(summary, self.instance), summary["State"]) for summary in summaries)
        return {key: state for key, state in found if key and self._staging.record(key)}

    def _look(self, key: JobKey, now: datetime) -> Observation:
        inspected = self._find(container_name(self.instance, key))
        if inspected is None or self._staging.record(key) is None:
            return Observation(key=key, seen=Seen.ABSENT, at=now)
        state, reason = inspected["State"], inspected["State"].get("Error", "")
        seen, limit = _SEEN.get(state["Status"]), None
        if seen is None:
            msg = f"the engine calls job {key} {state['Status']!r}, which is no state that is known."
            raise PlatformFault(msg)
        if seen is Seen.RUNNING:
            age = self._age(inspected, now)
            report = self._logs.report(key)  # kept now, before a flood of log washes it away
            if report is None and age > _UNHEARD:
                self._staging.write_unheard(key)
            limit = self._passed_limit(key, inspected, age)
            alone = self._left_alone(key, now)
            reason = "a container that it lives together with has ended" if alone else reason
            if limit or alone:
                self._kill(key, limit or "")
        elif seen is Seen.EXITED:
            limit = self._limit_that_ended(key, inspected)
        started, ended = times(state) if seen is Seen.EXITED else (moment(state["StartedAt"]), None)
        return Observation(key=key, seen=seen, raw=state["Status"], reason=reason, at=now, started_at=started, ended_at=ended,
                           exit_code=state["ExitCode"] if seen is Seen.EXITED else None, limit=limit)  # fmt: skip

    def _left_alone(self, key: JobKey, now: datetime) -> bool:
        for role in self._record(key).together:
            partner = self._find(container_name(self.instance, JobKey(attempt=key.attempt, role=role))) if role != key.role else {}
            if partner is None:
                return True
            ended = moment(partner["State"]["FinishedAt"]) if partner and _SEEN.get(partner["State"]["Status"]) is Seen.EXITED else None
            if ended and now - ended > PARTNER_GRACE:
                return True
        return False

    @staticmethod
    def _age(inspected: dict[str, Any], now: datetime) -> float:
        """Seconds for which a container runs: by the kernel, where it tells."""
        started, age = moment(inspected["State"]["StartedAt"]), age_of(inspected["State"]["Pid"], inspected["Id"])
        if age is None:
            return (now - started).total_seconds() if started else 0.0
        return age

    def _passed_limit(self, key: JobKey, inspected: dict[str, Any], age: float) -> Limit | None:
        limits = self._record(key).container.resources
        if age > limits.wall_seconds:
            return "wall_seconds"
        return "log_bytes" if self._logs.is_over(key, inspected, limits.log_bytes) else None

    def _limit_that_ended(self, key: JobKey, inspected: dict[str, Any]) -> Limit | None:
        """Derived from what the engine and the volume kept, so that it is the same whoever asks, and after any crash.

        Longer than the limit is longer than the limit, whether or not anyone looked in time to end it.
        """
        state, limits = inspected["State"], self._record(key).container.resources
        started, ended = moment(state["StartedAt"]), moment(state["FinishedAt"])
        if state["ExitCode"] in KILLED and self._staging.killed_for(key) == "wall_seconds":
            return "wall_seconds"
        if state["OOMKilled"] and state["ExitCode"]:
            return "memory"
        if self._logs.is_over(key, inspected, limits.log_bytes):
            return "log_bytes"
        if started and ended and (ended - started).total_seconds() > limits.wall_seconds:
            return "wall_seconds"
        if self._was_killed(key, inspected) and (killed_for_memory(inspected["Id"]) or "oom" in told_of(self._eyes, inspected)):
            return "memory"  # the engine was too busy to set its own flag
        return "output_bytes" if state["ExitCode"] and is_full(self._staging.outputs(key)) else None

    def _was_killed(self, key: JobKey, inspected: dict[str, Any]) -> bool:
        """Does it look as if it was killed, and not by the lab?"""
        return inspected["State"]["ExitCode"] in KILLED and not self._staging.killed(key)

    def _ended_by_someone(self, key: JobKey, inspected: dict[str, Any]) -> bool:
        """Did a container that the lab has not ended end from outside: by another's kill, or with its engine?

        The kernel shields a container's first process from signals of those within, so a death by SIGKILL comes from outside,
        but for a program that just exits with that code. The engine's memory tells the two apart: it has the kill, or, where it
        was started anew in the meantime, not even the container's start.
        """
        if not self._was_killed(key, inspected):
            return False
        told = told_of(self._eyes, inspected, patience=0)
        return "kill" in told or "start" not in told

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. Of what runs longer than a blink the launcher's line is kept meanwhile, before a flood of log can wash it away."""
        seconds = timeout.total_seconds()
        if not keys or self._wait_for_any(keys, min(seconds, _BLINK)) or seconds <= _BLINK:
            return
        for key in keys:
            if self._staging.record(key):
                self._logs.report(key)
        self._wait_for_any(keys, seconds - _BLINK)

    def _wait_for_any(self, keys: Collection[JobKey], seconds: float) -> bool:
        """Has one of them changed within that time?"""
        names = [container_name(self.instance, key) for key in keys]
        try:
            with translated():
                if len(names) == 1:
                    self._engine.wait(names[0], timeout=seconds)
                    return True
                return self._wait_for_event(keys, names, seconds)
        except NotFound:
            return True
        except TimedOut:
            return False

    def _wait_for_event(self, keys: Collection[JobKey], names: list[str], seconds: float) -> bool:
        begin = time.time()
        # From a moment before the look below, so that no end falls between the two.
        filters = {"event": ["die", "destroy"], "container": names}
        with events(self._eyes, int(begin), begin + seconds, seconds, filters) as found:
            present = self._list()
            return any(_SEEN.get(present.get(key, "")) is not Seen.RUNNING for key in keys) or next(found, None) is not None

    # --- ending --------------------------------------------------------------------------------------------------------

    def cancel(self, key: JobKey, grace: timedelta) -> None:  # noqa: ARG002 - of no use here, as the docstring says
        """See the port. It is killed at once whatever the grace: nothing that a cancelled job would still write is ever used."""
        record = self._staging.record(key)
        for role in record.together if record else ():
            partner = JobKey(attempt=key.attempt, role=role)
            name = container_name(self.instance, partner)
            found = self._find(name)
            if found and found["State"]["Status"] == "created":
                self._remove(name)  # never started, so there is nothing to kill, and nothing is left
            elif found:
                self._kill(partner)

    def _kill(self, key: JobKey, limit: str = "") -> None:
        self._staging.write_kill(key, limit)  # before the kill: what the lab itself has ended was not lost
        try:
            with translated():
                self._engine.kill(container_name(self.instance, key))
        except (NotFound, PlatformFault):
            return  # it ended by itself; the next look will see that

    def _remove(self, name: str) -> None:
        end = time.monotonic() + _REMOVAL_WAIT
        while time.monotonic() < end:
            try:
                with translated():
                    self._engine.remove_container(name, force=True, v=True)
            except NotFound:
                return
            except PlatformFault as error:
                if "already in progress" not in error.message:
                    raise
                time.sleep(0.02)
            else:
                return
        msg = f"the Docker Engine did not remove {name} within {_REMOVAL_WAIT:g} seconds."
        raise Unreachable(msg)

    # --- what is left --------------------------------------------------------------------------------------------------

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """See the port."""
        if self._staging.record(key) is None:
            return b""
        try:
            return self._logs.read(key, offset + limit)[offset:]
        except NotFound:
            return b""

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """See the port."""
        inspected = self._find(container_name(self.instance, key))
        if inspected is None or self._staging.record(key) is None:
            msg = f"job {key} is not there."
            raise NotFound(msg)
        state, record = inspected["State"], self._record(key)
        if _SEEN.get(state["Status"]) is not Seen.EXITED:
            msg = f"job {key} is {state['Status']}; only what has ended is collected."
            raise Conflict(msg)
        started, ended = times(state)
        if started is None or ended is None:
            msg = f"the engine never started job {key}: {state.get('Error') or 'no reason given'}"
            raise PlatformFault(msg)
        limit = self._limit_that_ended(key, inspected)
        if limit is None and self._ended_by_someone(key, inspected):
            msg = f"the {key.role} container was killed from outside: somebody else killed it, or the engine was stopped under it."
            raise PlatformFault(msg)
        container, limits = record.container, record.container.resources
        log, report = self._logs.read(key, limits.log_bytes + 1), self._logs.report(key)
        if report is None and limit is None and (not log or self._staging.unheard(key)):
            # The launcher writes before anything else; what comes before its line, or without it, a pilot can neither write nor take back.
            msg = f"the engine did not keep what the {key.role} container's launcher wrote, which comes first: its disk was full, or broken."
            raise PlatformFault(msg)
        (into / "log").write_bytes(log[: limits.log_bytes])
        files, problem = self._take_outputs(key, container, into / "outputs")
        sources = {m.target: self._source(key, m.area, m.dataset) for m in container.mounts}
        view = docker_spec.site_view(inspected, container, record.user, sources, self.launcher)
        return Outcome(
            key=key, exit_code=state["ExitCode"], limit=limit, started_at=started, ended_at=ended,
            report=report, site_view=view, log_path=into / "log", log_bytes=min(len(log), limits.log_bytes),
            log_truncated=len(log) > limits.log_bytes, outputs=files, outputs_dir=into / "outputs", output_problem=problem,
            usage={"wall_seconds": (ended - started).total_seconds()})  # fmt: skip

    def _take_outputs(self, key: JobKey, container: ContainerSpec, target: Path) -> tuple[tuple[OutputFile, ...], str | None]:
        target.mkdir()
        if not any(mount.area == "outputs" for mount in container.mounts):
            return (), None
        source = self._staging.outputs(key)
        if not source.is_mount():
            msg = f"the outputs of job {key} are gone: their volume is not mounted any more (was the machine restarted?)."
            raise PlatformFault(msg)
        try:
            return copy_outputs(source, target, container.resources), None
        except Invalid as error:
            return (), error.message

    def release(self, attempt: str) -> None:
        """See the port."""
        folder = self._staging.folder(attempt)
        for role in ROLES:
            key = JobKey(attempt=attempt, role=role)
            if self._staging.record(key):
                self._remove(container_name(self.instance, key))
        for out in folder.glob("*/out"):
            unmount(out)
        self._staging.remove(attempt)

    def owned(self) -> set[JobKey]:
        """See the port. A record without a container is ours too: a volume may be left of it."""
        return set(self._list()) | self._staging.recorded()
