"""Requests that nobody wrote: drawn from the grammar, with their service known because the topic is.

A template is a phrase of a topic in a language. Templates are split once, by the committed secret, into those of the training
part, those of the hidden part and those of the twin cohorts; some topics that belong to no service are left out of training.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.catalogue import LANGUAGES
from harness.grammar import NONE, OPEN, REGISTERS, Grammar, Topic
from harness.noise import mistyped, respelt

Table = dict[str, np.ndarray[Any, Any]]
Split = dict[str, dict[str, list[int]]]
"""Part → topic → places of its phrases."""

TRAIN, HIDDEN, TWIN = "train", "hidden", "twin"
KINDS = {"scope": 0.72, OPEN: 0.08, NONE: 0.20}
"""Shares of requests that one service, either of two, and none is responsible for."""
FIRST = 0.6
"""Of an open topic: how often it is the first service. Nobody can know better, so nobody is right more often."""
UNSEEN = 4
"""Topics without a service of which the training part knows nothing."""
MIXED, RESPELT, MISTYPED, SLIPS = 0.25, 0.25, 0.25, 0.2
"""How often a request mixes languages, is spelt otherwise, has typing errors; and in which share of its longer words."""
_QUESTION, _DETAIL, _GREETING, _LOWER = 0.7, 0.3, 0.75, 0.6
_MARKED = re.compile(r"\{([^{}|]*)\|([^{}]*)\}")


def split(grammar: Grammar, rng: np.random.Generator) -> Split:
    """Three phrases of five to training, one to the hidden part, one to the twins; the same places in all languages."""
    parts: Split = {TRAIN: {}, HIDDEN: {}, TWIN: {}}
    outside = [name for name, topic in grammar.topics.items() if topic.kind == NONE]
    unseen = {outside[int(place)] for place in rng.permutation(len(outside))[:UNSEEN]}
    for name, topic in grammar.topics.items():
        order = [int(place) for place in rng.permutation(len(topic.phrases[LANGUAGES[0]]))]
        cuts = (0, 0, 2) if name in unseen else (0, 3, 4)
        for part, start, end in zip(parts, cuts, (*cuts[1:], len(order)), strict=True):
            if order[start:end]:
                parts[part][name] = order[start:end]
    return parts


def draw(grammar: Grammar, part: Mapping[str, Sequence[int]], each: int, rng: np.random.Generator) -> Table:
    """`each` requests in each language from the templates of a part, in any order.

    Columns: text, language, service (`none` out of scope), kind, template, register, mixed, typos.
    """
    by_kind = {kind: [grammar.topics[name] for name in part if grammar.topics[name].kind == kind] for kind in KINDS}
    rows = []
    for language in LANGUAGES:
        for kind in rng.choice(list(KINDS), each, p=list(KINDS.values())):
            topic = by_kind[str(kind)][int(rng.integers(len(by_kind[str(kind)])))]
            rows.append(_request(grammar, topic, int(rng.choice(part[topic.name])), language, rng))
    order = rng.permutation(len(rows))
    return {name: np.array([rows[int(place)][name] for place in order]) for name in rows[0]}


def _request(grammar: Grammar, topic: Topic, place: int, language: str, rng: np.random.Generator) -> dict[str, Any]:
    register = REGISTERS[int(rng.integers(len(REGISTERS)))]
    mixed, mistypes = bool(rng.random() < MIXED), bool(rng.random() < MISTYPED)
    text = _text(grammar, topic.phrases[language][place], language, register, rng, mixed=mixed)
    if rng.random() < RESPELT:
        text = respelt(text, language, rng)
    if mistypes:
        text = mistyped(text, SLIPS, rng)
    service = topic.services[int(len(topic.services) > 1 and rng.random() >= FIRST)] if topic.services else NONE
    return {
        "text": text, "language": language, "service": service, "kind": topic.kind, "template": f"{language}:{topic.name}:{place}",
        "register": register, "mixed": mixed, "typos": mistypes,
    }  # fmt: skip


def _text(grammar: Grammar, phrase: str, language: str, register: str, rng: np.random.Generator, *, mixed: bool) -> str:
    """Greeting, phrase, perhaps a detail, closing; where languages mix, a term or the politeness is in another one."""
    around = grammar.around[language]

    def one(part: str, of: str = register) -> str:
        lines = around[part, of]
        return lines[int(rng.integers(len(lines)))]

    mark, said = phrase[0], _MARKED.sub(r"\2" if mixed else r"\1", phrase[2:])
    sentences = [one("wish").replace("{}", said)] if mark == "+" else [f"{said[0].upper()}{said[1:]}."]
    if mark == "-" and rng.random() < _QUESTION:
        sentences.append(one("question"))
    if rng.random() < _DETAIL:
        place, date = (one(name, "any").split("; ") for name in ("place", "date"))
        detail = one("detail", "any").replace("{place}", str(rng.choice(place))).replace("{date}", str(rng.choice(date)))
        sentences.append(detail.replace("{phone}", f"621 {rng.integers(100, 1000)} {rng.integers(100, 1000)}"))
    polite = mixed and not (_MARKED.search(phrase) and rng.random() < 0.5)  # noqa: PLR2004 - as often as not
    if polite or register == "formal" or rng.random() < _GREETING:
        sentences.insert(0, one("mixing", "greeting") if polite else one("greeting"))
        sentences.append(one("mixing", "closing") if polite else one("closing"))
    text = " ".join(sentences)
    return text.lower().rstrip(".") if register == "chatty" and rng.random() < _LOWER else text
