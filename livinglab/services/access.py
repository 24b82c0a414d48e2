"""Who may come in: tokens issued by the operator, public keys brought by the parties."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from livinglab.domain.access import Caller, PublicKey, Token
from livinglab.domain.errors import NotFound, Unauthenticated
from livinglab.domain.sandbox import Role
from livinglab.evidence.keys import key_id_of
from livinglab.ports import Clock, Store
from livinglab.services.ids import new_id
from livinglab.services.sandboxes import parse

_PREFIX = "ll_"


def _hash(secret: str) -> str:
    """A token has 256 random bits, so a plain hash is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Access:
    """Tokens and keys."""

    store: Store
    clock: Clock

    def issue_token(self, organisation: str, roles: dict[str, Role], *, label: str = "", lifetime: timedelta | None = None) -> tuple[Token, str]:
        """A new token and its secret, which is shown once and kept nowhere; `Invalid` for an organisation that is not named as one."""
        now = self.clock.now()
        secret = _PREFIX + secrets.token_urlsafe(32)
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
        with self.store.transaction(read_only=True) as tx:
            token = tx.token_by_hash(_hash(secret))
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

    def register_key(self, caller: Caller, pem: str) -> PublicKey:
        """Keep the organisation's public key; `Invalid` if it is not an Ed25519 public key in PEM."""
        key = PublicKey(key_id=key_id_of(pem.encode()), organisation=caller.organisation, pem=pem, created_at=self.clock.now())
        with self.store.transaction() as tx:
            tx.add_key(key)
        return key

    def keys(self, caller: Caller) -> tuple[PublicKey, ...]:
        """The organisation's own public keys."""
        with self.store.transaction(read_only=True) as tx:
            return tx.keys_of(caller.organisation)
