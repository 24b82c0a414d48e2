"""What the lab places on a cluster's claim for all its jobs, by as many threads as begin with it at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.bootstrap import SystemClock
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.site import KubernetesSite
from tests.unit.sites.kubernetes.server import Server

TOGETHER = 0.5
"""Seconds in which a second thread would be seen beside the first."""


class Crowded:
    """A shell that says whether two ever placed something at once."""

    def __init__(self) -> None:
        self.meeting, self.met, self.placed = threading.Barrier(2), False, 0

    def run(self, _script: str, *_arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = 60) -> bytes:
        if stdin:
            self.placed += 1
            try:
                self.meeting.wait(TOGETHER)
                self.met = True
            except threading.BrokenBarrierError:
                self.meeting.reset()
        return b""


def test_one_at_a_time_places_the_tools(server: Server, tmp_path: Path) -> None:
    """Whoever is second would take away what the first is about to use."""
    launcher = tmp_path / "launcher"
    launcher.write_bytes(b"launcher")
    registry = {"url": "https://127.0.0.1:9", "host": "registry", "user": "lab", "password": tmp_path / "password"}
    settings = KubernetesSettings.model_validate(
        {"kubeconfig": server.kubeconfig, "namespace": "lab", "claim": "lab", "tools": "tools@sha256:" + "1" * 64, "registry": registry}
    )
    site = KubernetesSite(
        name="cluster", instance="lab", root=tmp_path / "work", vault=tmp_path / "vault", launcher=launcher, clock=SystemClock(),
        artifacts=FileArtifacts(tmp_path / "blobs"), settings=settings, api=Api(server.kubeconfig),
    )  # fmt: skip
    shell = Crowded()
    site._shell = shell  # type: ignore[assignment] # as good as a pod's
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: site._tools, range(4)))) == 1
    assert shell.placed
    assert not shell.met
