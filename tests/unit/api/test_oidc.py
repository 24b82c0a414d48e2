"""Access tokens: what a token must be to be believed, and how the provider's keys are had. The provider is played here, so that it can be wrong."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from livinglab.domain.access import Identity
from livinglab.domain.errors import LivingLabError, PlatformFault, Unauthenticated, Unreachable
from sandbox_api.oidc import Provider

ISSUER, AUDIENCE = "https://id.example", "https://lab.example/api"
EC_KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA_KEY, SMALL_RSA = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 1024)  # noqa: S505 - which is why it must be refused
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def jwk(private: Any, kid: str, **more: Any) -> dict[str, Any]:
    kinds: list[tuple[type, Any]] = [(ec.EllipticCurvePrivateKey, ECAlgorithm), (rsa.RSAPrivateKey, RSAAlgorithm), (object, OKPAlgorithm)]
    algorithm = next(found for kind, found in kinds if isinstance(private, kind))
    return {**algorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid, **more}


class Far:
    """The provider, as far as it is reached over HTTP."""

    def __init__(self) -> None:
        self.keys: Any = [jwk(EC_KEY, "one")]
        self.asked: list[str] = []
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None
        self.document: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.answer:
            return self.answer(request)
        return httpx.Response(200, json={"keys": self.keys} if request.url.path == "/keys" else self.document)


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock's time, which a test moves on."""
    at = [1_000.0]
    monkeypatch.setattr("sandbox_api.oidc.time.monotonic", lambda: at[0])
    return at


def provider_of(far: Far, algorithms: tuple[str, ...] = ("ES256", "RS256"), types: tuple[str, ...] = ("at+jwt",)) -> Provider:
    return Provider(ISSUER, AUDIENCE, algorithms, types, httpx.Client(transport=httpx.MockTransport(far)))


def claims(**more: Any) -> dict[str, Any]:
    at = int(time.time())
    found = {"iss": ISSUER, "sub": "s-17", "aud": AUDIENCE, "exp": at + 300, "iat": at, "jti": "j", "client_id": "c", **more}
    return {name: value for name, value in found.items() if value is not None}


def token(key: Any = EC_KEY, algorithm: str = "ES256", header: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, {"typ": "at+jwt", "kid": "one", **(header or {})})


def test_who_shows_a_token_is_its_subject_at_its_issuer(far: Far) -> None:
    assert provider_of(far).identity_of(token()) == Identity(issuer=ISSUER, subject="s-17")
    assert far.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(("private", "algorithm"), [(RSA_KEY, "RS256"), (RSA_KEY, "PS256"), (ED_KEY, "EdDSA"), (EC_KEY, "ES256")])
def test_every_kind_of_key_that_is_accepted(far: Far, private: Any, algorithm: str) -> None:
    far.keys = [jwk(private, "one")]
    assert provider_of(far, (algorithm,)).identity_of(token(private, algorithm)).subject == "s-17"


def test_one_of_several_audiences_and_the_long_form_of_the_type(far: Far) -> None:
    shown = token(aud=["https://other.example", AUDIENCE], header={"typ": "application/AT+JWT"})
    assert provider_of(far).identity_of(shown).subject == "s-17"


