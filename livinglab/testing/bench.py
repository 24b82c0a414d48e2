"""The bench on which a site is tested, and what the conformance suite and other tests of sites do on it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from livinglab.domain.isolation import IsolationProfile, Mount, Resources
from livinglab.domain.run import JobKey, JobRole
from livinglab.ports import ContainerSpec, JobSpec, Observation, Outcome, Seen, Site
from livinglab.testing.scripts import Behaviour

NONCE = "5a" * 16
IN = Mount(area="inputs", target="/in")
OUT = Mount(area="outputs", target="/out", read_only=False)
SOCKET = Mount(area="socket", target="/socket", read_only=False)


class Bench(Protocol):
    """A site under test."""

    @property
    def site(self) -> Site:
        """The site."""
        ...

    @property
    def image(self) -> str:
        """The digest of an image that has Python (a site in memory may have none)."""
        ...

    @property
    def dataset(self) -> str:
        """The digest of a dataset at the site: one file `a.txt` that holds `data`."""
        ...

    @property
    def profile(self) -> IsolationProfile:
        """What the jobs demand."""
        ...

    @property
    def folder(self) -> Path:
        """An empty folder of this test's own."""
        ...

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        """The command that behaves so."""
        ...

    def again(self) -> Site:
        """Another process's site object over the same backend: as after a crash."""
        ...

    def stranger(self) -> Site:
        """Another lab's site on the same backend."""
        ...

    def away(self) -> AbstractContextManager[Site]:
        """The site while its backend does not answer."""
        ...

    def lose(self, key: JobKey) -> None:
        """Remove a job behind the site's back."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let time pass at the backend."""
        ...

    def times_started(self, key: JobKey) -> int | None:
        """How often that job was started, where the backend can tell."""
        ...


def key_of(attempt: str, role: JobRole = "pilot") -> JobKey:
    """A job's key."""
    return JobKey(attempt=attempt, role=role)


def spec_of(bench: Bench, attempt: str, behaviour: Behaviour, *, mounts: tuple[Mount, ...] = (IN, OUT), **limits: float) -> JobSpec:
    """A job of one container, small and short unless `limits` say otherwise."""
    return JobSpec(attempt=attempt, containers=(container_of(bench, "pilot", behaviour, mounts, **limits),), profile=bench.profile, nonce=NONCE)


def container_of(bench: Bench, role: JobRole, behaviour: Behaviour, mounts: tuple[Mount, ...], **limits: float) -> ContainerSpec:
    """A container that behaves so."""
    small = {
        "memory": 128 << 20,
        "cpus": getattr(bench, "cpus", 1.0),
        "pids": 64,
        "wall_seconds": 60,
        "output_bytes": 1 << 20,
        "output_files": 8,
        "log_bytes": 4 << 10,
    }
    return ContainerSpec(role=role, image=bench.image, argv=bench.argv(behaviour), mounts=mounts, resources=Resources.model_validate(small | limits))


def begin(bench: Bench, attempt: str, behaviour: Behaviour, **limits: float) -> JobKey:
    """Push one input, submit, and return the key."""
    bench.site.ensure_image(bench.image)
    push(bench, attempt, b"data")
    bench.site.submit(spec_of(bench, attempt, behaviour, mounts=(IN, OUT), **limits), key_of(attempt))
    return key_of(attempt)


def push(bench: Bench, attempt: str, data: bytes) -> None:
    """Place `a.txt` in the attempt's inputs."""
    source = bench.folder / "source.txt"
    source.unlink(missing_ok=True)
    source.write_bytes(data)
    bench.site.push(attempt, "inputs", {"a.txt": source})


def until(site: Site, key: JobKey, wanted: Callable[[Observation], bool], tries: int = 240) -> Observation:
    """Observe and wait until what is seen is as wanted."""
    for _ in range(tries):
        seen = site.observe([key])[key]
        if wanted(seen):
            return seen
        site.wait([key], timedelta(seconds=0.5))
    pytest.fail(f"{key} is still {site.observe([key])[key]}")


def ended(bench: Bench, key: JobKey, site: Site | None = None) -> Observation:
    """Its observation, once it has ended."""
    return until(site or bench.site, key, lambda seen: seen.seen is Seen.EXITED)


def running(bench: Bench, key: JobKey) -> Observation:
    """Its observation, once it has begun: a site with a queue takes its time."""
    return until(bench.site, key, lambda seen: seen.seen is Seen.RUNNING)


def collected(bench: Bench, key: JobKey, site: Site | None = None) -> Outcome:
    """Its outcome, in a fresh folder."""
    into = bench.folder / f"collected-{len(list(bench.folder.iterdir()))}"
    into.mkdir()
    return (site or bench.site).collect(key, into)
