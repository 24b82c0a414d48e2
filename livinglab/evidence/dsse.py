"""Dead Simple Signing Envelopes (DSSE v1): what is signed is the type and the bytes, never a re-serialised document."""

import base64
import binascii
import json
import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from functools import lru_cache

from livinglab.domain.canonical import parse_json
from livinglab.domain.errors import EvidenceBroken

IN_TOTO = "application/vnd.in-toto+json"
MAX_ENVELOPE = 4 << 20
MAX_SIGNATURES = 16


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding, as the DSSE specification gives it."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, payload_type: str, key_id: str, signature: bytes) -> bytes:
    """An envelope with one signature, as JSON bytes."""
    document = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def parse(data: bytes, where: str = "envelope") -> tuple[bytes, str, list[tuple[str, bytes]]]:
    """Payload, payload type and (key id, signature) pairs, before any signature is checked.

    Raises:
        EvidenceBroken: it is no envelope, or a larger one than is ever written.
    """
    if len(data) > MAX_ENVELOPE:
        msg = f"larger than {MAX_ENVELOPE} bytes"
        raise EvidenceBroken(msg, where=where)
    return _parse_fast(data) or _parse(data, where)


_HEAD = b'{"payload":"'
_TAIL = re.compile(
    rb'","payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/=]{88})"\}\]\}'
)
"""What `envelope` writes, byte for byte, after the payload of an in-toto statement: a sha256 and an Ed25519 signature, so that it has one length."""
_TAIL_LENGTH = len(envelope(b"", IN_TOTO, "0" * 64, bytes(64))) - len(_HEAD)


def _parse_fast(data: bytes) -> tuple[bytes, str, list[tuple[str, bytes]]] | None:
    """As `_parse`, of what `envelope` wrote; `None` for anything else. Payload and signature are Base64, so that nothing in them can be an escape."""
    end = len(data) - _TAIL_LENGTH
    tail = _TAIL.fullmatch(data, end) if data.startswith(_HEAD) and end >= len(_HEAD) else None
    if tail is None:
        return None
    key_id, signature = tail.groups()
    try:
        payload = a2b_base64(data[len(_HEAD) : end], strict_mode=True)
        return payload, IN_TOTO, [(key_id.decode(), a2b_base64(signature, strict_mode=True))]
    except binascii.Error:
        return None


def _parse(data: bytes, where: str) -> tuple[bytes, str, list[tuple[str, bytes]]]:
    try:
        document = parse_json(data)
        if set(document) != {"payload", "payloadType", "signatures"}:
            msg = "an envelope has payload, payloadType and signatures, and nothing else"
            raise ValueError(msg)  # noqa: TRY301 - one place says what was wrong
        payload = base64.b64decode(document["payload"], validate=True)
        signatures = [(str(s["keyid"]), base64.b64decode(s["sig"], validate=True)) for s in document["signatures"]]
        payload_type = document["payloadType"]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        msg = f"not a DSSE envelope ({error})"
        raise EvidenceBroken(msg, where=where) from error
    if not isinstance(payload_type, str) or not 1 <= len(signatures) <= MAX_SIGNATURES:
        msg = f"not a DSSE envelope ({len(signatures)} signatures)"
        raise EvidenceBroken(msg, where=where)
    return payload, payload_type, signatures


@lru_cache(maxsize=1_024)
def _verifier(pem: bytes) -> tuple[Callable[[bytes, bytes], bool], str]:
    """The check of a signature over a message by this key, and the key's id: reading a key takes longer than checking a signature with it.

    Keys are imported once they are needed: they know envelopes.
    """
    from livinglab.evidence.keys import key_id, load_public, verifier

    public = load_public(pem)
    return verifier(public), key_id(public)


def open_envelope(data: bytes, keys: Mapping[str, bytes], where: str = "envelope") -> tuple[bytes, list[str]]:
    """The payload and the ids of the distinct public keys that signed it, among `keys` (id → PEM).

    The id in the envelope is a hint: what counts is the key itself, so one key under two ids counts once.

    Raises:
        EvidenceBroken: no envelope, or no signature by any of these keys holds.
    """
    payload, payload_type, signatures = parse(data, where)
    if payload_type != IN_TOTO:
        msg = f"the payload is {payload_type!r}, not {IN_TOTO!r}"
        raise EvidenceBroken(msg, where=where)
    message = pae(payload_type, payload)
    signed = []
    for hint, signature in signatures:
        pem = keys.get(hint)
        if pem is None:
            continue
        holds, name = _verifier(pem)
        if holds(signature, message) and name not in signed:
            signed.append(name)
    if not signed:
        hints = ", ".join(hint[:16] for hint, _ in signatures)
        msg = f"no signature of a known key holds (it names {hints})"
        raise EvidenceBroken(msg, where=where)
    return payload, signed
