"""How the lab uses a Kubernetes cluster, and as whom."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from livinglab.domain.canonical import Digest
from livinglab.domain.model import Frozen

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
"""A name as Kubernetes takes it."""


class Registry(Frozen):
    """Where the lab pushes images, and nodes pull them, by digest."""

    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,255}$")]
    """As the lab's worker reaches it."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}(:\d{1,5})?$")]
    """As the cluster's nodes call it."""
    repository: Annotated[str, Field(pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$", max_length=200)] = "livinglab"
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    password: Path | None = None
    """A file with the user's password; read anew for each push."""
    ca: Path | None = None
    """The certificates of the authorities that are believed; the machine's own where none are given."""
    pull_secret: Name | None = None
    """In the lab's namespace: what nodes pull with. No pilot can read it."""


class KubernetesSettings(Frozen):
    """A cluster, as the lab may use it."""

    kubeconfig: Path
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    namespace: Name
    """The lab's own: its Jobs, its claim and its staging pod, and nothing else."""
    claim: Name
    """A volume claim that every node may mount and write (ReadWriteMany)."""
    stager: Name = "stager-0"
    """The pod that waits in the namespace with the claim at `/lab`, and has bash, coreutils, findutils and tar (see `infra/kubernetes`)."""
    tools: Annotated[str, Field(pattern=r"^[^\s@]{1,200}@sha256:[0-9a-f]{64}$")]
    """The stager's image, by digest: it also brings away what a container left."""
    registry: Registry
    runtime_class: Name | None = None
    """A runtime whose containers have no network, such as `infra/kubernetes` sets up; without one the probe refuses every run."""
    priority_class: Name | None = None
    queue: Name | None = None
    """A queue of Kueue's."""
    node_selector: dict[str, str] = {}
    gpu: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,63}/[a-z0-9.-]{1,63}$")] = "nvidia.com/gpu"
    """The resource that a GPU is."""
    in_flight: int = Field(default=200, ge=1, le=20_000)
    """Attempts that a worker has at the cluster at the same time; the others wait in the lab."""

    @field_validator("kubeconfig")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            msg = f"an absolute path is expected, not {str(path)!r}"
            raise ValueError(msg)
        return path


def image_reference(registry: Registry, digest: Digest) -> str:
    """What a pod calls an image of the lab's."""
    return f"{registry.host}/{registry.repository}@{digest}"
