"""Each bad pilot fails on the criterion that is there for it, and the reference pilot passes that one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livinglab.domain.verdict import Verdict
from livinglab.measuring import tables
from livinglab.measuring.slices import Table
from tests.harnesses import Prepared, placed


def of_key(run: Prepared, column: str, missing: Any) -> Any:
    """A column of the key in the order of the pilot's answers; `missing` for copies."""
    found = np.full(len(run.honest["id"]), missing)
    found[placed(run.key["id"], run.honest)] = run.key[column]
    return found


def texts(run: Prepared) -> Any:
    seen = tables.read(run.root / "inputs" / "cohort.parquet")
    return seen["text"][placed(run.honest["id"], seen)]


def seen_language(run: Prepared) -> Any:
    return run.honest["language"]


def changed(run: Prepared, inside: Any, **columns: Any) -> Table:
    """The reference pilot's answers, other ones where `inside`."""
    table = {name: column.copy() for name, column in run.honest.items()}
    for name, value in columns.items():
        table[name] = np.where(inside, value, table[name])
    return table


def everywhere(run: Prepared, **columns: Any) -> Table:
    return changed(run, np.ones(len(run.honest["id"]), dtype=bool), **columns)


def english_only(run: Prepared) -> Table:
    """It knows no other language, and takes the first service that comes to its mind there, as sure as ever."""
    other = seen_language(run) != "en"
    drawn = np.random.default_rng(1).permutation(run.honest["service"])
    return changed(run, other, service=drawn, abstain=0.0, confidence=0.95, explanation="WORDS:0")


def never_abstains(run: Prepared) -> Table:
    return changed(run, run.honest["abstain"] == 1, abstain=0.0, explanation="WORDS:0")


def always_abstains(run: Prepared) -> Table:
    return everywhere(run, abstain=1.0, explanation="UNCLEAR:")


def the_commonest(run: Prepared) -> Table:
    train = tables.read(run.root / "participant" / "train.parquet")["service"]
    names, counts = np.unique(train[train != "none"], return_counts=True)
    return everywhere(run, service=names[counts.argmax()], confidence=counts.max() / len(train), abstain=0.0, explanation="WORDS:0")


def memory(run: Prepared) -> Table:
    """Has every template and every text of the training part by heart; of the others it says the same, and is as sure."""
    train = tables.read(run.root / "participant" / "train.parquet")
    known = dict(zip(train["text"].tolist(), train["service"].tolist(), strict=True))
    looked_up = np.array([known.get(text, "civil") for text in texts(run).tolist()])
    return everywhere(run, service=np.where(looked_up == "none", "civil", looked_up), abstain=0.0, confidence=0.95, explanation="WORDS:0")


def overconfident(run: Prepared) -> Table:
    """As right as it was, sure of nearly everything, and so it answers it."""
    low = run.honest["abstain"] == 1
    table = changed(run, low, abstain=0.0, explanation="WORDS:0")
    return {**table, "confidence": 0.9 + 0.1 * run.honest["confidence"]}


def modest(run: Prepared) -> Table:
    return {**run.honest, "confidence": 0.8 * run.honest["confidence"]}


def against(run: Prepared, language: str) -> Table:
    """As good as ever, but four requests in five that look as if they were in this language are left for later."""
    later = (seen_language(run) == language) & (np.random.default_rng(2).random(len(run.honest["id"])) < 0.8)
    return changed(run, later, abstain=1.0, explanation="UNCLEAR:")


def against_luxembourgish(run: Prepared) -> Table:
    return against(run, "lb")


def against_french(run: Prepared) -> Table:
    return against(run, "fr")


def against_german(run: Prepared) -> Table:
    return against(run, "de")


def spelt_by_the_book(run: Prepared) -> Table:
    """Mixed languages and typing errors are left to a person."""
    odd = of_key(run, "mixed", missing=False) | of_key(run, "typos", missing=False)
    return changed(run, odd, abstain=1.0, explanation="UNCLEAR:")


def formal_letters_only(run: Prepared) -> Table:
    return changed(run, of_key(run, "register", "chatty   ") == "chatty", abstain=1.0, explanation="UNCLEAR:")


