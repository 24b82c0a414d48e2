"""A Docker Engine as a site. The worker runs as root on the engine's own machine, since it mounts the sized volumes."""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.errors import NotFound as DockerNotFound

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area, Resources
from livinglab.domain.run import JobKey
from livinglab.ports import Clock, ContainerSpec, Handle, Images, JobSpec, Limit, Observation, Outcome, Seen
from livinglab.sites import docker_spec
from livinglab.sites.attest import MARK, REPORT_LIMIT
from livinglab.sites.docker_spec import LABEL_INSTANCE, LABEL_SPEC, container_name
from livinglab.sites.outputs import copy_outputs
from livinglab.sites.tmpfs import mount_sized, unmount


_NEVER = "0001-01-01T00:00:00Z"
_SEEN = {"created": Seen.PENDING, "running": Seen.RUNNING, "paused": Seen.RUNNING, "restarting": Seen.RUNNING, "removing": Seen.EXITED,
         "exited": Seen.EXITED, "dead": Seen.EXITED}  # fmt: skip
_KILLED = 137


class DockerSite:
    """The `Site` port over one engine.

    Args:
        root: the site's work folder on the engine's machine; everything in it belongs to one lab, `instance`.
        vault: where datasets lie, by the hexadecimal digits of their digest.
        launcher: the launcher's binary.
        runtime: an engine's runtime other than its default, `runsc` for gVisor.
    """

    def __init__(self, *, name: str, instance: str, root: Path, vault: Path, launcher: Path, images: Images, clock: Clock,
                 runtime: str | None = None, url: str | None = None) -> None:  # fmt: skip
        self.name = name
        self.instance = instance
        self.root = root
        self.vault = vault
        self.launcher = launcher
        self.images = images
        self.clock = clock
        self.runtime = runtime
        self._engine = _connect(url)
        self._specs: dict[JobKey, ContainerSpec] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o711)

    # --- images and data -----------------------------------------------------------------------------------------------

    def ensure_image(self, digest: str) -> str:
        """See the port. The engine's id must be the digest of the configuration that we normalised, or its layers must be ours."""
        with self._locked(f"image-{digest[7:39]}"):
            tag, (config, layers) = self.images.tag(digest), self.images.config(digest)
            found = self._inspect_image(tag)
            if found is None:
                self._load(digest)
                found = self._inspect_image(tag)
            if found is None or (found["Id"] != config and not _same_layers(found, layers)):
                msg = f"the engine made something else of image {digest}."
                raise PlatformFault(msg)
            return str(found["Id"])

    def _load(self, digest: str) -> None:
        archive = self.root / f"load-{digest[7:39]}.tar"
        try:
            with archive.open("wb") as out:
                self.images.export(digest, out)
            with archive.open("rb") as stream, _translated():
                for answer in self._engine.load_image(stream, quiet=True):
                    if "error" in answer:
                        raise Invalid(f"the engine cannot load the image: {answer['error']}", where="image")
        finally:
            archive.unlink(missing_ok=True)

    def _inspect_image(self, tag: str) -> dict[str, Any] | None:
        with _translated():
            try:
                return dict(self._engine.inspect_image(tag))
            except ImageNotFound:
                return None

    def has_dataset(self, digest: str) -> bool:
        """See the port."""
        return self._dataset(digest).is_dir()

    def _dataset(self, digest: str) -> Path:
        return self.vault / digest.removeprefix("sha256:")

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """See the port."""
        folder = self.root / attempt / "areas" / area
        fresh = folder.with_name(f"{area}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o755)
        for name, source in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(source, target)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        """See the port. The lock keeps two processes of this machine from both starting a container that neither has started."""
        spec = spec.model_copy(update={"runtime": spec.runtime or self.runtime})
        container = spec.containers[0]
        name = container_name(self.instance, key)
        with self._locked(name), _translated():
            found = self._find(name)
            if found is None:
                identity = self._create(name, spec, container)
            elif found["Config"]["Labels"].get(LABEL_SPEC) != digest_of(spec):
                msg = f"job {key} exists with another specification."
                raise Conflict(msg)
            else:
                identity = str(found["Id"])
            if found is None or found["State"]["Status"] == "created":
                self._engine.start(identity)
        self._specs[key] = container
        return Handle(key=key, id=identity, created=found is None)

    def _create(self, name: str, spec: JobSpec, container: ContainerSpec) -> str:
        profile, limits = spec.profile, container.resources
        sources: dict[str, Path] = {}
        for mount in container.mounts:
            if mount.area == "outputs":
                source = self._outputs(JobKey(attempt=spec.attempt, role=container.role))
                mount_sized(source, size=limits.output_bytes, inodes=limits.output_files, uid=profile.uid, gid=profile.gid)
            else:
                source = self._dataset(mount.dataset) if mount.dataset else self.root / spec.attempt / "areas" / mount.area
                if not source.is_dir():
                    msg = f"the area {mount.area!r} of {spec.attempt} is not there."
                    raise PlatformFault(msg)
            sources[mount.target] = source
        image = self._inspect_image(self.images.tag(container.image))
        if image is None:
            msg = f"image {container.image} is not at site {self.name}."
            raise PlatformFault(msg)
        (self.root / spec.attempt / f"{container.role}.json").write_text(container.model_dump_json())
        body = docker_spec.create_body(self.instance, spec, container, image["Id"], sources, self.launcher)
        return str(self._engine.create_container_from_config(body, name)["Id"])

    def _outputs(self, key: JobKey) -> Path:
        return self.root / key.attempt / key.role / "out"

    def _container_spec(self, key: JobKey) -> ContainerSpec:
        if key not in self._specs:
            try:
                self._specs[key] = ContainerSpec.model_validate_json((self.root / key.attempt / f"{key.role}.json").read_text())
            except OSError as error:
                msg = f"the site's record of job {key} is gone."
                raise NotFound(msg) from error
        return self._specs[key]

    def _find(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self._engine.inspect_container(name))
        except DockerNotFound:
            return None

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """See the port. One list of all of the lab's containers; only those that are asked for and there are looked into."""
        now = self.clock.now()
        try:
            present = self._list()
            return {key: self._look(key, present, now) for key in keys}
        except Unreachable as error:
            return {key: Observation(key=key, seen=Seen.UNREACHABLE, reason=error.message, at=now) for key in keys}

    def _list(self) -> dict[JobKey, dict[str, Any]]:
        with _translated():
            summaries = self._engine.containers(all=True, filters={"label": f"{LABEL_INSTANCE}={self.instance}"})
        found = ((docker_spec.key_of(s, self.instance), s) for s in summaries)
        return {key: summary for key, summary in found if key}

    def _look(self, key: JobKey, present: Mapping[JobKey, dict[str, Any]], now: datetime) -> Observation:
        summary = present.get(key)
        inspected = None
        if summary:
            with _translated():
                inspected = self._find(summary["Id"])
        if summary is None or inspected is None:
            return Observation(key=key, seen=Seen.ABSENT, at=now)
        state = inspected["State"]
        seen, limit = _SEEN.get(state["Status"]), None
        if seen is None:
            msg = f"the engine calls job {key} {state['Status']!r}, which is no state that is known."
            raise PlatformFault(msg)
        if seen is Seen.RUNNING:
            limit = self._passed_limit(inspected, self._container_spec(key).resources, now)
            if limit:
                self._kill(inspected["Id"])
        elif seen is Seen.EXITED:
            limit = self._limit_that_ended(inspected, self._container_spec(key).resources)
        return Observation(key=key, seen=seen, raw=state["Status"], reason=state.get("Error", ""), at=now, started_at=_moment(state["StartedAt"]),
                           ended_at=_moment(state["FinishedAt"]), exit_code=state["ExitCode"] if seen is Seen.EXITED else None, limit=limit)  # fmt: skip

    def _passed_limit(self, inspected: dict[str, Any], limits: Resources, now: datetime) -> Limit | None:
        started = _moment(inspected["State"]["StartedAt"])
        if started and (now - started).total_seconds() > limits.wall_seconds:
            return "wall_seconds"
        return "log_bytes" if self._log_is_over(inspected, limits) else None

    def _limit_that_ended(self, inspected: dict[str, Any], limits: Resources) -> Limit | None:
        """Derived from what the engine kept, so that it is the same whoever asks, and after any crash."""
        state = inspected["State"]
        started, ended = _moment(state["StartedAt"]), _moment(state["FinishedAt"])
        if state["OOMKilled"]:
            return "memory" if state["ExitCode"] else None
        if self._log_is_over(inspected, limits):
            return "log_bytes"
        if state["ExitCode"] == _KILLED and started and ended and (ended - started).total_seconds() >= limits.wall_seconds:
            return "wall_seconds"
        return None

    def _log_is_over(self, inspected: dict[str, Any], limits: Resources) -> bool:
        """The engine has rotated the log (so it was far over), or what it kept is too long."""
        path = Path(inspected["LogPath"])
        if path.with_name(path.name + ".1").exists():
            return True
        try:
            kept = path.stat().st_size
        except OSError:
            return False
        return kept > limits.log_bytes and len(self._read_log(inspected["Id"], limits.log_bytes + REPORT_LIMIT)) > limits.log_bytes

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. Waits for the end of the first; a batch job is alone anyway."""
        for key in list(keys)[:1]:
            try:
                with _translated():
                    self._engine.wait(container_name(self.instance, key), timeout=timeout.total_seconds())
            except (NotFound, _TimedOut):
                return

    def cancel(self, key: JobKey, grace: timedelta) -> None:
        """See the port. The launcher's command is process 1 and hears no SIGTERM unless it asked to; the engine kills it after the grace."""
        with _translated():
            try:
                self._engine.stop(container_name(self.instance, key), timeout=max(0, int(grace.total_seconds())))
            except DockerNotFound:
                return

    def _kill(self, identity: str) -> None:
        with _translated():
            try:
                self._engine.kill(identity)
            except (DockerNotFound, APIError):
                return  # it ended by itself; the next look will see that

    # --- what is left --------------------------------------------------------------------------------------------------

    def _read_log(self, identity: str, most: int) -> bytes:
        """At most `most` bytes of both streams as they came, without the launcher's line."""
        report = self._report(identity)
        room = most + len(report or b"") + 1
        data = b""
        with _translated():
            for chunk in self._engine.logs(identity, stdout=True, stderr=True, stream=True, follow=False):
                data += chunk
                if len(data) >= room:
                    break
        return (data.replace(report, b"", 1) if report else data)[:most]

    def _report(self, identity: str) -> bytes | None:
        """The first line of standard output, which only the launcher can have written."""
        data = b""
        with _translated():
            for chunk in self._engine.logs(identity, stdout=True, stderr=False, stream=True, follow=False):
                data += chunk
                if b"\n" in data or len(data) > REPORT_LIMIT:
                    break
        line, newline, _ = data.partition(b"\n")
        return line + newline if newline and line.startswith(MARK) else None

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """See the port."""
        try:
            return self._read_log(container_name(self.instance, key), offset + limit)[offset:]
        except NotFound:
            return b""

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """See the port."""
        with _translated():
            inspected = self._find(container_name(self.instance, key))
        if inspected is None:
            msg = f"job {key} is not there."
            raise NotFound(msg)
        state, container = inspected["State"], self._container_spec(key)
        if _SEEN.get(state["Status"]) is not Seen.EXITED:
            msg = f"job {key} is {state['Status']}; only what has ended is collected."
            raise Conflict(msg)
        limits = container.resources
        log = self._read_log(inspected["Id"], limits.log_bytes + 1)
        log_path, outputs_dir = into / "log", into / "outputs"
        log_path.write_bytes(log[: limits.log_bytes])
        outputs_dir.mkdir()
        problem, files = None, ()
        try:
            files = copy_outputs(self._mounted_outputs(key), outputs_dir, limits)
        except Invalid as error:
            problem = error.message
        started, ended = _moment(state["StartedAt"]), _moment(state["FinishedAt"])
        if started is None or ended is None:
            msg = f"the engine never started job {key}: {state.get('Error') or 'no reason given'}"
            raise PlatformFault(msg)
        view = docker_spec.site_view(
            inspected, {"memory": limits.memory, "nano_cpus": round(limits.cpus * 1_000_000_000), "pids": limits.pids}, inspected["Config"]["User"])  # fmt: skip
        return Outcome(
            key=key, exit_code=state["ExitCode"], limit=self._limit_that_ended(inspected, limits), started_at=started, ended_at=ended,
            report=self._report(inspected["Id"]), site_view=view, log_path=log_path, log_bytes=min(len(log), limits.log_bytes),
            log_truncated=len(log) > limits.log_bytes, outputs=files, outputs_dir=outputs_dir, output_problem=problem,
            usage={"wall_seconds": (ended - started).total_seconds()})  # fmt: skip

    def _mounted_outputs(self, key: JobKey) -> Path:
        path = self._outputs(key)
        if not path.is_mount():
            msg = f"the outputs of job {key} are gone: their volume is not mounted any more (was the machine restarted?)."
            raise PlatformFault(msg)
        return path

    def release(self, attempt: str) -> None:
        """See the port."""
        with _translated():
            for role in ("prepare", "pilot", "decode", "measure"):
                name = container_name(self.instance, JobKey(attempt=attempt, role=role))
                try:
                    self._engine.remove_container(name, force=True, v=True)
                except DockerNotFound:
                    continue
        folder = self.root / attempt
        for out in folder.glob("*/out"):
            unmount(out)
        shutil.rmtree(folder, ignore_errors=True)
        for lock in self.root.glob(f"locks/{container_name(self.instance, JobKey(attempt=attempt, role='pilot')).removesuffix('pilot')}*"):
            lock.unlink(missing_ok=True)
        self._specs = {key: spec for key, spec in self._specs.items() if key.attempt != attempt}

    def owned(self) -> set[JobKey]:
        """See the port."""
        return set(self._list())

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        (self.root / "locks").mkdir(exist_ok=True)
        descriptor = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class _TimedOut(Unreachable):
    """A wait that was given a time, and used it up."""


@contextmanager
def _translated() -> Iterator[None]:
    """The engine's errors as the domain's."""
    try:
        yield
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectTimeout) as error:
        msg = "the Docker Engine did not answer in time."
        raise _TimedOut(msg) from error
    except requests.exceptions.ConnectionError as error:
        if "Read timed out" in str(error):
            msg = "the Docker Engine did not answer in time."
            raise _TimedOut(msg) from error
        msg = "the Docker Engine does not answer."
        raise Unreachable(msg, hint="Is it running? `docker version` tells.") from error
    except DockerNotFound as error:
        raise NotFound(f"the Docker Engine says: {error.explanation}") from error
    except APIError as error:
        raise PlatformFault(f"the Docker Engine says: {error.explanation}") from error
    except (DockerException, requests.exceptions.RequestException) as error:
        msg = f"the Docker Engine does not answer ({type(error).__name__})."
        raise Unreachable(msg, hint="Is it running? `docker version` tells.") from error


def _connect(url: str | None) -> Any:
    """A client with a fixed API version, so that making it asks the engine nothing: it may be away just now."""
    return docker.APIClient(base_url=url or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock", version="1.41", timeout=120)


def _moment(text: str) -> datetime | None:
    """The engine's nanosecond times, to the microsecond."""
    if not text or text == _NEVER:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}+00:00")


def _place(source: Path, target: Path) -> None:
    """Hard-linked where the file system allows: blobs are read-only and never change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)


def _same_layers(found: dict[str, Any], layers: tuple[str, ...]) -> bool:
    """An engine that names images by another digest than their configuration's must at least have our layers, and no configuration of its own."""
    own = found.get("Config") or {}
    return tuple(found["RootFS"]["Layers"]) == layers and not any(own.get(k) for k in ("Env", "Entrypoint", "Cmd", "Volumes", "User"))
