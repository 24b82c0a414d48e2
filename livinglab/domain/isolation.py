"""What a container may be and do, and what proves that it was so."""

from typing import Literal

from pydantic import Field

from livinglab.domain.canonical import Digest
from livinglab.domain.errors import Invalid
from livinglab.domain.model import Frozen

Property = Literal["network", "root", "user", "capabilities", "no_new_privileges", "seccomp", "memory", "cpu", "pids", "environment", "mounts",
                   "gpus"]  # fmt: skip
"""What the probe reports on, one finding each."""

Witness = Literal["probe", "cgroup", "engine", "rlimit", "scheduler"]
"""Who saw a property hold. `probe`: the launcher, from inside. `engine`: the site's own view from outside, where a runtime hides it from inside."""


class Resources(Frozen):
    """Limits of one container. Sizes in bytes, times in seconds, CPUs in cores."""

    memory: int = Field(default=1 << 30, ge=32 << 20, le=1 << 40)
    cpus: float = Field(default=1.0, gt=0, le=256)
    gpus: int = Field(default=0, ge=0, le=64, exclude_if=lambda gpus: not gpus)
    """Left out where none is asked for."""
    pids: int = Field(default=128, ge=8, le=65_536)
    wall_seconds: float = Field(default=600, gt=0, le=7 * 86_400)
    output_bytes: int = Field(default=64 << 20, ge=1 << 16, le=1 << 40)
    output_files: int = Field(default=64, ge=1, le=100_000)
    log_bytes: int = Field(default=1 << 20, ge=1 << 10, le=1 << 30)


class IsolationProfile(Frozen):
    """What must hold inside every container of a run, on every site. There is no weaker profile than this for a pilot.

    `witnesses` accepts, per property, a named witness weaker than the probe; what is not listed must be proven by the
    probe itself (or, for limits, by the cgroup that the probe reads).
    """

    network: Literal["none"] = "none"
    read_only_root: Literal[True] = True
    uid: int = Field(default=65_532, ge=1_000)
    gid: int = Field(default=65_532, ge=1_000)
    capabilities: tuple[()] = Field(default=(), json_schema_extra={"items": {"type": "string"}})
    no_new_privileges: Literal[True] = True
    seccomp: Literal["filter"] = "filter"
    tmp_bytes: int = Field(default=64 << 20, ge=1 << 20)
    witnesses: dict[Property, tuple[Witness, ...]] = {}


class Finding(Frozen):
    """One property: what was demanded, what was seen, by whom, and whether it holds."""

    property: Property
    demanded: str
    seen: str
    witness: Witness
    holds: bool


class ProbeReport(Frozen):
    """What the launcher saw from inside, bound to the attempt by its nonce, before it executed anything of the pilot's."""

    launcher: str
    """The launcher's version."""
    nonce: str
    runtime: str
    """`linux` or `gvisor`: what the kernel underneath says it is."""
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that do not hold."""
        return tuple(f for f in self.findings if not f.holds)


class Attestation(Frozen):
    """The probe's report with the site's own view beside it, and the judgement over both."""

    profile_digest: str
    nonce: str
    report: ProbeReport | None
    site_view: tuple[Finding, ...]
    holds: bool
    reasons: tuple[str, ...] = ()


Area = Literal["inputs", "participant", "hidden", "key", "sealed", "decoded", "recording", "outputs", "context", "socket"]
"""What a folder is for. `outputs` is the one writable area: a sized volume of the job's own. `sealed` holds a pilot's collected outputs,
for the decoder; `recording` what an interactive harness wrote down, for measuring."""


class Mount(Frozen):
    """A staged folder as a container sees it."""

    area: Area
    target: str
    read_only: bool = True
    dataset: Digest | None = None
    """A folder of the site's vault; without it, the folder that was pushed for this attempt under the area's name."""

    def model_post_init(self, _context: object, /) -> None:
        """A target is absolute and plain."""
        if not self.target.startswith("/") or ".." in self.target.split("/") or "," in self.target or ":" in self.target:
            msg = f"a mount's target is an absolute path without '..', ',' or ':', not {self.target!r}."
            raise Invalid(msg)
