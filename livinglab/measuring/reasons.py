"""Reason codes as a pilot wrote them: text by a stranger, of which only codes from the list are understood."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from livinglab.measuring.cohort import Bools, Floats, Ints

MOST = 4
"""Reasons that one rejection may have."""


@dataclass(frozen=True)
class Reasons:
    """For each case, its reasons: given (n, codes), and whether they are one to four different codes of the list and nothing else (n,)."""

    given: Bools
    valid: Bools

    @classmethod
    def parse(cls, texts: np.ndarray[Any, Any], codes: tuple[str, ...]) -> "Reasons":
        """Codes separated by `;`, blanks around them ignored."""
        place = {code: number for number, code in enumerate(codes)}
        distinct, which = np.unique(texts, return_inverse=True)
        given, valid = np.zeros((len(distinct), len(codes)), dtype=bool), np.zeros(len(distinct), dtype=bool)
        for row, text in enumerate(distinct):
            said = [part.strip() for part in str(text).split(";")] if text else []
            known = [place[part] for part in said if part in place]
            given[row, known] = True
            valid[row] = 0 < len(said) <= MOST and len(set(known)) == len(said)
        return cls(given[which], valid[which])

    def take(self, rows: Ints) -> "Reasons":
        """Those of these cases."""
        return Reasons(self.given[rows], self.valid[rows])

    @property
    def kinds(self) -> Ints:
        """For each case, the number of its set of reasons: (n,)."""
        if not len(self.given):
            return np.zeros(0, dtype=np.int64)
        packed = np.ascontiguousarray(np.packbits(self.given, axis=1))
        return np.asarray(np.unique(packed, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)

    def overlap(self, other: "Reasons") -> Floats:
        """Jaccard's index of either's reasons: (n,). Of two empty sets it is 0: nothing was explained."""
        both, either = (self.given & other.given).sum(axis=1), (self.given | other.given).sum(axis=1)
        return np.asarray(both / np.maximum(either, 1))
