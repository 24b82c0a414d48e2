"""A Kubernetes cluster as a site. The API server has the jobs, a claim has the files; a worker of the lab's has nothing that is not there."""

import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area
from livinglab.domain.run import JobKey
from livinglab.ports import PARTNER_GRACE, Artifacts, Clock, Demand, Handle, JobSpec, Observation, Outcome, Seen
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.collecting import Collector
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.demands import demands
from livinglab.sites.kubernetes.events import Events
from livinglab.sites.kubernetes.execute import PodShell
from livinglab.sites.kubernetes.images import RegistryImages
from livinglab.sites.kubernetes.jobs import Jobs, Known
from livinglab.sites.kubernetes.manifests import (
    ANNOTATION_DIGEST,
    ANNOTATION_KEYS,
    ANNOTATION_SPEC,
    LABEL_INSTANCE,
    NEWER,
    STORE,
    job_manifest,
    needed,
)
from livinglab.sites.scratch import Layout
from livinglab.sites.shell import Failed
from livinglab.sites.staging import ROLES, Staging, dataset_in
from livinglab.sites.transfer import place

_AGAIN = 1.0
"""Seconds after which limits are looked at again though nothing was told."""
_LATE = 5.0
"""Seconds after which a Job should have a pod; as often it is asked why not."""
_TOLD = 3.0
"""Seconds in which the cluster should have told why it deleted a pod."""
_LOOKED, _LOOKED_AFTER = 16, 1.0
"""Of the containers that run, so many logs are measured per look, the longest unmeasured first, and each at most once in so many seconds."""
_MAKE_ROOT = 'umask 022; mkdir -p "$1/jobs" "$1/attempts" "$1/data" "$1/bin" "$1/closed" && touch "$1/closed/words" && chmod 0 "$1/closed"'
_READY = r"""
umask 022
root="$1" job="$1/jobs/$2" tools="$3" roles="$4"
shift 4
for folder; do [ -d "$folder" ] || { echo "$folder"; exit 66; }; chmod -R a+rX "$folder"; done
[ -d "$job" ] && exit
mkdir -p "$job.new.$$/left" && ln "$tools/launcher" "$tools/collect.sh" "$job.new.$$/" && chmod 777 "$job.new.$$" "$job.new.$$/left" &&
    (cd "$job.new.$$" && for role in $roles; do mkfifo -m 666 "$role.begin" || exit; done) &&
    mv -T "$job.new.$$" "$job" 2>/dev/null || rm -rf "$job.new.$$"
"""
_NOT_THERE = 66
_COLLECT = 'cd "$1/jobs" && for job; do [ -d "$job" ] && : >"$job/collect"; done; true'
_RELEASE = 'cd "$1" || exit; attempt="$2"; shift 2; rm -rf "$attempt"; for job; do rm -rf "jobs/$job"; done'

Json = dict[str, Any]


