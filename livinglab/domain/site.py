"""A site as the lab keeps it: what it offers, whether it takes runs, and when it is away for maintenance."""

import math
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from livinglab.domain.isolation import IsolationProfile, Property, Resources, Witness
from livinglab.domain.model import Frozen, Moment, Slug
from livinglab.domain.pilot import PilotManifest
from livinglab.domain.sandbox import SandboxSpec

SiteKind = Literal["docker", "kubernetes", "slurm"]

_UNITS = {"memory": "bytes of memory", "cpus": "cores", "gpus": "GPUs", "wall_seconds": "seconds", "output_bytes": "bytes of output"}
"""Field of an offer → what it counts."""


class Offer(Frozen):
    """The most that a site gives to one job; None: it has no bound of its own. Of containers that live together, the sizes add up."""

    memory: int | None = Field(default=None, ge=32 << 20)
    cpus: float | None = Field(default=None, gt=0)
    gpus: int = Field(default=0, ge=0)
    wall_seconds: float | None = Field(default=None, gt=0)
    output_bytes: int | None = Field(default=None, ge=1 << 16)
    public_data_only: str | None = Field(default=None, min_length=3, max_length=300)
    """Why data that are not public are refused there, as a clause; None: they are not."""
    witnesses: dict[Property, tuple[Witness, ...]] = {}
    """The witnesses weaker than the probe without which the site cannot show that a property holds."""


class SiteState(StrEnum):
    """Does it begin further runs?"""

    OPEN = "open"
    DRAINING = "draining"
    """What was begun goes on, and nothing else is."""


class Window(Frozen):
    """A time in which nothing of the lab's may run there."""

    id: Slug
    begin: Moment
    end: Moment
    reason: str = Field(min_length=3, max_length=1_000)

    @property
    def times(self) -> str:
        """From when to when, and why."""
        begin, end = (f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for at in (self.begin, self.end))
        return f"from {begin} to {end} ({self.reason})"

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.begin:
            msg = f"a window ends after it begins, not at {self.end.isoformat()} when it begins at {self.begin.isoformat()}"
            raise ValueError(msg)
        return self


class Away(Frozen):
    """A site at which a worker can do nothing at the moment: it does not answer, or a disk is full."""

    since: Moment
    sentence: str
    """What was heard of it, for operators."""


class SiteRecord(Frozen):
    """A site that operators registered. `settings` are what its kind needs to reach it, with the paths of secrets and no secret."""

    name: Slug
    kind: SiteKind
    settings: dict[str, JsonValue] = {}
    offer: Offer = Offer()
    state: SiteState = SiteState.OPEN
    reason: str = ""
    """Why its state was changed last."""
    changed_by: str = ""
    changed_at: Moment
    """When its state was changed last."""
    windows: tuple[Window, ...] = ()
    away: Away | None = None
    """As its worker finds it; None where it answers."""
    added_at: Moment

    @model_validator(mode="after")
    def _as_its_kind(self) -> Self:
        if self.kind == "docker" and self.offer.gpus:
            msg = f"a site of kind 'docker' gives no GPU to a container, so it offers none, not {self.offer.gpus}"
            raise ValueError(msg)
        return self

    @property
    def has_queue(self) -> bool:
        """May a job that was submitted there have to wait?"""
        return self.kind == "slurm"

    def next_window(self, now: datetime) -> Window | None:
        """The window that it is in, or else the one that begins next."""
        return next((w for w in sorted(self.windows, key=lambda w: w.begin) if w.end > now), None)

    def keeps_off(self, now: datetime, seconds: float) -> Window | None:
        """The window into which a job would reach that begins now and may take so long."""
        window = self.next_window(now)
        return window if window and now + timedelta(seconds=seconds) >= window.begin else None

    def turns_at(self, now: datetime, seconds: float) -> datetime | None:
        """When `keeps_off` will give another answer than now; None where no window lies ahead."""
        window = self.next_window(now)
        if window is None:
            return None
        last = window.begin - timedelta(seconds=seconds)
        return last if last > now else window.end

    def room(self, now: datetime) -> float:
        """Seconds for which a run that begins now may last: none while it drains or is away, and any number where nothing lies ahead."""
        if self.state is SiteState.DRAINING:
            return 0.0
        window = self.next_window(now)
        return max(0.0, (window.begin - now).total_seconds()) if window else math.inf


def why_not_offered(offer: Offer, manifest: PilotManifest, spec: SandboxSpec) -> tuple[str, ...]:
    """Every reason why that pilot cannot be measured there, each as a clause with what is demanded and what is offered."""
    pilot, harness = manifest.resources, spec.harness.resources
    reasons = _too_much("the pilot with its driver", (pilot, harness), offer) if spec.family.interactive else _too_much("the pilot", (pilot,), offer)
    reasons += _too_much("the harness", (harness,), offer)
    if offer.public_data_only and spec.data.visibility != "demonstration":
        reasons.append(f"the data are {spec.data.visibility}, and the site takes public data only: {offer.public_data_only}")
    return (*reasons, *_witnesses_missing(spec.isolation, offer))


def _too_much(who: str, job: tuple[Resources, ...], offer: Offer) -> list[str]:
    """Of one job's containers: the longest time, and the sum of everything else."""
    asked = {name: (max if name == "wall_seconds" else sum)(getattr(container, name) for container in job) for name in _UNITS}
    pairs = {name: (demanded, getattr(offer, name)) for name, demanded in asked.items()}
    return [f"{who} asks for {demanded:,.12g} {_UNITS[name]}, and the site offers {most:,.12g}"
            for name, (demanded, most) in pairs.items() if most is not None and demanded > most]  # fmt: skip


def _witnesses_missing(profile: IsolationProfile, offer: Offer) -> list[str]:
    reasons = []
    for name, needed in offer.witnesses.items():
        missing = [witness for witness in needed if witness not in profile.witnesses.get(name, ())]
        if missing:
            whole = ", ".join((*profile.witnesses.get(name, ()), *missing))
            reasons.append(f"the site shows {name} by {' and '.join(missing)} only, which the isolation profile does not accept "
                           f"(a version of the specification with `isolation.witnesses.{name}: [{whole}]` does)")  # fmt: skip
    return reasons


def longest_seconds(manifest: PilotManifest, spec: SandboxSpec) -> float:
    """The most that a run's containers may take, one after the other, without what they wait for."""
    pilot, harness = manifest.resources.wall_seconds, spec.harness.resources.wall_seconds
    before = harness if spec.harness.prepare else 0.0
    if spec.family.interactive:
        return before + max(pilot, harness) + harness
    return before + pilot + 2 * harness
