"""Admission: may this run start? Asked when it is requested, and again in the transaction that starts it."""

from dataclasses import dataclass
from datetime import date

from livinglab.domain.canonical import digest_of
from livinglab.domain.pilot import Pilot, PilotState
from livinglab.domain.plan import Plan
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Release
from livinglab.domain.site import SiteRecord, why_not_offered
from livinglab.domain.standing import Standing
from livinglab.ports import Tx
from livinglab.services.budget import budget_of
from livinglab.services.documents import attached


@dataclass(frozen=True)
class Terms:
    """What a plan froze, as it is registered. Whoever has it need not read it again: nothing in it ever changes, but for the pilot's state."""

    pilot: Pilot
    release: Release
    reasons: tuple[str, ...]
    """Why it is not what both sides signed, each as a clause of a sentence."""


def read_terms(tx: Tx, plan: Plan) -> Terms | None:
    """None if pilot or release is not there."""
    pilot, release = tx.pilot(plan.body.pilot), tx.release(plan.body.release)
    if pilot is None or release is None:
        return None
    differ = [*_digests_that_differ(plan, pilot.image, pilot.manifest.digest, release), *_documents_that_differ(tx, plan, pilot, release)]
    return Terms(pilot, release, tuple(differ))


def why_not_admitted(tx: Tx, plan: Plan, site: str, today: date, run: Run | None = None) -> tuple[str, ...]:
    """Every demand that fails, each as a clause of a sentence; empty when the run may start.

    Args:
        run: the run itself where it exists already, so that it does not stand in its own way.
    """
    standing = tx.standing(plan.id, plan.body.pilot, site, without=run.id if run else None)
    return why_not_under(read_terms(tx, plan), standing, tx, plan, site, today)


def why_not_under(terms: Terms | None, standing: Standing, tx: Tx, plan: Plan, site: str, today: date) -> tuple[str, ...]:
    """The same, where a plan's terms, and how it stands with it, are known already."""
    reasons = list(plan.why_not_in_force(today))
    if site not in plan.body.sites:
        reasons.append(f"the plan does not name the site {site!r} (it names {', '.join(plan.body.sites)})")
    if terms is None:
        return (*reasons, "the pilot or the sandbox's release that the plan froze is not there")
    pilot, release = terms.pilot, terms.release
    spent = standing.spent
    if standing.pilot is not PilotState.ACTIVE:
        reasons.append(f"the pilot is {standing.pilot}")
    reasons += terms.reasons
    reasons += _site_that_does_not_do(tx, site, standing.site, pilot, release)
    missing = sorted(set(release.spec.legal.approvals))
    if missing:
        reasons.append(f"approvals are missing: {', '.join(missing)}")
    reasons += budget_of(plan, pilot, release, spent).reasons
    if spent.under_way >= release.spec.quota.runs_in_flight:
        reasons.append(f"{spent.under_way} runs are under way, and the quota is {release.spec.quota.runs_in_flight} at once")
    return tuple(reasons)


def _site_that_does_not_do(tx: Tx, site: str, record: SiteRecord | None, pilot: Pilot, release: Release) -> list[str]:
    """What the pilot and its sandbox demand, against what the site offers now."""
    if record is None:
        return [f"there is no site {site!r} (known: {', '.join(s.name for s in tx.sites())})"]
    return [f"at site {site!r}, {reason}" for reason in why_not_offered(record.offer, pilot.manifest, release.spec)]


def _digests_that_differ(plan: Plan, image: str, manifest: str, release: Release) -> list[str]:
    """What is registered now, against what both sides signed."""
    body, spec = plan.body, release.spec
    pairs = {
        "the pilot's image": (image, body.pilot_image),
        "the manifest": (manifest, body.manifest),
        "the release": (release.digest, body.release),
        "the specification": (spec.digest, body.specification),
        "the criteria": (spec.frozen_criteria(body.measured_runs).digest, body.criteria),
        "the isolation profile": (digest_of(spec.isolation), body.isolation),
        "the harness image": (release.harness_image, body.harness_image),
        "the participant's data": (release.participant_data.digest, body.participant_data),
        "the hidden data": (release.hidden_data.digest, body.hidden_data),
        "the commitment": (release.commitment, body.commitment),
        "the replicate count": (spec.harness.replicates, body.replicates),
    }
    return [f"{what} is {now}, the plan says {signed}" for what, (now, signed) in pairs.items() if now != signed]


def _documents_that_differ(tx: Tx, plan: Plan, pilot: Pilot, release: Release) -> list[str]:
    """The required evidence as it is attached now, against what both sides signed."""
    there, frozen = attached(tx, pilot), {d.name: d.digest for d in plan.body.documents}
    demanded = {d.name for d in release.spec.required_evidence}
    reasons = [f"the plan freezes no document {name!r}, which the sandbox requires" for name in sorted(demanded - set(frozen))]
    for name, signed in frozen.items():
        now = there[name].digest if name in there else "not there"
        if now != signed:
            reasons.append(f"the document {name!r} is {now}, the plan says {signed}")
    return reasons
