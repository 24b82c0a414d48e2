"""What a party does with its own key: it agrees to a plan, by the plan's own bytes."""

from livinglab.domain.plan import PlanBody
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner


def sign_plan(body: PlanBody, role: Role, signer: KeySigner) -> bytes:
    """The envelope by which one side (participant or authority) agrees to this plan."""
    organisation = body.participant if role is Role.PARTICIPANT else body.authority
    statement = statements.plan_signature(plan=body.id, version=body.version, digest=body.encode()[1], role=role, organisation=organisation)
    return signer.sign(statement, dsse.IN_TOTO)
