"""What lies where on a cluster's shared storage: the same on every kind of cluster."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import PurePosixPath

from livinglab.domain.isolation import Area, Resources
from livinglab.domain.run import JobKey

JOB_NAME = "ll-"


@dataclass(frozen=True)
class Layout:
    """The lab's own folder on a cluster. Names tell nothing of what they stand for.

    Args:
        lab: 32 bytes that only this lab knows: two labs that share an account never meet.
    """

    scratch: PurePosixPath
    instance: str
    lab: bytes

    @property
    def root(self) -> PurePosixPath:
        """Of everything that is ours there."""
        return self.scratch / f"livinglab-{self.instance}-{self._name('root')}"

    def job(self, key: JobKey) -> str:
        """A job's opaque name, at the scheduler and as a folder's."""
        return JOB_NAME + self._name(f"job\n{key}")

    def left(self, key: JobKey) -> PurePosixPath:
        """What a container left, as the job's own script puts it aside."""
        return self.root / "jobs" / self.job(key) / "left" / key.role

    def attempt(self, attempt: str) -> PurePosixPath:
        """The folder of what was pushed for an attempt."""
        return self.root / "attempts" / self._name(f"attempt\n{attempt}")

    def area(self, attempt: str, area: Area) -> PurePosixPath:
        """An area of an attempt."""
        return self.attempt(attempt) / area

    def dataset(self, digest: str) -> PurePosixPath:
        """A dataset of the vault."""
        return self.root / "data" / digest.removeprefix("sha256:")

    def image(self, digest: str) -> PurePosixPath:
        """An image, as Apptainer takes it."""
        return self.root / "images" / (digest.removeprefix("sha256:") + ".sif")

    def _name(self, of: str) -> str:
        return hmac.new(self.lab, of.encode(), hashlib.sha256).hexdigest()[:20]


def archive_bytes(limits: Resources) -> int:
    """The most that `job.sh` lets the archive of a container's outputs have."""
    return whole_pages(limits.output_bytes) + limits.output_files * 4096 + 65_536


def whole_pages(size: int) -> int:
    """The next multiple of a page's bytes."""
    return -(-size // 4096) * 4096
