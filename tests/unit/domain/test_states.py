"""No sequence of events leaves a state machine, and what is final stays so."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.clocks import Term
from livinglab.domain.errors import Conflict
from livinglab.domain.pilot import PilotState
from livinglab.domain.plan import PlanState
from livinglab.domain.run import Attempt, RunState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("states", [PilotState, PlanState, RunState])
def test_every_state_can_be_reached_and_leads_to_an_end(states: Any) -> None:
    every = list(states)
    reached = {every[0]}
    while grown := {s for s in every if s not in reached and any(s.may_follow(r) for r in reached)}:
        reached |= grown
    assert reached == set(every)
    ends = {s for s in every if s.final}
    while grown := {s for s in every if s not in ends and any(e.may_follow(s) for e in ends)}:
        ends |= grown
    assert ends == set(every)


@given(st.lists(st.sampled_from(list(RunState)), max_size=12))
def test_an_attempt_only_takes_allowed_steps(wishes: list[RunState]) -> None:
    attempt = Attempt(run="run-x", number=1, nonce="00", created_at=NOW)
    for wish in wishes:
        if wish.may_follow(attempt.state):
            attempt = attempt.to(wish)
        else:
            with pytest.raises(Conflict):
                attempt.to(wish)


def test_a_term_of_months_ends_as_regulation_1182_71_says() -> None:
    assert Term(months=1, source="x").after(date(2026, 1, 31)) == date(2026, 2, 28)
    assert Term(months=2, source="x").after(date(2026, 12, 31)) == date(2027, 2, 28)
    assert Term(days=15, source="x").after(date(2026, 2, 20)) == date(2026, 3, 7)
    assert Term(months=3, source="x").after(date(2026, 8, 2)) == date(2026, 11, 2)
