"""The grammar behind the requests: what citizens want, in four languages, and how they write it. Read from `phrases/*.txt`.

The same sections stand in each language, in the same order, and the phrases of a topic say the same at the same place.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.catalogue import LANGUAGES, SERVICES

OPEN, NONE = "open", "none"
"""Kinds of topics beside those of one service: what two services could be responsible for, and what none is."""
REGISTERS = ("formal", "plain", "chatty")
_FOLDER = Path(__file__).resolve().parent / "phrases"


@dataclass(frozen=True)
class Topic:
    """What a request may be about. `services` has one code, two where it is open, none where it is out of scope."""

    name: str
    services: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]
    """Language → phrases, each with its mark: `+` completes a wish, `-` stands alone."""

    @property
    def kind(self) -> str:
        """`scope`, `open` or `none`."""
        return ("none", "scope", "open")[len(self.services)]


@dataclass(frozen=True)
class Grammar:
    """All topics by name, and for each language what is around a phrase: (`wish`, register) → lines."""

    topics: dict[str, Topic]
    around: dict[str, dict[tuple[str, str], tuple[str, ...]]]


@cache
def read() -> Grammar:
    """The grammar.

    Raises:
        ValueError: the languages do not have the same sections, or a section names an unknown service.
    """
    sections = {language: _sections((_FOLDER / f"{language}.txt").read_text(encoding="utf-8")) for language in LANGUAGES}
    names = [name for name, lines in sections[LANGUAGES[0]].items() if lines[0][0] in "+-"]
    for language, found in sections.items():
        if [(name, len(lines)) for name, lines in found.items()] != [(name, len(lines)) for name, lines in sections[LANGUAGES[0]].items()]:
            raise ValueError(f"{language}.txt does not have the sections of {LANGUAGES[0]}.txt, in number and order of lines.")
    topics = {name: Topic(name, _services(name), {language: tuple(sections[language][name]) for language in LANGUAGES}) for name in names}
    around = {language: {_around(name): tuple(lines) for name, lines in found.items() if name not in topics} for language, found in sections.items()}
    return Grammar(topics, around)


def _sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = []
        elif line and not line.startswith("#"):
            found[name].append(line)
    return found


def _services(name: str) -> tuple[str, ...]:
    kind = name.partition("/")[0]
    codes = () if kind == NONE else tuple(kind.removeprefix(f"{OPEN}:").split(","))
    if unknown := set(codes) - SERVICES.keys():
        raise ValueError(f"the section [{name}] is of {', '.join(sorted(unknown))}; the services are {', '.join(SERVICES)}.")
    return codes


def _around(name: str) -> tuple[str, str]:
    part, _, register = name.partition("/")
    return part, register
