"""What a cluster must be set up like, asked of its API server and of the staging pod."""

import re
from typing import Any

from livinglab.domain.errors import LivingLabError, NotFound, PlatformFault
from livinglab.ports import Demand
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.shell import Shell

OLDEST = (1, 20)
"""The oldest Kubernetes whose answers are those that the lab reads: the test bed's."""
MUST = (
    ("create", "batch", "jobs", ""), ("get", "batch", "jobs", ""), ("list", "batch", "jobs", ""), ("watch", "batch", "jobs", ""),
    ("patch", "batch", "jobs", ""), ("delete", "batch", "jobs", ""), ("list", "", "pods", ""), ("watch", "", "pods", ""), ("patch", "", "pods", ""),
    ("get", "", "pods", "log"), ("list", "", "events", ""),
)  # fmt: skip
"""What the lab's account does in its namespace: verb, group, resource, subresource. And it runs commands in the staging pod."""
MUST_NOT = (
    ("create", "", "pods", ""), ("get", "", "secrets", ""), ("list", "", "secrets", ""), ("create", "", "pods", "exec"),
    ("create", "rbac.authorization.k8s.io", "rolebindings", ""), ("impersonate", "", "serviceaccounts", ""),
    ("create", "", "serviceaccounts", "token"),
)  # fmt: skip
"""What would let it out of what it is for; to run commands in any pod among them, since pilots are pods."""

Json = dict[str, Any]


def demands(api: Api, shell: Shell, settings: KubernetesSettings) -> tuple[Demand, ...]:
    """Every demand on the cluster, on the lab's account there, and on the staging pod."""
    return (_version(api), *_runtime(api, settings), *_rights(api, settings), _stager(shell))


def _version(api: Api) -> Demand:
    said = api.get("/version")
    seen = f"{said.get('major', '?')}.{said.get('minor', '?')}"
    version = tuple(int(number) for number in re.findall(r"\d+", seen)[:2])
    return Demand(what="Kubernetes' version", demanded="1.20 or newer", seen=seen, holds=version >= OLDEST, hint="Older ones answer differently.")


def _runtime(api: Api, settings: KubernetesSettings) -> tuple[Demand, ...]:
    name = settings.runtime_class
    hint = "Without a runtime that gives a pod no network every run is refused: see infra/kubernetes, and name it as `runtime_class`."
    if name is None:
        return (Demand(what="runtime class", demanded="one without a network", seen="none is named", holds=False, hint=hint),)
    try:
        api.get(f"/apis/node.k8s.io/v1/runtimeclasses/{name}")
        seen, holds, needed = "there", True, True
    except NotFound:
        seen, holds, needed = "not there", False, True
    except PlatformFault:  # it is the cluster's, and not every lab may look
        seen, holds, needed = "not for the lab to see", False, False
    return (Demand(what=f"runtime class {name}", demanded="there", seen=seen, holds=holds, needed=needed, hint=hint),)


def _rights(api: Api, settings: KubernetesSettings) -> tuple[Demand, ...]:
    asked = [(right, True, "") for right in MUST] + [(right, False, "") for right in MUST_NOT]
    asked.append((("create", "", "pods", "exec"), True, settings.stager))
    found = []
    for (verb, group, resource, below), must, name in asked:
        attributes = {"namespace": settings.namespace, "verb": verb, "group": group, "resource": resource, "subresource": below, "name": name}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
        may = bool(api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)["status"].get("allowed"))
        what = f"the lab's account may {verb} {resource}{'/' + below if below else ''}{' ' + name if name else ''}"
        hint = "infra/kubernetes has the role that the lab needs, and no more."
        found.append(Demand(what=what, demanded="yes" if must else "no", seen="yes" if may else "no", holds=may is must, hint=hint, needed=must))
    return tuple(found)


def _stager(shell: Shell) -> Demand:
    tools = "for tool in bash tar find sha256sum stat chmod ln head mkfifo; do command -v $tool >/dev/null || echo $tool; done; "
    tools += "[ -w /lab ] || echo /lab; pipe=/lab/.pipe.$$; mkfifo $pipe 2>/dev/null || echo 'named pipes on the claim'; rm -f $pipe"
    try:
        missing = shell.run(tools).decode().splitlines()
        seen = "lacks " + ", ".join(missing) if missing else "there"
    except LivingLabError as error:
        seen = error.message
    demanded = "there, with bash, coreutils, findutils, tar, and a claim that takes named pipes"
    hint = "It waits in the lab's namespace with the claim at /lab, which it may write to: see infra/kubernetes."
    return Demand(what="the staging pod", demanded=demanded, seen=seen, holds=seen == "there", hint=hint)
