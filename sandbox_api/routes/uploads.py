"""Images in parts, for those that are large and ways that are cut."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response

from livinglab.domain.access import Upload
from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import ImageView, UploadBegin, UploadView
from sandbox_api.streaming import chunks_of

router = APIRouter(prefix="/uploads", tags=["images"])


def _view(upload: Upload, offset: int, response: Response) -> UploadView:
    response.headers["Upload-Offset"] = str(offset)
    return UploadView(id=upload.id, size=upload.size, digest=upload.digest, offset=offset)


@router.post("", status_code=201, responses=examples.answers(examples.UPLOAD, 201))
def begin_upload(lab: TheLab, caller: TheCaller, begin: UploadBegin, response: Response) -> UploadView:
    """Begin to upload an image's archive, or go on with the one that was begun before: `offset` says where."""
    upload, offset = lab.uploads.begin(caller, begin.size, begin.digest)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return _view(upload, offset, response)


@router.get("/{upload}", responses=examples.answers(examples.UPLOAD))
def get_upload(lab: TheLab, caller: TheCaller, upload: str, response: Response) -> UploadView:
    """How much of it is there."""
    return _view(*lab.uploads.get(caller, upload), response)


@router.patch("/{upload}", responses=examples.answers(examples.UPLOAD), openapi_extra=examples.takes(
    "application/partial-upload", examples.BYTES, "the archive's bytes from `Upload-Offset` on"))  # fmt: skip
async def append_to_upload(lab: TheLab, caller: TheCaller, upload: str, request: Request, response: Response,
                           upload_offset: Annotated[int, Header(alias="Upload-Offset", ge=0)]) -> UploadView:  # fmt: skip
    """Send what follows, from the byte that `Upload-Offset` names: as much as one likes. What came before a connection broke is kept."""
    return _view(*await run_sync(lambda: lab.uploads.append(caller, upload, upload_offset, chunks_of(request))), response)


@router.post("/{upload}/image", status_code=201, responses=examples.answers(examples.IMAGE, 201))
def finish_upload(lab: TheLab, caller: TheCaller, upload: str) -> ImageView:
    """Take the image in, once all of it is there and is what was announced; the answer has the digest by which it is known from then on."""
    image = lab.uploads.finish(caller, upload)
    return ImageView(digest=image.digest, size=image.size)


@router.delete("/{upload}", status_code=204)
def give_up_upload(lab: TheLab, caller: TheCaller, upload: str) -> None:
    """Forget it."""
    lab.uploads.give_up(caller, upload)
