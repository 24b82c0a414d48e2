"""Container images: taken in as an archive, normalised, and from then on known by one digest."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from livinglab.domain.access import Caller, Image
from livinglab.domain.errors import Conflict, Forbidden
from livinglab.domain.sandbox import Role
from livinglab.ports import Artifacts, Store, Tx


@dataclass(frozen=True)
class Images:
    """Uploads.

    Args:
        ingest: normalises an archive (see `artifacts.oci`); it raises `Invalid` for a hostile or unusable one.
        layers: the bytes of each of an image's layers, by its digest.
        limit: of an archive, in bytes.
        quota: of an organisation's images together, in bytes, each layer once.
    """

    store: Store
    artifacts: Artifacts
    ingest: Callable[[Path, Artifacts], Image]
    layers: Callable[[str, Artifacts], Mapping[str, int]]
    limit: int
    quota: int

    def upload(self, caller: Caller, chunks: Iterable[bytes]) -> Image:
        """Take an archive in as it streams. The same archive twice is once; whether another organisation has it is not told.

        Raises:
            Forbidden: whoever asks brings neither pilots nor harnesses anywhere; nothing of what they send is read.
            TooLarge: more than the limit. Invalid, Conflict: as `take_in`.
        """
        may_bring_images(caller)
        with self.artifacts.scratch(chunks, limit=self.limit) as archive:
            return self.take_in(caller, archive)

    def take_in(self, caller: Caller, archive: Path, then: Callable[[Tx, Image], None] = lambda _tx, _image: None) -> Image:
        """Take in an archive that is here, and do what else is to be done in that transaction. Of one that is refused nothing is kept.

        Raises:
            Invalid: not an image archive that the lab takes. Conflict: with it the organisation would have more than its quota.
        """
        with self.artifacts.aside() as aside:
            image = self.ingest(archive, aside)
            with self.store.transaction() as tx:
                tx.add_image(caller.organisation, image)
                self.check_room(tx, caller.organisation, aside)
                then(tx, image)
                aside.keep()  # before the transaction ends: whatever image the lab knows is there
        return image

    def check_room(self, tx: Tx, organisation: str, artifacts: Artifacts, more: int = 0) -> None:
        """`Conflict` if an organisation's images, and so many bytes more, are more than its quota."""
        layers = {layer: size for image in tx.images_of(organisation) for layer, size in self.layers(image.digest, artifacts).items()}
        size = sum(layers.values()) + more
        if size > self.quota:
            msg = f"{organisation} would have {size:,} bytes of images here, and may have {self.quota:,}."
            raise Conflict(msg, hint="Images that have layers in common take less. The lab's operator sets the quota: LIVINGLAB_IMAGE_QUOTA.")


def may_bring_images(caller: Caller) -> None:
    """`Forbidden` for whoever brings neither pilots nor harnesses anywhere."""
    if not {Role.PARTICIPANT, Role.AUTHORITY} & set(caller.roles.values()):
        msg = f"images are brought by participants and authorities; {caller.organisation} is neither in any sandbox."
        raise Forbidden(msg)
