"""Envelopes, keys, the Merkle log and the crate, each against somebody else's implementation."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livinglab.domain.canonical import canonical, sha256
from livinglab.domain.errors import Conflict, EvidenceBroken, Invalid
from livinglab.evidence import dossier, dsse, ledger, merkle
from livinglab.evidence.keys import KeySigner, key_id_of, load_public, new_key
from livinglab.evidence.ledger import Entry, make_entry
from tests.unit.evidence.conftest import AT, Case, make_case, make_plan, make_release


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


def parsed(read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except (EvidenceBroken, ValueError):
        return None


WRITTEN = dsse.envelope(b'{"a":1}?', dsse.IN_TOTO, "0123456789abcdef" * 4, b"\xff" * 64)


def agree(data: bytes) -> bool:
    """Was it read fast? Then the slow way reads the same."""
    fast = dsse._parse_fast(data)
    assert fast is None or fast == parsed(lambda d: dsse._parse(d, "it"), data)
    return fast is not None


@given(st.binary(), st.binary(min_size=64, max_size=64), st.binary(min_size=32, max_size=32))
def test_what_the_lab_writes_is_read_fast(payload: bytes, signature: bytes, key_id: bytes) -> None:
    data = dsse.envelope(payload, dsse.IN_TOTO, key_id.hex(), signature)
    assert agree(data)
    assert dsse.parse(data) == (payload, dsse.IN_TOTO, [(key_id.hex(), signature)])


@given(st.binary(), st.binary(min_size=1), st.text("0123456789abcdef"))
def test_ids_and_signatures_of_another_length_are_read_too(payload: bytes, signature: bytes, key_id: str) -> None:
    data = dsse.envelope(payload, dsse.IN_TOTO, key_id, signature)
    agree(data)
    assert dsse.parse(data) == (payload, dsse.IN_TOTO, [(key_id, signature)])


def test_whichever_byte_of_an_envelope_is_changed_both_ways_of_reading_agree() -> None:
    for place in range(len(WRITTEN)):
        for byte in (*b'\0 "\\=+-_AZ09{}[]:,\x7f\x80\xc3\n', WRITTEN[place] ^ 1):
            agree(WRITTEN[:place] + bytes([byte]) + WRITTEN[place + 1 :])


@given(st.binary(max_size=8) | st.sampled_from([b"=", b"==", b"\\u003d", b'"', b'","', b'"sig":"', b'"keyid":"0",', b"\xc2\xa0"]),
       st.integers(0, len(WRITTEN)), st.integers(0, 8))  # fmt: skip
def test_whatever_is_put_into_an_envelope_or_cut_out_of_it_both_ways_of_reading_agree(more: bytes, place: int, cut: int) -> None:
    agree(WRITTEN[:place] + more + WRITTEN[place + cut :])


@pytest.fixture(scope="module")
def case_once(tmp_path_factory: pytest.TempPathFactory) -> Case:
    release = make_release()
    return make_case(tmp_path_factory.mktemp("case"), release, make_plan(release))


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.from_regex(
    r"[a-z]{1,3}(/[a-z]{1,3}){0,2}\.(json|html|pem|pdf)", fullmatch=True
)


@given(st.dictionaries(names, st.binary(max_size=5)))
@example({"\ue000": b"", "\U00010000": b"", '"hasPart":[]': b"", "a\\b\n\x7f": b""})
def test_what_is_put_together_from_rows_is_canonical_all_the_same(case_once: Case, files: dict[str, bytes]) -> None:
    import rfc8785

    manifest = dossier.manifest(files, {name: sha256(data) for name, data in files.items()})
    assert manifest == rfc8785.dumps({name: {"size": len(data), "sha256": sha256(data)} for name, data in files.items()})
    made = dossier.pages(case_once.contents, files)
    metadata = made[dossier.METADATA]
    crate = json.loads(metadata)
    assert metadata == rfc8785.dumps(crate)
    listed = sorted({**files, dossier.PAGE: b""})
    assert [part["@id"] for part in crate["@graph"][1]["hasPart"]] == listed
    assert [(e["@id"], e["contentSize"], e["name"]) for e in crate["@graph"][3:]] == [
        (name, str(len({**files, dossier.PAGE: made[dossier.PAGE]}[name])), name.rpartition("/")[2]) for name in listed
    ]


ENTRY = make_entry(chain="pln-1", sequence=7, previous=ledger.GENESIS, kind="verdict", media_type="a/b", body=b"{}", run="run-1", attempt=None, at=AT)


def headers_agree(data: bytes) -> bool:
    """Is it what the lab writes? Whichever way its header is read, it says the same, or it is none."""
    entry = Entry(data, sha256(data), b"")
    slow = parsed(lambda _: ledger.Header(**entry.header), data)
    assert repr(parsed(lambda _: entry.read(), data)) == repr(slow)
    return ledger._WRITTEN.fullmatch(data.decode("latin-1")) is not None


words = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), min_size=1)


@given(words, st.integers(0, 10**15 - 1), st.none() | words, st.none() | words)
def test_an_entry_that_the_lab_writes_is_read_fast(word: str, sequence: int, run: str | None, attempt: str | None) -> None:
    entry = make_entry(chain=word, sequence=sequence, previous=word, kind=word, media_type=word, body=b"", run=run, attempt=attempt, at=AT)
    assert headers_agree(entry.data)


@given(st.text(), st.integers(-(2**53) + 1, 2**53 - 1), st.none() | st.text())
def test_any_entry_is_read_the_same_either_way(word: str, sequence: int, run: str | None) -> None:
    try:
        entry = make_entry(chain=word, sequence=sequence, previous=word, kind=word, media_type=word, body=b"", run=run, attempt=run, at=AT)
    except ValueError:
        return
    headers_agree(entry.data)


def test_whichever_byte_of_an_entry_is_changed_both_ways_of_reading_agree() -> None:
    assert headers_agree(ENTRY.data)
    for place in range(len(ENTRY.data)):
        for byte in (*b'\0 "\\=+-_.AZ019n{}[]:,\x7f\x80\xc3\n', ENTRY.data[place] ^ 1):
            headers_agree(ENTRY.data[:place] + bytes([byte]) + ENTRY.data[place + 1 :])


@given(st.binary(max_size=8) | st.sampled_from([b"null", b'"', b'","', b'"run":null,', b'"v":1,', b"1e3", b"-0", b"0", b"\n", b"\\u0041"]),
       st.integers(0, 330), st.integers(0, 8))  # fmt: skip
def test_whatever_is_put_into_an_entry_or_cut_out_of_it_both_ways_of_reading_agree(more: bytes, place: int, cut: int) -> None:
    headers_agree(ENTRY.data[:place] + more + ENTRY.data[place + cut :])
