"""The ledger's one file, a JSON text sequence: what is digested comes out of it as it went in, and nothing else is taken."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.errors import Conflict
from livinglab.evidence import dossier
from livinglab.evidence.archive import read_archive
from livinglab.evidence.ledger import Entry, read_sequence, write_sequence
from livinglab.evidence.verify import verify
from tests.unit.evidence.conftest import ROOT, Case
from tests.unit.evidence.test_verify import found, names_in, repacked

texts = st.builds(
    lambda value, indent, after: (json.dumps(value, indent=indent, ensure_ascii=False) + after).encode(errors="surrogatepass"),
    st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    st.none() | st.integers(0, 2), st.text(" \t\r\n", max_size=3))  # fmt: skip
"""JSON in any words and lines: control characters in it are escaped, so that none is a record separator."""


@given(st.lists(st.tuples(texts, texts)))
def test_entries_and_bodies_come_out_byte_for_byte(pairs: list[tuple[bytes, bytes]]) -> None:
    written = write_sequence([Entry(data, "", body) for data, body in pairs])
    assert read_sequence(written) == [text for pair in pairs for text in pair]


@given(st.binary(max_size=40) | st.text("\x1e\n{}", max_size=20).map(str.encode))
def test_what_is_taken_is_written_in_one_way(data: bytes) -> None:
    try:
        read = read_sequence(data)
    except ValueError:
        return
    assert b"".join(b"\x1e" + text + b"\n" for text in read) == data


def test_what_is_no_json_is_not_written() -> None:
    with pytest.raises(ValueError, match="record separator"):
        write_sequence([Entry(b"{}", "", b"{}\n\x1e{}")])


@pytest.mark.parametrize(("change", "where", "what"), [
    (lambda data: data[:-1], "ledger.json-seq", "no JSON text sequence"),
    (lambda data: b"\n" + data, "ledger.json-seq", "no JSON text sequence"),
    (lambda data: data[1:], "ledger.json-seq", "no JSON text sequence"),
    (lambda data: data.replace(b"\n", b"\x1e", 1), "ledger.json-seq", "no JSON text sequence"),
    (lambda data: data[: data.rindex(b"\x1e")], "ledger entry 12", "its body is missing"),
    (lambda data: data.replace(b"\n\x1e", b"\n\n\x1e", 1), "ledger entry 1", "does not follow the entry before it"),
    (lambda data: data.replace(b"\n\x1e", b"\r\n\x1e", 1), "ledger entry 1", "does not follow the entry before it"),
    (lambda data: b"", "inclusion.json", "not under the signed checkpoint"),
    (lambda data: data + b"\x1e{}\n\x1e{}\n", "ledger entry 13", "not an entry"),
])  # fmt: skip
def test_a_ledger_that_is_not_whole_is_noticed(case: Case, change: Callable[[bytes], bytes], where: str, what: str) -> None:
    def changed(files: dict[str, bytes]) -> None:
        files["ledger.json-seq"] = change(files["ledger.json-seq"])

    assert found(verify(repacked(case.write(), changed), case.policy), where, what)


def test_the_docs_say_how_to_take_a_digest_without_this_software(case: Case, tmp_path: Path) -> None:
    command = next(line.split("`")[1] for line in (ROOT / "docs" / "evidence.md").read_text().splitlines() if "awk" in line)
    (tmp_path / "ledger.json-seq").write_bytes(read_archive(case.write(), lambda *_: None)["ledger.json-seq"])
    said = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, timeout=30).stdout.decode()
    assert "sha256:" + said.split()[0] == case.contents.ledger[0].digest


def test_more_than_a_dossier_can_hold_is_refused_before_anybody_gets_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    path = case.write()
    whole, files = path.read_bytes(), len(names_in(path))
    size = sum(len(data) for data in read_archive(path, lambda *_: None).values())
    for name, limit in (("MAX_FILES", files), ("MAX_BYTES", size)):
        monkeypatch.setattr(dossier, name, limit)
        case.write()
        monkeypatch.setattr(dossier, name, limit - 1)
        with pytest.raises(Conflict, match="one has at most"):
            case.write()
        monkeypatch.undo()
    assert path.read_bytes() == whole
