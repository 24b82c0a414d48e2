"""In-toto Statements (v1): what the lab and the parties state, as RFC 8785 bytes.

The predicate types are the lab's own URNs; each says in its docstring which public predicate it follows, so that the
fields mean what readers of those expect. Seeds are strings, and no integer reaches 2^53.
"""

from datetime import datetime
from typing import Any

from livinglab.domain.canonical import canonical, parse_json
from livinglab.domain.errors import EvidenceBroken

STATEMENT = "https://in-toto.io/Statement/v1"

KINDS = {
    "admission": "urn:livinglab:attestation:admission:v1",
    "isolation": "urn:livinglab:attestation:isolation:v1",
    "execution": "urn:livinglab:attestation:execution:v2",
    "measurement": "urn:livinglab:attestation:measurement:v2",
    "verdict": "urn:livinglab:attestation:verdict:v1",
    "outcome": "urn:livinglab:attestation:outcome:v1",
}
"""What the lab signs. isolation follows SCAI's attributes with evidence, execution follows SLSA provenance, measurement
and verdict follow in-toto's Test Result and Verification Summary. Version 2 of execution and measurement seals what a container left under
one salted digest (ADR 24)."""

PLAN_SIGNATURE = "urn:livinglab:attestation:plan-signature:v1"
TRANSITION = "urn:livinglab:attestation:transition:v1"
CHECKPOINT = "urn:livinglab:attestation:checkpoint:v1"


def _statement(predicate_type: str, about: dict[str, str], predicate: dict[str, Any]) -> bytes:
    subject = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for name, digest in sorted(about.items())]
    return canonical({"_type": STATEMENT, "subject": subject, "predicateType": predicate_type, "predicate": predicate})


def lab_statement(*, kind: str, about: dict[str, str], predicate: dict[str, Any], binding: dict[str, Any]) -> bytes:
    """A statement of the lab's: `kind` is one of `KINDS`, `binding` its place (chain, sequence, previous, plan, run, attempt)."""
    return _statement(KINDS[kind], about, {**predicate, "binding": binding})


def transition(*, kind: str, data: dict[str, Any], binding: dict[str, Any]) -> bytes:
    """A change of state, made in a process that holds no key; the next signed checkpoint covers it."""
    return _statement(TRANSITION, {}, {"kind": kind, "data": data, "binding": binding})


def plan_signature(*, plan: str, version: int, digest: str, role: str, organisation: str) -> bytes:
    """What a party signs to agree to a plan: its digest, and as whom."""
    return _statement(PLAN_SIGNATURE, {plan: digest}, {"plan": plan, "version": version, "role": role, "organisation": organisation})


def check_plan_signature(payload: bytes, *, plan: str, version: int, digest: str, role: str, organisation: str) -> None:
    """`EvidenceBroken` unless the payload is exactly the statement that this side would sign over this plan."""
    expected = plan_signature(plan=plan, version=version, digest=digest, role=role, organisation=organisation)
    if payload != expected:
        msg = f"the signed statement is not the agreement of {organisation} as {role} to plan {plan} version {version} ({digest})"
        raise EvidenceBroken(msg, where="envelope")


def checkpoint(*, size: int, root: str, at: datetime) -> bytes:
    """The root over the first `size` leaves of the lab's Merkle log."""
    return _statement(CHECKPOINT, {"log": f"sha256:{root}"}, {"size": size, "root": root, "at": at.isoformat()})


def parse_statement(payload: bytes, where: str = "statement") -> dict[str, Any]:
    """A statement as a document; `EvidenceBroken` if it is none."""
    try:
        document = parse_json(payload)
        fits = document["_type"] == STATEMENT and isinstance(document["predicateType"], str) and isinstance(document["predicate"], dict)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"not an in-toto statement ({error})"
        raise EvidenceBroken(msg, where=where) from error
    if not fits or not isinstance(document.get("subject"), list):
        msg = "not an in-toto statement"
        raise EvidenceBroken(msg, where=where)
    return document  # type: ignore[no-any-return]  # only an object has these by name
