"""Tags of what was shown: whoever changes a thing may say which version of it was seen, and nothing is changed that nobody saw (RFC 9110, 13.1.1)."""

from pydantic import BaseModel

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Changed


def tag_of(document: BaseModel) -> str:
    """The strong entity tag of a document: the same content, the same tag."""
    return f'"{digest_of(document).removeprefix("sha256:")[:32]}"'


def names(tags: str, tag: str) -> bool:
    """Is that tag among those of a header? `*` is any. A weak tag is none of them: it says that something is alike, not the same."""
    return tags.strip() == "*" or tag in (one.strip() for one in tags.split(","))


def require(if_match: str | None, document: BaseModel, what: str) -> None:
    """In the transaction that changes it: `Changed` unless it is as whoever asks has seen it (None: who asks did not say)."""
    if if_match is not None and not names(if_match, tag_of(document)):
        msg = f"{what} is not as it was seen: it has the tag {tag_of(document)} now."
        raise Changed(msg, hint="Look at it again, and decide anew.")