def _public_pem() -> bytes:
    return EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hmac_with_the_public_key() -> str:
    """The oldest trick: the verifier takes a public key for a shared secret."""
    import base64
    import hashlib
    import hmac

    parts = [json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": "one"}).encode(), json.dumps(claims()).encode()]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(hmac.digest(_public_pem(), text, hashlib.sha256)).rstrip(b"=")).decode()


def _swapped(name: str, value: object) -> str:
    """Another claim under the same signature."""
    import base64

    head, _, signature = token().split(".")
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(claims(**{name: value})).encode()).rstrip(b"=").decode(), signature])


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "nothing": (lambda: "", "no JSON Web Token"),
    "not one": (lambda: "a.b", "no JSON Web Token"),
    "broken header": (lambda: "e30x.e30.e30", "no JSON Web Token"),
    "a header of brackets": (lambda: f"{'W1tb' * 3_000}.e30.e30", "no JSON Web Token"),
    "too long": (lambda: "a" * (17 << 10), "too long"),
    "unsigned": (lambda: jwt.encode(claims(), "", "none", {"typ": "at+jwt", "kid": "one"}), "signed in a way"),
    "shared secret": (_hmac_with_the_public_key, "signed in a way"),
    "algorithm that is not pinned": (lambda: token(ED_KEY, "EdDSA"), "signed in a way"),
    "algorithm of another kind of key": (lambda: token(RSA_KEY, "RS256"), "another way than its key"),
    "another's signature": (lambda: token(OTHER_KEY), "do not hold"),
    "another subject": (lambda: _swapped("sub", "root"), "do not hold"),
    "cut": (lambda: token()[:-4], "do not hold|no JSON Web Token"),
    "ID token by its type": (lambda: token(header={"typ": "JWT"}), "not of a type"),
    "no type": (lambda: token(header={"typ": ""}), "not of a type"),
    "ID token by its nonce": (lambda: token(nonce="n"), "ID token"),
    "ID token by its hash": (lambda: token(at_hash="n"), "ID token"),
    "ID token as Keycloak says it": (lambda: token(typ="ID"), "ID token"),
    "critical": (lambda: token(header={"crit": ["exp"], "exp": 1}), "demands|no JSON Web Token"),
    "key's id unknown": (lambda: token(header={"kid": "two"}), "no such key"),
    "no key's id": (lambda: token(header={"kid": ""}), "no such key"),
    "its own key": (lambda: token(OTHER_KEY, header={"kid": "x", "jwk": jwk(OTHER_KEY, "x")}), "no such key"),
    "a key elsewhere": (lambda: token(OTHER_KEY, header={"kid": "x", "jku": "https://evil.example/keys"}), "no such key"),
    "issuer": (lambda: token(iss="https://evil.example"), "not from the lab's"),
    "issuer with a slash": (lambda: token(iss=ISSUER + "/"), "not from the lab's"),
    "no issuer": (lambda: token(iss=None), "a claim is missing"),
    "audience": (lambda: token(aud="https://other.example"), "somebody else"),
    "audience that begins like it": (lambda: token(aud=AUDIENCE + "/v2"), "somebody else"),
    "no audience": (lambda: token(aud=None), "a claim is missing"),
    "expired": (lambda: token(exp=int(time.time()) - 31), "expired"),
    "no end": (lambda: token(exp=None), "a claim is missing"),
    "an end that is no time": (lambda: token(exp="never"), "do not hold"),
    "not yet": (lambda: token(nbf=int(time.time()) + 60), "not hold yet"),
    "issued in the future": (lambda: token(iat=int(time.time()) + 60), "not hold yet"),
    "no subject": (lambda: token(sub=None), "a claim is missing"),
    "empty subject": (lambda: token(sub=""), "subject cannot be one"),
    "subject with a space": (lambda: token(sub="a b"), "subject cannot be one"),
    "subject that is too long": (lambda: token(sub="a" * 256), "subject cannot be one"),
    "bound to a key": (lambda: token(cnf={"jkt": "x"}), "bound to a key"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_believed(far: Far, name: str) -> None:
    make, words = BAD[name]
    shown = make()
    with pytest.raises(Unauthenticated, match=words) as told:
        provider_of(far).identity_of(shown)
    assert not shown or shown not in str(told.value)
    assert not any(path for path in far.asked if path not in ("/.well-known/openid-configuration", "/keys"))


def test_where_the_provider_calls_its_access_tokens_as_id_tokens_are_called_these_are_told_apart(far: Far) -> None:
    provider = provider_of(far, types=("at+jwt", "JWT"))
    assert provider.identity_of(token(header={"typ": "JWT"})).subject == "s-17"
    for sign in ({"nonce": "n"}, {"at_hash": "h"}, {"typ": "ID"}):
        with pytest.raises(Unauthenticated, match="ID token"):
            provider.identity_of(token(header={"typ": "JWT"}, **sign))


@pytest.mark.parametrize("entry", [
    jwk(EC_KEY, "one", use="enc"), jwk(SMALL_RSA, "one"), {"kty": "oct", "k": "c2VjcmV0", "kid": "one"}, {"kty": "EC", "kid": "one"}, "key", {}, None,
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "!", "kid": "one"},
], ids=["for encryption", "too small", "shared", "no curve", "text", "empty", "null", "no modulus", "no point"])  # fmt: skip
def test_a_key_that_is_of_no_use_is_passed_over(far: Far, entry: object) -> None:
    far.keys = [entry, jwk(OTHER_KEY, "two")]
    provider = provider_of(far)
    assert provider.identity_of(token(OTHER_KEY, header={"kid": "two"})).subject == "s-17"
    with pytest.raises(Unauthenticated, match="no such key"):
        provider.identity_of(token())


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_asked_for_once_and_anew_when_one_is_new(far: Far, now: list[float]) -> None:
    provider = provider_of(far)
    for _ in range(5):
        provider.identity_of(token())
    assert far.asked.count("/keys") == 1
    far.keys = [jwk(OTHER_KEY, "two")]
    now[0] += 60
    assert provider.identity_of(token(OTHER_KEY, header={"kid": "two"})).subject == "s-17"
    assert far.asked.count("/keys") == 2
    with pytest.raises(Unauthenticated, match="no such key"):
        provider.identity_of(token())  # the old one went with the rotation


