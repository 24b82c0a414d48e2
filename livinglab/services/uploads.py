"""Images that come in parts: what is there stays there, whoever is cut off or killed, and is gone on from."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from livinglab.domain.access import Caller, Image, Upload
from livinglab.domain.errors import Conflict, NotFound, TooLarge
from livinglab.ports import Clock, Parts, Store, Tx
from livinglab.services.ids import new_id
from livinglab.services.images import Images, may_bring_images
from livinglab.services.sandboxes import parse

KEPT = timedelta(days=1)
"""After which an upload is forgotten, whole or not."""
MOST = 8
"""That one organisation may have open."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Uploads:
    """Uploads in parts."""

    store: Store
    clock: Clock
    parts: Parts
    images: Images

    def begin(self, caller: Caller, size: int, digest: str) -> tuple[Upload, int]:
        """A new one, or the one of this archive that was begun before; and how much of it is there.

        Args:
            size: of the archive, in bytes.
            digest: of the archive.

        Raises:
            Forbidden: as `Images.upload`.
            TooLarge: more than an image may have.
            Conflict: too many are open, or with what they announce the organisation would have more than its quota.
        """
        may_bring_images(caller)
        if size > self.images.limit:
            msg = f"{size} bytes; an image has at most {self.images.limit}."
            raise TooLarge(msg)
        now = self.clock.now()
        about = {"organisation": caller.organisation, "size": size, "digest": digest}
        made = parse(Upload, {"id": new_id("upl", now), "created_at": now, **about}, "upload")
        with self.store.transaction() as tx:
            mine = [upload for upload in self._without_old(tx) if upload.organisation == caller.organisation]
            known = next((upload for upload in mine if (upload.size, upload.digest) == (size, digest)), None)
            if known is None and sum(upload.image is None for upload in mine) >= MOST:
                msg = f"{caller.organisation} has {MOST} uploads open."
                raise Conflict(msg, hint="Finish one, or give it up: DELETE /v1/uploads/ID.")
            if known is None:
                self.images.check_room(tx, caller.organisation, self.images.artifacts, size + sum(u.size for u in mine if not u.image))
                tx.put_upload(made)
        self.images.artifacts.drop_unfinished(older_than=KEPT.total_seconds())
        return known or made, self._there(known or made)

    def get(self, caller: Caller, id_: str) -> tuple[Upload, int]:
        """One of this organisation's, and how much of it is there."""
        upload = self._mine(caller, id_)
        return upload, self._there(upload)

    def append(self, caller: Caller, id_: str, offset: int, chunks: Iterable[bytes]) -> tuple[Upload, int]:
        """Go on at `offset`; the upload, and how much of it is there then. What came before the way was cut is kept.

        Raises:
            Conflict: it goes on elsewhere, or somebody else is at it.
            TooLarge: more comes than was announced.
        """
        upload = self._mine(caller, id_)
        if upload.image:
            msg = "it is whole, and its image was taken in."
            raise Conflict(msg)
        return upload, self.parts.append(upload.id, offset, chunks, limit=upload.size)

    def finish(self, caller: Caller, id_: str) -> Image:
        """Take the image in. Twice is once, for whoever did not hear the first answer.

        Raises:
            Conflict: it is not whole; or other bytes came than were announced, and it is forgotten.
            Invalid: as `Images.take_in`.
        """
        upload = self._mine(caller, id_)
        if upload.image:
            with self.store.transaction(read_only=True) as tx:
                known = tx.image(upload.image)
            assert known is not None  # noqa: S101 - both were written in one transaction
            return known
        if (there := self.parts.size(upload.id)) != upload.size:
            msg = f"{there} of {upload.size} bytes are there."
            raise Conflict(msg, hint=f"Go on at byte {there}.")
        path = self.parts.path(upload.id)
        with path.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if found != upload.digest:
            self._forget(upload)
            msg = f"what came is not what was announced: {found}, not {upload.digest}."
            raise Conflict(msg, hint="Send it anew.")
        image = self.images.take_in(caller, path, lambda tx, image: tx.put_upload(upload.model_copy(update={"image": image.digest})))
        self.parts.drop(upload.id)
        return image

    def give_up(self, caller: Caller, id_: str) -> None:
        """Forget it."""
        self._forget(self._mine(caller, id_))

    def _there(self, upload: Upload) -> int:
        return upload.size if upload.image else self.parts.size(upload.id)

    def _mine(self, caller: Caller, id_: str) -> Upload:
        with self.store.transaction(read_only=True) as tx:
            upload = tx.upload(id_)
        if upload is None or upload.organisation != caller.organisation:
            msg = f"there is no upload {id_!r}."
            raise NotFound(msg)
        return upload

    def _forget(self, upload: Upload) -> None:
        with self.store.transaction() as tx:
            tx.remove_upload(upload.id)
        self.parts.drop(upload.id)

    def _without_old(self, tx: Tx) -> list[Upload]:
        """Everybody's that are kept. The others are forgotten, and files of which nobody knows any more."""
        before, kept = self.clock.now() - KEPT, list[Upload]()
        for upload in tx.uploads():
            if upload.created_at < before:
                tx.remove_upload(upload.id)
                self.parts.drop(upload.id)
            else:
                kept.append(upload)
        self.parts.drop_all_but([upload.id for upload in kept], older_than=KEPT.total_seconds())
        return kept
