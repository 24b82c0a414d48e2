"""The whole lab in containers: a run at each site, an upgrade while runs come in, a backup while they run, and what is restored from it."""

import json
import shutil
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import httpx
import pytest
import yaml

from livinglab.domain.run import Run, RunState
from livinglab.domain.sandbox import Role
from livinglab.store.sql import SqlStore, open_store
from tests.fixtures.available import ROOT
from tests.fixtures.cluster import ACCEPTED, changed, slurm_site
from tests.fixtures.compose import ComposedLab
from tests.fixtures.kubernetes import KubernetesBed, new_lab
from tests.fixtures.slurm import SlurmBed
from tests.labs import TINY, Parties
from tests.waiting import until

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1_200)]

PATIENCE = 240.0
"""Seconds until what was asked for is over."""
NEXT = '''"""A column more, which only the next version knows."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"
branch_labels = depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("of_the_next_version", sa.Integer(), nullable=True))
'''


@pytest.fixture(scope="module")
def composed() -> Iterator[ComposedLab]:
    lab = ComposedLab()
    try:
        lab.lab("up")
        yield lab
    finally:
        lab.remove()


@pytest.fixture(scope="module")
def parties(composed: ComposedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    """Both sides of the tiny sandbox, at three sites and with room for many runs; for no more at once than a slow machine carries in minutes."""
    spec = yaml.safe_load((TINY / "sandbox.yaml").read_text())
    quota = spec["quota"] | {"measured_runs": 100, "runs_in_flight": 12}
    harness = spec["harness"] | {"resources": spec["harness"]["resources"] | {"cpus": 0.5}}
    sandbox = changed(TINY, tmp_path_factory.mktemp("sandbox"), sites=["docker", "cluster", "kubernetes"], isolation={"witnesses": ACCEPTED},
                      quota=quota, harness=harness)  # fmt: skip
    parties = Parties.gather(composed.state / "lab", sandbox=sandbox, database=composed.database)
    yield parties
    closed(parties)


def closed(parties: Parties) -> None:
    assert isinstance(parties.lab.store, SqlStore)
    parties.lab.store.close()


def token_of(parties: Parties, role: Role = Role.PARTICIPANT) -> str:
    caller = parties.caller(role)
    return parties.lab.access.issue_token(caller.organisation, caller.roles)[1]


def ended(parties: Parties, runs: Collection[str]) -> list[Run]:
    """Those runs, when all are over."""

    def over() -> list[Run] | None:
        with parties.lab.store.transaction(read_only=True) as tx:
            found = [run for id_ in runs if (run := tx.run(id_))]
        assert len(found) == len(runs), "a run is lost"
        return found if all(run.state.final for run in found) else None

    return until(over, PATIENCE, "some run is not over") or []


def all_passed(runs: Collection[Run]) -> bool:
    return {(run.state, run.verdict) for run in runs} == {(RunState.COMPLETED, "PASS")}


def test_what_can_be_reached_and_what_the_api_does_not_hold(composed: ComposedLab) -> None:
    published = {service: composed.inspect(service)["HostConfig"]["PortBindings"] for service in ("postgres", "mlflow", "prefect", "api", "worker")}
    assert {service for service, ports in published.items() if ports} == {"api"}
    assert published["api"]["8420/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(composed.port)}]
    api = composed.inspect("api")
    assert (api["HostConfig"]["CapAdd"], api["HostConfig"]["ReadonlyRootfs"], api["HostConfig"]["Privileged"]) == (None, True, False)
    assert {mount["Destination"] for mount in api["Mounts"]} == {f"{composed.state}/lab/blobs", f"{composed.state}/lab/uploads"}
    seen = subprocess.run(["docker", "exec", composed.container("api"), "ls", f"{composed.state}/lab"], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["blobs", "uploads"]


def test_the_operators_commands_go_through_the_worker(composed: ComposedLab) -> None:
    findings = {f["what"]: f["well"] for f in json.loads(composed.lab("livinglab", "doctor", "--json").stdout)["findings"]}
    assert {findings[what] for what in ("database", "MLflow", "Prefect", "site docker (docker)", "the launcher", "the lab's key")} == {True}
    token = composed.lab("livinglab", "token", "issue", "ministry", "--role", "tiny=authority").stdout.strip()
    me = httpx.get(f"{composed.api}/v1/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False).json()
    assert me["organisation"] == "ministry"


class Asking:
    """A participant that asks for runs all the time, and again under the same key wherever it was not answered, or refused for now."""

    def __init__(self, composed: ComposedLab, parties: Parties, plan: str) -> None:
        self.composed, self.token, self.plan = composed, token_of(parties), plan
        self.accepted: dict[str, str] = {}
        """Key → run."""
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()

    def _ask(self) -> None:
        for number in range(90):  # the plan has no more
            key = f"asked-{number:04}"
            while key not in self.accepted and not self.stopping.is_set():
                with suppress(httpx.HTTPError):
                    self.accepted[key] = self.composed.ask(self.token, self.plan, "docker", key)
                self.stopping.wait(3)

    def until(self, count: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self.accepted) + count
        until(lambda: len(self.accepted) >= wanted, PATIENCE, "no more runs were accepted")


def next_version(folder: Path) -> Path:
    """A checkout like this one, whose database has a column more."""
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", ".cache", ".run", "*_cache", "__pycache__", ".hypothesis", "tests", "docs", "pilots", "sandboxes"
    )
    shutil.copytree(ROOT, folder, ignore=left_out)
    migrations = folder / "livinglab" / "store" / "migrations" / "versions"
    before = max(path.name[:4] for path in migrations.glob("[0-9]*.py"))
    (migrations / "9999_next.py").write_text(NEXT.format(before=before))
    return folder


def revision(parties: Parties) -> str:
    from livinglab.store.migrate import revisions

    assert isinstance(parties.lab.store, SqlStore)
    return str(revisions(parties.lab.store.engine)[0])


def test_an_upgrade_under_load_loses_nothing(composed: ComposedLab, parties: Parties, tmp_path: Path) -> None:
    """Runs come in while everything is brought to the next version, whose database is another: each that was accepted is carried, once."""
    plan = parties.plan("python3", "/app/tiny.py", "2")
    with Asking(composed, parties, plan.id) as asking:
        asking.until(3)
        composed.checkout = next_version(tmp_path / "next")
        composed.lab("up")
        asking.until(3)
    assert revision(parties) == "9999"
    assert len(set(asking.accepted.values())) == len(asking.accepted)
    assert all_passed(ended(parties, list(asking.accepted.values())))
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


def test_what_a_backup_holds_is_restored(composed: ComposedLab, parties: Parties, tmp_path: Path) -> None:
    """It is made while runs are under way; then everything is gone, and comes back as it was, and what was under way is carried to its end."""
    archive, plan, token = tmp_path / "lab.tar", parties.plan("python3", "/app/tiny.py", "20"), token_of(parties)
    under_way = [composed.ask(token, plan.id, "docker", f"under-way-{n}") for n in range(3)]
    blobs = {path.name: path for path in (composed.state / "lab" / "blobs").glob("??/*")}
    blob = next(data for data in map(Path.read_bytes, blobs.values()) if 100 < len(data) < 10_000)
    composed.lab("backup", archive)
    assert archive.stat().st_mode & 0o077 == 0
    assert "is there already" in composed.lab("backup", archive, check=False).stderr
    assert "never replaces" in composed.lab("restore", archive, check=False).stderr
    before = known(parties)
    closed(parties)
    composed.lab("down", "--all")
    assert not composed.state.exists()
    whole, damaged = archive.read_bytes(), tmp_path / "damaged.tar"
    for was, is_, told in ((b"PGDMP", b"PGDMQ", "a database's dump"), (blob, bytes([blob[0] ^ 1]) + blob[1:], "these blobs")):
        damaged.write_bytes(whole.replace(was, is_, 1))
        assert f"is damaged: {told}" in composed.lab("restore", damaged, check=False).stderr
    composed.lab("restore", archive)
    assert {path.name for path in (composed.state / "lab" / "blobs").glob("??/*")} >= blobs.keys()
    parties.lab = replace(parties.lab, store=open_store(composed.database, migrate=False))  # this is an older version than the lab's
    assert all_passed(ended(parties, under_way))
    after = known(parties)
    assert {id_: run for id_, run in after.items() if id_ not in under_way} == {id_: run for id_, run in before.items() if id_ not in under_way}
    report = parties.verified(plan, tmp_path / "dossier.zip")
    assert report.ok, report.problems


def known(parties: Parties) -> dict[str, Run]:
    with parties.lab.store.transaction(read_only=True) as tx:
        return {run.id: run for run in tx.runs(plan=None, organisation=None, sandboxes=None, after=None, limit=1_000)}


@pytest.mark.slurm
@pytest.mark.kubernetes
def test_a_worker_for_each_site(
    composed: ComposedLab, parties: Parties, slurm_bed: SlurmBed, kubernetes_bed: KubernetesBed, tools_image: str, tmp_path: Path
) -> None:
    """Registered sites get workers with the next `up`; each carries a run from the API to its verdict, which MLflow and Prefect show."""
    keys = composed.state / "sites"
    with kubernetes_bed.client() as client, contextmanager(new_lab)(kubernetes_bed, client, tools_image, keys) as cluster:
        for file in (slurm_bed.state / "id_ed25519", slurm_bed.state / "known_hosts", kubernetes_bed.kubeconfig.parent / "ca.crt"):
            shutil.copy(file, keys)
        slurm = slurm_site(slurm_bed)
        slurm["settings"]["access"] |= {"identity": str(keys / "id_ed25519"), "known_hosts": str(keys / "known_hosts")}
        settings = cluster.model_dump(mode="json")
        settings["registry"]["ca"] = str(keys / "ca.crt")
        offer = {"memory": 1 << 30, "cpus": 2, "wall_seconds": 600}
        parties.lab.sites.add("cluster", {**slurm, "offer": offer}, "operator")
        parties.lab.sites.add("kubernetes", {"kind": "kubernetes", "settings": settings, "offer": offer}, "operator")
        assert "docker, cluster, kubernetes" in composed.lab("up").stderr
        for worker, bed in (("worker-cluster", slurm_bed.name), ("worker-kubernetes", kubernetes_bed.name)):
            subprocess.run(["docker", "network", "connect", bed, composed.container(worker)], check=True)  # no other network reaches a bed's
        token, plan = token_of(parties), parties.plan("python3", "/app/tiny.py", "1")
        runs = ended(parties, [composed.ask(token, plan.id, site, f"at-{site}") for site in ("docker", "cluster", "kubernetes")])
        assert all_passed(runs), [(run.site, run.state, run.failure) for run in runs]
        report = parties.verified(plan, tmp_path / "dossier.zip")
        assert report.ok, report.problems
        seen_beside(composed, token_of(parties, Role.AUTHORITY), plan.id, [f"{run.id}.1" for run in runs])


def seen_beside(composed: ComposedLab, authority: str, plan: str, attempts: list[str]) -> None:
    """Behind the lab's door MLflow has all of these attempts, and Prefect too."""
    with httpx.Client(base_url=composed.api, headers={"Authorization": f"Bearer {authority}"}, trust_env=False, timeout=60) as client:
        until(lambda: len(tracked(client, plan)) >= len(attempts), PATIENCE, "MLflow lacks some")
        flows = client.post("/prefect/api/flow_runs/filter", json={"flow_runs": {"name": {"any_": attempts}}}).json()
    assert {flow["name"] for flow in flows} == set(attempts)


def tracked(client: httpx.Client, plan: str) -> list[object]:
    """What MLflow has of a plan."""
    answer = client.get("/mlflow/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": plan})
    if answer.status_code != httpx.codes.OK:
        return []
    body = {"experiment_ids": [answer.json()["experiment"]["experiment_id"]]}
    return list(client.post("/mlflow/api/2.0/mlflow/runs/search", json=body).json().get("runs", []))
