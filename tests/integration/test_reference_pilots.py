"""Every domain's reference pilot on the real engine, with its own sandbox: to a verdict that follows, and a dossier that a stranger can check.

A domain is found by its folders; what its pilot must pass whatever is drawn stands in its demo.yaml.
"""

from pathlib import Path

import pytest
import yaml

from livinglab.domain.run import RunState
from tests.labs import ROOT, Parties, archive

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]  # an interactive pilot drives for minutes on a busy machine

DOMAINS = sorted(path.parent.name for path in (ROOT / "sandboxes").glob("*/demo.yaml"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_reference_pilot_runs_to_a_verdict(domain: str, tmp_path: Path) -> None:
    sandbox = ROOT / "sandboxes" / domain
    harness, pilot = archive(f"harness-{domain}", f"sandboxes/{domain}/harness"), archive(f"pilot-{domain}", f"pilots/{domain}")
    parties = Parties.gather(tmp_path / "lab", sandbox=sandbox, harness=harness, pilots=pilot)
    about, brought = yaml.safe_load((sandbox / "demo.yaml").read_text()), ROOT / "pilots" / domain
    evidence = {name: ("text/markdown", (brought / file).read_bytes()) for name, file in about.get("evidence", {}).items()}
    plan = parties.plan_for(yaml.safe_load((brought / "pilot.yaml").read_text()), evidence=evidence)
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert run.state is RunState.COMPLETED, run.failure
    verdict, _ = parties.lab.results.verdict(parties.authority, run.id)
    found = {result.criterion: result.verdict for result in verdict.results}
    assert about["sure"]
    assert {name: found[name] for name in about["sure"]} == dict.fromkeys(about["sure"], "PASS"), verdict
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems
