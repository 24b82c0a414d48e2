"""The lab's Jobs at one cluster, and their pods: watched, and changed in the few ways in which the lab changes them."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from livinglab.domain.errors import NotFound
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.manifests import ANNOTATION_ENDED, ANNOTATION_FAULT, ANNOTATION_HELD
from livinglab.sites.kubernetes.watching import Watched

Json = dict[str, Any]
Known = tuple[Json, list[Json]]
"""A Job, and its pods: the oldest first, and none that was deleted before anything of it began, or is an earlier Job's of that name."""

_ENDS = 30.0
"""Seconds that a deletion waits for the cluster: a node that is lost says nothing for longer."""


class Jobs:
    """Those of one namespace that bear the lab's label."""

    def __init__(self, api: Api, namespace: str, selector: str) -> None:
        self._api, self._selector = api, selector
        self.path, self.pods_path = f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods"
        self._jobs, self._pods = Watched(api, self.path, selector), Watched(api, self.pods_path, selector, "job-name", observing.was_cut_off)

    # --- looking ---------------------------------------------------------------------------------------------------------

    def known(self, names: Collection[str]) -> dict[str, Known]:
        """Those of these names that are there."""
        jobs, pods = self._jobs.look(names), self._pods.look(names)
        gone = {name: [observing.deleted(pod) for pod in self._pods.gone(name)] for name in jobs}
        return {name: (job, _in_order(job, gone[name] + pods.get(name, []))) for name, (job, *_) in jobs.items()}

    def all(self) -> dict[str, Json]:
        """Every Job of the lab's, by its name."""
        return {name: job for name, (job, *_) in self._jobs.look().items()}

    def listed(self) -> list[Json]:
        """The same, from the server itself."""
        items: list[Json] = self._api.get(self.path, labelSelector=self._selector)["items"]
        return items

    def get(self, name: str) -> Json:
        """One, from the server itself."""
        found = self._api.get(f"{self.path}/{name}")
        self._jobs.put(found)
        return found

    def count(self) -> int:
        """Of the changes of pods so far."""
        return self._pods.count()

    def wait_for(self, names: Collection[str], since: int, seconds: float) -> None:
        """Until a pod of one of these Jobs has changed since so many changes."""
        self._pods.wait_for(names, since, seconds)

    # --- changing --------------------------------------------------------------------------------------------------------

    def create(self, body: Json) -> None:
        """Have one made; `Conflict` where there is one of that name."""
        self._jobs.put(self._api.create(self.path, body))

    def keeps(self, body: Json, fields: Collection[str]) -> frozenset[str]:
        """Which of these fields the cluster knows: it is shown a Job, and makes none."""
        shown = {**body, "metadata": {"generateName": "discovery-"}}
        return frozenset(self._api.create(self.path, shown, dryRun="All")["spec"].keys() & set(fields))

    def end(self, job: Json, pod: Json, role: str, reason: str) -> None:
        """Have the kubelet end the pod, which stays with all that is known of it. Why is written down before."""
        self._change(job, {ANNOTATION_ENDED: json.dumps({**observing.told_ends(job), role: reason})})
        self._end_pod(pod)

    def stop(self, job: Json, pods: list[Json], reason: str) -> None:
        """No container of it begins any more, and those that run are ended. A pod that a node has is ended by that node, which says when it is."""
        self._change(job, {ANNOTATION_ENDED: json.dumps({**observing.told_ends(job), "job": reason})})
        at_nodes = [pod for pod in pods if _is_at_a_node(pod)]
        for pod in at_nodes:
            self._end_pod(pod)
        if not at_nodes:
            self._change(job, {}, parallelism=0)

    def give_up(self, job: Json, fault: str) -> None:
        """Write down what the cluster did to its pod; no other begins."""
        self._change(job, {ANNOTATION_FAULT: fault}, parallelism=0)

    def hold(self, job: Json) -> None:
        """Have it wait. A cluster that knows no suspension is asked for no pods."""
        self._change(job, {ANNOTATION_HELD: "true"}, **({"suspend": True} if "suspend" in job["spec"] else {"parallelism": 0}))

    def let_go(self, job: Json) -> None:
        """Undo `hold`."""
        self._change(job, {ANNOTATION_HELD: None}, **({"suspend": False} if "suspend" in job["spec"] else {"parallelism": 1}))

    def delete(self, names: Collection[str]) -> None:
        """Remove them, once their nodes are done with their pods: one that is still at it would make the folders anew that it mounts, as root."""

        def at_it() -> dict[str, list[Json]]:
            pods = {name: [pod for pod in group if _is_at_a_node(pod)] for name, group in self._pods.look(names).items()}
            return {name: group for name, group in pods.items() if group}

        jobs = self.known(names)
        for name, group in at_it().items():
            if name in jobs:
                self.stop(jobs[name][0], group, observing.told_ends(jobs[name][0]).get("job", "released"))
        self._pods.wait(lambda: not at_it(), _ENDS)
        for name in names:
            self._api.delete(f"{self.path}/{name}")
        self._jobs.wait(lambda: not self._jobs.look(names), _ENDS)

    def forget(self, names: Collection[str]) -> None:
        """They were released, by whomever."""
        self._pods.forget(names)
        self._jobs.forget(names)

    def _end_pod(self, pod: Json) -> None:
        try:
            self._api.patch(f"{self.pods_path}/{pod['metadata']['name']}", {"spec": {"activeDeadlineSeconds": 1}})
        except NotFound:
            return  # it is gone already

    def _change(self, job: Json, annotations: Mapping[str, str | None], **spec: object) -> None:
        change: Json = {"metadata": {"annotations": dict(annotations)}} | ({"spec": spec} if spec else {})
        self._jobs.put(self._api.patch(f"{self.path}/{job['metadata']['name']}", change))


def _is_at_a_node(pod: Json) -> bool:
    return bool(pod["spec"].get("nodeName")) and not observing.is_over(pod)


def _in_order(job: Json, pods: Collection[Json]) -> list[Json]:
    counting = [pod for pod in pods if observing.counts(pod) and _owns(job, pod)]
    return sorted(counting, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def _owns(job: Json, pod: Json) -> bool:
    """Names come again, and the pods of a Job that was deleted may linger: a uid never does."""
    return any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences", ()))
