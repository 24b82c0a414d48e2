"""Who may come in: organisations, their tokens and their public keys."""

from urllib.parse import urlsplit

from pydantic import Field

from livinglab.domain.canonical import Digest
from livinglab.domain.errors import Forbidden
from livinglab.domain.model import Frozen, Moment, Slug
from livinglab.domain.sandbox import Role

_PRINTABLE = r"^[\x21-\x7e]+$"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_private_way(address: str) -> bool:
    """May secrets and keys travel there: over https, or within this machine?"""
    parts = urlsplit(address)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))


class Token(Frozen):
    """A bearer token as it is kept: never the token itself, its SHA-256 only."""

    id: str
    hash: str
    organisation: Slug
    roles: dict[str, Role]
    """Sandbox id → role there. `*` is every sandbox (for operators and auditors of the lab)."""
    label: str = ""
    created_at: Moment
    expires_at: Moment | None = None
    revoked_at: Moment | None = None


class Identity(Frozen):
    """Somebody, as an OpenID Connect provider knows them. A subject is unique at its issuer only, so both together are the identity."""

    issuer: str = Field(min_length=1, max_length=300, pattern=_PRINTABLE)
    subject: str = Field(min_length=1, max_length=255, pattern=_PRINTABLE)
    """At most 255 ASCII characters (OpenID Connect Core 1.0, section 2)."""


class Member(Frozen):
    """An identity that the lab has let in: for which organisation, and as what. Nothing of it comes from the provider's claims."""

    identity: Identity
    organisation: Slug
    roles: dict[str, Role]
    """As a token's."""
    label: str = ""
    created_at: Moment
    revoked_at: Moment | None = None


class PublicKey(Frozen):
    """A party's public key; its private half never leaves the party."""

    key_id: str
    organisation: Slug
    pem: str
    created_at: Moment
    revoked_at: Moment | None = None


OVERSEERS = (Role.AUTHORITY, Role.REVIEWER, Role.OPERATOR, Role.AUDITOR)
"""Who sees every organisation's pilots in a sandbox."""


class Caller(Frozen):
    """Whoever is asking: an organisation, with its roles. Made by the door, from a token of the lab's or of its identity provider."""

    organisation: Slug
    roles: dict[str, Role]
    token: str
    """The token's id, for the record."""

    def role_in(self, sandbox: str) -> Role | None:
        """The role in that sandbox, if any."""
        return self.roles.get(sandbox) or self.roles.get("*")

    def oversees(self, sandbox: str) -> bool:
        """May this caller see every organisation's pilots in that sandbox?"""
        return self.role_in(sandbox) in OVERSEERS

    def need(self, sandbox: str, *roles: Role) -> Role:
        """This caller's role in the sandbox, which must be one of `roles`.

        Raises:
            Forbidden: it is not.
        """
        role = self.role_in(sandbox)
        if role not in roles:
            msg = f"this needs the role {' or '.join(roles)} in sandbox {sandbox!r}; {self.organisation} is {role or 'nothing'} there."
            raise Forbidden(msg)
        return role


class Event(Frozen):
    """A row of the outbox: what changed, for whoever follows. `id` is monotonic."""

    id: int = 0
    kind: str
    organisation: Slug
    sandbox: str
    plan: str | None = None
    run: str | None = None
    attempt: str | None = None
    data: dict[str, object] = {}
    at: Moment


class Document(Frozen):
    """A stored document of an attempt or a pilot: bytes by digest, under a name."""

    subject: str
    name: str
    media_type: str
    digest: str
    size: int


class LedgerRow(Frozen):
    """An entry of a plan's chain as it is stored, bytes and all."""

    chain: str
    sequence: int
    digest: str
    entry: bytes
    body: bytes


class TreeLeaf(Frozen):
    """A leaf of the lab-wide Merkle log: a chain's blinded head."""

    index: int
    chain: str
    head: str
    salt: bytes
    leaf: bytes


class CheckpointRow(Frozen):
    """A signed checkpoint over the first `size` leaves. `frontier`: the hashes of its complete subtrees, for the next one."""

    size: int
    root: bytes
    frontier: bytes = b""
    envelope: bytes
    at: Moment


class Upload(Frozen):
    """An image's archive that comes in parts."""

    id: str
    organisation: Slug
    size: int = Field(ge=1)
    """Of the whole, in bytes."""
    digest: Digest
    """Of the whole."""
    created_at: Moment
    image: Digest | None = None
    """What was taken in, once it was whole."""


class Image(Frozen):
    """A normalised single-platform image: identity is the digest of its manifest's bytes; `config` is what an engine calls its id."""

    digest: str
    config: str
    size: int
    architecture: str
