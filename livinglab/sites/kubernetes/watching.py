"""What the API server has, kept here: listed once and watched from there, so that a look at a thousand jobs asks nothing."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from livinglab.domain.errors import LivingLabError, Unreachable
from livinglab.sites.kubernetes.api import Api, GoneError

log = logging.getLogger(__name__)

Json = dict[str, Any]

_PATIENCE = 10.0
"""Seconds that a look waits for the first list, or for one anew."""
_HEARD = 10.0
"""Seconds for which silence is not taken for the server's being away."""
_IDLE = 60.0
"""Seconds after which nobody is watched for nobody."""
_AGAIN = (0.2, 5.0)
"""Seconds until a watch that was lost is begun anew: at first, and at most."""
_PAGE = 500


class Watched:
    """The objects of one kind that are the lab's, by name.

    A change that the server tells is here within milliseconds. What the server has not told since it was last asked may be older; whoever
    looks is told that nobody answers, rather than what was once so.

    Args:
        whose: the label that names the Job that an object belongs to; None where it is that Job.
        missed: whether an object that is there no more is remembered until its Job is forgotten.
    """

    def __init__(self, api: Api, path: str, selector: str, whose: str | None = None, missed: Callable[[Json], bool] = lambda _: False) -> None:
        self._api, self._path, self._selector, self._whose, self._missed = api, path, selector, whose, missed
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, Json]] = {}
        """By the Job that they belong to, and by their names."""
        self._gone: dict[str, list[Json]] = {}
        """Those that are missed, by their Job, as they were last seen: a server that makes others in their stead tells no more of them."""
        self._changes: dict[str, int] = {}
        """By a Job's name, the number of the last change of it."""
        self._count = 0
        self._version: str | None = None
        """Up to which everything is here; None: it is listed anew."""
        self._problem = ""
        self._heard, self._asked = float("-inf"), 0.0
        self._thread: threading.Thread | None = None

    def look(self, jobs: Collection[str] | None = None) -> dict[str, list[Json]]:
        """Those of these Jobs, or of all, by the Job; `Unreachable` where the server does not answer."""
        with self._changed:
            self._asked = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name=f"watch-{self._path.rpartition('/')[2]}", daemon=True)
                self._thread.start()
            if not self._changed.wait_for(lambda: self._version is not None or self._problem, timeout=_PATIENCE) or self._version is None:
                msg = self._problem or "the API server has not listed the lab's jobs in time."
                raise Unreachable(msg)
            if time.monotonic() - self._heard <= _HEARD:
                return self._of(jobs)
        self._api.get(self._path, labelSelector=self._selector, limit=1)
        with self._changed:
            self._heard = time.monotonic()
            return self._of(jobs)

    def _of(self, jobs: Collection[str] | None) -> dict[str, list[Json]]:
        names = self._objects if jobs is None else [job for job in jobs if job in self._objects]
        return {name: list(self._objects[name].values()) for name in names}

    def gone(self, job: str) -> list[Json]:
        """Those of a Job that were there, are there no more, and are missed."""
        with self._changed:
            return list(self._gone.get(job, ()))

    def wait(self, until: Callable[[], bool], seconds: float) -> None:
        """Return once `until` holds, which is looked at after each change; at the latest after so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            since = self._count
            if until():
                return
            with self._changed:
                self._asked = time.monotonic()
                self._changed.wait_for(lambda: self._count > since, timeout=min(left, 1.0))  # noqa: B023 - it is called here

    def count(self) -> int:
        """How many changes were told so far."""
        return self._count

    def wait_for(self, jobs: Collection[str], since: int, seconds: float) -> bool:
        """Has one of these Jobs changed since that many changes? It is waited for."""
        with self._changed:
            self._asked = time.monotonic()
            return self._changed.wait_for(lambda: any(self._changes.get(name, 0) > since for name in jobs), timeout=seconds)

    def put(self, found: Json) -> None:
        """What the server answered to a change of ours: it need not be heard of first."""
        with self._changed:
            if self._version is not None:
                self._keep_newest(found)

    # --- the thread that watches ------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        pause = _AGAIN[0]
        while True:
            with self._changed:
                if time.monotonic() - self._asked > _IDLE:
                    self._thread, self._version = None, None
                    return
            try:
                if self._version is None:
                    self._list()
                pause = _AGAIN[0]
                self._watch()
            except GoneError:
                self._lose("")
            except LivingLabError as error:
                self._lose(error.message)
                time.sleep(pause)
                pause = min(2 * pause, _AGAIN[1])
            except Exception as error:
                log.exception("the watch of %s was lost", self._path)
                self._lose(str(error))
                time.sleep(pause)

    def _lose(self, problem: str) -> None:
        with self._changed:
            self._version, self._problem = None, problem
            self._changed.notify_all()

    def _list(self) -> None:
        found: list[Json] = []
        more: dict[str, object] = {}
        while True:
            page = self._api.get(self._path, labelSelector=self._selector, limit=_PAGE, **more)
            found += map(_slim, page["items"])
            more = {"continue": page["metadata"].get("continue")}
            if not more["continue"]:
                break
        with self._changed:
            there = {item["metadata"].get("uid") for item in found}
            for job, items in self._objects.items():
                self._note(job)
                for item in items.values():
                    if item["metadata"].get("uid") not in there:
                        self._miss(job, item)
            self._objects = {}
            for item in found:
                self._objects.setdefault(self._job_of(item), {})[item["metadata"]["name"]] = item
            for job in self._objects:
                self._note(job)
            self._version, self._problem, self._heard = page["metadata"]["resourceVersion"], "", time.monotonic()
            self._changed.notify_all()

    def _watch(self) -> None:
        assert self._version is not None  # noqa: S101 - it was listed
        for event in self._api.watch(self._path, self._version, labelSelector=self._selector):
            item = event["object"]
            with self._changed:
                self._version, self._heard = item["metadata"]["resourceVersion"], time.monotonic()
                if event["type"] == "DELETED":
                    self._drop(item)
                elif event["type"] != "BOOKMARK":
                    self._keep_newest(item)
                self._changed.notify_all()

    def _keep_newest(self, item: Json) -> None:
        job, name = self._job_of(item), item["metadata"]["name"]
        known = self._objects.get(job, {}).get(name)
        if known is None or int(known["metadata"]["resourceVersion"]) <= int(item["metadata"]["resourceVersion"]):
            self._objects.setdefault(job, {})[name] = _slim(item)
            self._note(job)

    def _drop(self, item: Json) -> None:
        job = self._job_of(item)
        rest, name = self._objects.get(job, {}), item["metadata"]["name"]
        if name in rest and rest[name]["metadata"].get("uid") != item["metadata"].get("uid"):
            return  # another one of that name is there by now
        if rest.pop(name, None):
            self._miss(job, _slim(item))
        if not rest:
            self._objects.pop(job, None)
        self._note(job)

    def _miss(self, job: str, item: Json) -> None:
        if self._missed(item):
            self._gone.setdefault(job, []).append(item)

    def _job_of(self, item: Json) -> str:
        metadata = item["metadata"]
        return str(metadata.get("labels", {}).get(self._whose, "") if self._whose else metadata["name"])

    def _note(self, job: str) -> None:
        self._count += 1
        self._changes[job] = self._count

    def forget(self, jobs: Collection[str]) -> None:
        """Jobs that were released."""
        with self._changed:
            for name in jobs:
                self._changes.pop(name, None)
                self._gone.pop(name, None)


def _slim(item: Json) -> Json:
    """Without the book of who changed which field, which is often longer than the rest, and nobody here reads."""
    item["metadata"].pop("managedFields", None)
    return item
