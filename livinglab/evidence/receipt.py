"""Receipts: the entry that says how a run ended, in the hands of whoever asked for it. A chain without it was cut off or rewritten."""

from collections.abc import Iterator, Sequence

from pydantic import Field, ValidationError

from livinglab.domain.model import Frozen
from livinglab.domain.run import RunState
from livinglab.domain.verdict import Verdict
from livinglab.evidence.ledger import Entry, Problem


class Receipt(Frozen):
    """What a run left in its plan's chain, byte for byte: the newest entry about it, once it is over."""

    run: str
    plan: str
    ordinal: int = Field(ge=1)
    state: RunState
    verdict: Verdict | None
    counts: bool
    """Is it one of the plan's measured runs?"""
    sequence: int = Field(ge=0)
    """The entry's place in the chain."""
    digest: str
    entry: str = Field(max_length=1 << 16)
    body: str = Field(max_length=1 << 20)
    """What the entry names: the outcome in an envelope that the lab signed (or, of a run that was never begun, its cancellation)."""


def check_receipt(data: bytes, entries: Sequence[Entry]) -> Iterator[Problem]:
    """What is wrong with a chain for somebody who holds this receipt."""
    try:
        receipt = Receipt.model_validate_json(data)
    except ValidationError as error:
        yield Problem("receipt", f"it is none ({error.errors()[0]['msg']})")
        return
    where = f"receipt of {receipt.run}"
    if receipt.sequence >= len(entries):
        yield Problem(where, f"the lab gave entry {receipt.sequence} of the chain, which ends before it: entries were cut off")
        return
    held = entries[receipt.sequence]
    if (held.data, held.body) != (receipt.entry.encode(), receipt.body.encode()):
        yield Problem(where, f"entry {receipt.sequence} of the chain is not the one that the lab gave")
