"""Access tokens of an OpenID Connect provider: who shows one (RFC 9068, and what RFC 8725 asks of whoever reads a JSON Web Token)."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt
from pydantic import ValidationError

from livinglab.domain.access import Identity, is_private_way
from livinglab.domain.errors import LivingLabError, PlatformFault, Unauthenticated, Unreachable

_KEYS_HOLD, _AT_MOST = 600.0, 3_600.0
"""Seconds after which the provider's keys are asked for again; and after which they are used no more, though it does not answer."""
_NOT_BEFORE = 10.0
"""Seconds between two questions to the provider, whatever tokens are shown: an unknown key's id is anybody's to invent."""
_MEANWHILE = 0.5
"""Seconds that somebody with a key that is not known waits for what somebody else has asked."""
_ANSWER, _TOKEN = 1 << 20, 16 << 10
"""Bytes of a provider's answer, and of a token, at most."""
_TIMEOUT = 5.0
_LEEWAY = 30
"""Seconds by which clocks may differ."""
_RSA_BITS = 2_048
_CLAIMS = ("iss", "sub", "aud", "exp", "iat")
_OF_AN_ID_TOKEN = ("nonce", "at_hash", "c_hash", "s_hash")
_KIND = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""Of key, by how an algorithm's name begins."""


class Provider:
    """One provider. Thread-safe; it is asked for its keys when a token is first shown.

    Args:
        issuer: as its discovery document names it, to the letter.
        audience: what a token must be meant for.
        algorithms: with which it may be signed; asymmetric ones only.
        types: what its header may call it. An ID token is a plain `JWT`, so a lab that must accept that word refuses what looks like one.
        http: for tests.
    """

    def __init__(self, issuer: str, audience: str, algorithms: tuple[str, ...], types: tuple[str, ...] = ("at+jwt",),
                 http: httpx.Client | None = None) -> None:  # fmt: skip
        if not audience:
            msg = "a provider without an audience would let in tokens that are meant for others: set LIVINGLAB_OIDC_AUDIENCE."
            raise PlatformFault(msg)
        _check_address(issuer, "the issuer")
        self.issuer, self.audience = issuer, audience
        self._algorithms, self._types = frozenset(algorithms), {kind.lower() for kind in types}
        self._http = http or httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False)
        self._refreshing = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._had, self._asked = float("-inf"), float("-inf")
        self._problem = ""

    def identity_of(self, token: str) -> Identity:
        """Who shows it.

        Raises:
            Unauthenticated: it does not hold; the answer says why, and nothing of the token.
            Unreachable: the provider's keys could not be had.
        """
        if len(token) > _TOKEN:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError) as error:
            raise _refused("it is no JSON Web Token") from error
        self._check_header(header)
        claims = self._claims(token, header, self._key(str(header.get("kid", ""))))
        try:
            return Identity(issuer=claims["iss"], subject=claims["sub"])
        except ValidationError as error:
            raise _refused("its subject cannot be one") from error

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header.get("alg") not in self._algorithms:
            raise _refused("it is signed in a way that is not accepted here")
        if str(header.get("typ", "")).lower().removeprefix("application/") not in self._types:
            raise _refused(f"it is not of a type that is accepted here ({', '.join(sorted(self._types))}), as an access token is")
        if "crit" in header:
            raise _refused("it demands what is not known here")

    def _claims(self, token: str, header: Mapping[str, Any], key: jwt.PyJWK) -> Mapping[str, Any]:
        if key.key_type != _KIND[header["alg"][:2]]:
            raise _refused("it is signed in another way than its key is for")
        try:
            claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=[header["alg"]], audience=self.audience, issuer=self.issuer,
                                                leeway=_LEEWAY, options={"require": list(_CLAIMS)})  # fmt: skip
        except (jwt.PyJWTError, RecursionError) as error:
            raise _refused(_WHY.get(type(error).__name__, "its signature or its claims do not hold")) from error
        if any(claim in claims for claim in _OF_AN_ID_TOKEN) or claims.get("typ") == "ID":
            raise _refused("it is an ID token: it tells its client who someone is, and gives access to nothing")
        if "cnf" in claims:
            raise _refused("it is bound to a key of its holder's, which is not asked for here")
        return claims

    # --- the provider's keys ------------------------------------------------------------------------------------------------

    def _key(self, kid: str) -> jwt.PyJWK:
        due = kid not in self._keys or time.monotonic() - self._had > _KEYS_HOLD
        if due and time.monotonic() - self._asked > _NOT_BEFORE and self._refreshing.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._refreshing.release()
        elif kid not in self._keys and self._refreshing.acquire(timeout=_MEANWHILE):  # somebody else asks at the moment
            self._refreshing.release()
        keys, had = self._keys, self._had
        if time.monotonic() - had > _AT_MOST:
            msg = f"the identity provider's keys are not to be had: {self._problem or 'it was asked a moment ago'}."
            raise Unreachable(msg)
        if kid not in keys:
            raise _refused("its provider has no such key")
        return keys[kid]

    def _refresh(self) -> None:
        """By one thread at a time. Those whose key is known go on meanwhile: a provider that hangs must not hold up whoever is served."""
        self._asked = time.monotonic()
        try:
            self._keys = _usable(self._get(str(self.discover()["jwks_uri"])))
        except (LivingLabError, KeyError) as error:
            self._problem = str(error).rstrip(".") if isinstance(error, LivingLabError) else f"its discovery document has no {error}"
        else:
            self._had, self._problem = time.monotonic(), ""

    def discover(self) -> dict[str, Any]:
        """Its discovery document, which must be its own."""
        found = self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            msg = "its discovery document is another issuer's."
            raise Unreachable(msg)
        return found

    def _get(self, address: str) -> dict[str, Any]:
        _check_address(address, "an address of its")
        try:
            with self._http.stream("GET", address) as answer:
                if answer.status_code != httpx.codes.OK:
                    msg = f"it answered {answer.status_code}."
                    raise Unreachable(msg)
                data = b""
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > _ANSWER:
                        msg = "it answered with more than a key set can be."
                        raise Unreachable(msg)
            found = json.loads(data)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            msg = f"it does not answer as a provider does ({type(error).__name__})."
            raise Unreachable(msg) from error
        if not isinstance(found, dict):
            msg = "it answered with something that is no object."
            raise Unreachable(msg)
        return found


_WHY = {
    "ExpiredSignatureError": "it is expired",
    "ImmatureSignatureError": "it does not hold yet",
    "InvalidAudienceError": "it is meant for somebody else",
    "InvalidIssuerError": "it is not from the lab's identity provider",
    "MissingRequiredClaimError": "a claim is missing that every access token has",
}


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"the access token is not accepted: {why}.", hint="livinglab login")


def _check_address(address: str, what: str) -> None:
    """Plain HTTP would let anyone on the way hand out keys."""
    if not is_private_way(address):
        msg = f"{what} is not an https address."
        raise PlatformFault(msg)


def _usable(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that may sign, by their ids. What is not known here is passed over, as RFC 7517 (section 5) has it."""
    found: dict[str, jwt.PyJWK] = {}
    raw = document.get("keys")
    for entry in raw if isinstance(raw, list) else []:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if entry["kty"] == "RSA" and key.key.key_size < _RSA_BITS:
            continue
        found[str(entry.get("kid", ""))] = key
    return found
