"""A worker: a supervisor, the way that it carries attempts, and what it does beside."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from livinglab.dispatch.supervisor import Carry, Supervisor


class Companion(Protocol):
    """What a worker does beside carrying: a projection, a sign of life."""

    @property
    def name(self) -> str:
        """Its name, among the process's threads."""
        ...

    def serve(self, stopping: threading.Event) -> None:
        """Do it until `stopping`."""
        ...


@dataclass(frozen=True)
class Worker:
    """Everything that one worker process does."""

    supervisor: Supervisor
    carry: Carry
    companions: Sequence[Companion]

    def serve(self, *, until_idle: bool = False) -> None:
        """Carry until the supervisor is told to stop; returns when everything has come to an end."""
        ended = threading.Event()
        threads = [threading.Thread(target=c.serve, args=(ended,), name=c.name) for c in self.companions]
        for thread in threads:
            thread.start()
        try:
            self.supervisor.serve(self.carry, until_idle=until_idle)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
