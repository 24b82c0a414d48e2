"""Whom a verifier trusts, for what, and when: an external document, never part of what is verified."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from livinglab.domain.errors import Invalid
from livinglab.evidence.keys import key_id_of
from livinglab.evidence.statements import CHECKPOINT, KINDS, PLAN_SIGNATURE

PREDICATES: dict[str, frozenset[str]] = {
    "lab": frozenset({*KINDS.values(), CHECKPOINT}),
    "authority": frozenset({PLAN_SIGNATURE}),
    "participant": frozenset({PLAN_SIGNATURE}),
}
"""What each role may sign: an executor's key cannot agree to a plan, and a party's cannot state a verdict."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key, whose it is, as what, and from when until when (a revocation is an `until`)."""

    pem: bytes
    role: str
    organisation: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def holds_at(self, at: datetime) -> bool:
        """Was it to be trusted then?"""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_until is None or at <= self.valid_until)


@dataclass(frozen=True)
class TrustPolicy:
    """Trusted keys by key id. The id is computed from the key: two entries for one key are one."""

    keys: dict[str, TrustedKey]

    def of_role(self, role: str) -> dict[str, bytes]:
        """Key id → PEM of a role's keys."""
        return {key_id: key.pem for key_id, key in self.keys.items() if key.role == role}

    def dump(self) -> str:
        """As JSON, for `load`."""
        return json.dumps({"keys": [{
            "pem": k.pem.decode(), "role": k.role, "organisation": k.organisation,
            "valid_from": k.valid_from and k.valid_from.isoformat(), "valid_until": k.valid_until and k.valid_until.isoformat(),
        } for k in self.keys.values()]}, indent=2)  # fmt: skip

    @classmethod
    def of(cls, keys: list[TrustedKey]) -> "TrustPolicy":
        """A policy of these keys; `Invalid` for a role that there is not, or one key in two roles."""
        by_id: dict[str, TrustedKey] = {}
        for number, key in enumerate(keys):
            where = f"keys[{number}]"
            if key.role not in PREDICATES:
                raise Invalid(f"unknown role {key.role!r}.", where=where, hint=f"Known: {', '.join(PREDICATES)}.")
            try:
                key_id = key_id_of(key.pem)
            except Invalid as error:
                raise Invalid(error.message, where=where, hint=error.hint) from error
            if key_id in by_id and by_id[key_id] != key:
                raise Invalid(f"the key {key_id[:16]}… is there twice, with different trust.", where=where)
            by_id[key_id] = key
        return cls(by_id)

    @classmethod
    def load(cls, path: Path) -> "TrustPolicy":
        """From a JSON file; `Invalid` with the place of its first fault."""
        try:
            document = json.loads(path.read_text())
            keys = [TrustedKey(pem=k["pem"].encode(), role=k["role"], organisation=k["organisation"], valid_from=_moment(k.get("valid_from")),
                               valid_until=_moment(k.get("valid_until"))) for k in document["keys"]]  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(
                f"{path} is not a trust policy ({type(error).__name__}: {error}).", where="keys", hint="Make one: livinglab key trust."
            ) from error
        return cls.of(keys)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment
