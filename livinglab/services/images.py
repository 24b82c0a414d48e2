"""Container images: taken in as an archive, normalised, and from then on known by one digest."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from livinglab.domain.access import Caller, Image
from livinglab.domain.errors import Forbidden
from livinglab.domain.sandbox import Role
from livinglab.ports import Artifacts, Store


@dataclass(frozen=True)
class Images:
    """Uploads. `ingest` normalises an archive (see `artifacts.oci`); it raises `Invalid` for a hostile or unusable one."""

    store: Store
    artifacts: Artifacts
    ingest: Callable[[Path, Artifacts], Image]
    limit: int

    def upload(self, caller: Caller, chunks: Iterable[bytes]) -> Image:
        """Take an archive in as it streams. The same archive twice is once; whether another organisation has it is not told.

        Raises:
            Forbidden: whoever asks brings neither pilots nor harnesses anywhere; nothing of what they send is read.
            TooLarge: more than the limit. Invalid: not an image archive that the lab takes.
        """
        may_bring_images(caller)
        with self.artifacts.scratch(chunks, limit=self.limit) as archive:
            image = self.ingest(archive, self.artifacts)
        with self.store.transaction() as tx:
            tx.add_image(caller.organisation, image)
        return image


def may_bring_images(caller: Caller) -> None:
    """`Forbidden` for whoever brings neither pilots nor harnesses anywhere."""
    if not {Role.PARTICIPANT, Role.AUTHORITY} & set(caller.roles.values()):
        msg = f"images are brought by participants and authorities; {caller.organisation} is neither in any sandbox."
        raise Forbidden(msg)
