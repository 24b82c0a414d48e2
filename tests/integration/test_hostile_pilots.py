"""Every kind of hostile pilot, through the whole lab, at every site: none gets out, none passes, and each ends with its right cause."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from livinglab.bootstrap import open_supervisor
from livinglab.domain.run import Cause, Run, RunState
from livinglab.rehearsal.parties import carry
from livinglab.sites.kubernetes.config import KubernetesSettings
from tests.fixtures.cluster import ACCEPTED, changed, gather, gather_kubernetes
from tests.fixtures.slurm import SlurmBed
from tests.hostile_pilots import KINDS, SITES, End, commands
from tests.labs import TINY, Parties, manifest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

AT_ONCE = 8
"""So many runs are carried side by side."""
PROCESSES = 256
"""A node of a Kubernetes cluster counts those of all pilots at once: who bounds them lower meets the others' (see docs/kubernetes.md)."""
CASES = 400
HONEST = "honest"
"""One that passes: without it, that nobody else does would say nothing."""


def sandbox(folder: Path, site: str) -> Path:
    """The tiny one, for so many runs at once, and so small that a machine has room for several."""
    spec = yaml.safe_load((TINY / "sandbox.yaml").read_text())
    most = spec["quota"]["pilot_resources"] | {"output_bytes": 16 << 20, "pids": PROCESSES}
    quota = spec["quota"] | {"runs_in_flight": 200, "pilot_resources": most}
    harness = spec["harness"] | {"resources": spec["harness"]["resources"] | {"cpus": 0.5, "pids": PROCESSES}}
    return changed(TINY, folder, sites=[site], isolation={"witnesses": ACCEPTED}, quota=quota, harness=harness)


def wrong(parties: Parties, name: str, run: Run, deserved: End) -> Iterator[str]:
    """Sentences about a run that did not end as its pilot deserves."""
    ended, attempts = parties.lab.runs.get(parties.authority, run.id)
    log = parties.lab.results.log(parties.authority, run.id, "pilot", 0, 1 << 20)
    failure, why = ended.failure, parties.lab.runs.why(parties.participant, run.id).sentence
    if ended.state is RunState.COMPLETED:
        verdict, _ = parties.lab.results.verdict(parties.authority, run.id)
        gates = {result.criterion: result for result in verdict.results if result.severity == "gate"}
        failing = {name for name, result in gates.items() if result.verdict == "FAIL"}
        measured = gates["completeness"].measurement
        if (ended.verdict, failing) != (deserved.code, set(deserved.failing)):
            yield f"{ended.verdict}, by {', '.join(sorted(failing)) or 'nothing'}; its log: {log[:2_000]!r}"
        if measured is None or measured.n != CASES:
            yield f"measured on another set: {measured}"
    elif failure is None or ended.state is not RunState.FAILED or (failure.cause, failure.code) != (Cause.PILOT, deserved.code):
        yield f"{ended.state}, {failure.cause if failure else ''}, {failure.code if failure else ''}: {why}"
    elif deserved.says not in failure.sentence or failure.sentence not in why:
        yield f"not said in {why!r}: {deserved.says!r}"
    elif not all(c.isprintable() or c in "\n\t" for c in why) or len(why) > 4_000:
        yield f"a sentence that is no good to read: {why!r}"
    if ended.state is RunState.FAILED and deserved.code != "output-unusable" and ended.counts:
        yield "counts, though nothing of the hidden data was disclosed"
    if attempts[0].nonce.encode() in log:
        yield "it knows the launcher's nonce"
    if len(attempts) != 1:
        yield f"{len(attempts)} attempts, as if it were not the pilot's fault: {attempts[0].failure}"


def assert_each_ends_as_it_deserves(parties: Parties, site: str, dossier: Path) -> None:
    """All are asked for at once, and carried side by side; then each is judged."""
    usual: dict[str, Any] = {"cpus": 0.5, "pids": PROCESSES}
    plans = {name: parties.plan_for(manifest(*command, **usual | KINDS[name].limits)) for name, command in commands().items()}
    plans[HONEST] = parties.plan("python3", "/app/tiny.py", **usual)
    runs = {name: parties.request(plan) for name, plan in plans.items()}
    supervisor = open_supervisor(parties.lab, parties.site, slots=AT_ONCE)
    carry(supervisor)
    honest = parties.state(runs.pop(HONEST))
    assert (honest.state, honest.verdict) == (RunState.COMPLETED, "PASS"), honest.failure
    found = [
        f"{name} at {SITES[site]}: {KINDS[name].at(site)} was expected, and it is {what}"
        for name, run in runs.items()
        for what in wrong(parties, name, run, KINDS[name].at(site))
    ]
    found += [f"left at the site: {key}" for key in supervisor.engine.site.owned()]
    found += [f"{name}: the dossier does not hold: {problem}" for name, plan in plans.items() for problem in parties.verified(plan, dossier).problems]
    assert not found, f"{len(found)} are wrong:\n" + "\n".join(found)


def test_at_docker(tmp_path: Path) -> None:
    parties = Parties.gather(tmp_path / "lab", sandbox=sandbox(tmp_path, "docker"))
    assert_each_ends_as_it_deserves(parties, "docker", tmp_path / "dossier.zip")


@pytest.mark.slurm
def test_at_slurm(tmp_path: Path, slurm_bed: SlurmBed) -> None:
    parties = gather(tmp_path / "lab", slurm_bed, sandbox(tmp_path, "cluster"))
    assert_each_ends_as_it_deserves(parties, "slurm", tmp_path / "dossier.zip")


@pytest.mark.kubernetes
def test_at_kubernetes(tmp_path: Path, kubernetes_lab: KubernetesSettings) -> None:
    parties = gather_kubernetes(tmp_path / "lab", kubernetes_lab, sandbox(tmp_path, "cluster"))
    assert_each_ends_as_it_deserves(parties, "kubernetes", tmp_path / "dossier.zip")
