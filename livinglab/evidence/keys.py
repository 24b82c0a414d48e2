"""Ed25519 keys: the lab's own, and those that authority and participant make and keep on their side."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from livinglab.domain.errors import Conflict, Invalid
from livinglab.evidence import dsse


def load_public(pem: bytes) -> Ed25519PublicKey:
    """An Ed25519 public key from PEM; `Invalid` for anything else, a private key above all."""
    if b"PRIVATE" in pem:
        msg = "this is a private key; send the public half (*.pub) and keep this one."
        raise Invalid(msg, where="key")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "not a public key in PEM."
        raise Invalid(msg, where="key", hint="Make one: livinglab key new.") from error
    if not isinstance(key, Ed25519PublicKey):
        msg = "only Ed25519 keys are taken."
        raise Invalid(msg, where="key", hint="Make one: livinglab key new.")
    if not crypto_core_ed25519_is_valid_point(key.public_bytes_raw()):
        msg = "this is no key that can be made from a private one: a signature by it might hold over any message."
        raise Invalid(msg, where="key", hint="Make one: livinglab key new.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """sha256 of the SubjectPublicKeyInfo's DER, in hex: two names for one key are one name."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def key_id_of(pem: bytes) -> str:
    """The key id of a public key in PEM; `Invalid` if it is none."""
    return key_id(load_public(pem))


def verifier(key: Ed25519PublicKey) -> Callable[[bytes, bytes], bool]:
    """The check whether a signature (64 bytes) over a message holds by this key.

    By libsodium (ADR 31): half the time, and no signature holds by a key of small order, by which one signature would hold over any message.
    """
    verify = VerifyKey(key.public_bytes_raw()).verify

    def holds(signature: bytes, message: bytes) -> bool:
        try:
            verify(message, signature)
        except (BadSignatureError, ValueError):  # a `ValueError` where it is not as long as a signature
            return False
        return True

    return holds


@dataclass(frozen=True)
class KeySigner:
    """Signs with a private key in this process's memory. Its repr shows the key id only."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def key_id(self) -> str:
        """sha256 of the public key's DER, in hex."""
        return key_id(self.private.public_key())

    @property
    def public_pem(self) -> bytes:
        """The public half, in PEM."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """A DSSE envelope over the payload."""
        return dsse.envelope(payload, payload_type, self.key_id, self.private.sign(dsse.pae(payload_type, payload)))

    @classmethod
    def load(cls, path: Path) -> "KeySigner":
        """From a private-key file in PEM; `Invalid` if it is none, or readable by others."""
        try:
            mode = path.stat().st_mode
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            msg = f"{path} is not a private key that can be read: {type(error).__name__}."
            raise Invalid(msg, hint="Make one: livinglab key new.") from error
        if mode & 0o077:
            msg = f"{path} can be read by others (mode {mode & 0o777:o})."
            raise Invalid(msg, hint=f"chmod 600 {path}")
        if not isinstance(key, Ed25519PrivateKey):
            msg = f"{path} is not an Ed25519 key."
            raise Invalid(msg)
        return cls(key)


def new_key(path: Path) -> KeySigner:
    """Make a key pair: `path` (mode 0600) and `path`.pub. `Conflict` if there is a file already: a key is never overwritten."""
    private = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        msg = f"{path} exists; a key is never overwritten."
        raise Conflict(msg) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer = KeySigner(private)
    path.with_name(path.name + ".pub").write_bytes(signer.public_pem)
    return signer
