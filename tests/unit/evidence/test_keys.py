"""Signatures are checked by libsodium and made by OpenSSL: what the one makes holds by the other, and where they differ, the stricter one is ours."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.errors import Invalid
from livinglab.evidence.keys import load_public, verifier

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the base point (RFC 8032, 5.1)."""
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key()
HOLDS = verifier(PUBLIC)
MESSAGE = b"DSSEv1 4 type 2 {}"
SIGNATURE = PRIVATE.sign(MESSAGE)


def by_openssl(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


# RFC 8032, 7.1: public key, message, signature.
VECTORS = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_published_signatures_hold(key: str, message: str, signature: str) -> None:
    holds = verifier(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)))
    assert holds(bytes.fromhex(signature), bytes.fromhex(message))
    assert not holds(bytes.fromhex(signature), bytes.fromhex(message) + b"\0")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=2_000))
def test_what_openssl_signs_holds(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    assert verifier(private.public_key())(private.sign(message), message)


def test_whichever_bit_of_a_signature_is_changed_it_holds_by_neither() -> None:
    assert HOLDS(SIGNATURE, MESSAGE)
    for bit in range(8 * len(SIGNATURE)):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert (HOLDS(bytes(changed), MESSAGE), by_openssl(PUBLIC, bytes(changed), MESSAGE)) == (False, False)


@given(st.binary(max_size=200).filter(lambda signature: signature != SIGNATURE), st.binary(max_size=200))
def test_whatever_else_is_given_as_a_signature_holds_by_neither(signature: bytes, message: bytes) -> None:
    assert (HOLDS(signature, message), by_openssl(PUBLIC, signature, message)) == (False, False)


@pytest.mark.parametrize("multiple", [1, 2, 7])
def test_a_second_signature_made_of_a_first_one_holds_by_neither(multiple: int) -> None:
    """Whoever has a signature could add the order to its second half, and have another one of the same message."""
    half = int.from_bytes(SIGNATURE[32:], "little") + multiple * ORDER
    other = SIGNATURE[:32] + half.to_bytes(32, "little")
    assert (HOLDS(other, MESSAGE), by_openssl(PUBLIC, other, MESSAGE)) == (False, False)


SMALL = [
    ("01" + "00" * 31, "01" + "00" * 63),  # the neutral element
    ("01" + "00" * 30 + "80", "01" + "00" * 63),  # the same, written with a sign that it has not
    ("ee" + "ff" * 30 + "7f", "01" + "00" * 63),  # the same, not reduced
]
"""Keys of small order, each with a signature that holds over any message, if one takes them."""


@pytest.mark.parametrize(("key", "signature"), SMALL)
def test_no_signature_holds_by_a_key_by_which_it_would_hold_over_anything(key: str, signature: str) -> None:
    """Whoever registers such a key could say later that another text is what was signed."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    assert not verifier(public)(bytes.fromhex(signature), MESSAGE)
    with pytest.raises(Invalid, match="might hold over any message"):
        load_public(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_openssl_takes_such_a_key() -> None:
    neutral = Ed25519PublicKey.from_public_bytes(b"\1" + bytes(31))
    for message in (MESSAGE, b"something else"):
        assert by_openssl(neutral, b"\1" + bytes(63), message)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_is_made_is_taken(seed: bytes) -> None:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert load_public(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) == public
