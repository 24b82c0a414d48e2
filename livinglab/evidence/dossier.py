"""The dossier: all the evidence of one plan in one archive, laid out as an RO-Crate.

What carries the proof is the chain and the signatures in it; the crate's metadata and `manifest.json` make the archive
whole and readable. The same contents give the same bytes.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from livinglab.domain.canonical import canonical, quoted, sha256
from livinglab.domain.documents import MediaType
from livinglab.domain.errors import Conflict
from livinglab.evidence.archive import MAX_BYTES, MAX_FILES
from livinglab.evidence.ledger import Entry, write_sequence
from livinglab.evidence.report import render

MANIFEST, METADATA = "manifest.json", "ro-crate-metadata.json"
PLAN, RELEASE, LEDGER, WITHHELD, PROOF, CHECKPOINT, PAGE = (
    "plan.json",
    "release.json",
    "ledger.json-seq",
    "withheld.json",
    "inclusion.json",
    "checkpoint.dsse.json",
    "report.html",
)
REQUIRED = "required/"
"""The folder of the required evidence that the plan froze."""
_EPOCH = (1980, 1, 1, 0, 0, 0)

_FORMATS = {
    "html": "text/html",
    "json-seq": "application/json-seq",
    "pem": "application/x-pem-file",
    **{kind.suffix: kind.value for kind in MediaType},
}


@dataclass(frozen=True)
class DossierContents:
    """Everything that goes in, as the bytes that were digested and signed.

    Args:
        documents: `<attempt>/<name>` → bytes; `required`: file → bytes of the documents that the plan froze.
        withheld: `<attempt>/<name>` or `required/<file>` → digest, of what is kept from the reader.
        checkpoint: the signed envelope; `leaf_index`, `leaf_salt` and `proof` show that the chain's head is under its root.
        public_keys: key id → PEM, for information: whom to trust is the reader's own decision.
    """

    plan: bytes
    release: bytes
    ledger: list[Entry]
    documents: dict[str, bytes]
    withheld: dict[str, str]
    checkpoint: bytes
    leaf_index: int
    leaf_salt: bytes
    proof: list[bytes]
    public_keys: dict[str, bytes] = field(default_factory=dict)
    required: dict[str, bytes] = field(default_factory=dict)


def write_dossier(path: Path, contents: DossierContents) -> str:
    """Write the archive; return its digest.

    The ledger is stored as it is: digests and Base64 hardly get smaller, and unpacking them takes longer than all digests.

    Raises:
        Conflict: it would be more than whoever checks a dossier unpacks.
    """
    files = _files(contents)
    files |= pages(contents, files)
    files[MANIFEST] = manifest(files, {name: sha256(data) for name, data in files.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o100644 << 16
            member.compress_type = zipfile.ZIP_STORED if name == LEDGER else zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name])
    data = buffer.getvalue()
    size = max(len(data), sum(len(file) for file in files.values()))
    if len(files) > MAX_FILES or size > MAX_BYTES:
        msg = f"the dossier would have {len(files):,} files and {size:,} bytes, and one has at most {MAX_FILES:,} and {MAX_BYTES:,}."
        raise Conflict(msg, hint="Nothing of it is lost. Agree on a new plan for the runs to come: each plan has a dossier of its own.")
    path.write_bytes(data)
    return sha256(data)


def manifest(files: Mapping[str, bytes], digests: Mapping[str, str]) -> bytes:
    """`manifest.json` over these files: RFC 8785 of name → `sha256` and `size`, put together from its rows, since there are thousands."""
    listed = sorted(files)
    if not "".join(listed).isascii():
        listed.sort(key=lambda name: name.encode("utf-16-be"))  # as RFC 8785 sorts keys
    rows = [f'{text}:{{"sha256":"{digests[name]}","size":{len(files[name])}}}' for name, text in zip(listed, quoted(listed), strict=True)]
    return f"{{{','.join(rows)}}}".encode()


def pages(contents: DossierContents, files: dict[str, bytes]) -> dict[str, bytes]:
    """What is made from the rest of the archive, and proves nothing by itself: the page for people, and the crate's metadata."""
    page = render(contents.plan, contents.release, contents.documents, contents.withheld).encode()
    return {PAGE: page, METADATA: _metadata(contents, {**files, PAGE: page})}


def _files(c: DossierContents) -> dict[str, bytes]:
    files = {PLAN: c.plan, RELEASE: c.release, LEDGER: write_sequence(c.ledger), CHECKPOINT: c.checkpoint, WITHHELD: canonical(c.withheld)}
    files[PROOF] = canonical({"leaf_index": c.leaf_index, "salt": c.leaf_salt.hex(), "path": [node.hex() for node in c.proof]})
    files |= {f"documents/{name}": data for name, data in c.documents.items()}
    files |= {f"{REQUIRED}{name}": data for name, data in c.required.items()}
    files |= {f"keys/{key_id}.pem": pem for key_id, pem in c.public_keys.items()}
    return files


def _metadata(c: DossierContents, files: dict[str, bytes]) -> bytes:
    """RO-Crate 1.1 metadata, in RFC 8785. Dates come from the chain, so that the same evidence is the same file.

    What there is of every file is put together from text: there are thousands, and whoever verifies makes all of them again.
    """
    plan = json.loads(c.plan)
    spec = json.loads(c.release)["spec"]
    listed = sorted(files)
    names = quoted(listed)
    published = c.ledger[-1].header["at"] if c.ledger else plan["valid_from"]
    about = f"Signed evidence of a pilot in the sandbox {spec['title']!r}. Check it with: livinglab verify. It is no declaration of conformity."
    terms = "For the parties of the plan and those whom they or the law let see it."
    first = canonical({"@id": METADATA, "@type": "CreativeWork", "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"}, "about": {"@id": "./"}})
    before = canonical({"@id": "./", "@type": "Dataset", "datePublished": published, "description": about})
    parts = ",".join([f'{{"@id":{name}}}' for name in names]).encode()
    after = canonical({"license": {"@id": "#terms"}, "name": f"Dossier of plan {plan['id']}"})
    last = canonical({"@id": "#terms", "@type": "CreativeWork", "name": "Terms", "description": terms})
    whole = before[:-1] + b',"hasPart":[' + parts + b"]," + after[1:]
    own = quoted([name.rpartition("/")[2] for name in listed])
    described = ",".join([
        f'{{"@id":{text},"@type":"File","contentSize":"{len(files[name])}","encodingFormat":"{_format(name)}","name":{last_part}}}'
        for name, text, last_part in zip(listed, names, own, strict=True)]).encode()  # fmt: skip
    graph = b",".join([first, whole, last, *([described] if described else [])])
    return b'{"@context":"https://w3id.org/ro/crate/1.1/context","@graph":[' + graph + b"]}"


def _format(name: str) -> str:
    return _FORMATS.get(name.rpartition(".")[2], "application/json")
