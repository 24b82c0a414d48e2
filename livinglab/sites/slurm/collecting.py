"""Bringing away what an ended job left at a cluster."""

from datetime import datetime
from pathlib import Path

from livinglab.domain.errors import Invalid, LivingLabError, NotFound, PlatformFault
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, JobSpec, Observation, Outcome, OutputFile
from livinglab.sites.outputs import unpack_outputs
from livinglab.sites.scratch import Layout, archive_bytes
from livinglab.sites.slurm import observing
from livinglab.sites.slurm.control import Cluster, Line
from livinglab.sites.slurm.view import site_view
from livinglab.sites.transfer import fetch, fetch_small


class Collector:
    """Collects the containers of one cluster's jobs."""

    def __init__(self, cluster: Cluster, layout: Layout) -> None:
        self._shell, self._control, self._layout = cluster.shell, cluster.control, layout

    def take(self, key: JobKey, seen: Observation, line: Line, facts: observing.Facts, into: Path) -> Outcome:
        """Bring it to a folder of ours.

        Raises:
            PlatformFault: its container was never started, or what it left is gone.
        """
        spec, container = self._spec_of(key)
        left = self._small(key)
        if not ("report" in left or "stopped" in left or seen.limit or "cancelled" in facts):
            said = left.get("step.log", b"").decode(errors="replace").strip()[-500:] or "the runtime gave no reason"
            msg = f"the container was not started on {line.nodes or '(none)'}, so nothing of it was executed: {said}"
            raise PlatformFault(msg)
        limits = container.resources
        log = self._log(key, into / "log", limits.log_bytes)
        files, problem = self._outputs(key, container, into, whole="exit" in left)
        started = seen.started_at or line.submitted or seen.at
        return Outcome(
            key=key, exit_code=seen.exit_code or 0, limit=seen.limit, started_at=started, ended_at=max(started, seen.ended_at or seen.at),
            report=left.get("report"), site_view=site_view(left.get("view", b"").decode(errors="replace"), spec, container), log_path=into / "log",
            log_bytes=min(log, limits.log_bytes), log_truncated=log > limits.log_bytes, outputs=files, outputs_dir=into / "outputs",
            output_problem=problem, usage=self._usage(line, started, seen.ended_at) | observing.parse_usage(left.get("usage", b"")))  # fmt: skip

    def _spec_of(self, key: JobKey) -> tuple[JobSpec, ContainerSpec]:
        spec = JobSpec.model_validate_json(fetch_small(self._shell, self._layout.root / "jobs" / self._layout.job(key))["spec.json"])
        return spec, next(c for c in spec.containers if c.role == key.role)

    def _small(self, key: JobKey) -> dict[str, bytes]:
        try:
            return fetch_small(self._shell, self._layout.left(key))
        except NotFound:
            return {}  # it was ended before it began

    def _log(self, key: JobKey, target: Path, limit: int) -> int:
        """Bring the log; how many bytes it has, one more than the limit at most."""
        try:
            fetch(self._shell, self._layout.left(key) / "log", target, limit=limit + 1)
        except NotFound:
            target.touch()
        size = target.stat().st_size
        with target.open("r+b") as log:
            log.truncate(min(size, limit))
        return size

    def _outputs(self, key: JobKey, container: ContainerSpec, into: Path, *, whole: bool) -> tuple[tuple[OutputFile, ...], str | None]:
        """Bring the outputs, or what is wrong with them. `whole`: the script came so far as to put them aside."""
        (into / "outputs").mkdir()
        limits, archive = container.resources, into / "outputs.tar"
        if not any(mount.area == "outputs" for mount in container.mounts):
            return (), None
        try:
            fetch(self._shell, self._layout.left(key) / "outputs.tar", archive, limit=archive_bytes(limits))
            return unpack_outputs(archive, into / "outputs", limits), None
        except NotFound as error:
            if whole:
                msg = f"what container {key} left at the cluster was removed there before it could be fetched."
                raise PlatformFault(msg) from error
            return (), None
        except Invalid as error:
            return (), error.message
        finally:
            archive.unlink(missing_ok=True)

    def _usage(self, line: Line, started: datetime, ended: datetime | None) -> dict[str, float]:
        """What accounting says. If it is away, that costs its figures, and nothing else."""
        usage = {"wall_seconds": max(0.0, ((ended or started) - started).total_seconds())}
        try:
            lines = [told for told in self._control.accounted([line.name]) if told.id == line.id]
        except LivingLabError:
            lines = []
        for told in lines:
            usage |= dict(told.usage)
        return usage
