"""Why: one sentence per run, on what it waits for or how it ended, whose doing that is, and what happens next."""

from datetime import UTC, datetime

from livinglab.domain.model import Frozen
from livinglab.domain.run import PHASES, Attempt, Cause, Run, RunState, Step, Waiting
from livinglab.domain.site import SiteRecord, SiteState


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


def why(run: Run, attempts: tuple[Attempt, ...], now: datetime, *, site: SiteRecord | None = None, ahead: int = 0,
        waiting: Waiting | None = None) -> Why:  # fmt: skip
    """The answer for a run.

    Args:
        site: as it is registered.
        ahead: how many queued runs of the site come before it.
        waiting: the job that waits in the site's own queue, where one does.
    """
    answer = _where(run, attempts[-1], now, site, ahead, waiting)
    if site is None or site.away is None or run.state.final:
        return answer
    since = f"Nothing can be done at site {site.name} since {_time(site.away.since)}, so nothing is decided."
    return answer.model_copy(update={"sentence": f"{answer.sentence} {since}", "next": f"It goes on by itself once the site is back. {answer.next}"})


def _where(run: Run, attempt: Attempt, now: datetime, site: SiteRecord | None, ahead: int, waiting: Waiting | None) -> Why:
    """Where it stands, whatever ails its site."""
    name = f"Run {run.id}"
    if run.state is RunState.COMPLETED:
        return Why(sentence=f"{name} is complete; its verdict is {run.verdict}.", whose=None, next="Read the verdict, or download the dossier.")
    if run.state.final:
        return _ended(name, run)
    if run.state is RunState.CANCELLING:
        sentence = f"{name} is being stopped: {run.cancel_reason} (asked by {run.cancel_requested_by})."
        return Why(sentence=sentence, whose=Cause.POLICY, next="It is cancelled once its containers are seen dead.")
    if attempt.state is RunState.QUEUED and not (attempt.lease_until and attempt.lease_until > now):
        kept_waiting = _kept_waiting(name, run, site, now)
        if kept_waiting:
            return kept_waiting
    if run.state is RunState.QUEUED:
        place = "it is next" if not ahead else "one run is ahead of it" if ahead == 1 else f"{ahead} runs are ahead of it"
        return Why(sentence=f"{name} waits for a place at site {run.site}: {place}.", whose=None, next="A worker of that site takes it up.")
    return _in_queue(name, run, waiting) if waiting and not attempt.failure else _under_way(name, attempt)


def _kept_waiting(name: str, run: Run, site: SiteRecord | None, now: datetime) -> Why | None:
    """What keeps a run from beginning though a worker is free: a hold, or its site."""
    if run.held_by:
        return Why(sentence=f"{name} is {_held(run)}", whose=Cause.POLICY, next="It has its turn once it is let go.")
    if site is None:
        return None
    if site.state is SiteState.DRAINING:
        drained = f"being drained since {_time(site.changed_at)}, by {site.changed_by}, because: {_whole(site.reason)}"
        return Why(sentence=f"{name} waits: site {site.name} is {drained}", whose=Cause.POLICY, next="It begins once the site is open again.")
    window = site.next_window(now)
    if window is None or run.longest_seconds < site.room(now):
        return None
    early = f": it may take {run.longest_seconds:,.0f} s, and would reach into it" if window.begin > now else ""
    return Why(sentence=f"{name} waits for the maintenance window of site {site.name} {window.times}{early}.", whose=Cause.POLICY,
               next="It begins once the window is over.")  # fmt: skip


def _in_queue(name: str, run: Run, waiting: Waiting) -> Why:
    """A job that a scheduler has, and has not started; or has not been given yet, where its site is away for maintenance."""
    if not waiting.raw:
        return Why(sentence=f"{name} waits: {_whole(waiting.advice)}", whose=Cause.POLICY, next="It goes on once the window is over.")
    what = f": {_whole(waiting.advice)}" if waiting.advice else "."
    held = f" It is {_held(run)}" if run.held_by else ""
    backend = ", ".join(word for word in (waiting.raw, waiting.reason) if word)
    return Why(sentence=f"{name} waits in the queue of site {run.site}{what}{held}", whose=None, next="The site starts it when its turn comes.",
               backend=backend)  # fmt: skip


def _held(run: Run) -> str:
    return f"held by {run.held_by}: {_whole(run.held_reason or 'no reason given')}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _under_way(name: str, attempt: Attempt) -> Why:
    if attempt.failure:
        sentence = f"{name} has failed: {_whole(attempt.failure.sentence)} {_WHOSE[attempt.failure.cause]}"
        return Why(sentence=sentence, whose=attempt.failure.cause, next="It is being released and sealed.")
    step = attempt.step or Step.ADMIT
    tries = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    held = "" if attempt.owner else " No worker holds it at the moment; the next one goes on with it."
    following = [phase for phase, steps in PHASES.items() if step not in steps and min(_order(s) for s in steps) > _order(step)]
    return Why(sentence=f"{name} {_DOING[step]}{tries}.{held}", whose=None, next=f"Then: {', '.join(following) or 'its end'}.")


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
