"""A Slurm cluster as a site. Everything that is known of a job lies at the cluster, under a name that any worker of the lab can tell."""

import secrets
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import NoReturn

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Invalid, NotFound, PlatformFault, Unreachable
from livinglab.domain.isolation import Area
from livinglab.domain.run import JobKey
from livinglab.ports import Clock, Demand, Handle, Images, JobSpec, Observation, Outcome, Seen
from livinglab.sites.slurm import demands, observing
from livinglab.sites.slurm import layout as laid
from livinglab.sites.slurm.collecting import Collector
from livinglab.sites.slurm.control import Cluster, Line, Request
from livinglab.sites.slurm.images import SlurmImages
from livinglab.sites.slurm.layout import Layout
from livinglab.sites.slurm.sharing import Ends, Snapshot
from livinglab.sites.slurm.shell import Failed
from livinglab.sites.slurm.states import Phase, lives, phase_of
from livinglab.sites.slurm.tools import place_tools
from livinglab.sites.slurm.transfer import packed, place
from livinglab.sites.staging import ROLES, Staging, dataset_in

_PLACE = r"""
umask 077
cd "$1/jobs" || exit
for source in "${@:5:$4}"; do [ -e "$source" ] || { printf 'no %s\n' "$source"; exit; }; done
if [ ! -d "$2" ]; then
    mkdir "$2.$3" 2>/dev/null
    tar --extract --no-same-owner --directory "$2.$3" && mv -T "$2.$3" "$2" 2>/dev/null && fresh=1
    rm -rf "$2.$3"
    [ -f "$2/spec" ] || exit
    for other in "${@:5 + $4}"; do ln -sfn "$2" "$other"; done
else
    touch "$2" # it is about to be submitted again, and young
fi
printf '%s %s %s\n' "${fresh:-0}" "$(cat "$2/spec")" "$(cat "$2/claim" 2>/dev/null)"
"""
_CANCEL = 'cd "$1/jobs" || exit; [ -d "$2" ] || exit 66; : >"$2/cancelled"'
_LOG = '[ -f "$1" ] || exit 0; tail -c +"$2" "$1" | head -c "$3"'
_NO_FOLDER = 66
_THERE = f'[ -d "$1" ] || exit {_NO_FOLDER}\n'
_OWNED = 'cd "$1/jobs" || exit; cat -- */keys 2>/dev/null || true'
_LOSE = 'cd "$1/jobs/$2" && : >lost'
_RELEASE = 'cd "$1" || exit; attempt="$2"; shift 2; rm -rf "$attempt"; for job; do rm -rf "jobs/$job" "ended/$job"; done'
_SCRIPT = "#!/bin/bash -p\nexec /bin/bash -p '{tools}/job.sh' '{job}'\n"
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
        self._queue = Snapshot(self._control.queue, self.settings.poll_seconds)
        self._images = SlurmImages(cluster, self.layout, images, self._staging, self._queue)
        self._collector = Collector(cluster, self.layout)
        self._ends = Ends(self._shell, self.layout.root)
        self._leaders: dict[str, str] = {}
        """Jobs whose folders were seen: a container's name → that of the job that it is part of."""
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
        """See the port. Slurm has no idempotency key, so the job's folder and name are one; and should a job be submitted twice all
        the same, it runs once: `job.sh` has the second one end at once.
        """  # noqa: D205
        if spec.keys[0] != key:
            msg = f"a job is submitted under the key of its first container, {spec.keys[0]}, not {key}."
            raise Invalid(msg)
        name = self.layout.job(key)
        with self._staging.locked(f"attempt-{spec.attempt}"):
            fresh, id_ = self._place_job(name, spec)
            if id_ is None and not fresh:
                lines = self._lines_of({name}, fresh=True).get(name, ())
                id_ = next((line.id for line in lines if line.exit_code != observing.NOT_OURS), None)
                fresh = id_ is None
            if id_ is None:
                id_ = self._control.submit(self._request(name, spec))
        return Handle(key=key, id=id_, created=fresh)

    def _place_job(self, name: str, spec: JobSpec) -> tuple[bool, str | None]:
        """Make the job's folder, unless it is there; whether it was made, and the id of the job, if it has begun."""
        for container in spec.containers:
            self._images.ensure(container.image)
        self._place_datasets(spec)
        sources = [f"../{path.relative_to(self.layout.root)}" for path in laid.sources_of(self.layout, spec)]
        files = laid.job_files(self.layout, self.settings, spec, self._tools)
        arguments = (name, secrets.token_hex(4), str(len(sources)), *sources, *map(self.layout.job, spec.keys[1:]))
        answer = self._shell.run(_PLACE, str(self.layout.root), *arguments, stdin=packed(files)).decode()
        if answer.startswith("no "):
            self._refuse_missing(spec, self.layout.root / answer.removeprefix("no ../").rstrip("\n"))
        fresh, digest, *id_ = answer.split()
        if digest != digest_of(spec):
            msg = f"job {spec.attempt} exists with another specification."
            raise Conflict(msg)
        return fresh == "1", id_[0] if id_ else None

    def _refuse_missing(self, spec: JobSpec, path: PurePosixPath) -> NoReturn:
        """Clusters remove from their scratch what was not used for long: what the lab can place again, it does."""
        if path.is_relative_to(self.layout.attempt(spec.attempt)):
            msg = f"the area {path.name!r} of {spec.attempt}, which its job mounts, is not there."
            raise PlatformFault(msg)
        self._images.forget()
        self._datasets.clear()
        msg = f"{path.parent.name}/{path.name} was removed from the cluster's scratch; it is placed there again."
        raise Unreachable(msg)

    def _request(self, name: str, spec: JobSpec) -> Request:
        script = _SCRIPT.format(tools=self._tools, job=self.layout.root / "jobs" / name)
        return Request(name=name, script=script, cores=laid.cores(spec), mebibytes=laid.mebibytes(spec), minutes=laid.minutes(spec),
                       gpus=sum(c.resources.gpus for c in spec.containers))  # fmt: skip

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
        """
        names = {key: self.layout.job(key) for key in keys}
        facts = self._facts({name for name in names.values() if name not in self._leaders})
        self._leaders |= {name: found.get("leader", name) for name, found in facts.items()}
        leaders = {self._leaders[name] for name in names.values() if name in self._leaders}
        lines = self._lines_of(leaders)
        alive = {name for name in leaders if [lives(line.state) for line in lines.get(name, ())] == [True]}
        self._end_what_was_lost({name: lines[name][0] for name in alive})
        facts |= self._facts({name for name in names.values() if name not in facts and self._leaders.get(name, name) not in alive})
        known: dict[JobKey, tuple[Line | None, observing.Facts]] = {}
        for key, name in names.items():
            leader = self._leaders.get(name, name)
            found = facts.get(name, {"there": "1"} if leader in alive and name in self._leaders else {})
            known[key] = (observing.the_line(lines.get(leader, ()), found) if found else None, found)
        return known

    def _lines_of(self, names: set[str], *, fresh: bool = False) -> dict[str, list[Line]]:
        """What the controller knows, and of what it has forgotten, accounting. What lives, the controller knows."""
        queue = self._queue.look(fresh=fresh)
        found = {name: list(queue[name]) for name in names if name in queue}
        for line in self._control.accounted(names - found.keys()) if names - found.keys() else ():
            if not lives(line.state):
                found.setdefault(line.name, []).append(line)
        return found

    def _end_what_was_lost(self, alive: Mapping[str, Line]) -> None:
        """Slurm begins a job again when its node failed, where it may be running still. The lab ends it; a later look finds it ended."""
        restarted = {name: line for name, line in alive.items() if line.restarts > self._restarts.get(name, 0)}
        if not restarted:
            return
        tries, facts = self._control.accounted(restarted), self._facts(set(restarted))
        for name, line in restarted.items():
            mine = [told for told in tries if told.name == name and told.id == line.id]
            if observing.lost_before(mine, facts.get(name, {})):
                self._shell.run(_LOSE, str(self.layout.root), name)
                self._control.cancel([name])
            elif sum(told.ended is not None for told in mine) >= line.restarts:
                self._restarts[name] = line.restarts

    def _facts(self, names: set[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = "".join(f"{name}\n" for name in sorted(names)).encode()
        return observing.parse_facts((self._there(observing.ASK, stdin=asked) or b"").decode(errors="replace"))

    def wait(self, keys: Collection[JobKey], timeout: timedelta) -> None:
        """See the port. What ends a job leaves a mark that is waited for at the cluster's file system, so that the scheduler is not asked."""
        end, settle = time.monotonic() + timeout.total_seconds(), _SETTLE
        _ = self._tools
        noticed = self._ends.wait({self._leaders.get(name, name) for name in map(self.layout.job, keys)}, timeout.total_seconds())
        while noticed and time.monotonic() < end:
            with suppress(Unreachable, Failed):  # `observe` then says so
                self._queue.look(fresh=True)  # what was seen before the mark says nothing
            if any(seen.seen not in (Seen.RUNNING, Seen.PENDING) for seen in self.observe(keys).values()):
                return
            time.sleep(max(0.0, min(settle, end - time.monotonic())))
            settle = min(2 * settle, _SETTLE_MOST)

    # --- ending --------------------------------------------------------------------------------------------------------

    def cancel(self, key: JobKey, grace: timedelta) -> None:  # noqa: ARG002 - of no use here: nothing that a cancelled job still writes is used
        """See the port. That it was the lab is written down before the scheduler is asked, so that it is not taken for another's doing."""
        facts = self._facts({self.layout.job(key)}).get(self.layout.job(key), {})
        if not facts:
            return
        name = facts.get("leader", self.layout.job(key))
        self._shell.run(_CANCEL, str(self.layout.root), name)
        self._control.cancel([name])

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
        names = [self.layout.job(JobKey(attempt=attempt, role=role)) for role in ROLES]
        there = self._facts(set(names))
        lines = self._queue.look(fresh=True) if there else {}
        self._control.cancel([name for name in names if any(lives(line.state) for line in lines.get(name, ()))])
        self._there(_RELEASE, str(self.layout.attempt(attempt)), *names)
        for name in names:
            self._leaders.pop(name, None)
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
        queue = self._queue.look(fresh=True)
        lines = (line for role in ROLES for line in queue.get(self.layout.job(JobKey(attempt=attempt, role=role)), ()))
        return [line for line in lines if phase_of(line.state) is Phase.WAITING]

    def inspect(self) -> tuple[Demand, ...]:
        """See `Inspectable`."""
        _ = self._tools
        login = self._shell.run(demands.LOOK, str(self.layout.root), str(self.settings.apptainer)).decode(errors="replace")
        return (*demands.of_scheduler(self._control.config()), *demands.of_login(login))
