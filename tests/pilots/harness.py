"""The harness of the sandbox `turns`: `python3 -m harness drive|measure`. The standard library is all that it needs."""

import json
import sys
from pathlib import Path

from livinglab.measuring import peer
from livinglab.measuring.rejection import Rejected

OUT = Path("/out")


def drive(context):
    numbers = json.loads(Path("/hidden/numbers.json").read_text())
    actions = tuple(peer.Action.read(action) for action in context["actions"])
    parameters, answers = context["parameters"], []
    report = {"status": "ok", "reason": ""}
    try:
        connection = peer.accept(peer.listen(Path("/socket")), 10)
        pilot = peer.Peer(connection, actions, step_timeout=parameters["step_timeout"])
        pilot.greet({})
        pilot.begin("e1", 1)
        for step in range(parameters["steps"]):
            answer = pilot.ask(step, {"number": numbers[step]})
            answers.append({"asked": numbers[step], "answered": answer.values["double"] if answer.valid else None})
        pilot.end()
        keep(answers, report)
        pilot.part()
    except Rejected as error:
        keep(answers, {"status": "left" if isinstance(error, peer.Left) else "rejected", "reason": str(error)})


def keep(answers, report):
    (OUT / "answers.json").write_text(json.dumps(answers))
    (OUT / "drive.json").write_text(json.dumps(report))


def measure(context):
    answers = json.loads(Path("/recording/answers.json").read_text())
    shares = {
        "completeness": sum(a["answered"] is not None for a in answers) / context["parameters"]["steps"],
        "accuracy": sum(a["answered"] == 2 * a["asked"] for a in answers) / context["parameters"]["steps"],
    }
    measurements = [{"metric": metric, "slice": "all", "value": value, "n": len(answers)} for metric, value in shares.items()]
    (OUT / "measurements.json").write_text(json.dumps({"measurements": measurements}))


{"drive": drive, "measure": measure}[sys.argv[1]](json.loads(Path("/context/context.json").read_text()))
