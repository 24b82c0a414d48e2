"""Required evidence: what a pilot's participant attaches, and what others may read of it."""

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from livinglab.domain.documents import MediaType
from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import PilotDocumentView, RequiredDocumentView
from sandbox_api.streaming import chunks_of

router = APIRouter(prefix="/pilots/{pilot}/documents", tags=["pilots"])

_NEVER_RENDERED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}


@router.put("/{name}", responses=examples.answers(examples.PILOT_DOCUMENT), openapi_extra=examples.takes_any_of(examples.CONTENTS))
async def attach_document(lab: TheLab, caller: TheCaller, pilot: str, name: str, request: Request) -> PilotDocumentView:
    """Attach a document that the sandbox requires, streamed, in place of the one before, until a plan has frozen it. The same bytes twice is once."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    document = await run_sync(lambda: lab.documents.attach(caller, pilot, name, media_type, chunks_of(request)))
    return PilotDocumentView.of(document)


@router.get("", responses=examples.answers([examples.REQUIRED_DOCUMENT]))
def list_pilot_documents(lab: TheLab, caller: TheCaller, pilot: str) -> list[RequiredDocumentView]:
    """What the sandbox requires of the pilot, and what is attached, by digest."""
    return [RequiredDocumentView.of(demanded, document) for demanded, document in lab.documents.listed(caller, pilot)]


@router.get("/{name}", response_class=Response, responses=examples.answers_with(examples.BYTES, examples.CONTENTS))
def get_pilot_document(lab: TheLab, caller: TheCaller, pilot: str, name: str) -> Response:
    """A document's bytes, as they were attached: to be saved, not shown, since nobody here vouches for what they do where they are opened."""
    document, data = lab.documents.content(caller, pilot, name)
    kind = MediaType(document.media_type)
    media_type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind.value
    named = {"Content-Disposition": f'attachment; filename="{document.name}.{kind.suffix}"', "Digest": document.digest}
    return Response(data, media_type=media_type, headers={**_NEVER_RENDERED, **named})
