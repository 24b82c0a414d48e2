"""How people really write: other spellings, missing accents, slips of the finger."""

import re
from itertools import pairwise

import numpy as np

SPELLINGS = {
    "lb": (("ë", "e"), ("é", "e"), ("ä", "ae"), ("ech ", "esch "), ("net", "nët"), ("fir ", "fier "), ("wéi", "wei"), ("ou", "oo"),
           ("w.e.g.", "wgl")),
    "fr": (("é", "e"), ("è", "e"), ("ê", "e"), ("à", "a"), ("ô", "o"), ("û", "u"), ("œ", "oe"), ("ç", "c"), ("qu'", "k "), ("c'est", "c")),
    "de": (("ß", "ss"), ("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("dass", "das"), ("ph", "f")),
    "en": (("n't", "nt"), ("you", "u"), ("are ", "r "), ("receive", "recieve"), ("their", "there")),
}  # fmt: skip
"""What is often written otherwise, by language: keyboards without accents, spelling by ear, shorthand."""
_NEIGHBOURS = {a: b for row in ("qwertzuiop", "asdfghjkl", "yxcvbnm") for a, b in pairwise(row)}
_SHORTEST = 4


def respelt(text: str, language: str, rng: np.random.Generator) -> str:
    """The text with two or three of its language's other spellings, throughout."""
    rules = [rule for rule in SPELLINGS[language] if rule[0] in text]
    for number in rng.permutation(len(rules))[: int(rng.integers(2, 4))]:
        text = text.replace(*rules[int(number)])
    return text


def mistyped(text: str, share: float, rng: np.random.Generator) -> str:
    """The text with slips in that share of its longer words, in one at least."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(re.sub(r"\W", "", word)) >= _SHORTEST]
    for place in rng.permutation(long)[: max(1, round(share * len(long)))].astype(int):
        words[place] = _slip(words[place], rng)
    return " ".join(words)


def _slip(word: str, rng: np.random.Generator) -> str:
    """One letter swapped with the next, left out, doubled, or replaced by its neighbour on the keyboard; never the first."""
    at, kind = int(rng.integers(1, len(word) - 1)), int(rng.integers(4))
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    letter = ("", 2 * word[at], _NEIGHBOURS.get(word[at], word[at]))[kind - 1]
    return word[:at] + letter + word[at + 1 :]
