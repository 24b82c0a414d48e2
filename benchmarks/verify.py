"""How fast a stranger checks evidence: `PYTHONPATH=. .venv/bin/python benchmarks/verify.py [--statements 100000] [--rounds 5]`.

A dossier of so many signed statements, checked again and again as `livinglab verify` does, and between that its
signatures alone: by the same library (libsodium), above which is reading, digests, chain, binding, and what the statements must be to one another;
and by OpenSSL, with which anybody else would check them. In processor time, over all rounds and for the quickest, since others may use the machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from livinglab.domain.canonical import sha256
from livinglab.evidence import dsse, merkle, statements
from livinglab.evidence.keys import load_public, verifier
from livinglab.evidence.policy import TrustPolicy
from livinglab.evidence.verify import verify
from tests.unit.evidence.conftest import AT, Case, Chain, hash_, hmac_new, make_case, make_plan, make_release

BEGINNING = 7
"""Entries of an honest case before its pilot's isolation is stated for the first time, and that one."""


def long_case(folder: Path, count: int) -> Case:
    """The tests' honest plan, whose pilot's isolation is stated very often."""
    release = make_release()
    case = make_case(folder, release, make_plan(release))
    chain = Chain("pln-1", case.keys["lab"])
    chain.entries = case.contents.ledger[:BEGINNING]
    about = {"isolation-pilot.json": sha256(case.contents.documents["run-1.1/isolation-pilot.json"])}
    for _ in range(count):
        chain.state("isolation", about, {"role": "pilot", "holds": True, "reasons": [], "job": "sha256:" + "1" * 64})
    leaf = hmac_new(b"s" * 32, chain.entries[-1].digest.encode(), hash_).digest()
    signed = case.keys["lab"].sign(statements.checkpoint(size=1, root=merkle.root([leaf]).hex(), at=AT), dsse.IN_TOTO)
    kept = {"run-1.1/isolation-pilot.json": case.contents.documents["run-1.1/isolation-pilot.json"]}
    case.contents = replace(case.contents, ledger=chain.entries, documents=kept, withheld={}, checkpoint=signed, leaf_index=0,
                            proof=merkle.inclusion_proof([leaf], 0))  # fmt: skip
    return case


def signatures_of(case: Case) -> list[tuple[bytes, bytes]]:
    """The signatures that were added to the honest plan's, each with the bytes that it covers."""
    parts = [dsse.parse(entry.body) for entry in case.contents.ledger[BEGINNING:]]
    return [(signatures[0][1], dsse.pae(kind, payload)) for payload, kind, signatures in parts]


def bare(check: Callable[[bytes, bytes], bool | None], signed: list[tuple[bytes, bytes]]) -> float:
    """Seconds of processor for the signatures alone."""
    begun = time.process_time()
    for signature, message in signed:
        assert check(signature, message) is not False
    return time.process_time() - begun


def whole(path: Path, policy: TrustPolicy) -> float:
    """Seconds of processor for all that `livinglab verify` does."""
    begun = time.process_time()
    report = verify(path, policy)
    seconds = time.process_time() - begun
    assert report.ok, report.problems[:3]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    count, rounds = given.statements, given.rounds
    with tempfile.TemporaryDirectory() as folder:
        case = long_case(Path(folder), count)
        path, public, signed = case.write(), load_public(case.keys["lab"].public_pem), signatures_of(case)
        holds = verifier(public)
        times = [(bare(holds, signed), bare(public.verify, signed), whole(path, case.policy)) for _ in range(rounds)]
    for name, seconds in (("all", [sum(each) / rounds for each in zip(*times, strict=True)]),
                          ("the quickest", [min(each) for each in zip(*times, strict=True)])):  # fmt: skip
        libsodium, openssl, checked = seconds
        print(f"{name}: verify {count / checked:,.0f}/s; signatures alone {count / libsodium:,.0f}/s by libsodium ({libsodium / checked:.2f} ×), "
              f"{count / openssl:,.0f}/s by OpenSSL ({openssl / checked:.2f} ×)")  # fmt: skip


if __name__ == "__main__":
    main()
