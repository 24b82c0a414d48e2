"""Plans, their signatures and their evidence."""

import tempfile
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from livinglab.domain.plan import Plan
from livinglab.services.budget import Budget
from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import After, EntryView, IdempotencyKey, Page, PageSize, PlanChange, PlanProposal, page_of
from sandbox_api.tags import IfMatch, IfNoneMatch, show

router = APIRouter(prefix="/plans")


@router.post("", status_code=201, tags=["plans"], responses=examples.answers(examples.PLAN, 201))
def propose_plan(lab: TheLab, caller: TheCaller, proposal: PlanProposal, response: Response, idempotency_key: IdempotencyKey = None) -> Plan:
    """Freeze a plan for a pilot. It comes into force when both sides have signed its digest.

    The same `Idempotency-Key` with the same body makes one.
    """
    plan = lab.plans.propose(caller, proposal.model_dump(), idempotency_key)
    response.headers["Location"] = f"/v1/plans/{plan.id}"
    return plan


@router.get("", tags=["plans"], responses=examples.answers(examples.page(examples.PLAN)))
def list_plans(lab: TheLab, caller: TheCaller, pilot: str | None = None, after: After = None, limit: PageSize = 50) -> Page[Plan]:
    """The plans that exist for this caller, newest first."""
    return page_of(lab.plans.page(caller, pilot, after, limit), limit, lambda p: p.id)


@router.get("/{plan}", tags=["plans"], responses=examples.answers(examples.PLAN))
def get_plan(lab: TheLab, caller: TheCaller, plan: str, response: Response, if_none_match: IfNoneMatch = None) -> Plan:
    """A plan's newest version."""
    found = lab.plans.get(caller, plan)
    show(response, found, if_none_match)
    return found


@router.get("/{plan}/body", tags=["plans"], response_class=Response, responses=examples.answers_with(
    examples.schema_of("PlanBody"), {"application/json": examples.PLAN_BODY}))  # fmt: skip
def get_plan_body(lab: TheLab, caller: TheCaller, plan: str) -> Response:
    """The bytes whose digest is signed."""
    return Response(lab.plans.body(caller, plan), media_type="application/json")


@router.get("/{plan}/budget", tags=["plans"], responses=examples.answers(examples.BUDGET))
def get_budget(lab: TheLab, caller: TheCaller, plan: str) -> Budget:
    """How much of the plan's measured runs and core-hours is used, spoken for by runs under way, and left."""
    return lab.plans.budget(caller, plan)


@router.post("/{plan}/signatures", status_code=201, tags=["plans"], responses=examples.answers(examples.PLAN, 201),
             openapi_extra=examples.takes("application/vnd.dsse+json", examples.schema_of("Envelope"), examples.ENVELOPE))  # fmt: skip
async def sign_plan(lab: TheLab, caller: TheCaller, plan: str, request: Request, if_match: IfMatch = None) -> Plan:
    """Hand in one side's DSSE envelope over the plan's digest (made by `livinglab sign`). Kept byte for byte."""
    from anyio.to_thread import run_sync

    envelope = await request.body()
    return await run_sync(lambda: lab.plans.sign(caller, plan, envelope, if_match))


@router.post("/{plan}/state", tags=["plans"], responses=examples.answers(examples.PLAN))
def change_plan(lab: TheLab, caller: TheCaller, plan: str, change: PlanChange, if_match: IfMatch = None) -> Plan:
    """Suspend, resume, complete or terminate. Its runs are stopped."""
    return lab.plans.stop(caller, plan, change.state, change.reason, if_match)


@router.get("/{plan}/evidence", tags=["evidence"], responses=examples.answers([examples.ENTRY]))
def get_evidence(lab: TheLab, caller: TheCaller, plan: str) -> list[EntryView]:
    """The plan's chain, entry by entry."""
    return [EntryView(sequence=r.sequence, digest=r.digest, entry=r.entry.decode(), body=r.body.decode()) for r in lab.dossiers.ledger(caller, plan)]


@router.get("/{plan}/dossier", tags=["evidence"], response_class=FileResponse,
            responses=examples.answers_with(examples.BYTES, {"application/zip": "the bytes of a zip"}))  # fmt: skip
def get_dossier(lab: TheLab, caller: TheCaller, plan: str) -> FileResponse:
    """The dossier: everything that `livinglab verify` needs, as this caller may see it."""
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
        path = Path(file.name)
    try:
        digest = lab.dossiers.write(caller, plan, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(path, media_type="application/zip", filename=f"{plan}.zip", headers={"Digest": digest},
                        background=BackgroundTask(path.unlink, missing_ok=True))  # fmt: skip