def lost_in_chats(run: Prepared) -> Table:
    """Right as ever, but where people write as they speak."""
    lost = (of_key(run, "register", "chatty   ") == "chatty") & (np.random.default_rng(4).random(len(run.honest["id"])) < 0.4)
    return changed(run, lost, service="waste")


def lost_between_languages(run: Prepared) -> Table:
    odd = of_key(run, "mixed", missing=False) | of_key(run, "typos", missing=False)
    return changed(run, odd & (np.random.default_rng(5).random(len(odd)) < 0.4), service="waste")


def in_french_whoever_asks(run: Prepared) -> Table:
    return everywhere(run, language="fr")


def in_german_whoever_asks(run: Prepared) -> Table:
    return everywhere(run, language="de")


def french_where_it_looks_french(run: Prepared) -> Table:
    """One French word, and the whole is taken for French."""
    return changed(run, of_key(run, "mixed", missing=False), language="fr")


def one_explanation(run: Prepared) -> Table:
    """The first word, whatever it is: mostly a greeting."""
    return changed(run, run.honest["abstain"] == 0, explanation="WORDS:0")


def drawn_words(run: Prepared) -> Table:
    rng = np.random.default_rng(3)
    said = [f"WORDS:{rng.integers(len(text.split(' ')))}" for text in texts(run).tolist()]
    return changed(run, run.honest["abstain"] == 0, explanation=np.array(said))


def no_explanation(run: Prepared) -> Table:
    return everywhere(run, explanation="")


def words_that_are_not_there(run: Prepared) -> Table:
    return changed(run, run.honest["abstain"] == 0, explanation="WORDS:9999")


def an_answer_for_an_abstention(run: Prepared) -> Table:
    return changed(run, run.honest["abstain"] == 1, explanation="WORDS:0")


def knows_the_answers(run: Prepared) -> Table:
    """The key has leaked: it is right where nobody can know."""
    truth = of_key(run, "service", "none     ")
    return changed(run, np.isin(truth, np.unique(run.honest["service"])), service=truth)


def less_sure_when_right(run: Prepared) -> Table:
    return {**run.honest, "confidence": 1 - run.honest["confidence"]}


