"""Sandboxes, images, keys and pilots."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Request, Response

from livinglab.domain.pilot import Pilot
from livinglab.domain.sandbox import Release
from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import After, IdempotencyKey, ImageView, KeyView, Page, PageSize, PilotSubmission, SandboxView, page_of
from sandbox_api.streaming import chunks_of

router = APIRouter()


def _sandbox(release: Release, authority: str) -> SandboxView:
    spec = release.spec
    return SandboxView(id=spec.id, version=spec.version, title=spec.title, authority=authority, release=release.digest,
                       criteria=spec.frozen_criteria().digest, document=release)  # fmt: skip


@router.post("/sandboxes", status_code=201, tags=["sandboxes"], responses=examples.answers(examples.SANDBOX, 201))
def register_sandbox(lab: TheLab, caller: TheCaller, release: dict[str, Any]) -> SandboxView:
    """Register a release of a sandbox: specification, harness image, data and commitment. For its authority."""
    return _sandbox(lab.sandboxes.register(caller, release), caller.organisation)


@router.get("/sandboxes", tags=["sandboxes"], responses=examples.answers(examples.page(examples.SANDBOX)))
def list_sandboxes(lab: TheLab, _caller: TheCaller, after: After = None, limit: PageSize = 50) -> Page[SandboxView]:
    """The newest release of every sandbox."""
    return page_of([_sandbox(*found) for found in lab.sandboxes.page(after, limit)], limit, lambda s: s.id)


@router.get("/sandboxes/{sandbox}", tags=["sandboxes"], responses=examples.answers(examples.SANDBOX))
def get_sandbox(lab: TheLab, _caller: TheCaller, sandbox: str) -> SandboxView:
    """A sandbox's newest release."""
    return _sandbox(*lab.sandboxes.get(sandbox))


@router.post("/images", status_code=201, tags=["images"], responses=examples.answers(examples.IMAGE, 201), openapi_extra=examples.takes(
    "application/x-tar", examples.BYTES, "the bytes that `docker save IMAGE` writes"))  # fmt: skip
async def upload_image(lab: TheLab, caller: TheCaller, request: Request) -> ImageView:
    """Upload an image as an archive (`docker save`), streamed; the answer has the digest by which it is known from then on."""
    image = await run_sync(lambda: lab.images.upload(caller, chunks_of(request)))
    return ImageView(digest=image.digest, size=image.size)


@router.put("/keys", tags=["keys"], responses=examples.answers(examples.KEY))
def register_key(lab: TheLab, caller: TheCaller,
                 pem: Annotated[str, Body(media_type="application/x-pem-file", max_length=4_000, examples=[examples.PEM],
                                          json_schema_extra={"format": "binary"})]) -> KeyView:  # fmt: skip
    """Register this organisation's public key (Ed25519, PEM). Its private half never leaves the organisation."""
    return KeyView.of(lab.access.register_key(caller, pem))


@router.get("/keys", tags=["keys"], responses=examples.answers([examples.KEY]))
def list_keys(lab: TheLab, caller: TheCaller) -> list[KeyView]:
    """This organisation's public keys, the revoked ones among them."""
    return [KeyView.of(key) for key in lab.access.keys(caller)]


@router.delete("/keys/{key_id}", tags=["keys"], responses=examples.answers(examples.REVOKED_KEY))
def revoke_key(lab: TheLab, caller: TheCaller, key_id: str) -> KeyView:
    """Have nothing new signed with this organisation's key, ever again. What it signed stays signed. Twice is once."""
    return KeyView.of(lab.access.revoke_key(caller, key_id))


@router.post("/pilots", status_code=201, tags=["pilots"], responses=examples.answers(examples.PILOT, 201))
def submit_pilot(lab: TheLab, caller: TheCaller, submission: PilotSubmission, response: Response, idempotency_key: IdempotencyKey = None) -> Pilot:
    """Bring a pilot into a sandbox. The same `Idempotency-Key` with the same body brings one."""
    pilot = lab.applications.submit(caller, submission.manifest, submission.image, idempotency_key)
    response.headers["Location"] = f"/v1/pilots/{pilot.id}"
    return pilot


@router.get("/pilots", tags=["pilots"], responses=examples.answers(examples.page(examples.PILOT)))
def list_pilots(lab: TheLab, caller: TheCaller, after: After = None, limit: PageSize = 50) -> Page[Pilot]:
    """The pilots that exist for this caller, newest first."""
    return page_of(lab.applications.page(caller, after, limit), limit, lambda p: p.id)


@router.get("/pilots/{pilot}", tags=["pilots"], responses=examples.answers(examples.PILOT))
def get_pilot(lab: TheLab, caller: TheCaller, pilot: str) -> Pilot:
    """A pilot."""
    return lab.applications.get(caller, pilot)