def test_a_key_that_was_withdrawn_holds_for_ten_minutes_at_most(far: Far, now: list[float]) -> None:
    provider = provider_of(far)
    provider.identity_of(token())
    far.keys = []
    now[0] += 601
    with pytest.raises(Unauthenticated, match="no such key"):
        provider.identity_of(token())


def test_a_provider_that_hangs_holds_up_nobody_whose_key_is_known(far: Far, now: list[float]) -> None:
    """One asks, and waits; those who come meanwhile are served, and those with an unknown key are refused after a moment."""
    provider = provider_of(far)
    provider.identity_of(token())
    asked, go_on = threading.Event(), threading.Event()

    def hangs(request: httpx.Request) -> httpx.Response:
        asked.set()
        assert go_on.wait(20)
        return httpx.Response(200, json={"keys": [jwk(OTHER_KEY, "two")]} if request.url.path == "/keys" else far.document)

    far.answer = hangs
    now[0] += 601
    found: list[str] = []
    waits = threading.Thread(target=lambda: found.append(provider.identity_of(token(OTHER_KEY, header={"kid": "two"})).subject))
    waits.start()
    assert asked.wait(10)
    assert provider.identity_of(token()).subject == "s-17"
    with pytest.raises(Unauthenticated, match="no such key"):
        provider.identity_of(token(header={"kid": "three"}))
    go_on.set()
    waits.join(20)
    assert found == ["s-17"]


def test_invented_key_ids_do_not_make_it_ask_more_than_every_ten_seconds(far: Far, now: list[float]) -> None:
    provider = provider_of(far)
    for number in range(1_000):
        now[0] += 0.1
        with pytest.raises(Unauthenticated):
            provider.identity_of(token(header={"kid": f"k{number}"}))
    assert far.asked.count("/keys") <= 11


def test_a_provider_that_is_away_is_done_without_for_an_hour(far: Far, now: list[float]) -> None:
    provider = provider_of(far)
    provider.identity_of(token())
    far.answer = lambda _request: httpx.Response(503)
    now[0] += 3_000
    assert provider.identity_of(token()).subject == "s-17"
    now[0] += 601
    with pytest.raises(Unreachable, match="it answered 503"):
        provider.identity_of(token())
    far.answer = None
    with pytest.raises(Unreachable):
        provider.identity_of(token())  # it was asked a moment ago
    now[0] += 11
    assert provider.identity_of(token()).subject == "s-17"


def _raise(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(("answer", "words"), [
    (_raise, "does not answer as a provider does"),
    (lambda _: httpx.Response(302, headers={"Location": "https://evil.example"}), "it answered 302"),
    (lambda _: httpx.Response(200, text="<html>"), "does not answer as a provider does"),
    (lambda _: httpx.Response(200, json=[1]), "no object"),
    (lambda _: httpx.Response(200, content=b" " * (2 << 20)), "more than a key set"),
    (lambda _: httpx.Response(200, json={"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}), "another issuer's"),
    (lambda _: httpx.Response(200, json={"issuer": ISSUER}), "no 'jwks_uri'"),
    (lambda _: httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": "http://id.example/keys"}), "not an https address"),
    (lambda _: httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}), "not an https address"),
    (lambda _: httpx.Response(200, content=b"[" * 100_000), "does not answer as a provider does"),
])  # fmt: skip
def test_a_provider_that_answers_badly_lets_nobody_in(far: Far, answer: Callable[[httpx.Request], httpx.Response], words: str) -> None:
    far.answer = answer
    with pytest.raises(Unreachable, match=words):
        provider_of(far).identity_of(token())


@pytest.mark.parametrize("document", [{"keys": None}, {"keys": {}}, {}, {"keys": [[]]}])
def test_a_key_set_without_keys_lets_nobody_in(far: Far, document: object) -> None:
    far.answer = lambda request: httpx.Response(200, json=document if request.url.path == "/keys" else far.document)
    with pytest.raises(LivingLabError, match="no such key"):
        provider_of(far).identity_of(token())


@pytest.mark.parametrize(("issuer", "audience"), [(ISSUER, ""), ("http://id.example", AUDIENCE), ("id.example", AUDIENCE), ("file:///x", AUDIENCE)])
def test_settings_under_which_nobody_could_be_believed_are_refused(issuer: str, audience: str) -> None:
    with pytest.raises(PlatformFault):
        Provider(issuer, audience, ("ES256",))
