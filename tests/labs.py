"""A whole lab for tests: real store, real engine, real containers, two parties with keys of their own."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from livinglab.bootstrap import open_lab
from livinglab.domain.plan import Plan
from livinglab.domain.run import Run, RunState
from livinglab.domain.sandbox import Role
from livinglab.evidence.verify import Report, verify
from livinglab.rehearsal import parties as rehearsal
from livinglab.settings import Settings
from tests.engine_book import engine_book

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "sandboxes" / "tiny"
SECRET = bytes(range(32))


@lru_cache
def archive(name: str, context: str) -> Path:
    """An image's archive, built once."""
    built = subprocess.run([ROOT / "infra" / "images" / "build.sh", name, context], check=True, capture_output=True, text=True)
    return Path(built.stdout.strip())


def harness_archive() -> Path:
    return archive("harness-medicine", "sandboxes/medicine/harness")


def pilots_archive() -> Path:
    return archive("pilot-tests", "tests/pilots")


def chunks(path: Path) -> Any:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def manifest(*entrypoint: str, **resources: float) -> dict[str, Any]:
    """A manifest for the tiny sandbox."""
    limits = {"memory": 256 << 20, "cpus": 1, "pids": 32, "wall_seconds": 30, "output_bytes": 1 << 20, "output_files": 8, "log_bytes": 16 << 10}
    return {"name": "tiny", "version": "1", "title": "A tiny pilot", "summary": "For the tests of the lab.", "sandbox": "tiny", "task": "survival",
            "entrypoint": list(entrypoint or ("python3", "/app/tiny.py")), "resources": {**limits, **resources}}  # fmt: skip


def work(home: Path, place: str | None = None, site: str = "docker") -> int:
    """The exit code of a worker that carries what is queued, and kills itself at that place."""
    command = [sys.executable, "-m", "tests.carry", str(home), site, *([place] if place else [])]
    return subprocess.run(command, check=False, timeout=120).returncode


@dataclass
class Parties(rehearsal.Parties):
    """Both sides, with a sandbox registered (the tiny one, if none is named) and the pilots' image uploaded."""

    image: str = ""

    @classmethod
    def gather(cls, home: Path, *, sandbox: Path = TINY, harness: Path | None = None, pilots: Path | None = None, **settings: Any) -> "Parties":
        spec = yaml.safe_load((sandbox / "sandbox.yaml").read_text())
        parties = cls.meet(open_lab(Settings(home=home, **settings)), spec["id"], authority="ministry", participant="startup")
        parties.register(spec, parties.upload(Role.AUTHORITY, harness or harness_archive()), sandbox / "data" / "make.py", SECRET)
        parties.image = parties.upload(Role.PARTICIPANT, pilots or pilots_archive())
        return parties

    def plan(self, *entrypoint: str, signed: bool = True, **resources: Any) -> Plan:
        """A plan for a fresh pilot."""
        return self.plan_for(manifest(*entrypoint, **resources), signed=signed)

    def plan_for(self, document: dict[str, Any], *, signed: bool = True, evidence: rehearsal.Evidence | None = None) -> Plan:
        """A plan for a pilot with this manifest, and with required evidence."""
        plan = self.propose(document, self.image, "to be tested", evidence or {})
        return self.sign(plan) if signed else plan

    def run(self, *entrypoint: str, **resources: Any) -> Run:
        """A plan, a run under it, carried to its end."""
        run = self.request(self.plan(*entrypoint, **resources))
        self.carry_all()
        return self.state(run)

    def verified(self, plan: Plan, dossier: Path) -> Report:
        """What a stranger finds who checks the plan's dossier."""
        return verify(dossier, self.write_dossier(plan.id, dossier))

    def state(self, run: Run) -> Run:
        return self.lab.runs.get(self.authority, run.id)[0]


def assert_a_kill_changes_nothing(
    parties: Parties, plan: Plan, place: str, roles: Collection[str], dossier: Path, starts: Callable[[str], Counter[str]] | None = None
) -> None:
    """A worker is killed at that place; the next one completes the run with PASS, each container was started once, and the dossier holds.

    Args:
        starts: how often each container of an attempt was started, by the site's own record; the engine's, if none is given.
    """
    starts = starts or engine_book().starts
    run, home = parties.request(plan), parties.lab.settings.home
    assert work(home, place, parties.site) == -signal.SIGKILL
    assert work(home, site=parties.site) == 0
    ended, attempts = parties.lab.runs.get(parties.authority, run.id)
    assert (ended.state, ended.verdict, len(attempts)) == (RunState.COMPLETED, "PASS", 1)
    assert starts(attempts[0].id) == Counter({f"{attempts[0].id}.{role}": 1 for role in roles})
    report = parties.verified(plan, dossier)
    assert report.ok, report.problems
    assert report.facts["attempts"][attempts[0].id]["verdict"] == "PASS"
