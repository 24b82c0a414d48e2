"""A sandbox: what an authority fixes for one domain before anyone may bring a pilot."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from livinglab.domain.canonical import Digest, digest_of
from livinglab.domain.criteria import CriteriaSet, Criterion, check_criteria
from livinglab.domain.documents import RequiredDocument
from livinglab.domain.errors import Invalid, unknown_name
from livinglab.domain.families import FAMILIES, task_family
from livinglab.domain.isolation import IsolationProfile, Resources
from livinglab.domain.model import Frozen, Slug
from livinglab.domain.tasks import TaskFamily


class Role(StrEnum):
    """What an organisation is in one sandbox."""

    PARTICIPANT = "participant"
    AUTHORITY = "authority"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Condition(Frozen):
    """One comparison of a reference column: `equals`, or a half-open range [at_least, below)."""

    column: str
    equals: str | int | bool | None = None
    at_least: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        ranged = self.at_least is not None or self.below is not None
        if (self.equals is None) == (not ranged):
            msg = "give either `equals` or a range by `at_least` and/or `below`"
            raise ValueError(msg)
        return self


class Slice(Frozen):
    """A part of the reference cases: those that meet all conditions, in one cohort."""

    title: str
    cohort: Literal["hidden", "twin"] = "hidden"
    where: tuple[Condition, ...] = ()


class DataUse(Frozen):
    """Where the data come from and how public they are. `demonstration`: the labels can be had by anyone, so a good result proves little."""

    card: str
    """Path of the data card, beside the specification."""
    visibility: Literal["demonstration", "restricted"]
    twin: bool = False
    """The harness generates a fresh cohort per run that no memorised row can answer."""


class Channel(StrEnum):
    """Ways by which something derived from hidden data could reach somebody."""

    LOGS = "logs"
    OUTPUTS = "outputs"
    EXIT_CODE = "exit_code"
    USAGE = "usage"
    VERDICT = "verdict"
    MEASUREMENTS = "measurements"
    PLOTS = "plots"


_TO_ALL = (Role.PARTICIPANT, Role.AUTHORITY, Role.REVIEWER, Role.OPERATOR, Role.AUDITOR)
_TO_OVERSIGHT = (Role.AUTHORITY, Role.REVIEWER, Role.AUDITOR)


class Disclosure(Frozen):
    """Who sees what, per channel. The default is that of non-public data: the participant sees categories, not values."""

    logs: tuple[Role, ...] = (Role.AUTHORITY,)
    outputs: tuple[Role, ...] = (Role.AUTHORITY,)
    exit_code: tuple[Role, ...] = (Role.AUTHORITY,)
    usage: tuple[Role, ...] = (Role.AUTHORITY, Role.OPERATOR)
    verdict: tuple[Role, ...] = _TO_ALL
    measurements: tuple[Role, ...] = _TO_OVERSIGHT
    plots: tuple[Role, ...] = _TO_OVERSIGHT

    def allows(self, channel: Channel, role: Role) -> bool:
        """May this role see that channel while the plan is open?"""
        return role in getattr(self, channel.value)


class Harness(Frozen):
    """How the sandbox measures: after the pilot, or step by step with it. `prepare` makes fresh inputs per run first."""

    mode: Literal["batch", "interactive"] = "batch"
    prepare: bool = False
    replicates: int = Field(default=2_000, ge=200, le=20_000)
    resources: Resources = Resources(memory=2 << 30, cpus=2)
    parameters: dict[str, float | int | str | tuple[float, ...] | tuple[str, ...]] = {}
    """Of the task, as the harness reads them (for survival: `horizon`, `risk_threshold`, `net_benefit_range`)."""


class Quota(Frozen):
    """How much one pilot may ask for."""

    measured_runs: int = Field(default=3, ge=1, le=100)
    runs_in_flight: int = Field(default=2, ge=1)
    core_hours: float | None = Field(default=None, gt=0, exclude_if=lambda hours: hours is None)
    """Cores of the pilot's container times its hours, over all runs of a plan; what the platform failed is not charged. None: no limit,
    and left out: specifications older than the field keep their digests."""
    pilot_resources: Resources = Resources()
    """The most that a manifest may ask for."""


class LegalProfile(Frozen):
    """Which steps the law or the authority demands before a plan."""

    selection: Literal["none", "board"] = "none"
    approvals: tuple[str, ...] = ()


class Chance(Frozen):
    """How a model that deserves to pass fares under these criteria, simulated at the sandbox's own size: known before anyone signs."""

    model: str = Field(min_length=3)
    """What was judged, in a sentence."""
    criteria: Digest
    """The criteria that it was judged by, for as many measured runs as the quota allows."""
    simulations: int = Field(ge=50)
    passes: float = Field(ge=0, le=1)
    inconclusive: float = Field(ge=0, le=1)
    fails: float = Field(ge=0, le=1)
    source: str
    """How to simulate it again."""


