"""Runs: asking, following, stopping, reading."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from livinglab.domain.replay import Replay
from livinglab.domain.run import Run
from livinglab.domain.verdict import Measurement
from livinglab.evidence.receipt import Receipt
from livinglab.services.why import Why
from sandbox_api import examples
from sandbox_api.auth import AskAgain, TheCaller, TheDoor, TheLab
from sandbox_api.calls import TheTrace
from sandbox_api.following import Follower
from sandbox_api.schemas import (
    After,  # fmt: skip
    AttemptView,
    Cancellation,
    DocumentView,
    Hold,
    Page,
    PageSize,
    Priority,
    RunSubmission,
    RunView,
    StepView,
    UsageView,
    VerdictView,
    page_of,
)
from sandbox_api.tags import IfMatch, IfNoneMatch, show

router = APIRouter(prefix="/runs", tags=["runs"])

LOG_PAGE = 256 << 10


@router.post("", status_code=201, responses=examples.answers(examples.RUN, 201))
def request_run(lab: TheLab, caller: TheCaller, trace: TheTrace, *, submission: RunSubmission, response: Response,
                idempotency_key: Annotated[str, Header(alias="Idempotency-Key", min_length=8, max_length=200,
                                                       examples=["6f1c9a52-demo-1"])]) -> Run:  # fmt: skip
    """Ask for a run. The same `Idempotency-Key` with the same body answers with the same run. A refusal (409) names every failed demand."""
    run = lab.runs.request(caller, submission.model_dump(), idempotency_key, trace)
    response.headers["Location"] = f"/v1/runs/{run.id}"
    return run


@router.get("", responses=examples.answers(examples.page(examples.RUN)))
def list_runs(lab: TheLab, caller: TheCaller, plan: str | None = None, after: After = None, limit: PageSize = 50) -> Page[Run]:
    """The runs that exist for this caller, newest first."""
    return page_of(lab.runs.page(caller, plan, after, limit), limit, lambda r: r.id)


@router.get("/{run}", responses=examples.answers({"run": examples.RUN, "attempts": [examples.ATTEMPT], "shown": examples.SHOWN}))
def get_run(lab: TheLab, caller: TheCaller, run: str, response: Response, if_none_match: IfNoneMatch = None) -> RunView:
    """A run with its attempts, and what of it is shown to whoever asks."""
    found = lab.runs.look(caller, run)
    show(response, found, if_none_match)
    return RunView(run=found.run, attempts=[AttemptView.of(a) for a in found.attempts], shown=found.shown)


@router.get("/{run}/attempts", responses=examples.answers([examples.ATTEMPT]))
def list_attempts(lab: TheLab, caller: TheCaller, run: str) -> list[AttemptView]:
    """The attempts of a run, first to last."""
    return [AttemptView.of(a) for a in lab.runs.get(caller, run)[1]]


@router.get("/{run}/steps", responses=examples.answers([examples.STEP]))
def list_steps(lab: TheLab, caller: TheCaller, run: str) -> list[StepView]:
    """The journal of the newest attempt."""
    return [StepView(step=e.step, status=e.status, at=e.at) for e in lab.runs.journal(caller, run)]


@router.post("/{run}/cancel", status_code=202, responses=examples.answers(examples.RUN, 202))
def cancel_run(lab: TheLab, caller: TheCaller, run: str, cancellation: Cancellation, if_match: IfMatch = None) -> Run:
    """Ask for a run's end. It is cancelled once its containers were seen dead; the record says when."""
    return lab.runs.cancel(caller, run, cancellation.reason, if_match)


@router.post("/{run}/hold", responses=examples.answers(examples.RUN))
def hold_run(lab: TheLab, caller: TheCaller, run: str, hold: Hold, if_match: IfMatch = None) -> Run:
    """Keep a run from beginning, or its job from starting where that waits in the site's own queue."""
    return lab.runs.hold(caller, run, hold.reason, if_match)


@router.post("/{run}/release", responses=examples.answers(examples.RUN))
def release_run(lab: TheLab, caller: TheCaller, run: str, if_match: IfMatch = None) -> Run:
    """Let a held run go. A hold by those who oversee the sandbox is theirs to undo."""
    return lab.runs.let_go(caller, run, if_match)


@router.post("/{run}/priority", responses=examples.answers(examples.RUN))
def prioritise_run(lab: TheLab, caller: TheCaller, run: str, priority: Priority, if_match: IfMatch = None) -> Run:
    """Change a run's turn at its site. A participant may put its own runs back; forward, authority and operators only."""
    return lab.runs.prioritise(caller, run, priority.priority, if_match)