LANGUAGES = ("lb", "fr", "de", "en")
OTHERS = ("lb", "fr", "de")
Model = Callable[[Prepared], Table]
BAD: list[tuple[Model, tuple[str, ...]]] = [
    (english_only, ("wrong-answers", "wrong-answers-fresh", *(f"wrong-answers-{name}{part}" for name in OTHERS for part in ("", "-fresh")),
                    *(f"outside-{name}-fresh" for name in OTHERS), *(f"confidence-{name}-fresh" for name in OTHERS), "services", "services-fresh",
                    "wrong-answers-lb-mixed", *(f"wrong-answers-{name}-chatty" for name in OTHERS))),
    (never_abstains, ("outside", *(f"outside-{name}-fresh" for name in LANGUAGES), "wrong-answers", "wrong-answers-fresh",
                      *(f"wrong-answers-{name}-fresh" for name in LANGUAGES), "wrong-answers-en")),
    (always_abstains, ("coverage", *(f"coverage-{name}-fresh" for name in LANGUAGES), *(f"coverage-{name}-chatty" for name in LANGUAGES),
                       "coverage-mixed", "coverage-typos", "wrong-answers", "faithful-fresh")),
    (the_commonest, ("services", "services-fresh", "wrong-answers-fresh", "outside", "ordering-fresh")),
    (memory, ("services-fresh", "wrong-answers-fresh", "confidence-fresh", "outside")),
    (overconfident, ("confidence", "confidence-fresh", *(f"confidence-{name}-fresh" for name in LANGUAGES), "confidence-bands-fresh")),
    (modest, ("confidence", "confidence-fresh")),
    (against_luxembourgish, ("lb-less-fr", "lb-less-de", "lb-less-en", "coverage-lb-fresh", "coverage-lb-chatty")),
    (against_french, ("fr-less-de", "fr-less-en", "lb-less-fr", "coverage-fr-fresh", "coverage-fr-chatty")),
    (against_german, ("de-less-en", "lb-less-de", "fr-less-de", "coverage-de-fresh", "coverage-de-chatty")),
    (spelt_by_the_book, ("coverage-mixed", "coverage-typos")),
    (formal_letters_only, tuple(f"coverage-{name}-chatty" for name in LANGUAGES)),
    (lost_in_chats, tuple(f"wrong-answers-{name}-chatty" for name in LANGUAGES)),
    (lost_between_languages, ("wrong-answers-mixed", "wrong-answers-typos", "wrong-answers-lb-mixed")),
    (in_french_whoever_asks, ("language-lb", "language-de", "language-en", "language-lb-mixed")),
    (in_german_whoever_asks, ("language-fr",)),
    (french_where_it_looks_french, ("language-lb", "language-lb-mixed")),
    (one_explanation, ("faithful-fresh",)),
    (drawn_words, ("faithful-fresh",)),
    (no_explanation, ("explained", "explained-fresh", "faithful-fresh")),
    (words_that_are_not_there, ("explained", "explained-fresh", "faithful-fresh")),
    (an_answer_for_an_abstention, ("explained", "explained-fresh")),
    (knows_the_answers, ("plausibility", "plausibility-fresh")),
    (less_sure_when_right, ("ordering-fresh", "confidence-fresh")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "fails"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_pilot_fails_where_it_should(prepared: Prepared, honest_verdicts: Any, model: Model, fails: tuple[str, ...]) -> None:
    found = prepared.judge(model(prepared), *fails)
    assert {name: result.verdict for name, result in found.items()} == dict.fromkeys(fails, Verdict.FAIL)
    for name in fails:
        assert honest_verdicts[name].verdict is Verdict.PASS, name


def test_every_criterion_has_a_bad_pilot_that_fails_it(spec: Any) -> None:
    covered = {name for _, fails in BAD for name in fails} | {"completeness", "completeness-fresh"}
    assert {criterion.id for criterion in spec.criteria} == covered


def broken(how: str, honest: Table, row: int) -> Table:
    table = {name: column.copy() for name, column in honest.items()}
    if how == "missing":
        return {name: np.delete(column, row) for name, column in table.items()}
    if how == "duplicate":
        table["id"][row] = table["id"][(row + 1) % len(table["id"])]
    elif how == "unknown service":
        table["service"][row] = "police"
    elif how == "unknown language":
        table["language"][row] = "xx"
    elif how == "half an abstention":
        table["abstain"][row] = 0.5
    else:
        table["confidence"][row] = {"nan": np.nan, "infinite": np.inf, "above one": 1.01}[how]
    return table


@pytest.mark.parametrize("cohort", ["hidden", "twin"])
@pytest.mark.parametrize("how", ["missing", "duplicate", "unknown service", "unknown language", "half an abstention", "nan", "infinite", "above one"])
def test_a_broken_answer_fails_on_completeness_and_leaves_the_rest_undefined(prepared: Prepared, how: str, cohort: str) -> None:
    case = prepared.key["id"][prepared.key["cohort"] == cohort][7:8]
    names = {"hidden": ("completeness", "wrong-answers"), "twin": ("completeness-fresh", "wrong-answers-fresh")}[cohort]
    found = prepared.judge(broken(how, prepared.honest, int(placed(case, prepared.honest)[0])), *names)
    assert {result.verdict for result in found.values()} == {Verdict.FAIL}


def test_a_copy_without_an_answer_fails_on_completeness_too(prepared: Prepared) -> None:
    copy = tables.read(prepared.root / "key" / "copies.parquet")["id"][:1]
    found = prepared.judge(broken("missing", prepared.honest, int(placed(copy, prepared.honest)[0])), "completeness", "completeness-fresh")
    assert {name: result.verdict for name, result in found.items()} == {"completeness": Verdict.PASS, "completeness-fresh": Verdict.FAIL}


def test_an_empty_table_passes_nothing(prepared: Prepared) -> None:
    found = prepared.judge({name: column[:0] for name, column in prepared.honest.items()})
    assert {result.verdict for result in found.values()} == {Verdict.FAIL}


def test_the_reference_pilot_fails_no_gate(honest_verdicts: Any) -> None:
    failed = {name for name, result in honest_verdicts.items() if result.verdict is Verdict.FAIL and result.severity == "gate"}
    assert not failed
