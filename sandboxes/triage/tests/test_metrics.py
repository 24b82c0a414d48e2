"""Every metric against a library or its definition written out, and bounds by how often they hold."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score

from livinglab.measuring.exact import proportion
from livinglab.measuring.slices import Table
from tests.harnesses import ROOT, load_script

SANDBOX = ROOT / "sandboxes" / "triage"


@pytest.fixture(scope="module")
def drawn(harness: Any) -> Any:
    """Three hundred requests with what became of them; some are equally sure."""
    rng = np.random.default_rng(7)
    n = 300
    scope = rng.random(n) < 0.8
    service = np.where(scope, rng.integers(0, 9, n), -1)
    confidence = np.round(rng.random(n), 2)
    right = scope & (rng.random(n) < confidence)
    return harness.abstention.Routed(scope, scope & (rng.random(n) < 0.1), service, right, confidence > 0.4, confidence, rng.random(n) < 0.9)


def twice(weights: Any, cases: Any) -> Any:
    """The cases, each as often as its weight says: what weights are to mean."""
    return cases.only(np.repeat(np.arange(len(cases)), weights.astype(int)))


def naive_aurc(cases: Any) -> float:
    """The definition: for each request, the share wrong among those at least as confident; its mean."""
    return float(np.mean([(~cases.right[cases.confidence >= sure]).mean() for sure in cases.confidence]))


def by_library(cases: Any) -> dict[str, float]:
    guess = np.where(cases.right, cases.service, (cases.service + 1) % 9)
    inside, said = cases.scope, cases.answered
    return {
        "balanced_accuracy": balanced_accuracy_score(cases.service[inside], guess[inside]),
        "overconfidence": float(cases.confidence[said].mean() - cases.right[said].mean()),
        "aurc": naive_aurc(cases),
        "served": float((cases.answered & cases.right)[inside].mean()),
    }


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_weighted_metrics_are_those_of_the_libraries_on_repeated_requests(harness: Any, drawn: Any) -> None:
    weights = np.random.default_rng(8).multinomial(300, np.full(300, 1 / 300), size=5).astype(float)
    weights[0] = 1.0
    for name in ("balanced_accuracy", "overconfidence", "aurc", "served"):
        found = getattr(harness.abstention, name)(drawn, weights)
        assert_allclose(found, [by_library(twice(row, drawn))[name] for row in weights], atol=1e-12, err_msg=name)


def test_a_perfect_order_has_the_least_area_that_there_can_be(harness: Any, drawn: Any) -> None:
    """By hand: four right ones first, then one wrong."""
    yes = np.array([True, True, True, True, False])
    cases = harness.abstention.Routed(np.ones(5, bool), np.zeros(5, bool), np.zeros(5, int), yes, yes, np.array([0.9, 0.8, 0.7, 0.6, 0.5]), yes)
    assert_allclose(harness.abstention.aurc(cases, np.ones((1, 5))), (4 * 0 + 1 / 5) / 5)
    same = harness.abstention.Routed(**{**vars(drawn), "confidence": np.full(300, 0.5)})
    assert_allclose(harness.abstention.aurc(same, np.ones((1, 300))), (~drawn.right).mean())


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (20, 20), (1, 20), (7, 50), (411, 412), (60, 1000)])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 3])
def test_bounds_of_a_share_are_those_of_scipy(hits: int, n: int, level: float) -> None:
    lower, upper = proportion(hits, n, level)
    for bound, alternative, side in ((lower, "greater", "low"), (upper, "less", "high")):
        expected = getattr(binomtest(hits, n, alternative=alternative).proportion_ci(level, method="exact"), side)
        assert_allclose(bound, expected, atol=1e-10)


def test_p_of_a_band_is_that_of_the_exact_binomial_test(harness: Any, drawn: Any) -> None:
    found = harness.abstention.bands(drawn, np.array([0.1, 0.3, 0.5]))
    assert sum(band.n for band in found) == drawn.answered.sum()
    assert sum(band.wrong for band in found) == (~drawn.right & drawn.answered).sum()
    for band in found:
        assert_allclose(band.p, binomtest(band.wrong, band.n, band.expected, alternative="greater").pvalue, atol=1e-10)


def test_a_router_that_is_certain_and_right_is_in_no_band_too_sure(harness: Any) -> None:
    all_ = np.ones(50, bool)
    certain = harness.abstention.Routed(all_, ~all_, np.zeros(50, int), all_, all_, np.ones(50), all_)
    assert [band.p for band in harness.abstention.bands(certain, np.array([0.1]))] == [1.0]


# --- from a table to measurements ------------------------------------------------------------------------------------------


def reference(n: int = 12) -> Table:
    """Requests of eight words, every fourth out of scope, the first half in Luxembourgish."""
    kind = np.where(np.arange(n) % 4 == 0, "none", np.where(np.arange(n) % 4 == 1, "open", "scope"))
    return {
        "id": np.array([f"r{k:02d}" for k in range(n)]), "text": np.full(n, "Moien, ech brauch eng Gebuertsurkund vun der Gemeng"),
        "language": np.where(np.arange(n) < n // 2, "lb", "fr"), "service": np.where(kind == "none", "none", "civil"), "kind": kind,
        "cohort": np.full(n, "hidden"),
    }  # fmt: skip


def table(of: Table) -> Table:
    n = len(of["id"])
    return {
        "id": of["id"], "service": np.full(n, "civil"), "confidence": np.full(n, 0.9), "abstain": (of["kind"] == "none").astype(float),
        "language": of["language"], "explanation": np.where(of["kind"] == "none", "OUTSIDE:", "WORDS:4").astype("U48"),
    }  # fmt: skip


def evaluated(harness: Any, predictions: Table, *metrics: str, copies: Table | None = None) -> dict[str, Any]:
    where = {"column": "language", "equals": "lb", "at_least": None, "below": None}
    criteria = [{"id": name, "metric": name, "slice": "lb" if "less" in name else "all", "baseline": None} for name in metrics]
    context = {
        "criteria": criteria, "levels": dict.fromkeys(metrics, 0.95), "replicates": 200, "seed": "a", "parameters": {"error_bands": [0.1]},
        "slices": {"all": {"cohort": "hidden", "where": []}, "lb": {"cohort": "hidden", "where": [where]}},
    }  # fmt: skip
    more = {} if copies is None else {"copies": copies}
    evaluation = harness.evaluation.TriageEvaluation(reference(), predictions, {}, context, **more)
    return {found["metric"]: found for found in evaluation.measure()}


def test_shares_count_what_they_say(harness: Any) -> None:
    answers = table(reference())
    answers["abstain"][[0, 1]] = (0.0, 1.0)  # one that is out of scope is answered, one that is open is not
    answers["explanation"][[0, 1]] = ("WORDS:1", "SEVERAL:")
    answers["service"][5] = "waste"
    answers["language"][2] = "de"
    found = evaluated(
        harness, answers, "coverage", "selective_risk", "out_of_scope_abstention", "open_accuracy", "explanation_language", "explanation_validity"
    )
    values = {name: measured["value"] for name, measured in found.items()}
    assert values == {
        "coverage": 8 / 9, "selective_risk": 2 / 9, "out_of_scope_abstention": 2 / 3, "open_accuracy": 2 / 3, "explanation_language": 11 / 12,
        "explanation_validity": 1.0,
    }  # fmt: skip
    assert found["coverage"]["interval"]["method"] == "exact"
    assert (found["coverage"]["events"], found["coverage"]["non_events"]) == (9, 3)


def test_the_difference_is_signed_and_counts_the_smaller_language(harness: Any) -> None:
    answers = table(reference())
    french = answers["language"] == "fr"
    answers["abstain"][french], answers["explanation"][french] = 1.0, "UNCLEAR:"
    found = evaluated(harness, answers, "served_less_fr")["served_less_fr"]
    assert (found["value"], found["events"], found["non_events"]) == (1.0, 4, 1)


def test_of_nothing_that_is_answered_no_share_is_wrong_and_that_is_the_pilots_doing(harness: Any) -> None:
    answers = {**table(reference()), "abstain": np.ones(12), "explanation": np.full(12, "UNCLEAR:")}
    found = evaluated(harness, answers, "selective_risk", "overconfidence", "confidence_bands", "coverage")
    assert {name: measured["status"] for name, measured in found.items()} == {
        "selective_risk": "undefined", "overconfidence": "undefined", "confidence_bands": "undefined", "coverage": "ok",
    }  # fmt: skip


def copies_of(row: int, words: int = 8) -> Table:
    return {"id": np.array([f"c{k}" for k in range(words)]), "of": np.full(words, f"r{row:02d}"), "word": np.arange(words)}


@pytest.mark.parametrize(
    ("named", "without", "faithful"),
    [("WORDS:4", 0.4, 1), ("WORDS:3", 0.4, 0), ("WORDS:3,4", 0.4, 1), ("WORDS:4", 0.9, 0), ("WORDS:99", 0.4, 0), ("WORDS:0,1,2,3,4", 0.4, 1)],
)
def test_an_explanation_is_faithful_if_confidence_falls_without_its_words(harness: Any, named: str, without: float, faithful: int) -> None:
    answers, copies = table(reference()), copies_of(2)
    answers["explanation"][2] = named
    copied = {name: np.repeat(column[2:3], 8) for name, column in answers.items()}
    copied |= {"id": copies["id"], "confidence": np.where(copies["word"] == 4, without, 0.9)}
    both = {name: np.concatenate([answers[name], copied[name]]) for name in answers}
    found = evaluated(harness, both, "explanation_faithfulness", copies=copies)["explanation_faithfulness"]
    assert (found["value"], found["note"]) == (faithful, f"{faithful} of 1")


def test_where_a_copy_goes_to_another_service_nothing_of_the_confidence_is_left(harness: Any) -> None:
    answers, copies = table(reference()), copies_of(2)
    copied = {name: np.repeat(column[2:3], 8) for name, column in answers.items()}
    copied |= {"id": copies["id"], "service": np.where(copies["word"] == 4, "waste", "civil")}
    both = {name: np.concatenate([answers[name], copied[name]]) for name in answers}
    assert evaluated(harness, both, "explanation_faithfulness", copies=copies)["explanation_faithfulness"]["value"] == 1.0


@pytest.mark.parametrize(
    ("text", "answered", "valid"),
    [
        ("WORDS:0", True, True), ("WORDS:7,3", True, True), ("WORDS:8", True, False), ("WORDS:1,1", True, False), ("WORDS:", True, False),
        ("WORDS:0,1,2,3,4,5", True, False), ("WORDS:0", False, False), ("UNCLEAR:", False, True), ("UNCLEAR:2", False, True),
        ("UNCLEAR:", True, False), ("MAGIC:1", True, False), ("words:1", True, False), ("WORDS:-1", True, False),
        ("WORDS: 1", True, False), ("", True, False), ("WORDS:1\n", True, False), ("WORDS:1_0", True, False),
    ],
)  # fmt: skip
def test_only_what_can_be_shown_is_an_explanation(harness: Any, text: str, answered: bool, valid: bool) -> None:
    assert (harness.answers.explained(text, 8, answered=answered) is not None) is valid


def test_the_harness_puts_the_sentence_together_with_its_accents(harness: Any) -> None:
    context = {"criteria": [], "levels": {}, "replicates": 200, "seed": "a", "parameters": {}, "slices": {}}
    answers = table(reference())
    answers["explanation"][2] = "WORDS:4,0"
    evaluation = harness.evaluation.TriageEvaluation(reference(), answers, {}, context)
    said = "Är Ufro geet un de Service „Biergeramt“. Dës Wierder hunn dat entscheet: Gebuertsurkund, Moien."
    assert evaluation.rendered(2).startswith(said)


@pytest.mark.slow
@pytest.mark.parametrize("n", [400, 1250])
def test_bounds_hold_at_the_sizes_of_the_gates(n: int) -> None:
    """Four Monte Carlo standard errors below the level, and what percentile bounds are known to fall short by."""
    module, simulations = load_script(SANDBOX / "coverage.py"), 100
    allowed = module.LEVEL - 4 * np.sqrt(module.LEVEL * (1 - module.LEVEL) / simulations) - 0.01
    for name, held in module.cover(n, simulations, 300).items():
        assert min(held) / simulations >= allowed, name
