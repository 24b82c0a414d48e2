"""One attempt in this process's hands, phase by phase: what a flow's tasks call."""

from dataclasses import dataclass

from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.run import PHASES, Attempt, Run
from livinglab.services.runs import request_cancel


@dataclass(frozen=True)
class Carrier:
    """The supervisor's hold on one attempt."""

    supervisor: Supervisor
    attempt: Attempt

    async def run_phase(self, phase: str) -> bool:
        """Advance through the steps of a phase; False if there was nothing to do in it (done before, or not reached by a failed attempt)."""
        did = False
        engine = self.supervisor.engine
        async for _progress in self.supervisor.steps(self.attempt, lambda: engine.upcoming(self.attempt.id) in PHASES[phase]):
            did = True
        return did

    def outcome(self) -> tuple[Run, Attempt]:
        """The run and the attempt as the database has them now."""
        situation = self.supervisor.engine.journal.situation(self.attempt.id)
        return situation.run, situation.attempt

    def cancel(self, by: str, reason: str) -> None:
        """Ask for the run's end, as the API would; a run that is over or ending already is left as it is."""
        engine = self.supervisor.engine
        with engine.store.transaction() as tx:
            run = tx.run(self.attempt.run)
            if run and not run.state.final and run.cancel_requested_by is None:
                request_cancel(tx, engine.recorder, run, by, reason)
