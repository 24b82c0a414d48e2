"""Images at a Docker Engine: loaded once under the lab's own names, and checked to be what was normalised each time they are used."""

from dataclasses import dataclass
from typing import Any

from docker.errors import ImageNotFound

from livinglab.domain.errors import Invalid, PlatformFault
from livinglab.ports import Images
from livinglab.sites.docker_engine import translated
from livinglab.sites.staging import Staging


@dataclass(frozen=True)
class EngineImages:
    """The lab's images at one engine."""

    engine: Any
    images: Images
    staging: Staging

    def ensure(self, digest: str) -> str:
        """The engine's id of the image, which is loaded if it is not there; once, however many ask at the same time."""
        with self.staging.locked(f"image-{digest[7:39]}"):
            found = self.find(digest)
            if found is None:
                self._load(digest)
                found = self.find(digest)
            if found is None:
                msg = f"the engine loaded image {digest} and does not have it."
                raise PlatformFault(msg)
            return found

    def find(self, digest: str) -> str | None:
        """The engine's id of the image; None if it is not there.

        Raises:
            PlatformFault: the engine holds something else under the lab's name for it.
        """
        config, layers = self.images.config(digest)
        with translated():
            try:
                found = dict(self.engine.inspect_image(self.images.tag(digest)))
            except ImageNotFound:
                return None
        if found["Id"] != config and not _is_plain(found, layers):
            msg = f"the engine holds something else under the name of image {digest}."
            raise PlatformFault(msg, hint=f"Remove it: docker image rm {self.images.tag(digest)}")
        return str(found["Id"])

    def _load(self, digest: str) -> None:
        archive = self.staging.root / f"load-{digest[7:39]}.tar"
        try:
            with archive.open("wb") as out:
                self.images.export(digest, out)
            with archive.open("rb") as stream, translated():
                for answer in self.engine.load_image(stream, quiet=True):
                    if "error" in answer:
                        raise Invalid(f"the engine cannot load the image: {answer['error']}", where="image")
        finally:
            archive.unlink(missing_ok=True)


def _is_plain(found: dict[str, Any], layers: tuple[str, ...]) -> bool:
    """An engine that names images by another digest than their configuration's must at least have our layers, and no configuration of its own."""
    own = found.get("Config") or {}
    return tuple(found["RootFS"]["Layers"]) == layers and not any(own.get(k) for k in ("Env", "Entrypoint", "Cmd", "Volumes", "User"))
