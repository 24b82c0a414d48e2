"""What the API makes of what nobody would send: so many requests, good and bad, at a lab with things in it, and no answer of its own failure.

    PYTHONPATH=. .venv/bin/python benchmarks/fuzzing.py [REQUESTS]

Every address is sent what the document allows and what it does not, by an authority, a participant and an operator in turn; ids are often
those of things that are there, so that what one request changes the next one meets. Printed: requests by status, and each answer of 5xx with
what was sent. Seeded: the same requests every time.
"""

import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from tests.unit.api.test_rights import World, new_world, serving

CALLERS = ("owner", "authority", "operator")


@schemathesis.serializer("application/x-tar", "application/x-pem-file", "application/vnd.dsse+json", "application/partial-upload", "text/markdown",
                         "application/pdf")  # fmt: skip
def as_it_is(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def fuzz(world: World, requests: int) -> tuple[Counter[int], list[str]]:
    chance, statuses, failures = random.Random(1), Counter[int](), list[str]()
    with serving(world.home, rate=0) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
        each = max(1, requests // (2 * len(operations)))
        for mode in ("positive", "negative"):
            for operation in operations:

                @seed(1)
                @settings(max_examples=each, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
                @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
                def send(case: Any) -> None:
                    known = {name: world.ids[name] for name in case.path_parameters or {} if name in world.ids and chance.random() < 0.8}
                    case.path_parameters = {**(case.path_parameters or {}), **known}
                    if case.path.endswith("/events"):
                        case.path_parameters["run"] = world.ids["ended"]  # another one's stream would not end
                    answer = case.call(headers={"Authorization": f"Bearer {world.tokens[chance.choice(CALLERS)]}"})
                    statuses[answer.status_code] += 1
                    if answer.status_code >= 500:
                        failures.append(f"{answer.status_code} {case.as_curl_command()}")

                with suppress(Unsatisfiable):  # an address without a parameter or a body cannot be asked wrongly
                    send()
    return statuses, failures


def main(requests: int) -> int:
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        statuses, failures = fuzz(new_world(Path(folder)), requests)
    print(f"{sum(statuses.values()):,} requests: " + ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items())))
    print("\n".join(failures[:20]) or "no answer of 5xx")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
