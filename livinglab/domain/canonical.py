"""Canonical JSON (RFC 8785) and the digests that are taken of it.

A digest covers bytes. Whoever stores a document stores the bytes that were digested; nobody re-serialises a model
to check one.
"""

import hashlib
import json
import re
from typing import Annotated, Any

import rfc8785
from pydantic import AfterValidator, BaseModel

from livinglab.domain.errors import Invalid

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _check_digest(value: str) -> str:
    if not _DIGEST.fullmatch(value):
        msg = "expected 'sha256:' and 64 lower-case hexadecimal digits"
        raise ValueError(msg)
    return value


Digest = Annotated[str, AfterValidator(_check_digest)]
"""`sha256:<64 hex digits>`."""


def canonical(document: Any) -> bytes:
    """RFC 8785 bytes of a JSON document or a pydantic model.

    Raises:
        Invalid: it holds what RFC 8785 cannot carry (NaN, an infinity, an integer of 2^53 or more).
    """
    if isinstance(document, BaseModel):
        document = document.model_dump(mode="json")
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as error:
        msg = f"not representable as canonical JSON: {error}"
        raise Invalid(msg) from error


def sha256(data: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(document: Any) -> str:
    """`sha256(canonical(document))`."""
    return sha256(canonical(document))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        msg = "a key is given twice"
        raise ValueError(msg)
    return document


def _no_number(name: str) -> float:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def parse_json(data: bytes | str) -> Any:
    """JSON, in UTF-8, in which no object names a key twice: such a one means two things at once. `ValueError` otherwise.

    Python's own reader guesses UTF-16 and UTF-32, drops a byte-order mark, and takes NaN; others would read something else, or nothing.
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_number)
