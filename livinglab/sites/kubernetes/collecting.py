"""Bringing away what an ended pod left: its logs from the kubelet, its outputs from the claim."""

from pathlib import Path
from typing import Any

from livinglab.domain.errors import Invalid, NotFound, PlatformFault, TooLarge
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, JobSpec, Observation, Outcome, OutputFile
from livinglab.sites.attest import MARK, REPORT_LIMIT
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.view import site_view
from livinglab.sites.outputs import unpack_outputs
from livinglab.sites.scratch import Layout, archive_bytes
from livinglab.sites.shell import Shell
from livinglab.sites.transfer import fetch

Json = dict[str, Any]


class Collector:
    """Collects the containers of one cluster's pods.

    Args:
        pods: the path of the lab's pods at the API server.
    """

    def __init__(self, api: Api, shell: Shell, layout: Layout, pods: str) -> None:
        self._api, self._shell, self._layout, self._pods = api, shell, layout, pods
        self._reports: dict[JobKey, bytes] = {}
        """Launchers' lines, as soon as they were seen: a flood of log washes them away at the node."""
        self._floods: dict[JobKey, bytes] = {}
        """What may be kept of the logs that were too long, for the same reason."""

    def log(self, pod: Json, key: JobKey, offset: int, limit: int) -> bytes:
        """What a container said from `offset` on, after the launcher's line."""
        return self._said(pod, key, REPORT_LIMIT + offset + limit)[1][offset : offset + limit]

    def log_is_over(self, spec: JobSpec, pod: Json, key: JobKey) -> bool:
        """Has a container said more than it may?"""
        limits = next(c.resources for c in spec.containers if c.role == key.role)
        log = self._said(pod, key, REPORT_LIMIT + limits.log_bytes + 1)[1]
        if is_over := len(log) > limits.log_bytes:
            self._floods[key] = log[: limits.log_bytes]
        return is_over

    def _said(self, pod: Json, key: JobKey, most: int) -> tuple[bytes | None, bytes]:
        """The launcher's line, and what follows it."""
        try:
            text = self._api.text(f"{self._pods}/{pod['metadata']['name']}/log", container=key.role, limitBytes=most)
        except (NotFound, Invalid, PlatformFault):
            return self._reports.get(key), b""  # it has not begun
        if text.startswith(MARK) and key not in self._reports and b"\n" in text[: REPORT_LIMIT + 1]:
            self._reports[key] = text[: text.index(b"\n") + 1]
        report = self._reports.get(key)
        return report, text.removeprefix(report) if report else text

    def take(self, key: JobKey, seen: Observation, spec: JobSpec, pod: Json | None, into: Path) -> Outcome:
        """Bring it to a folder of ours. `PlatformFault` where what it left is gone."""
        container = next(c for c in spec.containers if c.role == key.role)
        limits = container.resources
        report, log = self._said(pod, key, REPORT_LIMIT + limits.log_bytes + 1) if pod else (None, b"")
        log = self._floods.get(key, log)
        limit = seen.limit or ("log_bytes" if len(log) > limits.log_bytes else None)  # nobody looked in time
        (into / "log").write_bytes(log[: limits.log_bytes])
        files, problem = self._outputs(key, container, into, pod)
        started = seen.started_at or seen.ended_at or seen.at
        ended = max(started, seen.ended_at or seen.at)
        return Outcome(
            key=key, exit_code=seen.exit_code or 0, limit=limit, started_at=started, ended_at=ended, report=report,
            site_view=site_view(pod, spec, container) if pod else (), log_path=into / "log", log_bytes=min(len(log), limits.log_bytes),
            log_truncated=limit == "log_bytes", outputs=files, outputs_dir=into / "outputs", output_problem=problem,
            usage={"wall_seconds": (ended - started).total_seconds()})  # fmt: skip

    def forget(self, attempt: str) -> None:
        """Of an attempt that is released nothing is kept here."""
        for kept in (self._reports, self._floods):
            for key in [key for key in kept if key.attempt == attempt]:
                del kept[key]

    def _outputs(self, key: JobKey, container: ContainerSpec, into: Path, pod: Json | None) -> tuple[tuple[OutputFile, ...], str | None]:
        (into / "outputs").mkdir()
        if pod is None or not any(mount.area == "outputs" for mount in container.mounts):
            return (), None
        folder = self._layout.root / "jobs" / pod["metadata"]["labels"]["job-name"]
        if observing.has_sockets(pod, key.role):
            return (), "a socket is among the outputs, which is not a plain file; only those are taken."
        archive = into / "outputs.tar"
        try:
            fetch(self._shell, folder / "left" / f"{key.role}.tar", archive, limit=archive_bytes(container.resources))
            return unpack_outputs(archive, into / "outputs", container.resources), None
        except NotFound:
            return (), None  # it was ended before the lab's container could bring anything away
        except (Invalid, TooLarge) as error:
            return (), error.message
        finally:
            archive.unlink(missing_ok=True)
