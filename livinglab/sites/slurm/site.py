"""A Slurm cluster as a site. Everything that is known of a job lies at the cluster, under a name that any worker of the lab can tell."""

import secrets
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn

from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area
from livinglab.domain.run import JobKey
from livinglab.ports import Clock, Demand, Handle, Images, JobSpec, Observation, Outcome, Seen
from livinglab.sites.scratch import Layout
from livinglab.sites.shell import Failed
from livinglab.sites.slurm import demands, observing
from livinglab.sites.slurm import layout as laid
from livinglab.sites.slurm.collecting import Collector
from livinglab.sites.slurm.control import Cluster, Line, Request
from livinglab.sites.slurm.images import SlurmImages
from livinglab.sites.slurm.sharing import Ends, Patience, Snapshot
from livinglab.sites.slurm.states import Phase, given_up, lives, phase_of
from livinglab.sites.slurm.submitting import Job, MissingError, Submissions
from livinglab.sites.slurm.tools import place_tools
from livinglab.sites.staging import ROLES, Staging, dataset_in
from livinglab.sites.transfer import place

_CANCEL = 'cd "$1/jobs" || exit; [ -d "$2" ] || exit 66; : >"$2/cancelled"'
_LOG = '[ -f "$1" ] || exit 0; tail -c +"$2" "$1" | head -c "$3"'
_NO_FOLDER = 66
_THERE = f'[ -d "$1" ] || exit {_NO_FOLDER}\n'
_OWNED = 'cd "$1/jobs" || exit; cat -- */keys 2>/dev/null || true'
_LOSE = 'cd "$1/jobs/$2" && printf "%s\n" "${3-}" >lost'
_HELD = "the job could not be started on a node, and the cluster holds it ({reason}), so that the lab cancelled it."
_RELEASE = 'cd "$1" || exit; attempt="$2"; shift 2; rm -rf "$attempt"; for job; do rm -rf "jobs/$job" "ended/$job"; done'
_SETTLE, _SETTLE_MOST = 0.05, 5.0
"""Seconds between the script's end and the next look at what the scheduler says of it; twice as long before each one after that."""