@router.get("/{run}/why", responses=examples.answers(examples.WHY))
def why_run(lab: TheLab, caller: TheCaller, run: str) -> Why:
    """Why it stands where it stands, whose doing that is, and what happens next."""
    return lab.runs.why(caller, run)


@router.get("/{run}/receipt", responses=examples.answers(examples.RECEIPT))
def get_receipt(lab: TheLab, caller: TheCaller, run: str) -> Receipt:
    """The signed entry that says how the run ended: `livinglab verify --receipt` finds it in the dossier, or says that it is not there."""
    return lab.results.receipt(caller, run)


@router.get("/{run}/verdict", responses=examples.answers(examples.VERDICT))
def get_verdict(lab: TheLab, caller: TheCaller, run: str) -> VerdictView:
    """The verdict, criterion by criterion."""
    verdict, withheld = lab.results.verdict(caller, run)
    return VerdictView(verdict=verdict, values_withheld=withheld)


@router.get("/{run}/measurements", responses=examples.answers([examples.MEASUREMENT]))
def get_measurements(lab: TheLab, caller: TheCaller, run: str) -> list[Measurement]:
    """What the harness measured, for those whom the specification shows values."""
    return list(lab.results.measurements(caller, run))


@router.get("/{run}/usage", responses=examples.answers([examples.USAGE]))
def get_usage(lab: TheLab, caller: TheCaller, run: str) -> list[UsageView]:
    """What the containers of each attempt used, for those whom the specification shows it."""
    used = lab.results.usage(caller, run)
    return [UsageView.model_validate({"attempt": attempt, "role": role, "usage": figures})
            for attempt, roles in used.items() for role, figures in roles.items()]  # fmt: skip


@router.get("/{run}/replay", responses=examples.answers(examples.REPLAY))
def get_replay(lab: TheLab, caller: TheCaller, run: str) -> Replay:
    """The worst moments of a driven run, step by step, for those whom the specification shows plots."""
    return lab.results.replay(caller, run)


@router.get("/{run}/documents", responses=examples.answers([examples.DOCUMENT]))
def list_documents(lab: TheLab, caller: TheCaller, run: str) -> list[DocumentView]:
    """What the newest attempt left, by digest, as far as the sandbox's disclosure goes."""
    return [DocumentView(name=d.name, digest=d.digest, size=d.size, readable=readable) for d, readable in lab.results.documents(caller, run)]


@router.get("/{run}/documents/{name:path}", response_class=FileResponse,
            responses=examples.answers_with(examples.BYTES, {"application/octet-stream": "the document's bytes"}))  # fmt: skip
def get_document(lab: TheLab, caller: TheCaller, run: str, name: str) -> FileResponse:
    """A document's bytes, for those whom the specification shows them. Served as bytes to be saved, whatever a pilot wrote."""
    document, path = lab.results.content(caller, run, name)
    headers = {"Digest": document.digest, "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return FileResponse(path, media_type="application/octet-stream", filename=name.rpartition("/")[2], headers=headers)


@router.get("/{run}/logs", response_class=Response, responses=examples.answers_with(examples.BYTES, {"text/plain": examples.LOG}))
def get_log(lab: TheLab, caller: TheCaller, run: str, role: Annotated[str, Query(pattern="^(prepare|pilot|decode|measure)$")] = "pilot",
            offset: Annotated[int, Query(ge=0)] = 0) -> Response:  # fmt: skip
    """Log bytes from `offset` on; `X-Next-Offset` says where to go on. Served as plain text, whatever a pilot wrote."""
    data = lab.results.log(caller, run, role, offset, LOG_PAGE)
    headers = {"X-Next-Offset": str(offset + len(data)), "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/{run}/events", response_class=StreamingResponse,
            responses=examples.answers_with({"type": "string"}, {"text/event-stream": examples.EVENT}))  # fmt: skip
def follow_events(lab: TheLab, door: TheDoor, caller: TheCaller, again: AskAgain, *, run: str, request: Request,
                  after: Annotated[int, Query(ge=0)] = 0,
                  last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0)] = None) -> StreamingResponse:  # fmt: skip
    """What happens, as server-sent events, from `Last-Event-ID` on, until the run's end; or until `access-ended`: the token holds no more."""
    lab.runs.get(caller, run)  # a 404 is answered before the stream begins
    door.streams.check(caller.token)
    follower = Follower(lab, caller, again, run, last_event_id or after, door.streams)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(follower.events(request), media_type="text/event-stream", headers=headers)
