"""A lab in all its parts, each of which may be broken: database, API, a worker per site, Prefect, MLflow, and the sites' own masters."""

import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import DockerException

from livinglab.bootstrap import open_site
from livinglab.domain.access import Event
from livinglab.domain.errors import Unreachable
from livinglab.domain.plan import Plan
from livinglab.domain.run import Attempt, JobKey, Run
from livinglab.evidence.verify import Report
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.manifests import COLLECTOR
from livinglab.sites.tmpfs import mount_sized, unmount
from livinglab.store.sql import SqlStore
from tests.campaign.parts import ApiServer, Clock, Controller, Database, Disk, Engine, Part, Process
from tests.fixtures.available import ROOT
from tests.fixtures.cluster import ACCEPTED, changed, slurm_site
from tests.fixtures.engine import OwnEngine
from tests.fixtures.kubernetes import KubernetesBed, new_lab, push_tools
from tests.fixtures.servers import answers, free_port, mlflow_command, prefect_command
from tests.fixtures.slurm import SlurmBed
from tests.labs import TINY, Parties
from tests.waiting import until

BIN = ROOT / ".venv" / "bin"
DISK = 1 << 30
"""Bytes of the lab's own disk, and of the engine's."""


@dataclass
class House:
    """What is up, and how to look at it."""

    folder: Path
    parties: Parties
    parts: list[Part]
    api: str
    token: str
    engine: OwnEngine
    slurm: SlurmBed
    kubernetes: KubernetesBed
    namespace: str
    sites: tuple[str, ...] = ("docker", "cluster", "kubernetes")
    events: list[tuple[float, Event]] = field(default_factory=list)
    """What has happened, and when that was seen (seconds since the epoch)."""
    _containers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def agree(self, manifest: dict[str, Any]) -> Plan:
        """A plan for a pilot with this manifest, from yesterday on: to a clock that is behind, today may not have begun."""
        lab, parties, today = self.parties.lab, self.parties, date.today()  # noqa: DTZ011 - a day more or less
        pilot = lab.applications.submit(parties.participant, manifest, parties.image)
        days = {"valid_from": f"{today - timedelta(days=1)}", "valid_until": f"{today + timedelta(days=2)}"}
        return parties.sign(lab.plans.propose(parties.participant, {"pilot": pilot.id, "objectives": ["to be tested"], **days}))

    # --- looking at the lab -----------------------------------------------------------------------------------------------

    def known(self, runs: Collection[str]) -> dict[str, Run]:
        """Those runs that are there, by id."""
        with self.parties.lab.store.transaction(read_only=True) as tx:
            return {run.id: run for id_ in runs if (run := tx.run(id_))}

    def attempts(self, run: Run) -> tuple[Attempt, ...]:
        with self.parties.lab.store.transaction(read_only=True) as tx:
            return tx.attempts(run.id)

    def follow(self, done: threading.Event) -> None:
        """Write down when each event is seen: the clock of whoever wrote it may be wrong."""
        last = 0
        while not done.wait(0.1):
            with suppress(Unreachable), self.parties.lab.store.transaction(read_only=True) as tx:
                new = tx.events(last, 10_000)
                self.events += [(time.time(), event) for event in new]
                last = new[-1].id if new else last

    def verified(self, plan: Plan) -> Report:
        return self.parties.verified(plan, self.folder / "dossier.zip")

    # --- looking at the sites ---------------------------------------------------------------------------------------------

    def watch(self, done: threading.Event) -> None:
        """See every container that the engine ever has: it forgets them when it is killed, where the clusters keep books."""
        while not done.wait(0.2):
            with suppress(DockerException, OSError):
                for container in docker.APIClient(base_url=self.engine.url, timeout=3).containers(all=True):
                    if key := container["Labels"].get("livinglab.key"):
                        self._containers[key].add(container["Id"])

    def administer(self, done: threading.Event) -> None:
        """What people at the cluster do: a node that Slurm has taken out of service, since it was to start a job twice, is given back."""
        while not done.wait(2):
            with suppress(AssertionError, subprocess.TimeoutExpired):  # the controller is away
                self.slurm.give_back_nodes()

    def starts(self, keys: Collection[str]) -> Counter[str]:
        """Job → how often it was started, by the sites' own records."""
        found = Counter({key: len(ids) for key, ids in self._containers.items()})
        jobs: dict[str, str] = {}
        for key in keys:
            attempt, _, role = key.rpartition(".")
            jobs |= dict.fromkeys(self._names(attempt, role), key)
        asked = ("--allusers", "--noheader", "--allocations", "--parsable2", "--starttime", "now-1days", "--format", "JobName,JobIDRaw")
        booked = self.slurm.on("ctl", "sacct", *asked)
        found.update(jobs[name] for name in (line.partition("|")[0] for line in set(booked.splitlines())) if name in jobs)
        with self.kubernetes.client() as client:
            from kubernetes.client import CoreV1Api

            told: list[Any] = CoreV1Api(client).list_namespaced_event(self.namespace, field_selector="reason=Started").items
        ours = f"spec.containers{{{COLLECTOR}}}"
        about = {(e.involved_object.name, e.involved_object.field_path) for e in told if e.involved_object.field_path != ours}
        found.update(jobs[job] for job in (name.rpartition("-")[0] for name, _path in about) if job in jobs)
        return found

    def _names(self, attempt: str, role: str) -> Iterator[str]:
        """What the clusters call a job."""
        for site in ("cluster", "kubernetes"):
            yield self._layouts[site].job(JobKey.model_validate({"attempt": attempt, "role": role}))

    @cached_property
    def _layouts(self) -> dict[str, Any]:
        return {site: open_site(self.parties.lab, site).layout for site in ("cluster", "kubernetes")}  # type: ignore[attr-defined]

    def leftovers(self) -> list[str]:
        """What is at the sites after all runs are over."""
        names = [name for name in self.engine.containers() if "livinglab" in name or "run-" in name]
        with self.kubernetes.client() as client:
            from kubernetes.client import BatchV1Api

            jobs = [job.metadata.name for job in BatchV1Api(client).list_namespaced_job(self.namespace).items]
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f"{self.folder}/home/work" in line]
        return [*names, *self._left_at_slurm(), *jobs, *mounts]

    def _left_at_slurm(self) -> list[str]:
        """Jobs that wait, and scripts on the nodes.

        A controller that was killed while jobs ended believes that they run, until it finds them missing, and then puts them back. They find
        their folders gone, and end: the queue is empty in the end.
        """
        left = [name for name, state, reason in self._queued().values() if state == "PENDING" and reason != "BeginTime"]
        left += [f"{pid} on {node}" for node in ("c1", "c2") for pid in self.slurm.on(node, "sh", "-c", "pgrep -f [j]ob.sh || true").split()]

        def empty() -> bool:
            queued = self._queued()
            if put_back := [id_ for id_, (_name, _state, reason) in queued.items() if reason == "BeginTime"]:
                with suppress(AssertionError):  # it begins just now
                    self.slurm.begin_at_once(*put_back)
            return not queued

        with suppress(AssertionError):
            until(empty, 240, pause=1)
        return left + [name for name, _state, _reason in self._queued().values()]

    def _queued(self) -> dict[str, tuple[str, str, str]]:
        """Jobs that wait or run at the cluster: id → name, state, and why it waits."""
        lines = self.slurm.on("ctl", "squeue", "--noheader", "--format", "%A %j %T %r").splitlines()
        return {id_: (name, state, reason) for id_, name, state, reason in (line.split(maxsplit=3) for line in lines)}

    def keep(self, into: Path) -> None:
        """What tells why something went wrong: the lab's logs and events, and what the clusters say of their jobs."""
        shutil.copytree(self.folder / "logs", into, dirs_exist_ok=True)
        with self.parties.lab.store.transaction(read_only=True) as tx:
            (into / "events.jsonl").write_text("".join(f"{event.model_dump_json()}\n" for event in tx.events(0, 1_000_000)))
        asked = {
            "queue": ("ctl", "scontrol show jobs; scontrol show nodes"),
            "accounts": ("ctl", "sacct --allusers --duplicates --starttime now-1days --long --parsable2"),
            **{machine: (machine, "cat /var/log/slurm/*.log") for machine in ("ctl", "c1", "c2")},
        }
        for name, (machine, command) in asked.items():
            (into / name).write_text(self.slurm.on(machine, "sh", "-c", command))


