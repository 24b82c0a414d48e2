"""Why: one sentence per run, on what it waits for or how it ended, whose doing that is, and what happens next."""

from livinglab.domain.model import Frozen
from livinglab.domain.run import PHASES, Attempt, Cause, Run, RunState, Step


class Why(Frozen):
    """The answer. `backend` is the scheduler's own word, where there is one."""

    sentence: str
    whose: Cause | None
    next: str
    backend: str = ""


_DOING: dict[Step, str] = {
    Step.ADMIT: "is being admitted",
    Step.IMAGES: "is getting its images ready",
    Step.PREPARE: "is having its inputs prepared by the harness",
    Step.STAGE: "is having its inputs placed",
    Step.EXECUTE: "is running: the pilot's container has begun",
    Step.COLLECT: "has its outputs collected",
    Step.ATTEST: "has its isolation checked",
    Step.DECODE: "has its outputs decoded",
    Step.MEASURE: "is being measured by the harness",
    Step.JUDGE: "is being judged",
    Step.RELEASE: "is being cleaned up",
    Step.SEAL: "is being sealed",
}

_WHOSE = {
    Cause.PILOT: "That is the pilot's doing.",
    Cause.PLATFORM: "That is the lab's fault and costs no quota.",
    Cause.POLICY: "That is a decision, not a fault.",
}


def why(run: Run, attempts: tuple[Attempt, ...], *, ahead: int = 0, backend: str = "") -> Why:
    """The answer for a run.

    Args:
        ahead: how many queued runs of the site come before it.
        backend: the site's own reason, as last observed.
    """
    attempt = attempts[-1]
    name = f"Run {run.id}"
    if run.state is RunState.QUEUED:
        place = "it is next" if not ahead else "one run is ahead of it" if ahead == 1 else f"{ahead} runs are ahead of it"
        return Why(
            sentence=f"{name} waits for a place at site {run.site}: {place}.", whose=None, next="A worker of that site takes it up.", backend=backend
        )
    if run.state is RunState.COMPLETED:
        return Why(sentence=f"{name} is complete; its verdict is {run.verdict}.", whose=None, next="Read the verdict, or download the dossier.")
    if run.state.final:
        return _ended(name, run)
    if run.state is RunState.CANCELLING:
        sentence = f"{name} is being stopped: {run.cancel_reason} (asked by {run.cancel_requested_by})."
        return Why(sentence=sentence, whose=Cause.POLICY, next="It is cancelled once its containers are seen dead.", backend=backend)
    return _under_way(name, attempt, backend)


def _under_way(name: str, attempt: Attempt, backend: str) -> Why:
    if attempt.failure:
        sentence = f"{name} has failed: {_whole(attempt.failure.sentence)} {_WHOSE[attempt.failure.cause]}"
        return Why(sentence=sentence, whose=attempt.failure.cause, next="It is being released and sealed.", backend=backend)
    step = attempt.step or Step.ADMIT
    tries = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    held = "" if attempt.owner else " No worker holds it at the moment; the next one goes on with it."
    following = [phase for phase, steps in PHASES.items() if step not in steps and min(_order(s) for s in steps) > _order(step)]
    return Why(sentence=f"{name} {_DOING[step]}{tries}.{held}", whose=None, next=f"Then: {', '.join(following) or 'its end'}.", backend=backend)


def _order(step: Step) -> int:
    return list(Step).index(step)


def _ended(name: str, run: Run) -> Why:
    failure = run.failure
    if failure is None:
        return Why(sentence=f"{name} is {run.state}.", whose=None, next="Nothing.")
    following = {
        Cause.PILOT: "Mend the pilot and ask for a new run; this one stays on record.",
        Cause.PLATFORM: "Ask for a new run; the operators see this failure.",
        Cause.POLICY: "Meet what was demanded, then ask for a new run.",
    }[failure.cause]
    if run.state is RunState.CANCELLED and failure.cause is Cause.POLICY:
        following = "Ask for a new run, if one is wanted."
    return Why(sentence=f"{name} is {run.state}: {_whole(failure.sentence)} {_WHOSE[failure.cause]}", whose=failure.cause, next=following)


def _whole(sentence: str) -> str:
    """Ended as a sentence, for another one follows: reasons that people gave often end in nothing."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
