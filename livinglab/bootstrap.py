"""The only place that chooses implementations. Each door asks for what it needs, and only that is imported and opened."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from livinglab.domain.errors import Invalid
from livinglab.domain.model import Frozen
from livinglab.domain.site import Offer, SiteKind, SiteRecord
from livinglab.ports import Artifacts, Clock, Site, Store
from livinglab.services.access import Access
from livinglab.services.applications import Applications
from livinglab.services.documents import Documents
from livinglab.services.dossiers import Dossiers
from livinglab.services.images import Images
from livinglab.services.plans import Plans
from livinglab.services.recording import Recorder
from livinglab.services.results import Results
from livinglab.services.runs import Runs
from livinglab.services.sandboxes import Sandboxes, parse
from livinglab.services.sites import Sites
from livinglab.services.uploads import Uploads
from livinglab.settings import Settings, read_settings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from pydantic import JsonValue

    from livinglab.dispatch.supervisor import Carry, Supervisor
    from livinglab.dispatch.worker import Worker
    from livinglab.domain.isolation import Property, Witness
    from livinglab.evidence.keys import KeySigner
    from livinglab.services.engine import Boundary, Engine
    from livinglab.services.sitecheck import SiteReport
    from livinglab.sites.kubernetes.config import KubernetesSettings
    from livinglab.sites.shell import Shell
    from livinglab.sites.slurm.config import SlurmSettings
    from livinglab.sites.slurm.control import Control


S = TypeVar("S", bound=Frozen)


class _Holding(Frozen, Generic[S]):
    """Settings under their name, so that faults in them are named by their whole path."""

    settings: S


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """See the port."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class Lab:
    """What every process of the lab shares. It holds no key, no Docker socket and no hidden data: see `worker`."""

    settings: Settings
    store: Store
    artifacts: Artifacts
    clock: Clock

    @cached_property
    def _unsigned(self) -> Recorder:
        return Recorder(self.clock)

    @cached_property
    def access(self) -> Access:
        """Tokens and keys."""
        return Access(self.store, self.clock)

    @cached_property
    def sandboxes(self) -> Sandboxes:
        """Specifications."""
        return Sandboxes(self.store, self.clock, self._unsigned)

    @cached_property
    def images(self) -> Images:
        """Uploads."""
        from livinglab.artifacts.oci import ingest, layers

        return Images(self.store, self.artifacts, ingest, layers, self.settings.upload_limit, self.settings.image_quota)

    @cached_property
    def uploads(self) -> Uploads:
        """Uploads in parts."""
        from livinglab.artifacts.parts import FileParts

        return Uploads(self.store, self.clock, FileParts(self.settings.home / "uploads"), self.images)

    @cached_property
    def applications(self) -> Applications:
        """Pilots."""
        return Applications(self.store, self.clock, self._unsigned)

    @cached_property
    def documents(self) -> Documents:
        """Required evidence."""
        return Documents(self.store, self.artifacts, self._unsigned)

    @cached_property
    def plans(self) -> Plans:
        """Plans and their signatures."""
        return Plans(self.store, self.clock, self._unsigned)

    @cached_property
    def runs(self) -> Runs:
        """Runs."""
        return Runs(self.store, self.clock, self._unsigned)

    @cached_property
    def results(self) -> Results:
        """What runs left."""
        return Results(self.store, self.artifacts)

    @cached_property
    def sites(self) -> Sites:
        """The registry of sites."""
        return Sites(self.store, self.clock, self._unsigned, read_site_settings)

    @cached_property
    def dossiers(self) -> Dossiers:
        """Evidence, bundled."""
        return Dossiers(self.store, self.artifacts)


def open_lab(settings: Settings | None = None) -> Lab:
    """The lab, with its database migrated. `Invalid` or `Unreachable` if the database cannot be used."""
    from livinglab.artifacts.blobs import FileArtifacts
    from livinglab.store.sql import open_store

    settings = settings or read_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    return Lab(settings=settings, store=open_store(settings.database_url), artifacts=FileArtifacts(settings.home / "blobs"), clock=SystemClock())


def lab_signer(settings: Settings) -> "KeySigner":
    """The lab's key, made at the first start."""
    from livinglab.evidence.keys import KeySigner, new_key

    path = settings.lab_key_path
    return KeySigner.load(path) if path.exists() else new_key(path)


# --- sites ------------------------------------------------------------------------------------------------------------


