"""What the machine's engine starts, by its own word: it remembers its last 256 doings only, whatever they were, so it is listened to."""

import secrets
import threading
from collections import Counter
from functools import cache
from typing import Any

from tests.waiting import until


class EngineBook:
    """Every container that was started since it was opened."""

    def __init__(self) -> None:
        import docker

        self._engine = docker.APIClient()
        self._seen: list[dict[str, Any]] = []
        filters = {"type": ["container", "volume"], "event": ["start", "create"]}
        self._told = self._engine.events(decode=True, filters=filters)
        threading.Thread(target=self._listen, daemon=True).start()
        self._catch_up()

    def _listen(self) -> None:
        for event in self._told:
            self._seen.append(event)

    def _catch_up(self) -> None:
        """The engine tells things in their order: once it has told of a volume made now, all before has been heard of."""
        marks: set[str] = set()

        def told() -> bool:
            marks.add(mark := f"livinglab-mark-{secrets.token_hex(8)}")
            self._engine.create_volume(mark)
            self._engine.remove_volume(mark)
            return any(event["Actor"]["ID"] in marks for event in reversed(self._seen))

        until(told, why="the engine told nothing of a volume that was made", pause=0.02)

    def _started(self, label: str) -> Counter[str]:
        self._catch_up()
        started = (event["Actor"]["Attributes"] for event in self._seen if (event["Type"], event["Action"]) == ("container", "start"))
        return Counter(said[label] for said in started if label in said)

    def starts(self, attempt: str) -> Counter[str]:
        """How often each container of an attempt was started."""
        return Counter({key: times for key, times in self._started("livinglab.key").items() if key.startswith(f"{attempt}.")})

    def times(self, name: str) -> int:
        """How often the container of that name was started."""
        return self._started("name")[name]


@cache
def engine_book() -> EngineBook:
    """This process's: opened when it is first asked for."""
    return EngineBook()
