"""Attempts carried in this process, without any Prefect server: for the command line, for tests, and when Prefect is away."""

from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.run import Attempt


async def carry_inline(supervisor: Supervisor, attempt: Attempt) -> None:
    """Advance the attempt until it is over, or until the supervisor should stop."""
    async for _progress in supervisor.steps(attempt):
        pass