class DockerSettings(Frozen):
    """A Docker Engine. What is left out is as the lab's own settings have it."""

    url: str | None = None
    runtime: str | None = None


def read_site_settings(kind: SiteKind, settings: "Mapping[str, JsonValue]") -> "tuple[dict[str, JsonValue], Offer]":
    """A site's settings as they are kept, and what a site of that kind offers unless its file says otherwise; `Invalid` names the field."""
    if kind == "docker":
        return parse(_Holding[DockerSettings], {"settings": settings}, "settings").settings.model_dump(mode="json"), Offer()
    weaker: dict[Property, tuple[Witness, ...]] = {"pids": ("rlimit",)}
    if kind == "kubernetes":
        return _kubernetes_settings(settings).model_dump(mode="json"), Offer(witnesses=weaker)
    slurm = _slurm_settings(settings)
    one_account = "pilot and hidden data would share one account at the cluster"
    return slurm.model_dump(mode="json"), Offer(public_data_only=one_account, witnesses=weaker)


def open_site(lab: Lab, name: str) -> Site:
    """The site of that name in the lab's registry; `Invalid` with the known names if there is none."""
    return site_of(lab.settings, lab.sites.get(name), lab.artifacts, lab.clock)


def site_of(settings: Settings, record: SiteRecord, artifacts: Artifacts, clock: Clock) -> Site:
    """The site behind a record of the registry."""
    launcher = settings.launcher_path
    if not launcher.is_file():
        msg = f"there is no launcher at {launcher}."
        raise Invalid(msg, where="launcher", hint="Build it with infra/launcher/build.sh, or set LIVINGLAB_LAUNCHER.")
    make = {"docker": _docker_site, "kubernetes": _kubernetes_site, "slurm": _slurm_site}[record.kind]
    return make(settings, record, artifacts, clock)


def _docker_site(settings: Settings, record: SiteRecord, artifacts: Artifacts, clock: Clock) -> Site:
    from livinglab.artifacts.oci import OciImages
    from livinglab.sites.docker import DockerSite

    own = DockerSettings.model_validate(record.settings)
    return DockerSite(name=record.name, instance=settings.instance, root=settings.home / "work" / record.name, vault=settings.vault_path,
                      launcher=settings.launcher_path, images=OciImages(artifacts), clock=clock, runtime=own.runtime or settings.docker_runtime,
                      url=own.url or settings.docker_url)  # fmt: skip


def _kubernetes_site(settings: Settings, record: SiteRecord, artifacts: Artifacts, clock: Clock) -> Site:
    from livinglab.sites.kubernetes.api import Api
    from livinglab.sites.kubernetes.site import KubernetesSite

    own = _kubernetes_settings(record.settings)
    return KubernetesSite(name=record.name, instance=settings.instance, root=settings.home / "work" / record.name, vault=settings.vault_path,
                          launcher=settings.launcher_path, artifacts=artifacts, clock=clock, settings=own,
                          api=Api(own.kubeconfig, own.context))  # fmt: skip


def _kubernetes_settings(settings: "Mapping[str, JsonValue]") -> "KubernetesSettings":
    from livinglab.sites.kubernetes.config import KubernetesSettings

    return parse(_Holding[KubernetesSettings], {"settings": settings}, "settings").settings


def _slurm_site(settings: Settings, record: SiteRecord, artifacts: Artifacts, clock: Clock) -> Site:
    from livinglab.artifacts.oci import OciImages
    from livinglab.sites.slurm.control import Cluster
    from livinglab.sites.slurm.site import SlurmSite

    slurm = _slurm_settings(record.settings)
    shell = _slurm_shell(settings, slurm)
    return SlurmSite(name=record.name, instance=settings.instance, root=settings.home / "work" / record.name, vault=settings.vault_path,
                     launcher=settings.launcher_path, images=OciImages(artifacts), clock=clock,
                     cluster=Cluster(slurm, shell, _slurm_control(shell, slurm)))  # fmt: skip


def _slurm_settings(settings: "Mapping[str, JsonValue]") -> "SlurmSettings":
    from livinglab.sites.slurm.config import SlurmSettings

    return parse(_Holding[SlurmSettings], {"settings": settings}, "settings").settings


def _slurm_shell(settings: Settings, slurm: "SlurmSettings") -> "Shell":
    from livinglab.sites.shell import local_shell, ssh_shell

    access = slurm.access
    if access.kind == "local":
        return local_shell(access.prefix)
    return ssh_shell(access.host, access.user, port=access.port, identity=access.identity, known_hosts=access.known_hosts,
                     control=settings.home / "ssh")  # fmt: skip