class KubernetesSite:
    """The `Site` port over one cluster.

    Args:
        root: the site's work folder on the worker's machine: the lab's name at the cluster, and locks.
        vault: where datasets lie, by the hexadecimal digits of their digest.
        launcher: the launcher's binary.
    """

    def __init__(self, *, name: str, instance: str, root: Path, vault: Path, launcher: Path, artifacts: Artifacts, clock: Clock,
                 settings: KubernetesSettings, api: Api) -> None:  # fmt: skip
        self.name, self.vault, self.launcher, self.clock, self.settings = name, vault, launcher, clock, settings
        self._api = api
        self._staging = Staging(root)
        self.layout = Layout(STORE, instance, self._lab())
        self._shell = PodShell(api, settings.namespace, settings.stager)
        self._images = RegistryImages(settings.registry, artifacts, self._staging)
        selector = f"{LABEL_INSTANCE}={self.layout.root.name}"
        self._jobs = Jobs(api, settings.namespace, selector)
        self._events = Events(api, settings.namespace)
        self._collector = Collector(api, self._shell, self.layout, self._jobs.pods_path)
        self._tools_at: str | None = None
        self._datasets: set[str] = set()
        self._measured: dict[JobKey, float] = {}
        """When the log of a container that runs was measured last, on the monotonic clock."""
        self._first: dict[tuple[str, str], float] = {}
        """When something was first seen of a Job, on the monotonic clock."""
        self._refusals: tuple[float, Mapping[str, str]] = (float("-inf"), {})
        """Why the cluster makes no pods, and when it was asked."""
        self._newer: frozenset[str] | None = None
        self._specs: dict[str, JobSpec] = {}
        """What was asked for, by its digest: read once of each Job."""

    def _lab(self) -> bytes:
        """What names of ours are made from, drawn once."""
        path = self._staging.root / "lab"
        with self._staging.locked("lab"):
            if not path.exists():
                path.touch(mode=0o600)
                path.write_bytes(secrets.token_bytes(32))
            return path.read_bytes()

    @property
    def _tools(self) -> str:
        """Where the launcher and the collector's script lie on the claim; placed once."""
        if self._tools_at is None:
            files = {"launcher": self.launcher.read_bytes(), "collect.sh": (resources.files(__package__) / "collect.sh").read_bytes()}
            folder = self.layout.root / "bin" / digest_of({name: data.hex() for name, data in files.items()}).removeprefix("sha256:")[:20]
            with self._staging.locked("tools"):
                self._shell.run(f'[ -d "$1/closed" ] || {{ {_MAKE_ROOT}; }}', str(self.layout.root))
                place(self._shell, folder, files)
                self._shell.run('chmod 755 "$1" "$1/launcher" "$1/collect.sh"', str(folder))
            self._tools_at = str(folder)
        return self._tools_at

    # --- images and data -----------------------------------------------------------------------------------------------

    def ensure_image(self, digest: str) -> str:
        """See the port."""
        return self._images.ensure(digest)

    def has_dataset(self, digest: str) -> bool:
        """See the port. The vault is the worker's; what a job needs of it is placed on the claim before the job is created."""
        return dataset_in(self.vault, digest).is_dir()

    def push(self, attempt: str, area: Area, files: Mapping[str, Path]) -> None:
        """See the port."""
        _ = self._tools
        self._staging.folder(attempt)  # refuses a name that is none
        place(self._shell, self.layout.area(attempt, area), files)

    def _place_datasets(self, spec: JobSpec) -> None:
        for digest in {m.dataset for c in spec.containers for m in c.mounts if m.dataset} - self._datasets:
            source = dataset_in(self.vault, digest)
            if not source.is_dir():
                msg = f"dataset {digest} is not in the vault of site {self.name}."
                raise PlatformFault(msg)
            with self._staging.locked(f"data-{source.name}"):
                place(self._shell, self.layout.dataset(digest), {str(p.relative_to(source)): p for p in source.rglob("*") if p.is_file()})
            self._datasets.add(digest)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, key: JobKey) -> Handle:
        """See the port. The cluster takes a name once, whoever asks for it, so nobody needs a lock."""
        if spec.keys[0] != key:
            msg = f"a job is submitted under the key of its first container, {spec.keys[0]}, not {key}."
            raise Invalid(msg)
        name = self.layout.job(key)
        for container in spec.containers:
            self._images.ensure(container.image)
        self._place_datasets(spec)
        self._make_ready(spec, name)
        try:
            self._jobs.create(job_manifest(self.settings, self.layout, spec, self._known_fields(spec)))
        except Conflict:
            return self._found(spec, key, name)
        return Handle(key=key, id=name, created=True)

    def _known_fields(self, spec: JobSpec) -> frozenset[str]:
        """What of newer clusters this one knows; asked once."""
        if self._newer is None:
            self._newer = self._jobs.keeps(job_manifest(self.settings, self.layout, spec, NEWER), NEWER)
        return self._newer

    def _found(self, spec: JobSpec, key: JobKey, name: str) -> Handle:
        if self._jobs.get(name)["metadata"].get("annotations", {}).get(ANNOTATION_DIGEST) != digest_of(spec):
            msg = f"job {key} exists with another specification."
            raise Conflict(msg)
        return Handle(key=key, id=name, created=False)

    def _make_ready(self, spec: JobSpec, name: str) -> None:
        folders = [str(path) for path in needed(self.layout, spec)]
        try:
            self._shell.run(_READY, str(self.layout.root), name, self._tools, " ".join(key.role for key in spec.keys), *folders)
        except Failed as error:
            if error.exit_code == _NOT_THERE:
                msg = f"an area of {spec.attempt} that its job mounts is not there."
                raise PlatformFault(msg) from error
            raise

    # --- looking -------------------------------------------------------------------------------------------------------

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """See the port. What is watched is looked at; the server is asked only where something is to be done about a job."""
        now = self.clock.now()
        try:
            known = self._known(keys)
            self._attend(known)
            refusals = self._refused([job["metadata"]["name"] for job, pods in known.values() if job and not pods])
            return {key: observing.observe(key, job, pods, now, refusals.get(job["metadata"]["name"], "") if job else "")
                    for key, (job, pods) in known.items()}  # fmt: skip
        except Unreachable as error:
            return {key: Observation(key=key, seen=Seen.UNREACHABLE, reason=error.message, at=now) for key in keys}

    def _known(self, keys: Collection[JobKey]) -> dict[JobKey, tuple[Json | None, list[Json]]]:
        """Each container's Job, and that Job's pods."""
        names = {key: self._names([key]) for key in keys}
        jobs = self._jobs.known({name for candidates in names.values() for name in candidates})
        found = {key: next((jobs[name] for name in names[key] if name in jobs and str(key) in _keys_of(jobs[name][0])), None) for key in keys}
        return {key: there or (None, []) for key, there in found.items()}

    def _refused(self, jobs: Collection[str]) -> Mapping[str, str]:
        """Why the cluster makes no pods of these, asked for now and then, and only where one has had none for a while."""
        late = [name for name in jobs if self._seen_for(name, "made") > _LATE]
        asked, found = self._refusals
        if late and time.monotonic() - asked > _LATE:
            self._refusals = (time.monotonic(), self._events.refusals())
            _, found = self._refusals
        return {name: found[name] for name in late if name in found}

    def _seen_for(self, job: str, what: str) -> float:
        """Seconds since something of a Job was seen first. Nodes have clocks of their own, which are not compared with the lab's."""
        return time.monotonic() - self._first.setdefault((job, what), time.monotonic())

    def _attend(self, known: Mapping[JobKey, tuple[Json | None, list[Json]]]) -> None:
        """End what passed its limits, and send the collectors of those whose containers have ended and who have not seen it themselves."""
        for job, pods in {job["metadata"]["name"]: (job, pods) for job, pods in known.values() if job}.values():
            self._keep_fault(job, pods)
        jobs = {job["metadata"]["name"]: (job, pods[0]) for job, pods in known.values() if job and pods}
        done, running = [], []
        for name, (job, pod) in jobs.items():
            spec = self._spec(job)
            if observing.collector_waits(pod):
                over = [container.role for container in spec.containers if observing.terminated(pod, container.role)]
                alone = self._seen_for(name, "alone") if over else 0.0
                if alone > (_AGAIN if len(over) == len(spec.containers) else PARTNER_GRACE.total_seconds() + _AGAIN):
                    done.append(name)
            running += [(job, pod, key) for key in spec.keys if observing.runs(pod, key.role)]
        if done:
            self._shell.run(_COLLECT, str(self.layout.root), *done)
        for job, pod, key in running:
            lasted = self._seen_for(job["metadata"]["name"], key.role)
            if reason := observing.passed_limit(self._spec(job), pod, key, lasted):
                self._jobs.end(job, pod, key.role, reason)
        late = [each for each in running if time.monotonic() - self._measured.get(each[2], float("-inf")) > _LOOKED_AFTER]
        for job, pod, key in sorted(late, key=lambda each: self._measured.get(each[2], 0.0))[:_LOOKED]:
            self._measured[key] = time.monotonic()
            if self._collector.log_is_over(self._spec(job), pod, key):
                self._jobs.end(job, pod, key.role, "log_bytes")

    def _keep_fault(self, job: Json, pods: list[Json]) -> None:
        """What the cluster did to a pod is written down at once: soon it may know no more of it. No other pod begins."""
        if not observing.is_given_up(job) and (fault := observing.fault_of(job, pods)):
            self._jobs.give_up(job, f"{fault} {self._events.of_lost_pods(job['metadata']['name'])}".strip())

    def _spec(self, job: Json) -> JobSpec:
        """What was asked for, as the Job itself has it."""
        annotations = job["metadata"]["annotations"]
        digest = annotations[ANNOTATION_DIGEST]
        if digest not in self._specs:
            self._specs[digest] = JobSpec.model_validate_json(annotations[ANNOTATION_SPEC])
        return self._specs[digest]

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. The watch tells of a change; the look decides."""
        end = time.monotonic() + timeout.total_seconds()
        while (left := end - time.monotonic()) > 0:
            since = self._jobs.count()
            if any(seen.seen in (Seen.EXITED, Seen.ABSENT) for seen in self.observe(keys).values()):
                return
            self._jobs.wait_for(self._names(keys), since, min(left, _AGAIN))

    def _names(self, keys: Collection[JobKey]) -> set[str]:
        """The Jobs of which these are containers."""
        attempts = {key.attempt for key in keys}
        return {self.layout.job(JobKey(attempt=attempt, role=role)) for attempt in attempts for role in ROLES}

    # --- ending --------------------------------------------------------------------------------------------------------

    def cancel(self, key: JobKey, grace: timedelta) -> None:  # noqa: ARG002 - of no use here: nothing that a cancelled job still writes is used
        """See the port."""
        job, pods = self._known([key])[key]
        if job is not None and observing.told_ends(job).get("job") != "cancelled":
            self._jobs.stop(job, pods, "cancelled")

    # --- the queue -----------------------------------------------------------------------------------------------------

    def hold(self, attempt: str) -> None:
        """See `Queueing`. One whose containers have begun is left alone."""
        for job, pods in self._of(attempt):
            if not observing.is_held(job) and not any(observing.has_begun(pod) for pod in pods):
                self._jobs.hold(job)

    def let_go(self, attempt: str) -> None:
        """See `Queueing`."""
        for job, _ in self._of(attempt):
            if observing.is_held(job):
                self._jobs.let_go(job)

    def prioritise(self, attempt: str, priority: int) -> None:
        """See `Queueing`. A Job's priority is that of its class, which never changes: it counts until the job is submitted, in the lab."""

    def _of(self, attempt: str) -> Iterable[Known]:
        """An attempt's Jobs."""
        return self._jobs.known(self._names([JobKey(attempt=attempt, role="pilot")])).values()

    # --- what is left --------------------------------------------------------------------------------------------------

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """See the port."""
        job, pods = self._known([key])[key]
        return self._collector.log(pods[0], key, offset, limit) if job and pods else b""

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """See the port."""
        job, pods = self._known([key])[key]
        seen = observing.observe(key, job, pods, self.clock.now())
        if job is None or seen.seen is Seen.ABSENT:
            msg = f"job {key} is not there."
            raise NotFound(msg)
        if seen.seen is not Seen.EXITED:
            msg = f"job {key} is {seen.raw}; only what has ended is collected."
            raise Conflict(msg)
        if fault := observing.fault_of(job, pods):
            raise PlatformFault(self._explained(job["metadata"]["name"], fault))
        return self._collector.take(key, seen, self._spec(job), pods[0] if pods else None, into)

    def _explained(self, job: str, fault: str) -> str:
        """A scheduler deletes the pod that makes room for another, and tells why a moment later."""
        if not fault.endswith(observing.DELETED):
            return fault
        end = time.monotonic() + _TOLD
        while not (words := self._events.of_lost_pods(job)) and time.monotonic() < end:
            time.sleep(_TOLD / 20)
        return f"{fault} {words}".strip()

    def release(self, attempt: str) -> None:
        """See the port."""
        self._staging.folder(attempt)
        names = [job["metadata"]["name"] for job, _ in self._of(attempt)]
        self._jobs.delete(names)
        self._jobs.forget(self._names([JobKey(attempt=attempt, role="pilot")]))
        _ = self._tools
        self._shell.run(_RELEASE, str(self.layout.root), str(self.layout.attempt(attempt)), *names)
        self._collector.forget(attempt)
        self._measured = {key: at for key, at in self._measured.items() if key.attempt != attempt}
        self._specs = {digest: spec for digest, spec in self._specs.items() if spec.attempt != attempt}
        self._first = {(job, what): at for (job, what), at in self._first.items() if job not in names}

    def owned(self) -> set[JobKey]:
        """See the port."""
        words = [word.rpartition(".") for job in self._jobs.listed() for word in _keys_of(job)]
        return {JobKey(attempt=attempt, role=role) for attempt, _, role in words}  # type: ignore[arg-type]

    def inspect(self) -> tuple[Demand, ...]:
        """See `Inspectable`."""
        return demands(self._api, self._shell, self.settings)


def _keys_of(job: Json) -> Iterable[str]:
    return str(job["metadata"].get("annotations", {}).get(ANNOTATION_KEYS, "")).split()
