"""The benches on which the conformance suite is run: a site in memory, a real Docker Engine, a real Slurm cluster."""

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.artifacts.oci import OciImages, ingest
from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import SystemClock
from livinglab.domain.isolation import IsolationProfile
from livinglab.domain.run import JobKey
from livinglab.sites.docker import DockerSite
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.site import KubernetesSite
from livinglab.sites.shell import Shell
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Cluster, Control
from livinglab.sites.slurm.observing import NOT_OURS
from livinglab.sites.slurm.site import SlurmSite
from livinglab.testing.fakes import Backend, FakeClock, FakeSite
from livinglab.testing.scripts import FAKE, PYTHON, Behaviour
from tests.engine_book import engine_book
from tests.labs import ROOT, pilots_archive

LAUNCHER = ROOT / "infra" / "launcher" / "livinglab-launcher"
IMAGE = "sha256:" + "1" * 64
DATASET = "sha256:" + "2" * 64


@dataclass
class FakeBench:
    folder: Path
    make: type[FakeSite] = FakeSite
    clock: FakeClock = field(default_factory=FakeClock)
    image: str = IMAGE
    dataset: str = DATASET
    profile: IsolationProfile = field(default_factory=IsolationProfile)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.backend = Backend(scripts=FAKE, images={IMAGE}, datasets={DATASET: {"a.txt": b"data"}})
        self.site = self.again()

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        return (behaviour,)

    def again(self) -> FakeSite:
        return self.make(self.backend, self.clock)

    def stranger(self) -> FakeSite:
        return self.make(Backend(scripts=FAKE), self.clock)

    @contextmanager
    def away(self) -> Iterator[FakeSite]:
        self.backend.away = True
        yield self.site
        self.backend.away = False

    def lose(self, key: JobKey) -> None:
        self.backend.lose(key)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def times_started(self, key: JobKey) -> int | None:
        return self.backend.runs[key]


class DockerBench:
    """A lab of its own on the shared engine; `close` removes all of it."""

    def __init__(self, folder: Path, artifacts: FileArtifacts, image: str, *, make: type[DockerSite] = DockerSite, **options: Any) -> None:
        self.root = folder
        self.folder = folder / "scratch"
        self.folder.mkdir(parents=True)
        self.artifacts = artifacts
        self.image = image
        self.profile: IsolationProfile = options.pop("profile", IsolationProfile())
        self.options = options
        self.make = make
        self.book = engine_book()
        self.instance = f"test{secrets.token_hex(3)}"
        data = folder / "data"
        data.mkdir()
        (data / "a.txt").write_bytes(b"data")
        self.dataset = FileVault(folder / "vault").add(data).digest
        self.site = self.again()

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("python3", "-c", PYTHON[behaviour])

    def again(self) -> DockerSite:
        return self._site(self.instance, "work")

    def stranger(self) -> DockerSite:
        return self._site(self.instance, "stranger")  # the worst case: another lab that gave itself the same name

    def _site(self, instance: str, work: str, **options: Any) -> DockerSite:
        return self.make(name="docker", instance=instance, root=self.root / work, vault=self.root / "vault", launcher=LAUNCHER,
                         images=OciImages(self.artifacts), clock=SystemClock(), **(self.options | options))  # fmt: skip

    @contextmanager
    def away(self) -> Iterator[DockerSite]:
        yield self._site(self.instance, "work", url=f"unix://{self.root}/nobody.sock")

    def lose(self, key: JobKey) -> None:
        self.site._engine.remove_container(self.name(key), force=True)

    def pass_time(self, seconds: float) -> None:
        """The engine's clock is the machine's: the suite's own waiting is enough."""

    def times_started(self, key: JobKey) -> int | None:
        return self.book.times(self.name(key))

    def name(self, key: JobKey) -> str:
        return f"livinglab-{self.instance}-{key.attempt}-{key.role}"

    def close(self) -> None:
        for site in (self.site, self.stranger()):
            for key in site.owned():
                site.release(key.attempt)
        left = self.site._engine.containers(all=True, filters={"name": f"livinglab-{self.instance}-"})
        for container in left:
            self.site._engine.remove_container(container["Id"], force=True)
        assert not left, left


