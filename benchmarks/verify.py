"""How fast a stranger checks evidence: `PYTHONPATH=. .venv/bin/python benchmarks/verify.py [--statements 100000]`.

Dossiers of 9,000 signed statements each (an archive has 20,000 files at most), checked as `livinglab verify` does, beside the bare check of the same
signatures by the same library: what is above that is reading, digests, chain, binding, and what the statements must be to one another.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from livinglab.domain.canonical import sha256
from livinglab.evidence import dsse, merkle, statements
from livinglab.evidence.verify import verify
from tests.unit.evidence.conftest import AT, Case, Chain, hash_, hmac_new, make_case, make_plan, make_release

EACH = 9_000
BEGINNING = 7
"""Entries of an honest case before its pilot's isolation is stated for the first time, and that one."""


def long_case(folder: Path) -> Case:
    """The tests' honest plan, whose pilot's isolation is stated very often."""
    release = make_release()
    case = make_case(folder, release, make_plan(release))
    chain = Chain("pln-1", case.keys["lab"])
    chain.entries = case.contents.ledger[:BEGINNING]
    about = {"isolation-pilot.json": sha256(case.contents.documents["run-1.1/isolation-pilot.json"])}
    for _ in range(EACH):
        chain.state("isolation", about, {"role": "pilot", "holds": True, "reasons": [], "job": "sha256:" + "1" * 64})
    leaf = hmac_new(b"s" * 32, chain.entries[-1].digest.encode(), hash_).digest()
    signed = case.keys["lab"].sign(statements.checkpoint(size=1, root=merkle.root([leaf]).hex(), at=AT), dsse.IN_TOTO)
    kept = {"run-1.1/isolation-pilot.json": case.contents.documents["run-1.1/isolation-pilot.json"]}
    case.contents = replace(case.contents, ledger=chain.entries, documents=kept, withheld={}, checkpoint=signed, leaf_index=0,
                            proof=merkle.inclusion_proof([leaf], 0))  # fmt: skip
    return case


def bare(case: Case) -> float:
    """Seconds for the signatures alone."""
    public = load_pem_public_key(case.keys["lab"].public_pem)
    parts = [dsse.parse(entry.body) for entry in case.contents.ledger[-EACH:]]
    messages = [(signatures[0][1], dsse.pae(kind, payload)) for payload, kind, signatures in parts]
    begun = time.perf_counter()
    for signature, message in messages:
        public.verify(signature, message)  # type: ignore[call-arg, union-attr, arg-type]
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int, default=100_000)
    asked = parser.parse_args().statements
    with tempfile.TemporaryDirectory() as folder:
        case = long_case(Path(folder))
        path = case.write()
        alone = bare(case)
        times = []
        for _ in range(max(1, round(asked / EACH))):
            begun = time.perf_counter()
            report = verify(path, case.policy)
            times.append(time.perf_counter() - begun)
        assert report.ok, report.problems[:3]
    whole = sum(times)
    print(f"{len(times) * EACH:,} statements in {whole:.1f} s: {len(times) * EACH / whole:,.0f}/s; the signatures alone {EACH / alone:,.0f}/s")


if __name__ == "__main__":
    main()
