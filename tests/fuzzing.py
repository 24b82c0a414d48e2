"""Requests that the API's document allows, and such as it does not: one by one, and one after another as its links say. For tests and benchmark.

Every address is asked by an authority, a participant and an operator in turn. Ids and bodies are often those of things that are there, so that
what one request changes the next one meets. Seeded: the same draws every time.
"""

import random
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky, Unsatisfiable
from schemathesis import checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from starlette.testclient import TestClient

from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner
from tests.unit.api.test_rights import ROLES, World, sent

CALLERS = ("owner", "owner", "authority", "operator")
WAYS = ("positive", "negative", "in sequence")
"""What the document allows; what it does not; what follows from what came before."""
HELD = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance, checks.response_headers_conformance,
        checks.response_schema_conformance]  # fmt: skip
STEPS = 30
"""Of a sequence."""
_BOUNDED = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), stateful_step_count=STEPS)


@schemathesis.serializer("application/x-tar", "application/x-pem-file", "application/vnd.dsse+json", "application/partial-upload", "text/markdown",
                         "application/pdf")  # fmt: skip
def as_it_is(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@dataclass
class Fuzzer:
    """What was sent to a world, and what came of it."""

    world: World
    client: TestClient
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    reached: Counter[tuple[str, int]] = field(default_factory=Counter)
    plans: dict[str, str] = field(default_factory=dict)
    """Id → the digest that is to be signed."""

    def __post_init__(self) -> None:
        self.chance = random.Random(1)
        self.plans[self.world.ids["plan"]] = self.world.plan["digest"]
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", self.client.app)
        self.operations: list[Any] = [found.ok() for found in self.schema.get_all_operations()]  # type: ignore[union-attr]  # an Err would fail here

    def send(self, way: str, requests: int) -> int:
        """At least so many, in that way; how many it were."""
        before, turn = self.statuses.total(), 0
        while (left := requests - (self.statuses.total() - before)) > 0:
            turn += 1
            if way == "in sequence":
                self._in_sequence(turn, ceil(left / STEPS))
            else:
                self._one_by_one(turn, schemathesis.GenerationMode(way), ceil(left / len(self.operations)))
        return self.statuses.total() - before

    def _one_by_one(self, turn: int, mode: Any, each: int) -> None:
        for operation in self.operations:

            @seed(turn)
            @settings(_BOUNDED, max_examples=each)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                self._point(case)
                if mode is schemathesis.GenerationMode.POSITIVE and self.chance.random() < 0.5:
                    self._improve(case, ())
                self._ask(case)

            with suppress(Unsatisfiable):  # an address without a parameter or a body cannot be asked wrongly
                ask()

    def _in_sequence(self, turn: int, sequences: int) -> None:
        fuzzer = self

        @seed(turn)
        class Sequence(self._machine):  # type: ignore[name-defined, misc]
            linked: Collection[str] = ()

            def step(self, step: Any) -> Any:
                self.linked = {name for place, name in step.applied_parameters if place is ParameterLocation.BODY}
                if step.transition is None:
                    fuzzer._point(step.case)
                return super().step(step)

            def before_call(self, case: Any) -> None:
                if fuzzer.chance.random() < 0.8:
                    fuzzer._improve(case, self.linked)

            def call(self, case: Any, **_more: Any) -> Any:
                return fuzzer._ask(case)

            def validate_response(self, *_answer: Any, **_more: Any) -> None:
                """Done where it was asked."""

        with suppress(Flaky):  # the same draws meet another world than before: the next turn goes on
            Sequence.run(settings=settings(_BOUNDED, max_examples=sequences))

    @cached_property
    def _machine(self) -> Any:
        self.schema.config.phases.stateful.generation.modes = [schemathesis.GenerationMode.POSITIVE]  # or a third would come without a token
        return self.schema.as_state_machine()

    def _point(self, case: Any) -> None:
        """Have it name what is there, mostly."""
        there = {name: self.world.ids[name] for name in case.path_parameters or {} if name in self.world.ids and self.chance.random() < 0.8}
        case.path_parameters = {**(case.path_parameters or {}), **there}

    def _improve(self, case: Any, linked: Collection[str]) -> None:
        """Have it bring what somebody would who may do it; what links filled in stays."""
        good = sent(self.world, case.method, case.path)
        if "json" in good and isinstance(case.body, dict):
            case.body = {**good["json"], **{name: case.body[name] for name in linked if name in case.body}}
        elif "content" in good:
            case.body, case.media_type = good["content"], good.get("headers", {}).get("Content-Type", case.media_type)

    def _ask(self, case: Any) -> Any:
        caller = self.chance.choice(CALLERS)
        if case.path.endswith("/events"):
            case.path_parameters["run"] = self.world.ids["ended"]  # another one's stream would not end
        if case.path.endswith("/signatures") and (digest := self.plans.get(case.path_parameters["plan"])) and self.chance.random() < 0.8:
            case.body = self._signed(caller, case.path_parameters["plan"], digest)
        answer = case.call(headers={"Authorization": f"Bearer {self.world.tokens[caller]}"})
        self.statuses[answer.status_code] += 1
        self.reached[f"{case.method} {case.path}", answer.status_code] += 1
        if answer.status_code == 201 and case.path == "/v1/plans":
            made = answer.json()
            self.plans[made["body"]["id"]] = made["digest"]
        try:
            case.validate_response(answer, checks=HELD[:-1] if case.path.endswith("/events") else HELD)  # its schema is the stream's, not an event's
        except FailureGroup as failure:
            self.failures.append(f"{answer.status_code} {case.as_curl_command()}\n" + "\n".join(str(one) for one in failure.exceptions))
        return answer

    def _signed(self, caller: str, plan: str, digest: str) -> bytes:
        organisation, roles = ROLES[caller]
        signer = self.world.signer if caller == "owner" else KeySigner.load(self.world.home.parent / "authority.pem")
        role = roles.get("tiny", "authority")
        return signer.sign(statements.plan_signature(plan=plan, version=1, digest=digest, role=role, organisation=organisation), dsse.IN_TOTO)
