"""What chance does a model that deserves to pass have, at this sandbox's own size? Said before anyone signs.

    python benchmarks/chance.py [--simulations 100] [--replicates 400] [--csv sandboxes/medicine/chance.csv]

Worlds are drawn from the medicine sandbox's own generator of twins: persons with outcomes from a Cox model that was fitted
on all of FLChain. In each world the whole specification, with its levels for three measured runs, is applied to two models:
`oracle`, the very risks that the outcomes were drawn from, which meets every demand on calibration by construction, and
`cox`, the reference pilot's method fitted on the training part. Printed are the shares of verdicts per criterion.
"""

import argparse
import hashlib
import importlib.util
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.verdict import Measurement, SetVerdict, judge
from livinglab.measuring import cox, tables
from livinglab.measuring.cohort import Cohort
from livinglab.measuring.evaluate import Evaluation
from livinglab.measuring.harness import Evaluated
from livinglab.measuring.loading import load
from livinglab.measuring.resampling import generator

ROOT = Path(__file__).resolve().parent.parent
SANDBOX = ROOT / "sandboxes" / "medicine"
ORDER = ("PASS", "INCONCLUSIVE", "FAIL", "NOT_EVALUABLE")


def make_data(out: Path) -> None:
    loaded = importlib.util.spec_from_file_location("make", SANDBOX / "data" / "make.py")
    assert loaded
    assert loaded.loader
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    module.make(out, hashlib.sha256(b"chance").digest())


def fitted_risk(on: dict[str, Any], asked: dict[str, Any], twin: Any, horizon: float) -> Any:
    """Risks by the horizon from a Cox model with the generator's own terms."""
    x = twin.features(on)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    cohort, order = Cohort.sort(on["time"].astype(float), on["event"].astype(bool), np.zeros(len(x)), horizon)
    model = cox.fit((x[order] - centre) / spread, cohort.event.astype(float), cohort.starts, np.ones((1, len(x))))
    known = int(np.searchsorted(cohort.time[cohort.starts], horizon, side="right")) - 1
    return 1 - np.exp(-model.hazard[0, known] * np.exp(((twin.features(asked) - centre) / spread) @ model.beta[0]))


def world(train: Any, hidden: Any, rng: np.random.Generator, twin: Any) -> dict[str, Any]:
    """A hidden and a twin cohort, both drawn."""
    parts = [twin.draw_twins(train, hidden, rng) for _ in range(2)]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    table["cohort"] = np.repeat(["hidden", "twin"], [len(part["time"]) for part in parts])
    return {**table, "id": np.array([f"p{i}" for i in range(len(table["time"]))])}


def specification(sandbox: Path) -> SandboxSpec:
    """The specification of a sandbox's folder, without the chances that it states: they may be those of other criteria."""
    return SandboxSpec.model_validate({**yaml.safe_load((sandbox / "sandbox.yaml").read_text()), "chance": []})


def context_of(spec: SandboxSpec, replicates: int, seed: str) -> dict[str, Any]:
    """What the lab would tell the harness, for as many measured runs as the quota allows."""
    criteria = spec.frozen_criteria()
    return {
        "parameters": spec.harness.model_dump(mode="json")["parameters"],
        "slices": {name: part.model_dump(mode="json") for name, part in spec.slices.items()},
        "criteria": [c.model_dump(mode="json") for c in criteria.criteria], "levels": {c.id: criteria.level(c) for c in criteria.criteria},
        "replicates": replicates, "seed": seed,
    }  # fmt: skip


def judged_by(spec: SandboxSpec, evaluation: Evaluated) -> SetVerdict:
    return judge(spec.frozen_criteria(), tuple(Measurement.model_validate(m) for m in evaluation.measure()))


class Shares:
    """How often each criterion, and all gates together, came to what, by model."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], Counter[str]] = {}

    def add(self, model: str, judged: SetVerdict) -> None:
        self.counts.setdefault((model, "(all gates)"), Counter())[judged.verdict.value] += 1
        for result in judged.results:
            self.counts.setdefault((model, result.criterion), Counter())[result.verdict.value] += 1

    def report(self, simulations: int, csv: Path | None) -> None:
        """As a table on the console, and as a file."""
        rows = [(name, what, *(f"{found[v] / simulations:.2f}" for v in ORDER)) for (name, what), found in self.counts.items()]
        head = ("model", "criterion", *ORDER)
        print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))
        if csv:
            csv.write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")


def options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--csv", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = options(__doc__)
    harness = load(SANDBOX / "harness", "baselines", "twin")
    spec = specification(SANDBOX)
    horizon = float(spec.harness.model_dump()["parameters"]["horizon"])
    shares = Shares()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder) / "data")
        train, hidden = (
            tables.read(Path(folder) / "data/participant/train.parquet"),
            tables.read(Path(folder) / "data/hidden/reference.parquet"),
        )
    everyone = {name: np.concatenate([train[name], hidden[name]]) for name in train if name in hidden}
    for number in range(arguments.simulations):
        reference = world(train, hidden, generator("chance", str(number)), harness.twin)
        rival = harness.baselines.fit("age_sex", train, reference, {"parameters": {"horizon": horizon}})
        models = {"oracle": fitted_risk(everyone, reference, harness.twin, horizon), "cox": fitted_risk(train, reference, harness.twin, horizon)}
        context = context_of(spec, arguments.replicates, str(number))
        for name, risk in models.items():
            evaluation = Evaluation(reference, {"id": reference["id"], "risk": risk}, {"age_sex": rival}, context)
            shares.add(name, judged_by(spec, evaluation))
    print(f"{arguments.simulations} simulated worlds, {arguments.replicates} replicates")
    shares.report(arguments.simulations, arguments.csv)


if __name__ == "__main__":
    main()
