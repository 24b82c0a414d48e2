"""Who may come in: tokens that the operator issues, members whom an identity provider knows, public keys that the parties bring."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from livinglab.domain.access import Caller, Identity, Member, PublicKey, Token
from livinglab.domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from livinglab.domain.sandbox import Role
from livinglab.evidence.keys import key_id_of
from livinglab.ports import Clock, Store
from livinglab.services.ids import new_id
from livinglab.services.sandboxes import parse

PREFIX = "ll_"
"""How a token of the lab's own begins."""


def _hash(secret: str) -> str:
    """A token has 256 random bits, so a plain hash is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Access:
    """Tokens, members and keys."""

    store: Store
    clock: Clock

    def issue_token(self, organisation: str, roles: dict[str, Role], *, label: str = "", lifetime: timedelta | None = None) -> tuple[Token, str]:
        """A new token and its secret, which is shown once and kept nowhere; `Invalid` for an organisation that is not named as one."""
        now = self.clock.now()
        secret = PREFIX + secrets.token_urlsafe(32)
        token = parse(Token, {"id": new_id("tok", now), "hash": _hash(secret), "organisation": organisation, "roles": roles, "label": label,
                              "created_at": now, "expires_at": now + lifetime if lifetime else None}, "token")  # fmt: skip
        with self.store.transaction() as tx:
            tx.add_token(token)
        return token, secret

    def authenticate(self, secret: str) -> Caller:
        """The caller behind a token.

        Raises:
            Unauthenticated: unknown, revoked and expired are answered alike.
        """
        token = self.store.ask(lambda tx: tx.token_by_hash(_hash(secret)))
        now = self.clock.now()
        if token is None or token.revoked_at or (token.expires_at and token.expires_at <= now):
            msg = "the bearer token is unknown, revoked or expired."
            raise Unauthenticated(msg, hint="Ask the lab's operator for one: livinglab token issue.")
        return Caller(organisation=token.organisation, roles=token.roles, token=token.id)

    def tokens(self) -> tuple[Token, ...]:
        """All tokens, without their secrets."""
        with self.store.transaction(read_only=True) as tx:
            return tx.tokens()

    def revoke_token(self, id_: str) -> None:
        """`NotFound` if there is no such token; revoking twice is once."""
        with self.store.transaction() as tx:
            if not tx.revoke_token(id_, self.clock.now()):
                msg = f"there is no token {id_!r}."
                raise NotFound(msg)

    # --- those whom an identity provider knows ----------------------------------------------------------------------------

    def enrol(self, issuer: str, subject: str, organisation: str, roles: dict[str, Role], *, label: str = "") -> Member:
        """Let an identity in, or in again; `Conflict` while it is in for another organisation: nobody speaks for two."""
        identity = parse(Identity, {"issuer": issuer, "subject": subject}, "member")
        document = {"identity": identity, "organisation": organisation, "roles": roles, "label": label, "created_at": self.clock.now()}
        member = parse(Member, document, "member")
        with self.store.transaction() as tx:
            known = tx.member(identity)
            if known and not known.revoked_at:
                if known.organisation != organisation:
                    msg = f"{subject} is a member of {known.organisation}."
                    raise Conflict(msg, hint="Revoke that first: nobody speaks for two organisations.")
                member = member.model_copy(update={"created_at": known.created_at, "label": label or known.label})
            tx.put_member(member)
        return member

    def expel(self, issuer: str, subject: str) -> None:
        """`NotFound` if there is no such member; twice is once."""
        identity = parse(Identity, {"issuer": issuer, "subject": subject}, "member")
        with self.store.transaction() as tx:
            known = tx.member(identity)
            if known is None:
                msg = f"{subject} of {issuer} is no member."
                raise NotFound(msg, hint="livinglab member list")
            if not known.revoked_at:
                tx.put_member(known.model_copy(update={"revoked_at": self.clock.now()}))

    def members(self) -> tuple[Member, ...]:
        """All, those who were expelled among them."""
        with self.store.transaction(read_only=True) as tx:
            return tx.members()

    def caller_of(self, identity: Identity) -> Caller:
        """The caller that an identity is here: by the lab's own table, whatever its provider says of it.

        Raises:
            Forbidden: it is proven who this is, and the lab has not let them in.
        """
        member = self.store.ask(lambda tx: tx.member(identity))
        if member is None or member.revoked_at:
            msg = f"the lab does not know {identity.subject} of {identity.issuer}."
            raise Forbidden(msg, hint="Its operator lets you in: livinglab member add SUBJECT ORGANISATION --role SANDBOX=ROLE.")
        return Caller(organisation=member.organisation, roles=member.roles, token=f"{identity.issuer}#{identity.subject}")

    # --- keys -------------------------------------------------------------------------------------------------------------

    def register_key(self, caller: Caller, pem: str) -> PublicKey:
        """Keep the organisation's public key; twice is once.

        Raises:
            Invalid: it is not an Ed25519 public key in PEM.
            Conflict: it is another organisation's, or was revoked.
        """
        key = PublicKey(key_id=key_id_of(pem.encode()), organisation=caller.organisation, pem=pem, created_at=self.clock.now())
        with self.store.transaction() as tx:
            return tx.add_key(key)

    def revoke_key(self, caller: Caller, key_id: str) -> PublicKey:
        """Let the organisation's key sign no more; twice is once. What it signed stays signed. `NotFound` if it has no such key."""
        with self.store.transaction() as tx:
            key = tx.revoke_key(caller.organisation, key_id, self.clock.now())
        if key is None:
            msg = f"there is no key {key_id!r}."
            raise NotFound(msg, hint="livinglab key list")
        return key

    def keys(self, caller: Caller) -> tuple[PublicKey, ...]:
        """The organisation's own public keys, the revoked ones among them."""
        with self.store.transaction(read_only=True) as tx:
            return tx.keys_of(caller.organisation)
