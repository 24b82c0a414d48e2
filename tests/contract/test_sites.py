"""The conformance suite on every site that there is: the fake always, Docker where an engine answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.isolation import IsolationProfile
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.shell import CommandShell, local_shell, ssh_shell
from livinglab.testing.bench import Bench
from livinglab.testing.conformance import SiteConformance
from tests.contract.benches import DockerBench, FakeBench, KubernetesBench, SlurmBench
from tests.fixtures.slurm import SlurmBed


class TestFakeSite(SiteConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> FakeBench:
        return FakeBench(tmp_path / "bench")


@pytest.mark.docker
class TestDockerSite(SiteConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path, engine_image: tuple[FileArtifacts, str]) -> Iterator[DockerBench]:
        bench = DockerBench(tmp_path / "bench", *engine_image)
        yield bench
        bench.close()


HIDDEN_BY_GVISOR = ("no_new_privileges", "seccomp", "memory", "cpu", "pids")


@pytest.mark.gvisor
@pytest.mark.slow
class TestDockerSiteWithGvisor(SiteConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path, engine_image: tuple[FileArtifacts, str]) -> Iterator[DockerBench]:
        profile = IsolationProfile.model_validate({"witnesses": {name: ["engine"] for name in HIDDEN_BY_GVISOR}})
        bench = DockerBench(tmp_path / "bench", *engine_image, runtime="runsc", profile=profile)
        yield bench
        bench.close()

    @pytest.mark.skip(reason="gVisor keeps a container's sockets to itself (unless told `--host-uds=all`), so a pair cannot meet")
    def test_two_containers_share_a_socket_and_an_end(self, bench: Bench) -> None: ...


@pytest.mark.slurm
class TestSlurmSite(SiteConformance):
    """By the command line, as on the login node itself."""

    @pytest.fixture
    def bench(self, tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed) -> Iterator[SlurmBench]:
        bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.local(), local_shell(["/nowhere/to/be/found"]))
        yield bench
        bench.close()


@pytest.fixture
def ssh_to_nobody(slurm_bed: SlurmBed, ssh_folder: Path) -> CommandShell:
    return ssh_shell(
        "127.0.0.1", "lab", port=9, identity=slurm_bed.state / "id_ed25519", known_hosts=slurm_bed.state / "known_hosts", control=ssh_folder
    )


@pytest.mark.slurm
class TestSlurmSiteOverSsh(SiteConformance):
    """Over the login node's sshd: images, inputs and outputs too."""

    @pytest.fixture
    def bench(
        self, tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed, ssh_folder: Path, ssh_to_nobody: CommandShell
    ) -> Iterator[SlurmBench]:
        bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.ssh(ssh_folder), ssh_to_nobody)
        yield bench
        bench.close()


@pytest.mark.slurm
class TestSlurmSiteOverRest(SiteConformance):
    """Jobs over slurmrestd, files over SSH."""

    @pytest.fixture
    def bench(
        self, tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed, ssh_folder: Path, ssh_to_nobody: CommandShell,
        slurm_token: Path
    ) -> Iterator[SlurmBench]:  # fmt: skip
        control, nobody = slurm_bed.rest(slurm_token), slurm_bed.rest(slurm_token, "http://127.0.0.1:9")
        bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.ssh(ssh_folder), ssh_to_nobody, control=control, nobody=nobody)
        yield bench
        bench.close()
        control.close()


@pytest.mark.kubernetes
class TestKubernetesSite(SiteConformance):
    """On a cluster whose runtime gives a pod no network."""

    @pytest.fixture
    def bench(self, tmp_path: Path, engine_image: tuple[FileArtifacts, str], kubernetes_lab: KubernetesSettings) -> Iterator[KubernetesBench]:
        bench = KubernetesBench(tmp_path / "bench", *engine_image, kubernetes_lab)
        yield bench
        bench.close()
