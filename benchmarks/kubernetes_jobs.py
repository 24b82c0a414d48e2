"""What the lab adds to a Job on Kubernetes, on the test bed, in one process and one sitting.

    PYTHONPATH=. .venv/bin/python benchmarks/kubernetes_jobs.py [JOBS [WAITING…]]

Printed: the wall time of a bare Job of one container, and of one with as many containers and volumes as the lab's (to mount any takes a
kubelet 0.3 s), until a watch tells its end, and of the same as a job of the site (inputs pushed, submitted, its end seen, collected),
alternating, each begun at a random time, since a kubelet looks once a second; how long after the command's last moment, and after the
last container's, that end is seen; what was asked of the API server, by its own audit log; and, with so many jobs waiting that no node
takes (10, 1,000 and 5,000), how long they take to submit, what a look takes and asks, and this process's threads and memory.
"""

import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from livinglab.ports import Seen
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import image_reference
from livinglab.sites.kubernetes.manifests import job_manifest
from livinglab.sites.kubernetes.watching import Watched
from livinglab.testing.bench import collected, key_of, push, spec_of
from tests.contract.benches import KubernetesBench, python_image
from tests.fixtures.available import why_missing
from tests.fixtures.kubernetes import KubernetesBed, bed_of_this_machine, new_lab, push_tools

COUNTS = (10, 1_000, 5_000)
HELLO = ("python3", "-c", "import time; print(f'{time.time():.6f}')")


def quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):.3f} s, p99 {ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]:.3f} s (n = {len(ordered)})"


class Bare:
    """The same container as a Job by hand, whose end a watch tells."""

    def __init__(self, bench: KubernetesBench) -> None:
        own = bench.settings
        self.api, self.image, self.tools = Api(own.kubeconfig), image_reference(own.registry, bench.image), own.tools
        self.jobs = f"/apis/batch/v1/namespaces/{own.namespace}/jobs"
        self.pods = Watched(self.api, f"/api/v1/namespaces/{own.namespace}/pods", "job-name", whose="job-name")
        self.pods.look()
        self.pod: dict[str, Any] = job_manifest(own, bench.site.layout, spec_of(bench, "run-0.1", "greet"))["spec"]["template"]["spec"]

    def run(self, number: int, *, whole: bool) -> float:
        """`whole`: with as many containers and volumes as the lab's pod has; else the container alone."""
        name, limits, small = f"bare-{whole}-{number}".lower(), {"memory": "128Mi", "cpu": "500m"}, {"memory": "64Mi", "cpu": "300m"}
        container = {"name": "main", "image": self.image, "command": list(HELLO), "resources": {"limits": limits, "requests": limits}}
        other = {"name": "other", "image": self.tools, "command": ["/bin/true"], "resources": {"limits": small, "requests": small}}
        pod = {"containers": [container], "restartPolicy": "Never", "runtimeClassName": "no-network", "automountServiceAccountToken": False,
               "terminationGracePeriodSeconds": 0, "imagePullSecrets": [{"name": "pull"}]}  # fmt: skip
        if whole:
            container["volumeMounts"] = [mount for mount in self.pod["containers"][0]["volumeMounts"] if not mount.get("subPath")]
            container["volumeMounts"] += [{"name": "store", "mountPath": f"/in{n}", "subPath": f"bare/{n}", "readOnly": True} for n in range(4)]
            other["volumeMounts"] = [{"name": "store", "mountPath": "/job", "subPath": "bare/4"}, {"name": "out-pilot", "mountPath": "/out"}]
            pod |= {"containers": [container, other], "volumes": self.pod["volumes"]}
        begun = time.perf_counter()
        self.api.create(self.jobs, {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}})
        self.pods.wait(lambda: any(observing.is_over(pod) for pod in self.pods.look([name]).get(name, [])), 120)
        taken = time.perf_counter() - begun
        self.api.delete(f"{self.jobs}/{name}")
        return taken


def in_the_lab(bench: KubernetesBench, number: int) -> tuple[float, float, float]:
    """Seconds until it was collected; and until its end was seen, from the command's own last moment and from the pod's."""
    attempt = f"run-{number}.1"
    spec = spec_of(bench, attempt, "greet")
    spec = spec.model_copy(update={"containers": (spec.containers[0].model_copy(update={"argv": HELLO}),)})
    begun = time.perf_counter()
    push(bench, attempt, b"data")
    bench.site.submit(spec, key_of(attempt))
    while bench.site.observe([key_of(attempt)])[key_of(attempt)].seen is not Seen.EXITED:
        bench.site.wait([key_of(attempt)], timedelta(seconds=5))
    seen = datetime.now(UTC)
    outcome = collected(bench, key_of(attempt))
    taken = time.perf_counter() - begun
    left = bench.site._shell.run('stat -c %.Y "$1/left/pilot.tar"', str(bench.site.layout.root / "jobs" / bench.site.layout.job(key_of(attempt))))
    bench.site.release(attempt)
    return taken, seen.timestamp() - float(outcome.log_path.read_text()), seen.timestamp() - float(left)


def asked(bed: KubernetesBed, namespace: str) -> dict[str, int]:
    """Requests of the lab's account so far, by what was asked."""
    found: dict[str, int] = {}
    for event in bed.audit(f"system:serviceaccount:{namespace}:worker"):
        about = event["objectRef"]
        what = " ".join((event["verb"], about["resource"], about.get("subresource", ""))).strip()
        found[what] = found.get(what, 0) + 1
    return found


