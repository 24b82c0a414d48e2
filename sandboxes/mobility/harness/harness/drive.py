"""Drive: the pilot through every scenario of this run, drawn afresh from the run's seed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.catalogue import catalogue
from harness.episode import compare, drive
from harness.recording import Recording
from harness.scenario import Scenario
from harness.sensing import Senses
from harness.world import World
from livinglab.measuring.peer import Action, Left, Peer, accept, listen
from livinglab.measuring.rejection import Rejected
from livinglab.measuring.resampling import generator

LIMITS = {"connect_timeout": 60.0, "step_timeout": 2.0, "deadline": 0.05, "total_seconds": 600.0}
"""Seconds, unless the specification's parameters say otherwise."""


def run(context: dict[str, Any], root: Path) -> None:
    """A conversation over root/socket → out/drive.json, and what was driven: out/episodes.json and out/trace.npz."""
    recording = Recording()
    try:
        conversation = converse(context, root, recording)
        recording.write(root / "out")  # before the goodbye: a pilot that has ended takes its driver with it before long
        write_report(root, recording, "ok")
        conversation.part()
    except Rejected as error:
        write_report(root, recording, "left" if isinstance(error, Left) else "rejected", str(error))


def write_report(root: Path, recording: Recording, status: str, reason: str = "") -> None:
    """out/drive.json: how it ended."""
    (root / "out" / "drive.json").write_text(json.dumps({"status": status, "reason": reason, "episodes": len(recording.episodes)}))


def converse(context: dict[str, Any], root: Path, recording: Recording) -> Peer:
    """All but the goodbye.

    Raises:
        Rejected: the pilot broke the protocol.
    """
    limits = {name: float(context["parameters"].get(name, value)) for name, value in LIMITS.items()}
    listening = listen(root / "socket")
    world, scenarios = World(), catalogue(context["seed"], context["parameters"])
    connection = accept(listening, limits["connect_timeout"])
    peer = Peer(
        connection, tuple(map(Action.read, context["actions"])), step_timeout=limits["step_timeout"], deadline=limits["deadline"],
        total=limits["total_seconds"],
    )  # fmt: skip
    peer.greet(task(context, limits))
    for number, (name, scenario) in enumerate(named(scenarios, context["seed"])):
        peer.begin(name, scenario.step)
        driven = drive(world, scenario, peer, Senses(scenario, generator(context["seed"], f"senses {number}")))
        peer.end()
        recording.add(f"e{number + 1:04d}", scenario, driven, compare(world, scenario))
    return peer


def named(scenarios: list[Scenario], seed: str) -> Iterator[tuple[str, Scenario]]:
    """Scenarios under names that tell nothing."""
    names = generator(seed, "names").choice(10**10, len(scenarios), replace=False)
    return zip((f"{name:010d}" for name in names.tolist()), scenarios, strict=True)


def task(context: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """What the pilot is told at the greeting."""
    return {"actions": context["actions"], "deadline": limits["deadline"], "step_timeout": limits["step_timeout"]}
