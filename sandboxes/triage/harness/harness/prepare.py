"""Prepare: the inputs of one run. Requests that are drawn afresh from templates that no pilot has seen, and copies without one word each.

A copy shows whether a word that an explanation names is one that the answer hangs on: without it, confidence should fall more than
without the others.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.catalogue import EXPLANATIONS, LANGUAGES, MOST_WORDS, SERVICES
from harness.grammar import NONE, read
from harness.writing import HIDDEN, TWIN, Table, draw
from livinglab.measuring import tables
from livinglab.measuring.resampling import generator

TWINS_EACH = 1250
"""Requests of the twin cohort in each language."""
PROBED = {HIDDEN: 0, TWIN: 200}
"""Requests of a cohort of which there are copies, one for each word."""


def run(context: dict[str, Any], root: Path) -> None:
    """Hidden and participant's data → out/inputs (what the pilot gets) and out/key (what only `measure` gets)."""
    train, hidden = (tables.read(root / path) for path in ("participant/train.parquet", "hidden/reference.parquet"))
    split = json.loads((root / "hidden" / "split.json").read_text())
    rng = generator(context["seed"], "requests")
    cases = requests(hidden, split[TWIN], rng)
    copies = shortened(cases, rng)
    n = len(cases["id"])
    fresh = np.array([f"r{number:010d}" for number in rng.choice(10**10, n + len(copies["text"]), replace=False)])
    order = rng.permutation(len(fresh))
    inputs = {"id": fresh[order], "text": np.concatenate([cases["text"], copies["text"]])[order]}
    kept = {"id": fresh[n:], "of": fresh[:n][copies["of"]], "word": copies["word"]}
    for folder in ("inputs", "key"):
        (root / "out" / folder).mkdir()
    tables.write(inputs, root / "out" / "inputs" / "cohort.parquet")
    tables.write(train, root / "out" / "inputs" / "train.parquet")
    (root / "out" / "inputs" / "task.json").write_text(json.dumps(task(), ensure_ascii=False))
    tables.write({**cases, "id": fresh[:n]}, root / "out" / "key" / "key.parquet")
    tables.write(kept, root / "out" / "key" / "copies.parquet")


def task() -> dict[str, Any]:
    """What the pilot is told."""
    return {
        "languages": LANGUAGES, "services": SERVICES, "out_of_scope": NONE, "explanations": EXPLANATIONS, "most_words": MOST_WORDS,
        "words": "what stands between spaces, counted from 0",
        "explanation": "a code of `explanations`, a colon, and the places of the deciding words with commas between: WORDS:3,7",
    }  # fmt: skip


def requests(hidden: Table, templates: dict[str, list[int]], rng: np.random.Generator) -> Table:
    """The hidden part, and the twin cohort of this run."""
    twins = draw(read(), templates, TWINS_EACH, rng)
    cases = {name: np.concatenate([part[name] for part in (hidden, twins)]) for name in twins}
    cases["cohort"] = np.repeat([HIDDEN, TWIN], [len(hidden["text"]), len(twins["text"])])
    cases["id"] = np.array([f"case-{number}" for number in range(len(cases["text"]))])
    return cases


def shortened(cases: Table, rng: np.random.Generator) -> Table:
    """Copies: text without one word, `of` (row of the case) and `word` (the place of what is left out). Only of what a service is asked for."""
    found: dict[str, list[Any]] = {"text": [], "of": [], "word": []}
    for cohort, number in PROBED.items():
        pool = np.flatnonzero((cases["cohort"] == cohort) & (cases["kind"] == "scope"))
        for row in rng.choice(pool, number, replace=False):
            words = str(cases["text"][row]).split(" ")
            for place in range(len(words)):
                found["text"].append(" ".join(words[:place] + words[place + 1 :]))
                found["of"].append(int(row))
                found["word"].append(place)
    return {"text": np.array(found["text"], dtype=str), **{name: np.array(found[name], dtype=np.int64) for name in ("of", "word")}}
