"""A worker: a supervisor, the way that it carries attempts, and the projections that follow."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from livinglab.dispatch.projector import Projector
from livinglab.dispatch.supervisor import Carry, Supervisor


@dataclass(frozen=True)
class Worker:
    """Everything that one worker process does."""

    supervisor: Supervisor
    carry: Carry
    projectors: Sequence[Projector]

    def serve(self, *, until_idle: bool = False) -> None:
        """Carry and project until the supervisor is told to stop; returns when both have come to an end."""
        ended = threading.Event()
        threads = [threading.Thread(target=p.serve, args=(ended,), name=f"projector-{p.name}") for p in self.projectors]
        for thread in threads:
            thread.start()
        try:
            self.supervisor.serve(self.carry, until_idle=until_idle)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
