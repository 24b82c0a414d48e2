"""Is a site fit for pilots? It is asked how it is set up, and a container is sent to see for itself."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from livinglab.domain.errors import LivingLabError, PlatformFault
from livinglab.domain.isolation import Attestation, IsolationProfile, Mount, Resources
from livinglab.domain.model import Frozen
from livinglab.domain.run import JobKey, JobRole
from livinglab.ports import ContainerSpec, Demand, Inspectable, JobSpec, Seen, Site
from livinglab.services.engine import Attest

_WAIT = timedelta(seconds=1)
_OUT = Mount(area="outputs", target="/out", read_only=False)
_SOCKET = Mount(area="socket", target="/socket", read_only=False)


class Probe(Frozen):
    """What one container on the site saw and was seen as."""

    role: str
    attestation: Attestation


class SiteReport(Frozen):
    """The answer. `problem` is why no container could be sent, or came back."""

    site: str
    demands: tuple[Demand, ...] = ()
    probes: tuple[Probe, ...] = ()
    seconds: dict[str, float] = {}
    """How long it took: `image`, `queue`, `run`."""
    problem: str = ""

    @property
    def fit(self) -> bool:
        """May pilots run there?"""
        asked = all(demand.holds for demand in self.demands if demand.needed)
        return asked and not self.problem and bool(self.probes) and all(probe.attestation.holds for probe in self.probes)


@dataclass(frozen=True)
class SiteCheck:
    """Checks one site.

    Args:
        image: an image that has the launcher once more as `/probe`, and nothing else.
        profile: what the containers demand.
        gpus: how many one of them asks for, while the other asks for none.
        patience: how long to wait for them.
    """

    site: Site
    image: str
    attest: Attest
    profile: IsolationProfile
    gpus: int = 0
    patience: timedelta = timedelta(minutes=10)

    def check(self, nonce: str, progress: Callable[[str], None] = lambda _said: None) -> SiteReport:
        """Ask, send, see. It never raises what the site does wrong: that is what it is there to tell.

        Args:
            nonce: fresh random digits; they also name the attempt.
        """
        report = SiteReport(site=self.site.name)
        attempt = f"check-{nonce[:12]}"
        try:
            if isinstance(self.site, Inspectable):
                progress("asking the site how it is set up")
                report = report.model_copy(update={"demands": self.site.inspect()})
            return self._send(report, attempt, nonce, progress)
        except LivingLabError as error:
            return report.model_copy(update={"problem": str(error)})
        finally:
            self._release(attempt)

    def _send(self, report: SiteReport, attempt: str, nonce: str, progress: Callable[[str], None]) -> SiteReport:
        begun = time.monotonic()
        progress("making an image ready there")
        self.site.ensure_image(self.image)
        ready = time.monotonic()
        progress("sending two containers that see for themselves, and share a socket")
        spec = JobSpec(attempt=attempt, containers=(self._container("pilot", self.gpus), self._container("drive")), profile=self.profile, nonce=nonce)
        self.site.submit(spec, spec.keys[0])
        started = self._wait(spec.keys, progress)
        ended = time.monotonic()
        probes = tuple(self._probe(spec, key) for key in spec.keys)
        seconds = {"image": ready - begun, "queue": started - ready, "run": ended - started}
        return report.model_copy(update={"probes": probes, "seconds": {name: round(value, 3) for name, value in seconds.items()}})

    def _container(self, role: JobRole, gpus: int = 0) -> ContainerSpec:
        limits = Resources(memory=128 << 20, cpus=0.5, gpus=gpus, pids=64, wall_seconds=60, output_bytes=1 << 20, output_files=8, log_bytes=4 << 10)
        return ContainerSpec(role=role, image=self.image, argv=("/probe",), mounts=(_SOCKET, _OUT), resources=limits)

    def _wait(self, keys: tuple[JobKey, ...], progress: Callable[[str], None]) -> float:
        """Until all have ended; when the first was seen to have begun."""
        end, started, told = time.monotonic() + self.patience.total_seconds(), 0.0, ""
        while time.monotonic() < end:
            seen = self.site.observe(keys)
            if not started and any(o.seen in (Seen.RUNNING, Seen.EXITED) for o in seen.values()):
                started = time.monotonic()
            if all(o.seen is Seen.EXITED for o in seen.values()):
                return started
            said = next((f"{o.raw}: {o.advice or o.reason}" for o in seen.values() if o.advice or o.reason), "")
            if said and said != told:
                progress(f"the site says {said}")
                told = said
            self.site.wait(keys, _WAIT)
        msg = f"the containers have not ended within {self.patience.total_seconds():g} s. {told}".strip()
        raise PlatformFault(msg)

    def _probe(self, spec: JobSpec, key: JobKey) -> Probe:
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.site.collect(key, Path(folder))
        attestation = self.attest(spec.profile, spec.only(key.role), outcome.report, outcome.site_view, outcome.exit_code)
        return Probe(role=key.role, attestation=attestation)

    def _release(self, attempt: str) -> None:
        try:
            self.site.release(attempt)
        except LivingLabError:
            return  # the site does not answer; what it is left with is a name that nobody else uses
