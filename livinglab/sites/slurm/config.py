"""What an operator writes down of a Slurm cluster."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from livinglab.domain.model import Frozen

_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$"
Word = Annotated[str, Field(pattern=_WORD)]


class LocalAccess(Frozen):
    """Slurm's commands on the worker's own machine."""

    kind: Literal["local"] = "local"
    prefix: tuple[str, ...] = ()
    """Words before each command: `[sudo, -n, -u, lab]` for another account."""


class SshAccess(Frozen):
    """Slurm's commands at a login node."""

    kind: Literal["ssh"] = "ssh"
    host: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}$")
    user: Word
    port: int = Field(default=22, ge=1, le=65_535)
    identity: Path
    """The lab's private key, without a passphrase, readable by the worker only."""
    known_hosts: Path
    """The login node's key, pinned; any other is refused."""


class RestAccess(Frozen):
    """Slurm's daemon for web requests: jobs go over it, files over the other access."""

    url: str = Field(pattern=r"^https?://[^\s?#@]+$")
    user: Word
    token: Path
    """A file that holds a JSON Web Token; read anew for each request, so that whoever renews it need not tell the lab."""
    ca: Path | None = None
    """For `https`: the certificates of the authorities that are believed; the machine's own where none are given."""


class SlurmSettings(Frozen):
    """A cluster, as the lab may use it. Paths are those of the machine that they are on."""

    access: Annotated[LocalAccess | SshAccess, Field(discriminator="kind")] = LocalAccess()
    rest: RestAccess | None = None
    """Where given, jobs are submitted and observed over it, and only files go over `access`."""
    scratch: Path
    """A folder on the cluster's shared file system that the lab's account may write to; the lab makes one of its own in it."""
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_&|*()\[\]-]{1,200}$")] | None = None
    reservation: Word | None = None
    gpu: Annotated[str, Field(pattern=r"^gpu(:[A-Za-z0-9_.-]{1,63})?$")] = "gpu"
    """The generic resource that a GPU is."""
    apptainer: Path = Path("/usr/bin/apptainer")
    build: Literal["login", "job"] = "login"
    """Where images are built: on the login node, or in a job where the site does not allow that."""
    in_flight: int = Field(default=200, ge=1, le=20_000)
    """Attempts that a worker has at the cluster at the same time, waiting there or running; the others wait in the lab. Not more than the
    account may submit (`MaxSubmitJobs`)."""
    array_size: int = Field(default=100, ge=1, le=1_000)
    """Jobs that are alike and are submitted by commands at the same time are one job array, of so many tasks at most; 1 for none.
    The cluster's `MaxArraySize` must not be less."""
    poll_seconds: float = Field(default=0.25, ge=0.05, le=60)

    @field_validator("scratch", "apptainer")
    @classmethod
    def _plain(cls, path: Path) -> Path:
        if not path.is_absolute() or not all(c.isalnum() or c in "/._-" for c in str(path)) or ".." in path.parts:
            msg = f"an absolute path of letters, digits, '.', '_' and '-' is expected, not {str(path)!r}"
            raise ValueError(msg)
        return path
