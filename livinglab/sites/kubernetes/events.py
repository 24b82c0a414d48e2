"""What the cluster told of a Job and its pods in passing. Events are kept for an hour or so: they explain, and decide nothing."""

from collections.abc import Mapping
from typing import Any

from livinglab.domain.errors import LivingLabError
from livinglab.sites.kubernetes.api import Api

Json = dict[str, Any]

_MOST = 500
"""Events of one kind that are read: of more jobs than that nobody is told why each waits."""
_WHY_A_POD_WENT = ("Preempted", "Evicted", "TaintManagerEviction", "NodeNotReady", "NodeShutdown")


class Events:
    """Those of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._path = api, f"/api/v1/namespaces/{namespace}/events"

    def refusals(self) -> Mapping[str, str]:
        """Why no pod is made of a Job, by its name: a quota, an admission webhook. One request for all."""
        found = self._list("involvedObject.kind=Job,reason=FailedCreate")
        return {event["involvedObject"]["name"]: str(event.get("message", "")) for event in sorted(found, key=_when)}

    def of_lost_pods(self, job: str) -> str:
        """Why a Job's pods went, in the cluster's words; empty where it keeps none."""
        made = self._list(f"involvedObject.kind=Job,involvedObject.name={job},reason=SuccessfulCreate")
        told: list[str] = []
        for pod in (str(event.get("message", "")).removeprefix("Created pod: ") for event in sorted(made, key=_when)):
            events = self._list(f"involvedObject.kind=Pod,involvedObject.name={pod}")
            told += [f"{event['reason']}: {event.get('message', '')}" for event in events if event.get("reason") in _WHY_A_POD_WENT]
        return " ".join(f"{words.rstrip('.')}." for words in dict.fromkeys(told))

    def _list(self, selector: str) -> list[Json]:
        try:
            items: list[Json] = self._api.get(self._path, fieldSelector=selector, limit=_MOST)["items"]
        except LivingLabError:
            return []  # it would have been an explanation
        return items


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