class SlurmBench:
    """A lab of its own on the shared test bed; `close` removes all of it.

    Args:
        shell: how the cluster is reached.
        nowhere: the same way, to where nobody answers.
        control: the scheduler, where the shell is not the way to it; `nobody` is then the same way, to where nobody answers.
        settings: how the cluster may be used, if not as usual.
    """

    def __init__(self, folder: Path, artifacts: FileArtifacts, image: str, shell: Shell, nowhere: Shell, *,
                 control: Control | None = None, nobody: Control | None = None, settings: SlurmSettings | None = None) -> None:  # fmt: skip
        self.root = folder
        self.folder = folder / "scratch"
        self.folder.mkdir(parents=True)
        self.artifacts, self.image = artifacts, image
        self.here, self.elsewhere = (shell, control), (nowhere, nobody)
        self.shell, self.settings = shell, settings or SlurmSettings(scratch=Path("/scratch"), partition="lab")
        self.profile = IsolationProfile.model_validate({"witnesses": {"pids": ["rlimit"]}})
        self.instance = f"test{secrets.token_hex(3)}"
        data = folder / "data"
        data.mkdir()
        (data / "a.txt").write_bytes(b"data")
        self.dataset = FileVault(folder / "vault").add(data).digest
        self.site = self.again()
        # The same image is not built once per test: its file is linked from where another test left it.
        self.shell.run('mkdir -p "$1/images" /scratch/built; ln /scratch/built/* "$1/images/" 2>/dev/null || true', str(self.site.layout.root))

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("python3", "-c", PYTHON[behaviour])

    def again(self) -> SlurmSite:
        return self._site("work", *self.here)

    def stranger(self) -> SlurmSite:
        return self._site("stranger", *self.here)

    def _site(self, work: str, shell: Shell, control: Control | None) -> SlurmSite:
        return SlurmSite(name="cluster", instance=self.instance, root=self.root / work, vault=self.root / "vault", launcher=LAUNCHER,
                         images=OciImages(self.artifacts), clock=SystemClock(),
                         cluster=Cluster(self.settings, shell, control or CommandControl(shell, self.settings)))  # fmt: skip

    @contextmanager
    def away(self) -> Iterator[SlurmSite]:
        yield self._site("work", *self.elsewhere)

    def lose(self, key: JobKey) -> None:
        name = self.site.layout.job(key)
        self.shell.run('scancel --me --name="$2"; rm -rf "$1/jobs/$2"', str(self.site.layout.root), name)

    def pass_time(self, seconds: float) -> None:
        """The cluster's clock is the machine's: the suite's own waiting is enough."""

    def times_started(self, key: JobKey) -> int | None:
        lines = self.site._control.queue()
        return sum(line.name == self.site.layout.job(key) and line.exit_code != NOT_OURS for line in lines)

    def close(self) -> None:
        self.shell.run('ln "$1"/images/*.sif "$1"/images/*.sha256 /scratch/built/ 2>/dev/null || true', str(self.site.layout.root))
        for site in (self.site, self.stranger()):
            for key in site.owned():
                site.release(key.attempt)
            self.shell.run('rm -rf "$1"', str(site.layout.root))


class KubernetesBench:
    """A lab of its own in a namespace of the test bed; `close` removes all of it.

    Args:
        settings: the cluster, as the lab may use it.
    """

    def __init__(self, folder: Path, artifacts: FileArtifacts, image: str, settings: KubernetesSettings) -> None:
        self.root = folder
        self.folder = folder / "scratch"
        self.folder.mkdir(parents=True)
        self.artifacts, self.image, self.settings = artifacts, image, settings
        self.cpus = 0.5  # two and the lab's own have room on a node
        self.profile = IsolationProfile.model_validate({"witnesses": {"pids": ["rlimit"]}})
        self.instance = f"test{secrets.token_hex(3)}"
        data = folder / "data"
        data.mkdir()
        (data / "a.txt").write_bytes(b"data")
        self.dataset = FileVault(folder / "vault").add(data).digest
        self.site = self.again()

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("python3", "-c", PYTHON[behaviour])

    def again(self) -> KubernetesSite:
        return self._site("work", self.settings.kubeconfig)

    def stranger(self) -> KubernetesSite:
        return self._site("stranger", self.settings.kubeconfig)

    def _site(self, work: str, kubeconfig: Path) -> KubernetesSite:
        return KubernetesSite(name="cluster", instance=self.instance, root=self.root / work, vault=self.root / "vault", launcher=LAUNCHER,
                              artifacts=self.artifacts, clock=SystemClock(), settings=self.settings, api=Api(kubeconfig))  # fmt: skip

    @contextmanager
    def away(self) -> Iterator[KubernetesSite]:
        elsewhere = self.root / "nowhere.kubeconfig"
        elsewhere.write_text(re.sub(r"https://[^\s,}\"]+", "https://127.0.0.1:9", self.settings.kubeconfig.read_text()))
        yield self._site("work", elsewhere)

    def lose(self, key: JobKey) -> None:
        self.site._jobs.delete([self.site.layout.job(key)])

    def pass_time(self, seconds: float) -> None:
        """The cluster's clock is the machine's: the suite's own waiting is enough."""

    def times_started(self, key: JobKey) -> int | None:
        return None

    def close(self) -> None:
        for site in (self.site, self.stranger()):
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(site.release, {key.attempt for key in site.owned()}))
            site._shell.run('[ ! -d "$1/closed" ] || chmod 700 "$1/closed"; rm -rf "$1"', str(site.layout.root))


def python_image(folder: Path) -> tuple[FileArtifacts, str]:
    """Blobs that hold an image with Python, and its digest."""
    artifacts = FileArtifacts(folder / "blobs")
    return artifacts, ingest(pilots_archive(), artifacts).digest
