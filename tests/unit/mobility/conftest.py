"""The mobility sandbox's drive, as its container runs it: a process of its own, a pilot in another, and a socket between them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.measuring.loading import load
from tests.harnesses import ROOT, load_make

SANDBOX, PILOT = ROOT / "sandboxes" / "mobility", ROOT / "pilots" / "mobility" / "workload" / "drive.py"
BAD = ROOT / "tests" / "pilots" / "driving.py"
harness = load(SANDBOX / "harness", "catalogue", "crossings", "episode", "geometry", "road", "scenario", "sensing", "world")

ACTIONS = [
    {"name": "acceleration", "kind": "number", "low": -9, "high": 4, "length": 0, "meaning": "m/s²"},
    {"name": "lateral_acceleration", "kind": "number", "low": -3, "high": 3, "length": 0, "meaning": "m/s², to the left"},
]
NONE = {f"episodes_{family.replace('-', '_')}": 0 for family in harness.catalogue.FAMILIES}
START = "import json, sys; from pathlib import Path; from harness.drive import run; run(json.loads(sys.argv[1]), Path(sys.argv[2]))"


@dataclass(frozen=True)
class Outcome:
    """What a drive left behind."""

    report: dict[str, Any]
    episodes: list[dict[str, Any]]
    trace: dict[str, Any]
    folder: Path


Drive = Callable[..., Outcome]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`participant/` and `hidden/`, as the authority makes them."""
    out = tmp_path_factory.mktemp("mobility")
    load_make(SANDBOX).make(out, bytes(range(32)))
    return out


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Drive:
    """Let a pilot drive: `drive(argv, seed=…, episodes_cut_in=…)`. Families that are not named have no episode."""

    def let_drive(*pilot: str | Path, seed: str = "a test", participant: Path = data / "participant", **parameters: float) -> Outcome:
        root = tmp_path_factory.mktemp("drive")
        for name in ("socket", "out"):
            (root / name).mkdir()
        context = {"verb": "drive", "parameters": {**NONE, **parameters}, "seed": seed, "actions": ACTIONS}
        path = os.pathsep.join(map(str, (SANDBOX / "harness", ROOT)))
        command = [sys.executable, "-c", START, json.dumps(context), str(root)]
        environment = {**os.environ, "PILOT_IN": str(participant), "PILOT_SOCKET": str(root / "socket" / "lab.sock")}
        with subprocess.Popen([sys.executable, *map(str, pilot)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
            try:
                driven = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=250, check=False)
                assert driven.returncode == 0, driven.stderr
            finally:
                other.kill()
        report = json.loads((root / "out" / "drive.json").read_text())
        if report["status"] != "ok":
            return Outcome(report, [], {}, root / "out")
        episodes = json.loads((root / "out" / "episodes.json").read_text())
        with np.load(root / "out" / "trace.npz", allow_pickle=False) as trace:
            return Outcome(report, episodes, dict(trace), root / "out")

    return let_drive
