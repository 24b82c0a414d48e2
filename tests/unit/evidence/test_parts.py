"""Envelopes, keys, the Merkle log and the crate, each against somebody else's implementation."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.canonical import canonical
from livinglab.domain.errors import Conflict, EvidenceBroken, Invalid
from livinglab.evidence import dsse, merkle
from livinglab.evidence.keys import KeySigner, key_id_of, load_public, new_key
from tests.unit.evidence.conftest import Case


def test_pae_is_that_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_envelopes_are_understood_by_securesystemslib_and_the_other_way_round(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # they are its public names all the same

    ours = new_key(tmp_path / "k.pem")
    envelope = Envelope.from_dict(json.loads(ours.sign(b'{"a":1}', dsse.IN_TOTO)))
    theirs = SSlibKey.from_crypto(ours.private.public_key(), keyid=ours.key_id)
    assert envelope.verify([theirs], threshold=1)

    signer = CryptoSigner.generate_ed25519()
    made = Envelope(b'{"b":2}', dsse.IN_TOTO, {})
    made.sign(signer)
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer.public_key.keyval["public"]))
    pem = raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload, signed = dsse.open_envelope(json.dumps(made.to_dict()).encode(), {signer.public_key.keyid: pem})
    assert payload == b'{"b":2}'
    assert signed == [key_id_of(pem)]


@pytest.mark.parametrize("change", [
    lambda e: e | {"payload": "!!"}, lambda e: e | {"extra": 1}, lambda e: e | {"signatures": []}, lambda e: e | {"signatures": e["signatures"] * 17},
    lambda e: e | {"payloadType": 7}, lambda e: [], lambda e: e | {"payloadType": "text/plain"},
    lambda e: e | {"payload": e["payload"][:-4] + "AAA="},
])  # fmt: skip
def test_what_is_no_envelope_or_another_payload_is_refused(tmp_path: Path, change: Any) -> None:
    signer = new_key(tmp_path / "k.pem")
    envelope = json.loads(signer.sign(b'{"a":1}', dsse.IN_TOTO))
    with pytest.raises(EvidenceBroken):
        dsse.open_envelope(json.dumps(change(envelope)).encode(), {signer.key_id: signer.public_pem})


def test_an_envelope_that_names_a_key_twice_is_refused(tmp_path: Path) -> None:
    signer = new_key(tmp_path / "k.pem")
    twice = signer.sign(b"{}", dsse.IN_TOTO).replace(b'{"payload"', b'{"payload":"e30=","payload"')
    with pytest.raises(EvidenceBroken, match="twice"):
        dsse.open_envelope(twice, {signer.key_id: signer.public_pem})


def test_private_keys_stay_private(tmp_path: Path) -> None:
    signer = new_key(tmp_path / "k.pem")
    assert "PRIVATE" not in repr(signer)
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict):
        new_key(tmp_path / "k.pem")
    with pytest.raises(Invalid, match="private key"):
        load_public((tmp_path / "k.pem").read_bytes())
    (tmp_path / "k.pem").chmod(0o644)
    with pytest.raises(Invalid, match="can be read by others"):
        KeySigner.load(tmp_path / "k.pem")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_the_merkle_log_agrees_with_pymerkle(size: int) -> None:
    from pymerkle import InmemoryTree

    leaves = [f"leaf {i}".encode() for i in range(size)]
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    root = merkle.root(leaves)
    assert tree.get_root() == root
    for index, leaf in enumerate(leaves):
        proof = merkle.inclusion_proof(leaves, index)
        assert merkle.verify_inclusion(leaf, index, size, proof, root)
        assert not merkle.verify_inclusion(b"other", index, size, proof, root)
        assert not merkle.verify_inclusion(leaf, index + 1, size, proof, root)
        assert not merkle.verify_inclusion(leaf, index, size, [*proof, root], root)
        assert not proof or not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)


def test_the_empty_log_has_the_root_of_rfc_6962() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (merkle.root([]).hex(), merkle.Frontier().root().hex()) == (empty, empty)


def test_a_frontier_grows_to_the_root_of_all_leaves_and_survives_its_bytes() -> None:
    leaves = [f"leaf {i}".encode() for i in range(70)]
    frontier = merkle.Frontier()
    for size, leaf in enumerate(leaves, 1):
        frontier = merkle.Frontier.from_bytes(frontier.size, frontier.to_bytes()).append(leaf)
        assert frontier == merkle.Frontier.of(leaves[:size])
        assert (frontier.size, frontier.root()) == (size, merkle.root(leaves[:size]))


@pytest.mark.parametrize(("size", "data"), [(1, b""), (2, bytes(64)), (3, bytes(32)), (0, bytes(32)), (1, bytes(31))])
def test_a_frontier_of_another_size_is_refused(size: int, data: bytes) -> None:
    with pytest.raises(ValueError, match="hashes"):
        merkle.Frontier.from_bytes(size, data)


def test_a_dossier_is_an_ro_crate(case: Case, tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    folder = tmp_path / "crate"
    with zipfile.ZipFile(case.write()) as archive:
        archive.extractall(folder)
    crate = ROCrate(folder)
    listed = {entity.id for entity in crate.data_entities}
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"ro-crate-metadata.json", "manifest.json"}
    assert listed == present
    assert crate.name == "Dossier of plan pln-1"


def test_the_report_for_people_escapes_what_strangers_wrote(case: Case) -> None:
    from livinglab.evidence.report import render

    plan = json.loads(case.contents.plan) | {"participant": "<script>alert(1)</script>"}
    page = render(canonical(plan), case.contents.release, case.contents.documents, {"<b>": "x"})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "PASS" in page


def test_a_key_of_an_algorithm_that_nobody_knows_is_invalid_and_raises_nothing_else() -> None:
    pem = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDKiVwAyEA" + b"A" * 42 + b"A=\n-----END PUBLIC KEY-----\n"
    with pytest.raises(Invalid):
        load_public(pem)


def test_an_envelope_that_is_not_in_utf_8_is_none(tmp_path: Path) -> None:
    with pytest.raises(EvidenceBroken, match="not a DSSE envelope"):
        dsse.parse(new_key(tmp_path / "k.pem").sign(b"{}", dsse.IN_TOTO).decode().encode("utf-16"))
