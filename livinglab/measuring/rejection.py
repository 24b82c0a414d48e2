"""Rejecting what a stranger sent: one sentence for its author, bounded and printable whatever the stranger wrote."""

_MAX_SENTENCE = 400


class Rejected(Exception):
    """It cannot be used; the message is a sentence for its author. What is quoted in it is a stranger's, so it is bounded and printable."""

    def __init__(self, sentence: str) -> None:
        printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in sentence[: _MAX_SENTENCE + 1])
        super().__init__(printable if len(printable) <= _MAX_SENTENCE else printable[: _MAX_SENTENCE - 1] + "…")
