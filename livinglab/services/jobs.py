"""The containers of an attempt, written down: what each is given, and nothing else."""

import hashlib
import hmac
from typing import Any

from livinglab.domain.canonical import canonical
from livinglab.domain.isolation import Area, Mount
from livinglab.domain.run import JobRole
from livinglab.domain.situation import Situation
from livinglab.ports import ContainerSpec, JobSpec

DECODED_ROWS = 5_000_000
"""The most rows that a decoder passes on."""

_OUT = Mount(area="outputs", target="/out", read_only=False)
_CONTEXT = Mount(area="context", target="/context")


def job(s: Situation, role: JobRole) -> JobSpec:
    """The job of that role; an interactive pilot lives together with its driver. Its nonce is its own: one report says nothing about another job."""
    nonce = hmac.new(bytes.fromhex(s.attempt.nonce), role.encode(), hashlib.sha256).hexdigest()[:32]
    roles: tuple[JobRole, ...] = ("pilot", "drive") if role == "pilot" and s.release.spec.family.interactive else (role,)
    return JobSpec(attempt=s.attempt.id, containers=tuple(_container(s, r) for r in roles), profile=s.release.spec.isolation, nonce=nonce)


def _container(s: Situation, role: JobRole) -> ContainerSpec:
    if role == "pilot":
        # It may connect to the socket, and not take its place: that is another's to write.
        socket = (Mount(area="socket", target="/socket"),) if s.release.spec.family.interactive else ()
        return ContainerSpec(role=role, image=s.pilot.image, argv=s.pilot.manifest.entrypoint, mounts=(pilot_inputs(s), *socket, _OUT),
                             resources=s.pilot.manifest.resources)  # fmt: skip
    participant = Mount(area="participant", target="/participant", dataset=s.release.participant_data.digest)
    hidden = Mount(area="hidden", target="/hidden", dataset=s.release.hidden_data.digest)
    mounts: dict[JobRole, tuple[Mount, ...]] = {
        "prepare": (hidden, participant, _CONTEXT, _OUT),
        "drive": (hidden, participant, *_key(s), Mount(area="socket", target="/socket", read_only=False), _CONTEXT, _OUT),
        # The decoder reads a stranger's bytes, so it gets no label to lose.
        "decode": (Mount(area="sealed", target="/outputs"), _CONTEXT, _OUT),
        "measure": (hidden, participant, *_key(s), _measured(s), _CONTEXT, _OUT),
    }
    return ContainerSpec(role=role, image=s.release.harness_image, argv=("python3", "-m", "harness", role), mounts=mounts[role],
                         resources=s.release.spec.harness.resources)  # fmt: skip


def _key(s: Situation) -> tuple[Mount, ...]:
    return (Mount(area="key", target="/key"),) if s.release.spec.harness.prepare else ()


def _measured(s: Situation) -> Mount:
    """What is measured: the decoded table of a pilot, or what its driver wrote down."""
    area: Area = "recording" if s.release.spec.family.interactive else "decoded"
    return Mount(area=area, target=f"/{area}")


def pilot_inputs(s: Situation) -> Mount:
    """What the pilot sees under `/in`: what the harness prepared for this run, or the participant's data as they are."""
    if s.release.spec.harness.prepare:
        return Mount(area="inputs", target="/in")
    return Mount(area="inputs", target="/in", dataset=s.release.participant_data.digest)


def context(s: Situation, role: JobRole, secret: bytes | None) -> bytes:
    """`context.json` for a harness's verb. The decoder gets no seed."""
    spec = s.release.spec
    document: dict[str, Any] = {"verb": role, "family": spec.family.name, "attempt": s.attempt.id}
    if role == "decode":
        limits = s.pilot.manifest.resources
        document |= {"output": spec.family.output, "columns": [c.model_dump(mode="json") for c in spec.family.columns],
                     "limits": {"bytes": limits.output_bytes, "files": limits.output_files, "rows": DECODED_ROWS}}  # fmt: skip
        return canonical(document)
    assert secret is not None  # noqa: S101 - every other verb draws
    criteria = spec.frozen_criteria(s.plan.body.measured_runs)
    document |= {
        "parameters": spec.harness.model_dump(mode="json")["parameters"],
        "slices": {name: part.model_dump(mode="json") for name, part in spec.slices.items()},
        "baselines": spec.baselines,
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria],
        "levels": {c.id: criteria.level(c) for c in criteria.criteria},
        "replicates": s.plan.body.replicates,
        "seed": seed(secret, s.plan.digest, s.run.id),
        "plan": s.plan.digest,
        "ordinal": s.run.ordinal,
        "actions": [c.model_dump(mode="json") for c in spec.family.actions],
    }
    return canonical(document)


def seed(secret: bytes, plan_digest: str, run: str) -> str:
    """Hexadecimal, derived from the committed secret: nobody could choose it, and it can be checked once the secret is opened."""
    return hmac.new(secret, f"{plan_digest}\n{run}".encode(), hashlib.sha256).hexdigest()
