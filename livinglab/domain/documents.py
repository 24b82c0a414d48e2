"""Documents that a sandbox demands of a pilot: what may be one, and what a plan freezes of it. Their contents are a stranger's."""

import re
from enum import StrEnum

from pydantic import Field

from livinglab.domain.canonical import Digest, parse_json
from livinglab.domain.errors import Invalid, TooLarge
from livinglab.domain.model import Frozen, Slug

MOST_BYTES = 16 << 20
"""The most that any specification may let a document have."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class MediaType(StrEnum):
    """What a document may be."""

    MARKDOWN = "text/markdown"
    PDF = "application/pdf"
    TEXT = "text/plain"
    JSON = "application/json"

    @property
    def suffix(self) -> str:
        """How the name of a file with such contents ends."""
        return {MediaType.MARKDOWN: "md", MediaType.PDF: "pdf", MediaType.TEXT: "txt", MediaType.JSON: "json"}[self]


class RequiredDocument(Frozen):
    """A document without which no plan is proposed."""

    name: Slug
    title: str = Field(min_length=3, max_length=200)
    must_hold: str = Field(min_length=10, max_length=2_000)
    """What it must hold, in a sentence. People judge that; the lab checks that it is there, and that it is what both sides signed."""
    media_types: tuple[MediaType, ...] = Field(min_length=1)
    max_bytes: int = Field(default=4 << 20, ge=1, le=MOST_BYTES)

    def check_kind(self, media_type: str, size: int = 0) -> MediaType:
        """The media type, if this document may have it, and that many bytes.

        Raises:
            Invalid: it may not; `TooLarge` where it is the size.
        """
        if media_type not in self.media_types:
            msg = f"it is {media_type or 'of no media type'}, and must be {' or '.join(self.media_types)}."
            raise Invalid(msg, where=self.name)
        if size > self.max_bytes:
            msg = f"it has {size} bytes, and may have {self.max_bytes}."
            raise TooLarge(msg, where=self.name)
        return MediaType(media_type)


class FrozenDocument(Frozen):
    """What a plan says of a document: these bytes and no others."""

    name: Slug
    media_type: MediaType
    digest: Digest

    @property
    def file(self) -> str:
        """The name of a file that holds it."""
        return f"{self.name}.{self.media_type.suffix}"


def check_content(data: bytes, media_type: MediaType, where: str) -> None:
    """`Invalid` unless the bytes are what the media type says. That a PDF begins as one is all that is looked at: nothing here renders it."""
    problem = "it is empty." if not data else _CHECKS[media_type](data)
    if problem:
        raise Invalid(problem, where=where)


def _pdf(data: bytes) -> str | None:
    return None if data.startswith(b"%PDF-") else "it does not begin as a PDF does (%PDF-)."


def _text(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"it is not UTF-8: byte {error.start} begins no character."
    found = _CONTROL.search(text)
    return f"it has the control character U+{ord(found.group()):04X} at character {found.start()}." if found else None


def _json(data: bytes) -> str | None:
    try:
        parse_json(data)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}."
    return None


_CHECKS = {MediaType.MARKDOWN: _text, MediaType.TEXT: _text, MediaType.PDF: _pdf, MediaType.JSON: _json}