@contextmanager
def open_house(slurm: SlurmBed, kubernetes: KubernetesBed) -> Iterator[House]:
    """A lab with everything that belongs to it. At the end nothing of it is left."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ll-campaign-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        home = folder / "home"
        mount_sized(home, size=DISK, inodes=200_000, uid=0, gid=0)
        stack.callback(_unmount_all, home)
        database = Database()
        stack.callback(database.remove)
        database.start()
        own = OwnEngine(Path(tempfile.mkdtemp(prefix="ll-engine-", dir="/tmp")), disk=DISK)
        stack.callback(_remove_engine, own)
        own.start()
        client = stack.enter_context(kubernetes.client())
        cluster = stack.enter_context(contextmanager(new_lab)(kubernetes, client, push_tools(kubernetes, folder), folder))
        parties = Parties.gather(home, sandbox=_sandbox(folder), database=database.url, docker_url=own.url)
        assert isinstance(parties.lab.store, SqlStore)
        stack.callback(parties.lab.store.close)
        _add_sites(parties, slurm, cluster)
        servers, clocks, api = _servers(folder, home, database.url, own.url)
        for server in servers:
            stack.callback(server.end)
            server.start()
        token = parties.lab.access.issue_token(parties.participant.organisation, parties.participant.roles)[1]
        parts: list[Part] = [database, *servers, *clocks, Engine(own), Controller(slurm), ApiServer(kubernetes), Disk(home)]
        yield House(folder, parties, parts, api, token, own, slurm, kubernetes, cluster.namespace)


def _sandbox(folder: Path) -> Path:
    """The tiny one, at three sites, small enough that a node has room for several."""
    spec = yaml.safe_load((TINY / "sandbox.yaml").read_text())
    quota = spec["quota"] | {"measured_runs": 100, "runs_in_flight": 100}
    harness = spec["harness"] | {"resources": spec["harness"]["resources"] | {"cpus": 0.5}}
    return changed(TINY, folder, sites=["docker", "cluster", "kubernetes"], isolation={"witnesses": ACCEPTED}, quota=quota, harness=harness)


def _add_sites(parties: Parties, slurm: SlurmBed, cluster: KubernetesSettings) -> None:
    offer = {"memory": 1 << 30, "cpus": 2, "wall_seconds": 600}
    add = parties.lab.sites.add
    add("cluster", {**slurm_site(slurm), "offer": offer}, "operator")
    add("kubernetes", {"kind": "kubernetes", "settings": cluster.model_dump(mode="json"), "offer": offer}, "operator")


def _servers(folder: Path, home: Path, database: str, engine: str) -> tuple[list[Process], list[Clock], str]:
    """The lab's processes in the order in which they start, the clocks of its workers, and the API's address."""
    logs, ports = folder / "logs", {name: free_port() for name in ("prefect", "mlflow", "api")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    outside = {"prefect": prefect_command(folder / "prefect", ports["prefect"]), "mlflow": mlflow_command(folder, ports["mlflow"])}
    made = [Process(name, command, logs, partial(answers, health), more) for name, (command, health, more) in outside.items()]
    lab = {"LIVINGLAB_HOME": str(home), "LIVINGLAB_DATABASE": database, "LIVINGLAB_DOCKER_URL": engine, "LIVINGLAB_RATE": "0"}
    api = Process("api", [BIN / "livinglab", "serve", "--port", str(ports["api"])], logs, lambda: answers(f"{urls['api']}/healthz"), lab)
    library = folder / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, ROOT / "tests" / "campaign" / "clock.c"], check=True)
    lab |= {"LIVINGLAB_PREFECT_URL": f"{urls['prefect']}/api", "LIVINGLAB_MLFLOW_URL": urls["mlflow"]}
    workers, clocks = [], []
    for site in ("docker", "cluster", "kubernetes"):
        clock = Clock(library, folder / f"clock-{site}", f"clock of {site}'s worker", site)
        log = logs / f"worker-{site}.log"
        ready = _says(log, "carrying the runs")
        workers.append(Process(f"worker-{site}", [BIN / "livinglab", "worker", "--site", site], logs, ready, lab | clock.more, site))
        clocks.append(clock)
    return [*made, api, *workers], clocks, urls["api"]


def _says(log: Path, words: str) -> Any:
    """Whether a log has gained a line with these words since it was last true."""
    heard = 0

    def look() -> bool:
        nonlocal heard
        count = log.read_text(errors="replace").count(words) if log.exists() else 0
        if count > heard:
            heard = count
            return True
        return False

    return look


def _unmount_all(home: Path) -> None:
    inner = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(f"{home}/")]
    for place in sorted(inner, reverse=True):
        unmount(Path(place))
    unmount(home)


def _remove_engine(engine: OwnEngine) -> None:
    with suppress(DockerException, OSError):
        for container in docker.APIClient(base_url=engine.url, timeout=10).containers(all=True):
            docker.APIClient(base_url=engine.url, timeout=30).remove_container(container["Id"], force=True)
    engine.remove()
