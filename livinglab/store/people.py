"""Tokens, members, keys, uploads and idempotency keys."""

from datetime import datetime

import sqlalchemy as sa

from livinglab.domain.access import Identity, Image, Member, PublicKey, Token, Upload
from livinglab.domain.errors import Conflict
from livinglab.store import tables as t
from livinglab.store.base import Tables


class PeopleTables(Tables):
    """See the port."""

    def add_token(self, token: Token) -> None:
        self.insert(t.tokens, id=token.id, hash=token.hash, doc=token.model_dump_json())

    def token_by_hash(self, hash_: str) -> Token | None:
        return self.one(Token, t.tokens, hash=hash_)

    def tokens(self) -> tuple[Token, ...]:
        return self.many(Token, sa.select(t.tokens.c.doc).order_by(t.tokens.c.id))

    def revoke_token(self, id_: str, at: datetime) -> bool:
        token = self.one(Token, t.tokens, id=id_)
        if token is None:
            return False
        if token.revoked_at is None:
            self.put(t.tokens, {"id": id_}, doc=token.model_copy(update={"revoked_at": at}).model_dump_json())
        return True

    def put_member(self, member: Member) -> None:
        key = {"issuer": member.identity.issuer, "subject": member.identity.subject}
        self.put(t.members, key, organisation=member.organisation, doc=member.model_dump_json())

    def member(self, identity: Identity) -> Member | None:
        return self.one(Member, t.members, issuer=identity.issuer, subject=identity.subject)

    def members(self) -> tuple[Member, ...]:
        table = t.members
        return self.many(Member, sa.select(table.c.doc).order_by(table.c.organisation, table.c.issuer, table.c.subject))

    def add_key(self, key: PublicKey) -> PublicKey:
        known = self.key(key.key_id)
        if known is None:
            self.insert(t.keys, key_id=key.key_id, organisation=key.organisation, doc=key.model_dump_json())
            return key
        if known.organisation != key.organisation:
            msg = "this key is registered already, and not by this organisation."
            raise Conflict(msg)
        if known.revoked_at:
            msg = f"this key was revoked on {known.revoked_at:%Y-%m-%d}."
            raise Conflict(msg, hint="Make another: livinglab key new.")
        return known

    def revoke_key(self, organisation: str, key_id: str, at: datetime) -> PublicKey | None:
        key = self.key(key_id)
        if key is None or key.organisation != organisation:
            return None
        if key.revoked_at is None:
            key = key.model_copy(update={"revoked_at": at})
            self.put(t.keys, {"key_id": key_id}, doc=key.model_dump_json())
        return key

    def key(self, key_id: str) -> PublicKey | None:
        return self.one(PublicKey, t.keys, key_id=key_id)

    def keys_of(self, organisation: str) -> tuple[PublicKey, ...]:
        return self.many(PublicKey, sa.select(t.keys.c.doc).where(t.keys.c.organisation == organisation).order_by(t.keys.c.key_id))

    def add_image(self, organisation: str, image: Image) -> None:
        if self.image(image.digest) is None:
            self.insert(t.images, digest=image.digest, doc=image.model_dump_json())
        if not self.has_uploaded(organisation, image.digest):
            self.insert(t.uploads, organisation=organisation, digest=image.digest)

    def image(self, digest: str) -> Image | None:
        return self.one(Image, t.images, digest=digest)

    def images_of(self, organisation: str) -> tuple[Image, ...]:
        chosen = sa.select(t.images.c.doc).select_from(t.images.join(t.uploads)).where(t.uploads.c.organisation == organisation)
        return self.many(Image, chosen.order_by(t.images.c.digest))

    def has_uploaded(self, organisation: str, digest: str) -> bool:
        return self.scalar(t.uploads.c.digest, organisation=organisation, digest=digest) is not None

    def put_upload(self, upload: Upload) -> None:
        self.put(t.partial_uploads, {"id": upload.id}, organisation=upload.organisation, doc=upload.model_dump_json())

    def upload(self, id_: str) -> Upload | None:
        return self.one(Upload, t.partial_uploads, id=id_)

    def uploads(self) -> tuple[Upload, ...]:
        return self.many(Upload, sa.select(t.partial_uploads.c.doc).order_by(t.partial_uploads.c.id))

    def remove_upload(self, id_: str) -> None:
        self.connection.execute(t.partial_uploads.delete().where(t.partial_uploads.c.id == id_))

    def idempotent(self, organisation: str, what: str, key: str) -> tuple[str, str] | None:
        row = self.row(t.idempotency, ("request", "made"), organisation=organisation, what=what, key=key)
        return (row.request, row.made) if row else None

    def remember(self, organisation: str, what: str, key: str, request: str, made: str) -> None:
        self.insert_later(t.idempotency, organisation=organisation, what=what, key=key, request=request, made=made)
