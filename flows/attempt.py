"""One attempt as a flow: its phases as tasks, its end as the database has it."""

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.states import Cancelled, Completed, Failed

from livinglab.domain.run import PHASES, RunState

if TYPE_CHECKING:
    from livinglab.dispatch.carrier import Carrier

carrying: ContextVar["Carrier"] = ContextVar("carrying")
"""The attempt in this process's hands; set by whoever runs the flow."""


@task(persist_result=False, task_run_name="{phase}")
async def run_phase(phase: str) -> Any:
    """Advance the attempt through one phase; where it waits for a container, this is all that waits."""
    did = await carrying.get().run_phase(phase)
    return Completed(name="Completed" if did else "Skipped", message=None if did else "nothing to do in this phase")


@flow(name="attempt", persist_result=False, validate_parameters=False, log_prints=False)
async def run_attempt(attempt: str) -> Any:  # noqa: ARG001 - shown to operators; the attempt itself is in `carrying`
    """Carry an attempt through its phases."""
    for phase in PHASES:
        await run_phase(phase)
    return await asyncio.to_thread(end_of, carrying.get())


def end_of(carrier: "Carrier") -> Any:
    """Prefect's state, from the database's."""
    _run, attempt = carrier.outcome()
    sentence = attempt.failure.sentence if attempt.failure else None
    if attempt.state is RunState.COMPLETED:
        return Completed(name=attempt.verdict or "Completed", message=f"verdict {attempt.verdict}")
    if attempt.state is RunState.CANCELLED:
        return Cancelled(message=f"{sentence} Seen dead {attempt.cancel_seen_dead_at}.")
    if attempt.state.final:
        return Failed(name=attempt.state.value.capitalize(), message=sentence)
    return Failed(name="Interrupted", message="this worker stopped; another goes on with the attempt")


entry = (run_attempt, carrying, end_of)
"""What a worker finds by the entry point `livinglab.flows`: the flow, where to put what it carries, and its end from the database's."""