def more(after: dict[str, int], before: dict[str, int], per: int) -> str:
    grown = {what: count - before.get(what, 0) for what, count in after.items() if count > before.get(what, 0)}
    return f"{sum(grown.values()) / per:.1f} ({', '.join(f'{what} {count / per:.1f}' for what, count in sorted(grown.items()))})"


def overhead(bench: KubernetesBench, bed: KubernetesBed, jobs: int) -> None:
    bare, namespace, chance = Bare(bench), bench.settings.namespace, random.Random(1)
    for number in (-2, -1):  # the images are at each node, and what is done once has been done
        bare.run(number, whole=True)
        in_the_lab(bench, 100_000 + number)
    one, whole, lab, ends, pods, counts = [], [], [], [], [], dict[str, int]()
    for number in range(jobs):
        time.sleep(chance.random())
        one.append(bare.run(number, whole=False))
        time.sleep(chance.random())
        whole.append(bare.run(number, whole=True))
        before = asked(bed, namespace)
        time.sleep(chance.random())
        taken, late, of_pod = in_the_lab(bench, number)
        for what, count in asked(bed, namespace).items():
            counts[what] = counts.get(what, 0) + count - before.get(what, 0)
        lab.append(taken)
        ends.append(late)
        pods.append(of_pod)
    print(f"bare Job of the one container         {quantiles(one)}")
    print(f"bare Job, as many containers, volumes {quantiles(whole)}")
    print(f"in the lab, collected                 {quantiles(lab)}")
    added = [f"{statistics.median(lab) - statistics.median(bare):.3f} s" for bare in (one, whole)]
    print(f"added, between the medians            {added[0]} over the one container, {added[1]} over as many and as many volumes")
    print(f"command's last moment to seen         {quantiles(ends)}")
    print(f"last container's last moment to seen  {quantiles(pods)}")
    print(f"API requests per run                  {more(counts, {}, jobs)}")


def heard(bench: KubernetesBench, bed: KubernetesBed) -> None:
    """How long after the API server has a change it is heard of here: of a container's end all else is its kubelet's time."""
    from kubernetes.client import CoreV1Api

    spec = spec_of(bench, "run-heard.1", "linger", mounts=())
    bench.site.submit(spec, spec.keys[0])
    name, taken = bench.site.layout.job(spec.keys[0]), []
    while not (pods := bench.site._jobs.known([name])[name][1]):
        time.sleep(0.1)
    with bed.client() as client:
        for number in range(50):
            since = bench.site._jobs.count()
            CoreV1Api(client).patch_namespaced_pod(
                pods[0]["metadata"]["name"], bench.settings.namespace, {"metadata": {"annotations": {"n": f"{number}"}}}
            )
            begun = time.perf_counter()  # it is answered once it is stored; what was heard meanwhile took no time
            bench.site._jobs.wait_for([name], since, 5)
            taken.append(time.perf_counter() - begun)
    bench.site.release("run-heard.1")
    print(f"a change at the API server to heard   {quantiles(taken)}")


def waiting(bench: KubernetesBench, bed: KubernetesBed, count: int) -> None:
    """So many jobs that no node takes."""
    bench.settings = bench.settings.model_copy(update={"node_selector": {"nowhere": "true"}})
    bench.site, namespace = bench.again(), bench.settings.namespace
    specs = [spec_of(bench, f"run-{count}-{n}.1", "greet", mounts=()) for n in range(count)]
    keys = [spec.keys[0] for spec in specs]
    bench.site.submit(specs[0], keys[0])
    begun = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda spec: bench.site.submit(spec, spec.keys[0]), specs))
    submitted = time.perf_counter() - begun
    while not all(seen.seen is Seen.PENDING for seen in bench.site.observe(keys).values()):
        time.sleep(1)
    before, looks = asked(bed, namespace), []
    for _ in range(10):
        begun = time.perf_counter()
        bench.site.observe(keys)
        looks.append(time.perf_counter() - begun)
        time.sleep(1)
    requests, memory = more(asked(bed, namespace), before, 10), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    here = f"{threading.active_count()} threads, {memory:.0f} MiB at most"
    print(f"{count:6,} waiting: {count / submitted:.0f} submitted a second; a look {quantiles(looks)}, API requests {requests}; {here}", flush=True)
    for name in bench.site._jobs.all():
        bench.site._api.delete(f"{bench.site._jobs.path}/{name}")


def main(jobs: int, counts: list[int]) -> None:
    if reason := why_missing("kubernetes"):
        sys.exit(reason)
    bed = bed_of_this_machine()
    with tempfile.TemporaryDirectory(prefix="ll-") as folder, bed.client() as client:
        home = Path(folder)
        labs = new_lab(bed, client, push_tools(bed, home), home)
        bench = KubernetesBench(home / "bench", *python_image(home / "image"), next(labs))
        try:
            overhead(bench, bed, jobs)
            heard(bench, bed)
            for count in counts:
                waiting(bench, bed, count)
        finally:
            next(labs, None)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, [int(word) for word in sys.argv[2:]] or list(COUNTS))