def _slurm_control(shell: "Shell", slurm: "SlurmSettings") -> "Control":
    if slurm.rest:
        from livinglab.sites.slurm.rest import RestControl

        return RestControl(slurm.rest, slurm, shell)
    from livinglab.sites.slurm.cli import CommandControl

    return CommandControl(shell, slurm)


def check_site(lab: Lab, name: str, progress: "Callable[[str], None]", patience: timedelta = timedelta(minutes=10)) -> "SiteReport":
    """Is the site of that name fit for pilots, under a profile that accepts the witnesses that it needs?"""
    import secrets
    import tempfile
    from pathlib import Path

    from livinglab.artifacts.oci import ingest, program_image
    from livinglab.domain.isolation import IsolationProfile
    from livinglab.services.sitecheck import SiteCheck
    from livinglab.sites.attest import attest

    record = lab.sites.get(name)
    site = site_of(lab.settings, record, lab.artifacts, lab.clock)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "probe.tar"
        program_image(lab.settings.launcher_path, "probe", archive)
        image = ingest(archive, lab.artifacts).digest
    profile = IsolationProfile(witnesses=record.offer.witnesses)
    gpus = min(1, record.offer.gpus)
    check = SiteCheck(site=site, image=image, attest=attest, profile=profile, gpus=gpus, patience=patience)
    return check.check(secrets.token_hex(16), progress)


# --- what a worker opens ----------------------------------------------------------------------------------------------


def open_engine(lab: Lab, site: Site, boundary: "Boundary | None" = None) -> "Engine":
    """The run engine of a site, with the lab's key."""
    from livinglab.artifacts.vault import FileVault
    from livinglab.services.engine import Engine
    from livinglab.sites.attest import attest

    scratch = lab.settings.home / "work" / "engine"
    return Engine(store=lab.store, site=site, artifacts=lab.artifacts, recorder=Recorder(lab.clock, lab_signer(lab.settings)),
                  vault=FileVault(lab.settings.vault_path), attest=attest, work=scratch, boundary=boundary or (lambda _place: None))  # fmt: skip


def open_supervisor(lab: Lab, site: str, *, slots: int | None = None, boundary: "Boundary | None" = None) -> "Supervisor":
    """What carries a site's attempts."""
    from livinglab.dispatch.supervisor import Supervisor

    record = lab.sites.get(site)
    engine = open_engine(lab, site_of(lab.settings, record, lab.artifacts, lab.clock), boundary)
    in_flight = 0
    if record.kind != "docker":
        in_flight = (_slurm_settings if record.kind == "slurm" else _kubernetes_settings)(record.settings).in_flight
    return Supervisor(store=lab.store, engine=engine, clock=lab.clock, slots=slots or lab.settings.slots, in_flight=in_flight)


def open_worker(lab: Lab, site: str, *, slots: int | None = None, stopping: "threading.Event | None" = None) -> "Worker":
    """A worker of a site: with Prefect and MLflow where the settings name them, without where they don't."""
    from functools import partial

    from livinglab.dispatch.inline import carry_inline
    from livinglab.dispatch.projector import Projector
    from livinglab.dispatch.worker import Companion, Worker

    settings = lab.settings
    supervisor = open_supervisor(lab, site, slots=slots)
    if stopping:
        supervisor.stopping = stopping
    carry: Carry = partial(carry_inline, supervisor)
    companions: list[Companion] = []
    if settings.prefect_url:
        from livinglab.dispatch.prefect import PrefectDispatch, Presence, configure

        configure(settings.prefect_url)
        carry = PrefectDispatch(supervisor, pool=site).carry
        companions.append(Presence(site, worker=supervisor.owner))
    if settings.mlflow_url:
        from livinglab.tracking.mlflow import MlflowTracker

        tracker = MlflowTracker(supervisor.engine.journal.with_documents, lab.artifacts, settings.mlflow_url)
        companions.append(Projector.of_this_process(lab.store, tracker, supervisor.clock, "mlflow"))
    if settings.otlp_url:
        from livinglab.monitoring.traces import TraceTracker

        traces = TraceTracker(lab.store, settings.otlp_url)
        companions.append(Projector.of_this_process(lab.store, traces, supervisor.clock, "traces"))
    return Worker(supervisor=supervisor, carry=carry, companions=companions)
