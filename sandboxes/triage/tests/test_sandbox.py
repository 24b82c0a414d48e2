"""The specification, the grammar, the split, what `prepare` gives to whom, and the sentences that citizens read."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.testing import assert_allclose

from livinglab.domain.pilot import PilotManifest
from livinglab.measuring import tables
from livinglab.measuring.resampling import generator
from tests.harnesses import ROOT, Prepared, load_make

SANDBOX, PILOT = ROOT / "sandboxes" / "triage", ROOT / "pilots" / "triage"
LANGUAGES = ("lb", "fr", "de", "en")


def test_specification_and_manifest_load_and_name_files_that_are_there(spec: Any) -> None:
    assert (SANDBOX / spec.data.card).is_file()
    assert spec.data.visibility == "demonstration"
    manifest = PilotManifest.model_validate(yaml.safe_load((PILOT / "pilot.yaml").read_text()))
    assert (manifest.sandbox, manifest.task) == (spec.id, spec.family.name)
    assert (PILOT / str(manifest.model_card)).is_file()
    assert manifest.resources.wall_seconds <= spec.quota.pilot_resources.wall_seconds


def test_only_the_language_of_an_answer_is_law_and_english_is_not(spec: Any) -> None:
    law = {criterion.id for criterion in spec.criteria if criterion.basis == "law"}
    assert law == {"language-lb", "language-fr", "language-de", "language-lb-mixed"}


def test_the_metrics_of_the_family_are_used_and_every_language_has_the_same_demands(spec: Any) -> None:
    assert {metric.name for metric in spec.family.metrics} == {criterion.metric for criterion in spec.criteria}
    demands = {}
    for language in LANGUAGES:
        own = [c for c in spec.criteria if c.slice in {language, f"{language}-fresh", f"{language}-chatty"} and "less" not in c.metric]
        demands[language] = sorted((c.metric, c.slice.removeprefix(language), str(c.limit), c.severity) for c in own)
    assert all(demands[language] == demands["lb"] for language in LANGUAGES)


# --- the grammar -----------------------------------------------------------------------------------------------------------


def test_the_languages_say_the_same_at_the_same_place(harness: Any) -> None:
    grammar = harness.grammar.read()
    kinds = [topic.kind for topic in grammar.topics.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"scope": 36, "open": 5, "none": 12}
    for topic in grammar.topics.values():
        assert {len(phrases) for phrases in topic.phrases.values()} == {5}
        assert len({"".join(phrase[0] for phrase in phrases) for phrases in topic.phrases.values()}) == 1, topic.name


def test_every_service_has_as_many_topics_and_no_phrase_stands_twice(harness: Any) -> None:
    topics = harness.grammar.read().topics.values()
    assert {service: sum(topic.services == (service,) for topic in topics) for service in harness.catalogue.SERVICES} == dict.fromkeys(
        harness.catalogue.SERVICES, 4
    )
    for language in LANGUAGES:
        phrases = [phrase for topic in topics for phrase in topic.phrases[language]]
        assert len(set(phrases)) == len(phrases)


def test_phrases_end_without_a_stop_and_their_marks_are_closed(harness: Any) -> None:
    for topic in harness.grammar.read().topics.values():
        for language in LANGUAGES:
            for phrase in topic.phrases[language]:
                assert re.fullmatch(r"[+-] [^.?!]*[^.?!,\s]", phrase), phrase
                assert phrase.count("{") == phrase.count("|") == phrase.count("}"), phrase


def test_a_request_mixes_languages_only_where_it_is_said_to(harness: Any) -> None:
    grammar = harness.grammar.read()
    drawn = harness.writing.draw(grammar, {name: range(5) for name in grammar.topics}, 400, generator("a", "mixed"))
    assert not any("{" in text or "|" in text for text in drawn["text"])
    assert 0.2 < drawn["mixed"].mean() < 0.3
    # Of the French ones that mix, what is mixed in is Luxembourgish: a greeting or a term.
    french = (drawn["language"] == "fr") & ~drawn["typos"]
    foreign = np.array([bool(re.search(r"moien|villmools|äddi|Gudde", text, re.IGNORECASE)) for text in drawn["text"]])
    assert not foreign[french & ~drawn["mixed"]].any()
    assert foreign[french & drawn["mixed"]].mean() > 0.5


def test_slips_change_as_many_words_as_they_should_and_never_the_first_letter(harness: Any) -> None:
    rng, text = np.random.default_rng(1), "Bonjour, comment puis-je renouveler ma carte d'identité avant les vacances ?"
    for _ in range(50):
        slipped = harness.noise.mistyped(text, 0.2, rng)
        pairs = list(zip(text.split(" "), slipped.split(" "), strict=True))
        assert sum(one != two for one, two in pairs) <= 2
        assert all(one[0] == two[0] for one, two in pairs)


def test_another_spelling_is_one_of_the_language(harness: Any) -> None:
    found = {harness.noise.respelt("Grüße aus der Straße", "de", np.random.default_rng(seed)) for seed in range(20)}
    assert found == {"Gruesse aus der Strasse"}


def test_the_truth_is_that_of_the_topic_and_open_ones_are_drawn_as_the_card_says(harness: Any) -> None:
    grammar = harness.grammar.read()
    drawn = harness.writing.draw(grammar, {name: range(5) for name in grammar.topics}, 3000, generator("a", "truth"))
    for kind, share in harness.writing.KINDS.items():
        assert_allclose((drawn["kind"] == kind).mean(), share, atol=4 * np.sqrt(0.25 / 12_000))
    sure = drawn["kind"] == "scope"
    templates = [template.split(":")[1].partition("/")[0] for template in drawn["template"][sure]]
    assert drawn["service"][sure].tolist() == templates
    assert set(drawn["service"][drawn["kind"] == "none"]) == {"none"}
    open_ = drawn["kind"] == "open"
    first = [template.split(":")[2].split(",")[0] for template in drawn["template"][open_]]
    assert_allclose((drawn["service"][open_] == first).mean(), 0.6, atol=4 * np.sqrt(0.24 / open_.sum()))


# --- the split, and who sees what ------------------------------------------------------------------------------------------


def test_no_template_is_on_two_sides_and_the_secret_decides(data: Path, tmp_path: Path) -> None:
    split = json.loads((data / "hidden" / "split.json").read_text())
    for topic in split["twin"]:
        places = [set(split[part].get(topic, [])) for part in ("train", "hidden", "twin")]
        assert sum(map(len, places)) == len(set().union(*places)) == 5
    assert len(split["twin"]) - len(split["train"]) == 4  # topics without a service that training knows nothing of
    hidden = tables.read(data / "hidden" / "reference.parquet")
    train = tables.read(data / "participant" / "train.parquet")
    assert not set(hidden["text"].tolist()) & set(train["text"].tolist())
    for name, secret in (("same", bytes(range(32))), ("other", bytes(32))):
        load_make(SANDBOX).make(tmp_path / name, secret)
    for path in ("participant/train.parquet", "hidden/reference.parquet", "hidden/split.json"):
        assert (tmp_path / "same" / path).read_bytes() == (data / path).read_bytes()
        assert (tmp_path / "other" / path).read_bytes() != (data / path).read_bytes()


def test_a_pilot_sees_text_alone_and_neither_what_is_a_copy(prepared: Prepared) -> None:
    inputs = prepared.root / "inputs"
    assert sorted(path.name for path in inputs.iterdir()) == ["cohort.parquet", "task.json", "train.parquet"]
    assert pq.read_schema(inputs / "cohort.parquet").names == ["id", "text"]
    assert pq.read_schema(inputs / "train.parquet").names == ["text", "language", "service", "template"]
    task = json.loads((inputs / "task.json").read_text())
    assert set(task) == {"languages", "services", "out_of_scope", "explanations", "most_words", "words", "explanation"}


def test_cases_and_copies_stand_mixed_under_names_that_tell_nothing(prepared: Prepared) -> None:
    cohort, copies = (tables.read(prepared.root / path) for path in ("inputs/cohort.parquet", "key/copies.parquet"))
    n = len(cohort["id"])
    assert len(np.unique(cohort["id"])) == n == len(prepared.key["id"]) + len(copies["id"])
    for inside in (np.isin(cohort["id"], copies["id"]), np.isin(cohort["id"], prepared.key["id"][prepared.key["cohort"] == "twin"])):
        place, name = np.flatnonzero(inside).mean() / n, np.argsort(np.argsort(cohort["id"]))[inside].mean() / n
        assert_allclose([place, name], 0.5, atol=5 * np.sqrt(1 / 12 / inside.sum()))


def test_a_copy_is_its_request_without_one_word_and_there_is_one_for_each(prepared: Prepared) -> None:
    cohort, copies = (tables.read(prepared.root / path) for path in ("inputs/cohort.parquet", "key/copies.parquet"))
    text = dict(zip(cohort["id"].tolist(), cohort["text"].tolist(), strict=True))
    for name, of, word in zip(copies["id"].tolist(), copies["of"].tolist(), copies["word"].tolist(), strict=True):
        words = text[of].split(" ")
        assert text[name] == " ".join(words[:word] + words[word + 1 :])
    origins, counts = np.unique(copies["of"], return_counts=True)
    assert len(origins) == 200
    assert counts.tolist() == [len(text[of].split(" ")) for of in origins.tolist()]


def test_another_seed_draws_other_requests_from_the_same_templates(harness: Any, data: Path) -> None:
    hidden = tables.read(data / "hidden" / "reference.parquet")
    templates = json.loads((data / "hidden" / "split.json").read_text())["twin"]
    drawn = [harness.prepare.requests(hidden, templates, generator(seed, "requests")) for seed in ("a", "a", "b")]
    assert (drawn[0]["text"] == drawn[1]["text"]).all()
    assert (drawn[0]["text"] != drawn[2]["text"]).any()
    assert set(drawn[2]["template"][drawn[2]["cohort"] == "twin"]).isdisjoint(hidden["template"])


# --- what citizens read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_is_short_and_its_blanks_are_those_that_are_filled(harness: Any, language: str) -> None:
    for code, texts in harness.catalogue.EXPLANATIONS.items():
        assert set(re.findall(r"\{(\w+)\}", texts[language])) == ({"service", "words"} if texts["when"] == "answered" else set())
        for service in harness.catalogue.SERVICES:
            said = harness.catalogue.render(code, language, service, ["one", "two", "three", "four", "five"])
            for sentence in re.split(r"(?<=[.?]) ", said):
                assert len(sentence.split()) <= 15, sentence


def test_what_a_pilot_writes_is_ascii_and_what_a_citizen_reads_is_not(harness: Any, prepared: Prepared) -> None:
    assert all(text.isascii() for text in prepared.honest["explanation"].tolist())
    assert not harness.catalogue.EXPLANATIONS["WORDS"]["lb"].isascii()