class SlurmSite:
    """The `Site` port over one cluster.

    Args:
        root: the site's work folder on the worker's machine: the lab's name at the cluster, and locks.
        vault: where datasets lie, by the hexadecimal digits of their digest.
        launcher: the launcher's binary.
        cluster: how it is reached, and how it may be used.
    """

    def __init__(self, *, name: str, instance: str, root: Path, vault: Path, launcher: Path, images: Images, clock: Clock,
                 cluster: Cluster) -> None:  # fmt: skip
        self.name, self.vault, self.launcher, self.clock = name, vault, launcher, clock
        self.settings, self._shell, self._control = cluster.settings, cluster.shell, cluster.control
        self._staging = Staging(root)
        self.layout = Layout(PurePosixPath(self.settings.scratch), instance, self._lab())
        self._tools_at: PurePosixPath | None = None
        self._datasets: set[str] = set()
        """Digests of those that were placed at the cluster."""
        patience = Patience()
        self._queue = Snapshot(self._control.queue, self.settings.poll_seconds, patience)
        self._images = SlurmImages(cluster, self.layout, images, self._staging, self._queue)
        self._submissions = Submissions(self._shell, self._control, self.layout.root, partial(self._lines, fresh=True), patience)
        self._collector = Collector(cluster, self.layout)
        self._ends = Ends(self._shell, self.layout.root)
        self._leaders: dict[str, str] = {}
        """Jobs whose folders were seen: a container's name → that of the job that it is part of."""
        self._enrolled: dict[str, tuple[str, ...]] = {}
        """By a job's name, those that it has at the scheduler besides."""
        self._restarts: dict[str, int] = {}  # by a job's name, how many of them were found to be harmless

    def _lab(self) -> bytes:
        """What names of ours are made from, drawn once."""
        path = self._staging.root / "lab"
        with self._staging.locked("lab"):
            if not path.exists():
                path.touch(mode=0o600)
                path.write_bytes(secrets.token_bytes(32))
            return path.read_bytes()

    @property
    def _tools(self) -> PurePosixPath:
        if self._tools_at is None:
            with self._staging.locked("tools"):
                self._tools_at = place_tools(self._shell, self.layout.root, self.launcher)
                (self._staging.root / "placed").touch()
        return self._tools_at

    def _there(self, script: str, *arguments: str, stdin: bytes = b"") -> bytes | None:
        """Run a script that is given the lab's folder; None where there never was one. One that is gone is not taken for an empty one."""
        try:
            return self._shell.run(_THERE + script, str(self.layout.root), *arguments, stdin=stdin)
        except Failed as error:
            if error.exit_code != _NO_FOLDER:
                raise
            if (self._staging.root / "placed").exists():
                msg = f"the lab's folder {self.layout.root} is gone: the cluster's scratch is not mounted, or was emptied."
                raise Unreachable(msg) from error
            return None

    # --- images and data -----------------------------------------------------------------------------------------------

    def ensure_image(self, digest: str) -> str:
        """See the port."""
        _ = self._tools
        return self._images.ensure(digest)

    def has_dataset(self, digest: str) -> bool:
        """See the port. The vault is the worker's; what a job needs of it is placed at the cluster before the job is submitted."""
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
        """See the port."""
        if spec.keys[0] != key:
            msg = f"a job is submitted under the key of its first container, {spec.keys[0]}, not {key}."
            raise Invalid(msg)
        with self._staging.locked(f"attempt-{spec.attempt}"):
            for container in spec.containers:
                self._images.ensure(container.image)
            self._place_datasets(spec)
            try:
                submitted = self._submissions.submit(self._job(spec))
            except MissingError as error:
                self._refuse_missing(spec, error.path)
        return Handle(key=key, id=submitted.id, created=submitted.created)

    def _job(self, spec: JobSpec) -> Job:
        name, *partners = map(self.layout.job, spec.keys)
        request = Request(name=name, script="", cores=laid.cores(spec), mebibytes=laid.mebibytes(spec), minutes=laid.minutes(spec),
                          gpus=sum(c.resources.gpus for c in spec.containers))  # fmt: skip
        return Job(request=request, files=laid.job_files(self.layout, self.settings, spec, self._tools),
                   needed=tuple(laid.sources_of(self.layout, spec)), partners=tuple(partners), tools=self._tools)  # fmt: skip

    def _refuse_missing(self, spec: JobSpec, path: PurePosixPath) -> NoReturn:
        """Clusters remove from their scratch what was not used for long: what the lab can place again, it does."""
        if path.is_relative_to(self.layout.attempt(spec.attempt)):
            msg = f"the area {path.name!r} of {spec.attempt}, which its job mounts, is not there."
            raise PlatformFault(msg)
        self._images.forget()
        self._datasets.clear()
        msg = f"{path.parent.name}/{path.name} was removed from the cluster's scratch; it is placed there again."
        raise Unreachable(msg)

    # --- looking -------------------------------------------------------------------------------------------------------

    def observe(self, keys: Collection[JobKey]) -> Mapping[JobKey, Observation]:
        """See the port: one query to the controller, one to accounting for all that it has forgotten, one look at what ended jobs left."""
        now = self.clock.now()
        try:
            jobs = self._jobs(keys)
            return {key: observing.observe(key, *jobs[key], now) for key in keys}
        except (Unreachable, Failed) as error:
            return {key: Observation(key=key, seen=Seen.UNREACHABLE, reason=error.message, at=now) for key in keys}

    def _jobs(self, keys: Collection[JobKey]) -> dict[JobKey, tuple[Line | None, observing.Facts]]:
        """Each container's job as the scheduler has it, and what lies in its folder.

        The folders of jobs that are known here and are waiting or running are not looked into: nothing in them would change what is said.
        Those of others are, after the scheduler was asked: what an ended job left was not there while it ran.
        """
        names = {key: self.layout.job(key) for key in keys}
        facts = self._facts({name for name in names.values() if name not in self._leaders})
        leaders = {self._leaders[name] for name in names.values() if name in self._leaders}
        lines, enrolled = self._lines_of(leaders), {leader: self._enrolled.get(leader) for leader in leaders}
        alive = {name for name in leaders if [lives(line.state) for line in lines[name]] == [True]}
        self._end_what_was_lost({name: lines[name][0] for name in alive})
        facts |= self._facts({name for name in names.values() if self._leaders.get(name, name) not in alive})
        lines |= self._lines_of({leader for leader, before in enrolled.items() if self._enrolled.get(leader) != before})
        known: dict[JobKey, tuple[Line | None, observing.Facts]] = {}
        for key, name in names.items():
            leader = self._leaders.get(name, name)
            found = facts.get(name, {"there": "1"} if leader in alive and name in self._leaders else {})
            line = observing.the_line(lines.get(leader, ()), found) or observing.never_begun(found, self._queue.look())
            known[key] = (line if found else None, found)
        return known

    def _lines_of(self, leaders: set[str]) -> dict[str, list[Line]]:
        return self._lines({leader: (leader, *self._enrolled.get(leader, ())) for leader in leaders})

    def _lines(self, names: Mapping[str, Collection[str]], *, fresh: bool = False) -> dict[str, list[Line]]:
        """What the controller knows of jobs that have these names there, and of those that it has forgotten, accounting.

        What lives, the controller knows.
        """
        queue = self._queue.look(fresh=fresh)
        found = {job: [line for name in own for line in queue.get(name, ())] for job, own in names.items()}
        forgotten = {name: job for job, own in names.items() if not found[job] for name in own}
        for line in self._control.accounted(forgotten.keys()):
            if not lives(line.state):
                found[forgotten[line.name]].append(line)
        return found

    def _end_what_was_lost(self, alive: Mapping[str, Line]) -> None:
        """Slurm begins a job again when its node failed, where it may be running still. The lab ends it; a later look finds it ended.

        So it does with one that Slurm has given up, and holds until a person lets it go.
        """
        for name, line in alive.items():
            if given_up(line.state, line.reason):
                self._lose(name, line, _HELD.format(reason=line.reason))
        restarted = {name: line for name, line in alive.items() if line.restarts > self._restarts.get(name, 0)}
        if not restarted:
            return
        tries, facts = self._control.accounted({line.name for line in restarted.values()}), self._facts(set(restarted))
        for name, line in restarted.items():
            mine = [told for told in tries if told.id == line.id]
            if observing.lost_before(mine, facts.get(name, {})):
                self._lose(name, line)
            elif sum(told.ended is not None for told in mine) >= line.restarts:
                self._restarts[name] = line.restarts

    def _lose(self, name: str, line: Line, *why: str) -> None:
        self._shell.run(_LOSE, str(self.layout.root), name, *why)
        self._control.cancel([line.id])

    def _facts(self, names: set[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = "".join(f"{name}\n" for name in sorted(names)).encode()
        facts = observing.parse_facts((self._there(observing.ASK, stdin=asked) or b"").decode(errors="replace"))
        for name, found in facts.items():
            leader = self._leaders[name] = found.get("leader", name)
            self._enrolled[leader] = tuple(found.get("slurm", "").split())
        return facts

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. What ends a job leaves a mark that is waited for at the cluster's file system, so that the scheduler is not asked."""
        end, settle = time.monotonic() + timeout.total_seconds(), _SETTLE
        _ = self._tools
        noticed = self._ends.wait({self._leaders.get(name, name) for name in map(self.layout.job, keys)}, timeout.total_seconds())
        while noticed and time.monotonic() < end:
            with suppress(Unreachable, Failed):  # `observe` then says so
                self._queue.look(fresh=True)  # what was seen before the mark says nothing
            if any(seen.seen in (Seen.EXITED, Seen.ABSENT) for seen in self.observe(keys).values()):
                return
            time.sleep(max(0.0, min(settle, end - time.monotonic())))
            settle = min(2 * settle, _SETTLE_MOST)

    # --- ending --------------------------------------------------------------------------------------------------------

    def cancel(self, key: JobKey, grace: timedelta) -> None:  # noqa: ARG002 - of no use here: nothing that a cancelled job still writes is used
        """See the port. That it was the lab is written down before the scheduler is asked, so that it is not taken for another's doing."""
        for name in self._there_of([key]):
            self._shell.run(_CANCEL, str(self.layout.root), name)
            self._control.cancel([line.id for line in self._queued({name}) if lives(line.state)])

    def _there_of(self, keys: Collection[JobKey]) -> set[str]:
        """The jobs of these containers that have a folder at the cluster."""
        return {self._leaders[name] for name in self._facts({self.layout.job(key) for key in keys})}

    def _queued(self, leaders: set[str]) -> list[Line]:
        """What the controller knows of jobs, at this moment."""
        queue = self._queue.look(fresh=True) if leaders else {}
        return [line for leader in leaders for name in (leader, *self._enrolled.get(leader, ())) for line in queue.get(name, ())]

    # --- what is left --------------------------------------------------------------------------------------------------

    def logs(self, key: JobKey, offset: int, limit: int) -> bytes:
        """See the port."""
        return self._shell.run(_LOG, str(self.layout.left(key) / "log"), str(offset + 1), str(limit))

    def collect(self, key: JobKey, into: Path) -> Outcome:
        """See the port."""
        line, facts = self._jobs([key])[key]
        seen = observing.observe(key, line, facts, self.clock.now())
        if seen.seen is Seen.ABSENT or line is None:
            msg = f"job {key} is not there."
            raise NotFound(msg)
        if seen.seen is not Seen.EXITED:
            msg = f"job {key} is {seen.raw}; only what has ended is collected."
            raise Conflict(msg)
        if fault := observing.fault_of(key, line, facts):
            raise PlatformFault(fault)
        return self._collector.take(key, seen, line, facts, into)

    def release(self, attempt: str) -> None:
        """See the port."""
        self._staging.folder(attempt)
        keys = [JobKey(attempt=attempt, role=role) for role in ROLES]
        self._control.cancel([line.id for line in self._queued(self._there_of(keys)) if lives(line.state)])
        names = [self.layout.job(key) for key in keys]
        self._there(_RELEASE, str(self.layout.attempt(attempt)), *names)
        for name in names:
            self._leaders.pop(name, None)
            self._enrolled.pop(name, None)
            self._restarts.pop(name, None)
        self._ends.forget(names)

    def owned(self) -> set[JobKey]:
        """See the port."""
        found = set()
        for line in (self._there(_OWNED) or b"").decode().split():
            attempt, _, role = line.rpartition(".")
            if role in ROLES:
                found.add(JobKey(attempt=attempt, role=role))
        return found

    # --- the queue -----------------------------------------------------------------------------------------------------

    def hold(self, attempt: str) -> None:
        """See `Queueing`."""
        self._control.hold([line.id for line in self._waiting(attempt)])

    def let_go(self, attempt: str) -> None:
        """See `Queueing`."""
        self._control.let_go([line.id for line in self._waiting(attempt)])

    def prioritise(self, attempt: str, priority: int) -> None:
        """See `Queueing`."""
        for line in self._waiting(attempt):
            self._control.prioritise(line.id, priority)

    def _waiting(self, attempt: str) -> list[Line]:
        lines = self._queued(self._there_of([JobKey(attempt=attempt, role=role) for role in ROLES]))
        return [line for line in lines if phase_of(line.state) is Phase.WAITING]

    def inspect(self) -> tuple[Demand, ...]:
        """See `Inspectable`."""
        profile = demands.of_profile(self._shell.run(demands.HELLO).decode(errors="replace"))
        if not profile.holds:
            return (profile,)
        _ = self._tools
        login = self._shell.run(demands.LOOK, str(self.layout.root), str(self.settings.apptainer)).decode(errors="replace")
        return (profile, *demands.of_scheduler(self._control.config()), *demands.of_login(login))
