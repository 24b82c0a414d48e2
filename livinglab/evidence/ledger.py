"""The hash chain: each entry names the one before it and the digest of its body, and its own digest covers its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from livinglab.domain.canonical import canonical, parse_json, sha256

GENESIS = "sha256:" + "0" * 64
"""What the first entry of a chain names as the one before it."""

FIELDS = {"v", "chain", "sequence", "previous", "kind", "media_type", "body", "run", "attempt", "at"}


@dataclass(frozen=True)
class Entry:
    """An entry: the bytes that are digested, their digest, and the body that they name."""

    data: bytes
    digest: str
    body: bytes

    @property
    def header(self) -> dict[str, Any]:
        """The entry's fields. `ValueError` if the bytes are no entry."""
        document = parse_json(self.data)
        if not isinstance(document, dict) or set(document) != FIELDS:
            msg = f"an entry has the fields {', '.join(sorted(FIELDS))}"
            raise ValueError(msg)
        return document


def make_entry(*, chain: str, sequence: int, previous: str, kind: str, media_type: str, body: bytes, run: str | None, attempt: str | None,
               at: datetime) -> Entry:  # fmt: skip
    """The next entry of a chain."""
    data = canonical({
        "v": 1, "chain": chain, "sequence": sequence, "previous": previous, "kind": kind, "media_type": media_type, "body": sha256(body),
        "run": run, "attempt": attempt, "at": at.isoformat(),
    })  # fmt: skip
    return Entry(data=data, digest=sha256(data), body=body)


@dataclass(frozen=True)
class Problem:
    """Something that does not hold, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


def printable(text: str) -> str:
    """For a terminal: what a stranger wrote neither moves the cursor nor turns the line around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_chain(entries: Sequence[Entry], chain: str) -> list[Problem]:
    """Everything that is wrong with a chain, by entry; empty when it holds from its first entry to its last."""
    problems: list[Problem] = []
    previous = GENESIS
    for index, entry in enumerate(entries):
        where = f"ledger entry {index}"
        if sha256(entry.data) != entry.digest:
            problems.append(Problem(where, "its bytes do not have the digest it is filed under"))
        try:
            header = entry.header
        except (ValueError, RecursionError) as error:
            problems.append(Problem(where, f"not an entry ({error})"))
            previous = sha256(entry.data)
            continue
        if header["v"] != 1:
            problems.append(Problem(where, f"it is of version {header['v']!r}, which means nothing yet"))
        if header["sequence"] != index:
            problems.append(Problem(where, f"it says that it is number {header['sequence']}: an entry is missing, added or out of order"))
        if header["previous"] != previous:
            problems.append(Problem(where, "it does not follow the entry before it"))
        if header["chain"] != chain:
            problems.append(Problem(where, f"it belongs to the chain {header['chain']!r}, not {chain!r}"))
        if sha256(entry.body) != header["body"]:
            problems.append(Problem(where, "its body is not the one that it names"))
        previous = sha256(entry.data)
    return problems
