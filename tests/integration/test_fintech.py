"""The fintech sandbox on the real engine: prepared, scored, decoded and measured in containers, with a verdict that follows."""

from pathlib import Path

import pytest
import yaml

from livinglab.domain.run import RunState
from tests.labs import ROOT, Parties, archive

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_the_reference_pilot_runs_to_a_verdict(tmp_path: Path) -> None:
    harness, pilot = archive("harness-fintech", "sandboxes/fintech/harness"), archive("pilot-fintech", "pilots/fintech")
    parties = Parties.gather(tmp_path / "lab", sandbox=ROOT / "sandboxes" / "fintech", harness=harness, pilots=pilot)
    plan = parties.plan_for(yaml.safe_load((ROOT / "pilots" / "fintech" / "pilot.yaml").read_text()))
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert run.state is RunState.COMPLETED, run.failure
    verdict, _ = parties.lab.runs.verdict(parties.authority, run.id)
    found = {result.criterion: result for result in verdict.results}
    sure = (
        "completeness",
        "completeness-portfolio",
        "discrimination-portfolio",
        "plausibility",
        "adverse-impact",
        "reasons",
        "reasons-individual",
        "monotone",
    )
    assert {name: found[name].verdict for name in sure} == dict.fromkeys(sure, "PASS")
    assert found["adverse-impact-german"].verdict == "NOT_EVALUABLE"
    assert found["completeness-portfolio"].measurement
    assert found["completeness-portfolio"].measurement.n == 8000
