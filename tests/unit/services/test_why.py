"""Why a run stands where it stands: whole sentences, whose doing it is, and what to do next."""

from datetime import UTC, datetime
from typing import Any

import pytest

from livinglab.domain.run import Attempt, Cause, Failure, Run, RunState, Step
from livinglab.services.why import why

AT = datetime(2026, 3, 2, tzinfo=UTC)


def run(**changes: Any) -> Run:
    about = {"id": "run-x", "plan": "pln-x", "plan_digest": "", "pilot": "plt-x", "organisation": "startup", "sandbox": "tiny", "site": "docker"}
    return Run.model_validate({**about, "ordinal": 1, "created_at": AT, **changes})


def attempt(**changes: Any) -> Attempt:
    return Attempt.model_validate({"run": "run-x", "number": 1, "nonce": "0", "created_at": AT, **changes})


@pytest.mark.parametrize(("ahead", "says"), [(0, "it is next."), (1, "one run is ahead of it."), (2, "2 runs are ahead of it.")])
def test_a_queued_run_says_how_many_are_ahead(ahead: int, says: str) -> None:
    assert why(run(), (attempt(),), AT, ahead=ahead).sentence == f"Run run-x waits for a place at site docker: {says}"


@pytest.mark.parametrize(("state", "cause", "sentence", "says", "following"), [
    (RunState.CANCELLED, Cause.POLICY, "Cancelled by startup: enough", "enough. That is a decision", "Ask for a new run, if one is wanted."),
    (RunState.REFUSED, Cause.POLICY, "The plan has ended.", "ended. That is a decision", "Meet what was demanded"),
    (RunState.FAILED, Cause.PILOT, "It ended with 3.", "3. That is the pilot's doing.", "Mend the pilot"),
    (RunState.FAILED, Cause.PLATFORM, "The harness failed", "failed. That is the lab's fault", "Ask for a new run; the operators see"),
])  # fmt: skip
def test_an_end_says_whose_doing_it_is_and_what_to_do(state: RunState, cause: Cause, sentence: str, says: str, following: str) -> None:
    answer = why(run(state=state, failure=Failure(cause=cause, code="x", sentence=sentence)), (attempt(),), AT)
    assert says in answer.sentence
    assert answer.whose is cause
    assert answer.next.startswith(following)


def test_every_step_under_way_has_words_and_what_follows() -> None:
    for step in Step:
        answer = why(run(state=RunState.RUNNING), (attempt(state=RunState.RUNNING, step=step, owner="w"),), AT)
        assert answer.sentence.startswith("Run run-x ")
        assert answer.next.startswith("Then: ")
