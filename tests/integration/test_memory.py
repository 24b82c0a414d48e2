"""Pilots that have the public data by heart, on the real engine: too good where they know the cases, worthless where nobody can."""

from pathlib import Path

import pytest
import yaml

from livinglab.domain.run import RunState
from tests.labs import ROOT, Parties, archive
from tests.memory import memory_archive

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.mark.parametrize(("domain", "twin"), [("medicine", "discrimination-twin"), ("fintech", "discrimination-portfolio")])
def test_a_memory_fails_as_implausible_and_on_the_cases_that_never_were(tmp_path: Path, domain: str, twin: str) -> None:
    harness = archive(f"harness-{domain}", f"sandboxes/{domain}/harness")
    parties = Parties.gather(tmp_path / "lab", sandbox=ROOT / "sandboxes" / domain, harness=harness, pilots=memory_archive())
    manifest = yaml.safe_load((ROOT / "pilots" / domain / "pilot.yaml").read_text())
    manifest |= {"name": "memory", "entrypoint": ["python3", "/app/memory.py", f"/app/{domain}.parquet"], "model_card": None}
    run = parties.request(parties.plan_for(manifest))
    parties.carry_all()
    run = parties.state(run)
    assert (run.state, run.verdict) == (RunState.COMPLETED, "FAIL"), run.failure
    verdict, _ = parties.lab.results.verdict(parties.authority, run.id)
    found = {result.criterion: result for result in verdict.results}
    assert {name: found[name].verdict for name in ("completeness", "plausibility", twin)} == {
        "completeness": "PASS", "plausibility": "FAIL", twin: "FAIL",
    }  # fmt: skip
    values = {name: result.measurement.value for name, result in found.items() if result.measurement}
    assert (values["plausibility"] or 0) > 0.97
    assert values[twin] == pytest.approx(0.5, abs=0.05)
