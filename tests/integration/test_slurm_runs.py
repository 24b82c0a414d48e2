"""Runs on a registered Slurm cluster, from a request to a dossier that a stranger can check: the same lab, another site."""

from collections import Counter
from pathlib import Path

import pytest

from livinglab.bootstrap import check_site
from livinglab.domain.errors import Refused
from livinglab.domain.run import Cause, JobKey, RunState
from livinglab.sites.staging import ROLES
from tests.fixtures.cluster import ACCEPTED, changed, gather
from tests.fixtures.slurm import SlurmBed
from tests.labs import ROOT, TINY, Parties, assert_a_kill_changes_nothing, manifest, pilots_archive

pytestmark = [pytest.mark.slurm, pytest.mark.docker]  # the images are built by an engine

TURNS = ROOT / "tests" / "sandboxes" / "turns"


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory, slurm_bed: SlurmBed) -> Parties:
    folder = tmp_path_factory.mktemp("cluster")
    return gather(folder / "lab", slurm_bed, changed(TINY, folder, isolation={"witnesses": ACCEPTED}))


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
@pytest.mark.parametrize("place", [
    "images:ensured", "stage:pushed", "execute:intent", "execute:submitted", "execute:handle", "execute:done", "collect:stored", "decode:submitted",
    "measure:submitted", "release:released",
])  # fmt: skip
def test_a_killed_worker_loses_nothing_and_the_next_repeats_nothing(parties: Parties, place: str, tmp_path: Path) -> None:
    """As on an engine, at the places where the cluster knows more than the database."""
    site = parties.supervisor().engine.site

    def starts(attempt: str) -> Counter[str]:
        names = {site.layout.job(key): str(key) for key in (JobKey(attempt=attempt, role=role) for role in ROLES)}  # type: ignore[attr-defined]
        return Counter(names[line.name] for line in site._control.queue() if line.name in names)  # type: ignore[attr-defined]

    assert_a_kill_changes_nothing(parties, parties.plan(), place, ("pilot", "decode", "measure"), tmp_path / "dossier.zip", starts)


def test_more_than_the_site_offers_is_refused_before_it_waits(slurm_bed: SlurmBed, tmp_path: Path) -> None:
    small = gather(tmp_path / "lab", slurm_bed, changed(TINY, tmp_path, isolation={"witnesses": ACCEPTED}), cpus=0.5)
    plan = small.plan()
    with pytest.raises(Refused, match=r"the pilot asks for 1 cores, and the site offers 0\.5"):
        small.request(plan)


def test_a_profile_that_does_not_accept_the_sites_witness_is_refused(slurm_bed: SlurmBed, tmp_path: Path) -> None:
    strict = gather(tmp_path / "lab", slurm_bed, changed(TINY, tmp_path))
    plan = strict.plan()
    with pytest.raises(Refused, match="rlimit"):
        strict.request(plan)


def test_data_that_are_not_public_stay_away(slurm_bed: SlurmBed, tmp_path: Path) -> None:
    data = {"card": "none", "visibility": "restricted"}
    careful = gather(tmp_path / "lab", slurm_bed, changed(TINY, tmp_path, isolation={"witnesses": ACCEPTED}, data=data))
    plan = careful.plan()
    with pytest.raises(Refused, match="share one account"):
        careful.request(plan)


def test_an_interactive_pilot_and_its_driver_are_one_job(slurm_bed: SlurmBed, tmp_path: Path) -> None:
    sandbox = changed(TURNS, tmp_path, isolation={"witnesses": ACCEPTED})
    parties = gather(tmp_path / "lab", slurm_bed, sandbox, harness=pilots_archive())
    plan = parties.plan_for(manifest("python3", "/app/turns.py", "honest") | {"sandbox": "turns", "task": "doubling"})
    run = parties.request(plan)
    parties.carry_all()
    run = parties.state(run)
    assert (run.state, run.verdict) == (RunState.COMPLETED, "PASS"), run.failure
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


def test_the_site_is_found_fit(parties: Parties) -> None:
    report = check_site(parties.lab, "cluster", lambda _said: None)
    assert report.fit, report
    assert {probe.role for probe in report.probes} == {"pilot", "drive"}


def test_nothing_of_a_run_is_left_at_the_cluster(parties: Parties, slurm_bed: SlurmBed) -> None:
    run = parties.run()
    assert run.state is RunState.COMPLETED
    root = parties.supervisor().engine.site.layout.root  # type: ignore[attr-defined]
    assert slurm_bed.on("login", "sh", "-c", f"ls {root}/jobs {root}/attempts {root}/ended | grep -v : | grep . | wc -l").strip() == "0"
