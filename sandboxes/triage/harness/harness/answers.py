"""What a pilot answered, row by row: a stranger's table, of which only what the interface knows is believed."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.catalogue import ANSWERED, EXPLANATIONS, LANGUAGES, MOST_WORDS, SERVICES
from livinglab.measuring.cohort import Bools, Floats
from livinglab.measuring.slices import Table

_FORM = re.compile(r"([A-Z]{1,16}):(\d{1,4}(?:,\d{1,4})*)?")


@dataclass(frozen=True)
class Answers:
    """For each case that was asked for (n,): the service, is it answered (not abstained), the confidence, the language, the explanation's text.

    `usable`: there is exactly one row of it, and everything in it but the explanation is of the interface.
    """

    service: np.ndarray[Any, Any]
    answered: Bools
    confidence: Floats
    language: np.ndarray[Any, Any]
    explanation: np.ndarray[Any, Any]
    usable: Bools

    @classmethod
    def of(cls, ids: np.ndarray[Any, Any], table: Table) -> "Answers":
        """The answers to these ids; where there is none, or one too many, the first or an empty one, which is not usable."""
        names, first, counts = np.unique(table["id"].astype(str), return_index=True, return_counts=True)
        place = np.minimum(np.searchsorted(names, ids), max(0, len(names) - 1))
        found = names[place] == ids if len(names) else np.zeros(len(ids), dtype=bool)
        rows = first[place] if len(names) else place

        def column(name: str, missing: Any) -> np.ndarray[Any, Any]:
            return np.where(found, table[name][rows], missing) if len(names) else np.full(len(ids), missing)

        confidence, abstain = (column(name, np.nan).astype(np.float64) for name in ("confidence", "abstain"))
        service, language = (column(name, "").astype(str) for name in ("service", "language"))
        usable = found & (confidence >= 0) & (confidence <= 1) & np.isin(abstain, (0.0, 1.0))
        usable &= np.isin(service, list(SERVICES)) & np.isin(language, LANGUAGES)
        if len(names):
            usable &= counts[place] == 1
        return cls(service, abstain == 0, confidence, language, column("explanation", "").astype(str), usable)


def explained(text: str, length: int, *, answered: bool) -> tuple[str, tuple[int, ...]] | None:
    """Code and places of the words of an explanation; None where it is not one that may be given.

    Args:
        length: words of the request. An answer names one word to five, each once; an abstention need not.
    """
    match = _FORM.fullmatch(text)
    if match is None or match[1] not in EXPLANATIONS or (EXPLANATIONS[match[1]]["when"] == ANSWERED) != answered:
        return None
    places = tuple(int(number) for number in match[2].split(",")) if match[2] else ()
    fits = (not answered or places) and len(set(places)) == len(places) <= MOST_WORDS and all(place < length for place in places)
    return (match[1], places) if fits else None