class SandboxSpec(Frozen):
    """A versioned specification (`sandbox.yaml`)."""

    kind: Literal["Sandbox"] = "Sandbox"
    id: Slug
    version: int = Field(ge=1)
    title: str = Field(min_length=3, max_length=200)
    domain: Slug
    """`personalised-medicine`, `autonomous-mobility`, `fintech`, `public-services`, or whatever comes next."""
    summary: str = Field(min_length=10)
    task: str | TaskFamily
    """The name of a family that the lab ships, or a family of the sandbox's own."""
    data: DataUse
    harness: Harness
    slices: dict[str, Slice]
    baselines: dict[str, str] = {}
    """Name → what it is, in a sentence; the harness fits it on the pilot's training part."""
    criteria: tuple[Criterion, ...]
    chance: tuple[Chance, ...] = ()
    isolation: IsolationProfile = IsolationProfile()
    quota: Quota = Quota()
    legal: LegalProfile = LegalProfile()
    disclosure: Disclosure = Disclosure()
    sites: tuple[Slug, ...] = ("docker",)
    required_evidence: tuple[RequiredDocument, ...] = Field(default=(), max_length=16, exclude_if=lambda required: not required)
    """What a pilot must bring before a plan. Left out where there is none: specifications older than the field keep their digests."""

    def model_post_init(self, _context: object, /) -> None:
        """Reject what nothing could measure; the message names the place."""
        if isinstance(self.task, TaskFamily) and self.task.name in FAMILIES:
            msg = f"{self.task.name!r} is a family of the lab's, and a sandbox's own needs a name of its own."
            raise Invalid(msg, where="task.name", hint=f"To use the lab's, write `task: {self.task.name}`.")
        if (self.harness.mode == "interactive") != self.family.interactive:
            msg = f"the task family {self.family.name!r} is {'interactive' if self.family.interactive else 'one of batch'}."
            raise Invalid(msg, where="harness.mode")
        if "all" not in self.slices:
            msg = "a slice named 'all' must be declared."
            raise Invalid(msg, where="slices")
        if any(s.cohort == "twin" for s in self.slices.values()) and not (self.data.twin and self.harness.prepare):
            msg = "a slice of the twin cohort needs `data.twin: true` and `harness.prepare: true`."
            raise Invalid(msg, where="slices")
        check_criteria(self.criteria, self.family, set(self.slices), set(self.baselines))
        self._check_required_evidence()
        for index, chance in enumerate(self.chance):
            if chance.criteria != self.frozen_criteria().digest:
                msg = f"simulated for other criteria than these, whose digest is {self.frozen_criteria().digest}."
                raise Invalid(msg, where=f"chance[{index}].criteria", hint=f"Simulate it again: {chance.source}")

    def _check_required_evidence(self) -> None:
        names = [document.name for document in self.required_evidence]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Invalid(f"{name!r} is demanded twice.", where=f"required_evidence[{index}].name")
        for index, criterion in enumerate(self.criteria):
            for name in set(criterion.required_evidence) - set(names):
                raise unknown_name("required evidence", name, names, where=f"criteria[{index}].required_evidence")

    @property
    def family(self) -> TaskFamily:
        """The task family."""
        return task_family(self.task, where="task") if isinstance(self.task, str) else self.task

    @property
    def digest(self) -> str:
        """RFC 8785 digest of the specification."""
        return digest_of(self)

    def frozen_criteria(self, measured_runs: int | None = None) -> CriteriaSet:
        """The criteria for the number of measured runs that a plan fixes (None: as many as the quota allows)."""
        return CriteriaSet(measured_runs=measured_runs or self.quota.measured_runs, criteria=self.criteria)


class DatasetRef(Frozen):
    """A folder of files in the site's vault, by the digest of its listing (name, size, sha256 of each file)."""

    digest: Digest
    files: tuple[str, ...] = ()


class Release(Frozen):
    """A specification bound to everything it runs with: what a plan refers to, by one digest."""

    spec: SandboxSpec
    harness_image: Digest
    participant_data: DatasetRef
    """What a pilot may see."""
    hidden_data: DatasetRef
    """What only the harness may see."""
    commitment: Digest
    """sha256 of salt ‖ secret; the secret (≥ 128 bits) fixes split and seeds."""

    @property
    def digest(self) -> str:
        """RFC 8785 digest of the release."""
        return digest_of(self)
