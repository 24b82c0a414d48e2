"""ETags: what was shown is not sent again, and what was seen is what is changed."""

from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from pydantic import BaseModel

from livinglab.services.tags import names, tag_of

_EXAMPLE = '"9f86d081884c7d659a2feaa0c55ad015"'
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=1_000, examples=[_EXAMPLE],
                                       description="Only if it is still as it was seen under this ETag; 412 otherwise.")]  # fmt: skip
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=1_000, examples=[_EXAMPLE],
                                           description="Only if it is not any more as it was seen under this ETag; 304 otherwise.")]  # fmt: skip


class NotModifiedError(Exception):
    """It is as the caller has it."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


def show(response: Response, document: BaseModel, if_none_match: str | None) -> None:
    """Give the answer its ETag; `NotModifiedError` where the caller has it already."""
    tag = tag_of(document)
    if if_none_match is not None and names(if_none_match, tag):
        raise NotModifiedError(tag)
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "private, no-cache"


def install(app: FastAPI) -> None:
    """Answer with 304 where nothing has changed."""

    @app.exception_handler(NotModifiedError)
    def not_modified(_request: Request, error: NotModifiedError) -> Response:
        return Response(status_code=304, headers={"ETag": error.tag, "Cache-Control": "private, no-cache"})
