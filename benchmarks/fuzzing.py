"""What the API makes of what nobody would send: so many requests, good and bad, at a lab with things in it, and no answer of its own failure.

    PYTHONPATH=. .venv/bin/python benchmarks/fuzzing.py [REQUESTS]

Half of the requests come one by one, of what the document allows and of what it does not; half come in sequences, each request with what the
answers before it named, as the document's links say (`tests/fuzzing.py`). Printed: requests by status, how many addresses were reached with a
good answer, and each answer that is a failure of the lab's or not as the document says, with what was sent. Seeded.
"""

import sys
import tempfile
from collections import Counter
from math import ceil
from pathlib import Path

from tests.fuzzing import Fuzzer
from tests.unit.api.test_rights import new_world, serving

SHARES = {"positive": 4, "negative": 4, "in sequence": 2}
"""Way → the part of all requests, as a divisor."""


def main(requests: int) -> int:
    failures, all_of_them = [], Counter[int]()
    for way, share in SHARES.items():
        with tempfile.TemporaryDirectory(prefix="ll-") as folder:
            world = new_world(Path(folder))
            with serving(world.home, rate=0) as client:
                fuzzer = Fuzzer(world, client)
                sent = fuzzer.send(way, ceil(requests / share))
        reached = {address for address, status in fuzzer.reached if status < 300}
        print(f"{way}: {sent:,} requests, {len(reached)} of {len(fuzzer.operations)} addresses with a good answer; "
              + ", ".join(f"{count:,} × {status}" for status, count in sorted(fuzzer.statuses.items())))  # fmt: skip
        failures += fuzzer.failures
        all_of_them += fuzzer.statuses
    print(f"all: {all_of_them.total():,} requests, {sum(n for status, n in all_of_them.items() if status >= 500)} × 5xx")
    print("\n".join(failures[:20]) or "each answer is as the document says")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
