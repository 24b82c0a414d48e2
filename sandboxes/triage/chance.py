"""What chance does a router that deserves to pass have, at this sandbox's own size? Said before anyone signs.

    python sandboxes/triage/chance.py [--simulations 60] [--replicates 400] [--csv sandboxes/triage/chance.csv]

In each world a secret is drawn, so templates are split anew, and a run is prepared from it. Two routers are judged: `oracle`, which
knows what each request was drawn from, answers with certainty what one service is responsible for, abstains from the rest, and
loses confidence exactly without the words that it names; and `router`, the reference pilot's code, trained on the training part.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chance import Shares, context_of, judged_by, options
from livinglab.measuring import tables
from livinglab.measuring.loading import load
from tests.harnesses import ROOT, load_make, load_script, load_spec

SANDBOX = ROOT / "sandboxes" / "triage"

harness = load(SANDBOX / "harness", "evaluation", "prepare", "writing")


def world(folder: Path, seed: str) -> tuple[dict[str, Any], ...]:
    """Training part, cases, copies and cohort of a world and one run in it."""
    load_make(SANDBOX).make(folder, hashlib.sha256(f"chance triage {seed}".encode()).digest())
    (folder / "out").mkdir()
    harness.prepare.run({"seed": seed}, folder)
    paths = ("out/inputs/train", "out/key/key", "out/key/copies", "out/inputs/cohort")
    train, cases, copies, cohort = (tables.read(folder / f"{path}.parquet") for path in paths)
    return train, cases, copies, cohort


def routed(route: Any, train: dict[str, Any], cohort: dict[str, Any]) -> dict[str, Any]:
    """The reference pilot's answers."""
    return {"id": cohort["id"], **route.answers(route.Router(train, "none"), cohort["text"].tolist(), "none")}


def oracle(cases: dict[str, Any], copies: dict[str, Any]) -> dict[str, Any]:
    """Answers of one who knows what the requests were drawn from; of each it names the middle word."""
    known, place = cases["kind"] == "scope", {name: row for row, name in enumerate(cases["id"].tolist())}
    middle = np.array([len(text.split(" ")) // 2 for text in cases["text"].tolist()])
    open_ = cases["kind"] == "open"
    first = np.array([name.partition("open:")[2].partition(",")[0] or "civil" for name in cases["template"].tolist()])
    service = np.where(known, cases["service"], first)
    confidence = np.where(known, 1.0, np.where(open_, harness.writing.FIRST, 0.0))
    said = np.where(known, np.char.add("WORDS:", middle.astype(str)), "UNCLEAR:")
    of = np.array([place[name] for name in copies["of"].tolist()])
    table = {
        "id": cases["id"], "service": service, "confidence": confidence, "abstain": (~known).astype(float), "language": cases["language"],
        "explanation": said,
    }  # fmt: skip
    copied = {name: column[of] for name, column in table.items()}
    copied |= {"id": copies["id"], "confidence": confidence[of] - 0.5 * (copies["word"] == middle[of])}
    return {name: np.concatenate([table[name], copied[name]]) for name in table}


def main() -> None:
    """Simulate, print and write the shares of verdicts."""
    arguments = options(__doc__)
    spec, route, shares = load_spec(SANDBOX), load_script(ROOT / "pilots" / "triage" / "workload" / "route.py"), Shares()
    for number in range(arguments.simulations):
        with tempfile.TemporaryDirectory() as folder:
            train, cases, copies, cohort = world(Path(folder), str(number))
        context = context_of(spec, arguments.replicates, str(number))
        for name, answers in (("oracle", oracle(cases, copies)), ("router", routed(route, train, cohort))):
            judged = judged_by(spec, harness.evaluation.TriageEvaluation(cases, answers, {}, context, copies=copies))
            shares.add(name, judged)
            lost = [f"{result.criterion} {result.verdict.value}" for result in judged.results if result.verdict != "PASS"]
            print(json.dumps({"world": number, "model": name, "verdict": judged.verdict.value, "not passed": lost}), flush=True)
    print(f"{arguments.simulations} simulated worlds, {arguments.replicates} replicates")
    shares.report(arguments.simulations, arguments.csv)


if __name__ == "__main__":
    main()
