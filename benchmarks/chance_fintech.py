"""As benchmarks/chance.py, for the fintech sandbox.

    python benchmarks/chance_fintech.py [--simulations 100] [--replicates 400] [--csv sandboxes/fintech/chance.csv]

Worlds are drawn from the sandbox's own generator. In place of German credit, whose truth nobody knows, stand as many
applicants of the generator's (600 to train on, 400 hidden), of whom as many are bad: 30 %, chosen by outcome, which moves the
level of the true probabilities by a constant on the logit and nothing else. Two models are judged: `oracle`, the very probabilities that the
defaults were drawn from, with the scorecard's reasons, and `scorecard`, the reference pilot's method fitted on the training part.
"""

from typing import Any

import numpy as np

from benchmarks.chance import Shares, context_of, judged_by, options, specification
from livinglab.measuring.credit import CreditEvaluation
from livinglab.measuring.loading import load
from livinglab.measuring.resampling import generator
from tests.harnesses import ROOT, load_make, load_script

SANDBOX = ROOT / "sandboxes" / "fintech"
TRAIN, HIDDEN, DEVELOPMENT = 600, 400, 1000
BAD = 0.3
_MANY = 20

harness = load(SANDBOX / "harness", "baselines", "portfolio", "prepare")


def german(pool: Any, n: int, rng: np.random.Generator) -> tuple[dict[str, Any], float]:
    """Applicants in place of German credit, and how much higher the logit of their risk is for being chosen by outcome."""
    drawn = harness.portfolio.draw(pool, range(1), _MANY * n, rng)
    bad, good = np.flatnonzero(drawn["bad"]), np.flatnonzero(~drawn["bad"])
    rows = rng.permutation(np.concatenate([bad[: round(BAD * n)], good[: n - round(BAD * n)]]))
    return {name: column[rows] for name, column in drawn.items()}, float(np.log(BAD / (1 - BAD)) - np.log(len(bad) / len(good)))


def training(pool: Any, rng: np.random.Generator) -> dict[str, Any]:
    """As data/make.py makes it, German credit being drawn too."""
    chosen, _ = german(pool, TRAIN, rng)
    drawn = harness.portfolio.draw(pool, harness.portfolio.DEVELOPMENT, DEVELOPMENT, rng)
    taken = harness.portfolio.accepted(drawn, rng)
    table = {name: np.concatenate([chosen[name], drawn[name][taken]]) for name in chosen}
    return {**table, "portfolio": np.repeat(["german", "generated"], [TRAIN, int(taken.sum())])}


def cohort(pool: Any, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Cases and copies, as `prepare` makes them, and the logit by which the first are riskier."""
    hidden, higher = german(pool, HIDDEN, rng)
    cases = harness.prepare.applicants(hidden, pool, rng)
    parts = [*harness.prepare.copied(cases, "hidden", rng), *harness.prepare.copied(cases, "twin", rng)]
    return cases, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, higher


def answers(score: Any, train: dict[str, Any], asked: dict[str, Any], parameters: dict[str, Any]) -> tuple[Any, Any]:
    """Pd and reasons of the reference pilot's method."""
    pd, why = np.empty(len(asked["id"])), np.full(len(asked["id"]), "", dtype=object)
    for portfolio in ("german", "generated"):
        known = {name: column[train["portfolio"] == portfolio] for name, column in train.items()}
        own = np.flatnonzero(asked["portfolio"] == portfolio)
        pd[own], added = score.Scorecard(known, harness.prepare.MONOTONE).score({name: column[own] for name, column in asked.items()})
        why[own] = score.reasons(added, parameters["reason_codes"])
    return pd, why.astype(str)


def main() -> None:
    arguments = options(__doc__)
    spec, pool, shares = specification(SANDBOX), load_make(SANDBOX).load(), Shares()
    score = load_script(ROOT / "pilots" / "fintech" / "workload" / "score.py")
    for number in range(arguments.simulations):
        rng = generator("chance fintech", str(number))
        train, (cases, copies, higher) = training(pool, rng), cohort(pool, rng)
        asked = {name: np.concatenate([cases[name], copies[name]]) for name in ("id", *harness.prepare.SEEN)}
        context = context_of(spec, arguments.replicates, str(number))
        pd, why = answers(score, train, asked, context["parameters"])
        rival = harness.baselines.scorecard(train, cases)
        truth = 1 / (1 + np.exp(-harness.portfolio.true_logit(asked) - higher * (asked["portfolio"] == "german")))
        for name, predicted in (("oracle", truth), ("scorecard", pd)):
            predictions = {"id": asked["id"], "pd": predicted, "reasons": why}
            shares.add(name, judged_by(spec, CreditEvaluation(cases, predictions, {"scorecard": rival}, context, copies=copies)))
    print(f"{arguments.simulations} simulated worlds, {arguments.replicates} replicates")
    shares.report(arguments.simulations, arguments.csv)


if __name__ == "__main__":
    main()
