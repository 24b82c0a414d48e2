"""Runs on a registered Kubernetes cluster, from a request to a dossier that a stranger can check: the same lab, another site."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from livinglab.bootstrap import check_site
from livinglab.domain.run import Cause, JobKey, RunState
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.manifests import COLLECTOR
from livinglab.sites.staging import ROLES
from tests.fixtures.cluster import ACCEPTED, changed, gather_kubernetes
from tests.labs import ROOT, TINY, Parties, assert_a_kill_changes_nothing, manifest, pilots_archive

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]  # the images are built by an engine

TURNS = ROOT / "tests" / "sandboxes" / "turns"


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory, kubernetes_lab: KubernetesSettings) -> Parties:
    folder = tmp_path_factory.mktemp("cluster")
    return gather_kubernetes(folder / "lab", kubernetes_lab, changed(TINY, folder, isolation={"witnesses": ACCEPTED}))


def test_a_batch_pilot_runs_to_its_dossier(parties: Parties, tmp_path: Path) -> None:
    plan = parties.plan()
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert (run.state, run.verdict) == (RunState.COMPLETED, "PASS"), run.failure
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


def test_a_pilot_that_fails_is_told_from_a_site_that_does(parties: Parties) -> None:
    run = parties.run("python3", "-c", "raise SystemExit(7)")
    assert run.state is RunState.FAILED
    assert run.failure
    assert (run.failure.cause, run.failure.code) == (Cause.PILOT, "exit-code")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["images:ensured", "stage:pushed", "execute:intent", "execute:submitted", "execute:handle", "execute:done",
                                   "collect:stored", "decode:submitted", "measure:submitted", "release:released"])  # fmt: skip
def test_a_killed_worker_loses_nothing_and_the_next_repeats_nothing(parties: Parties, place: str, tmp_path: Path) -> None:
    """As on an engine, at the places where the cluster knows more than the database; what was started, its nodes have told."""
    site: Any = parties.supervisor().engine.site

    def starts(attempt: str) -> Counter[str]:
        names = {site.layout.job(key): str(key) for key in (JobKey(attempt=attempt, role=role) for role in ROLES)}
        told = site._api.get(f"/api/v1/namespaces/{site.settings.namespace}/events", fieldSelector="reason=Started", limit=5_000)["items"]
        about = [event["involvedObject"] for event in told if event["involvedObject"].get("fieldPath") != f"spec.containers{{{COLLECTOR}}}"]
        return Counter(names[job] for job in (pod["name"].rpartition("-")[0] for pod in about) if job in names)

    assert_a_kill_changes_nothing(parties, parties.plan(), place, ("pilot", "decode", "measure"), tmp_path / "dossier.zip", starts)


def test_an_interactive_pilot_and_its_driver_are_one_pod(kubernetes_lab: KubernetesSettings, tmp_path: Path) -> None:
    harness = yaml.safe_load((TURNS / "sandbox.yaml").read_text())["harness"]
    harness["resources"]["cpus"] = 0.5  # with the lab's own container, a pair of whole cores is more than a node of two has
    sandbox = changed(TURNS, tmp_path, isolation={"witnesses": ACCEPTED}, harness=harness)
    parties = gather_kubernetes(tmp_path / "lab", kubernetes_lab, sandbox, harness=pilots_archive())
    plan = parties.plan_for(manifest("python3", "/app/turns.py", "honest") | {"sandbox": "turns", "task": "doubling"})
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert (run.state, run.verdict) == (RunState.COMPLETED, "PASS"), run.failure
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


def test_the_site_is_found_fit(parties: Parties) -> None:
    report = check_site(parties.lab, "cluster", lambda _said: None)
    assert not report.problem, report.problem
    assert all(probe.attestation.holds for probe in report.probes), report.probes
    assert {probe.role for probe in report.probes} == {"pilot", "drive"}
    refused = [demand for demand in report.demands if demand.needed and not demand.holds]
    assert refused == []
