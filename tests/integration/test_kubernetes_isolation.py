"""Hostile containers on a real Kubernetes cluster: each limit is reached by one, each way out is tried by one, each weakening is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.isolation import IsolationProfile
from livinglab.domain.run import Cause, JobKey
from livinglab.ports import JobSpec, Seen
from livinglab.services.outcomes import _keep, isolation_failure
from livinglab.sites.attest import attest
from livinglab.sites.kubernetes import observing
from livinglab.sites.kubernetes import site as kubernetes_site
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.manifests import job_manifest
from livinglab.testing.bench import NONCE, OUT, collected, container_of, ended, key_of, push, until
from tests import hostile
from tests.contract.benches import KubernetesBench
from tests.hostile import HostileContainers, python, run, spec_for

pytestmark = pytest.mark.kubernetes

Json = dict[str, Any]


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], kubernetes_lab: KubernetesSettings) -> Iterator[KubernetesBench]:
    bench = KubernetesBench(tmp_path / "bench", *engine_image, kubernetes_lab)
    yield bench
    bench.close()


CLUSTER = {
    "read an account's token": "import glob; assert glob.glob('/var/run/secrets/*') + glob.glob('/run/secrets/*')",
    "talk to the API server": "import os, socket; socket.create_connection((os.environ.get('KUBERNETES_SERVICE_HOST', '10.96.0.1'), 443), 2)",
    "talk to the kubelet": "import socket; socket.create_connection(('127.0.0.1', 10250), 2)",
    "talk to a metadata service": "import socket; socket.create_connection(('169.254.169.254', 80), 2)",
    "talk to the node's runtime": "import socket; socket.socket(socket.AF_UNIX).connect('/run/containerd/containerd.sock')",
    "leave last words": "open('/.livinglab/closed/words', 'w')",
    "leave last words where they usually are": "open('/dev/termination-log', 'w')",
    "make room for last words": "import os; os.chmod('/.livinglab/closed', 0o777)",
    "read the claim": "import os; assert os.listdir('/lab')",
    "go up from what is mounted of the claim": "import os; assert 'attempts' in os.listdir('/in/../..')",
    "see the lab's own container": "import glob; assert any(b'coll' + b'ect.sh' in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline'))",
    "find the launcher that others begin with": "open('/job/launcher', 'rb')",
    "write into the job's folder": "open('/job/left/pilot.tar', 'w')",
    "send the collector early": "open('/job/collect', 'w')",
    "reach out by a process of another namespace": "import os; assert 'kubernetes' in os.listdir('/proc/1/root/etc')",
    "load a program into the kernel": "import ctypes; assert ctypes.CDLL(None).syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0",
    "keep a key": "import ctypes; assert ctypes.CDLL(None).syscall(248, b'user', b'x', b'x', 1, -4) > 0",
    "mount anew": "import ctypes; assert ctypes.CDLL(None).syscall(430, b'tmpfs', 0) >= 0",
    "change the root": "import os; os.chroot('/tmp')",
    "open by a handle": "import ctypes; assert ctypes.CDLL(None).syscall(304, 3, ctypes.create_string_buffer(64), 0) >= 0",
    "watch the machine": "import ctypes; assert ctypes.CDLL(None).syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0",
    "join another group": "import os; os.setgroups([0])",
    "raise its own bound of processes": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))",
    "make a device in its own /dev": "import os, stat; os.mknod('/dev/sda', stat.S_IFBLK | 0o666, os.makedev(8, 0))",
    "leave its control groups": """
import glob, os
for path in glob.glob('/sys/fs/cgroup/**/cgroup.procs', recursive=True):
    try: open(path, 'w').write(str(os.getpid())); raise SystemExit(0)
    except OSError: pass
raise SystemExit(1)
""",
}


class TestHostile(HostileContainers):
    """What is tried at every site, and what only a cluster of this kind offers."""

    ways_out = CLUSTER
    possible = ("execute from the outputs", "execute from scratch")
    """A cluster mounts no volume `noexec`. What is executed there has no more rights than the command that wrote it."""


def test_cores(bench: KubernetesBench) -> None:
    code = """
import time
wall, cpu = time.monotonic(), time.process_time()
while time.monotonic() - wall < 1.5: pass
print((time.process_time() - cpu) / (time.monotonic() - wall))
"""
    _, said = python(bench, code, cpus=0.2)
    assert float(said) < 0.35


def test_output_files(bench: KubernetesBench) -> None:
    """A volume in memory counts no files: what is too many is refused when it is collected."""
    outcome, _ = python(bench, hostile.OUTPUT_FILES, output_files=8)
    assert outcome.outputs == ()
    assert outcome.output_problem == "there are more files than the limit allows."


def test_a_flood_of_log(bench: KubernetesBench) -> None:
    """A gigabyte, as fast as it goes: it is ended, whatever the node still has of it."""
    outcome, attestation = run(bench, "python3", "-c", hostile.LOG_FLOOD, log_bytes=4 << 10)
    assert (outcome.limit, outcome.log_truncated, outcome.exit_code) == ("log_bytes", True, 137)
    assert outcome.log_bytes in (0, 4 << 10)  # a node that turns its log over at that very moment has none
    # The launcher's line is kept before it is washed away, if the worker is not too slow; either way the flood is the pilot's failure.
    assert attestation.holds or outcome.report is None, attestation.reasons


def test_a_flood_that_nobody_looks_at(bench: KubernetesBench) -> None:
    """It washes the launcher's line away, and ends by itself or is evicted: it is the pilot's, and a flood."""
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    code = "import os\nfor _ in range(4096): os.write(1, b'livinglab-launcher/1 {} 00\\n' * 2400)"
    spec, key = spec_for(bench, ("python3", "-c", code), log_bytes=1 << 10), key_of("run-h.1")
    bench.site.submit(spec, key)
    jobs, name = bench.site._jobs, bench.site.layout.job(key)
    jobs._pods.wait(lambda: any(observing.is_over(pod) for pod in jobs._pods.look([name]).get(name, [])), 120)
    ended(bench, key)
    outcome = collected(bench, key)
    assert outcome.limit == "log_bytes"
    attestation = attest(spec.profile, spec, outcome.report, outcome.site_view, outcome.exit_code)
    failure = isolation_failure(attestation, _keep(bench.artifacts, key, outcome))
    assert failure
    assert (failure.cause, failure.code) == (Cause.PILOT, "log-limit")


def test_memory_of_one_of_two_containers(bench: KubernetesBench) -> None:
    """Each has a limit of its own: what one takes, the other may not have, and is not blamed for."""
    bench.site.ensure_image(bench.image)
    greedy = container_of(bench, "pilot", "greet", (OUT,), memory=64 << 20).model_copy(update={"argv": ("python3", "-c", hostile.MEMORY)})
    modest = container_of(bench, "measure", "greet", (OUT,), memory=512 << 20)
    spec = JobSpec(attempt="run-h.1", containers=(greedy, modest), profile=bench.profile, nonce=NONCE)
    bench.site.submit(spec, key_of("run-h.1"))
    ended(bench, key_of("run-h.1"))
    mine, others = collected(bench, key_of("run-h.1")), collected(bench, JobKey(attempt="run-h.1", role="measure"))
    assert (mine.limit, mine.exit_code) == ("memory", 137)
    assert (others.limit, others.exit_code) == (None, 0)
    for outcome, role in ((mine, "pilot"), (others, "measure")):
        judged = attest(spec.profile, spec.only(role), outcome.report, outcome.site_view, outcome.exit_code)  # type: ignore[arg-type]
        assert judged.holds, judged.reasons


def test_two_attempts_at_once_see_nothing_of_each_other(bench: KubernetesBench) -> None:
    bench.site.ensure_image(bench.image)
    code = """
import os, time
open('/tmp/mine', 'w').write('x'); open('/dev/shm/mine', 'w').write('x'); open('/out/mine', 'w').write('x')
time.sleep(2)
print(sorted(os.listdir('/tmp')), sorted(os.listdir('/dev/shm')), len([p for p in os.listdir('/proc') if p.isdigit()]))
print(open('/in/a.txt').read())
"""
    keys = [key_of(f"run-{n}.1") for n in range(3)]
    for n, key in enumerate(keys):
        push(bench, key.attempt, f"of {n}".encode())
        bench.site.submit(spec_for(bench, ("python3", "-c", code)).model_copy(update={"attempt": key.attempt}), key)
    for n, key in enumerate(keys):
        ended(bench, key)
        outcome = collected(bench, key)
        assert outcome.log_path.read_text() == f"['mine'] ['mine'] 2\nof {n}\n"  # of processes: its own, and what holds the collector's pipe
        assert [f.path for f in outcome.outputs] == ["mine"]


def test_a_profile_that_takes_no_weaker_witness_is_not_met(bench: KubernetesBench) -> None:
    """A kubelet's limit of processes is the pod's, not a container's: whoever does not accept the launcher's own bound for it, is refused."""
    bench.profile = IsolationProfile()
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')")
    assert (outcome.exit_code, outcome.log_path.read_bytes()) == (97, b"")
    assert not attestation.holds
    assert attestation.report is not None
    assert {f.property for f in attestation.report.failed} == {"pids"}


def _pod(body: Json) -> Json:
    pod: Json = body["spec"]["template"]["spec"]
    return pod


def _with_network(body: Json) -> None:
    del _pod(body)["runtimeClassName"]


def _writable_root(body: Json) -> None:
    _pod(body)["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def _with_capabilities(body: Json) -> None:
    _pod(body)["containers"][0]["securityContext"]["capabilities"] = {}


def _with_new_privileges(body: Json) -> None:
    _pod(body)["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def _without_seccomp(body: Json) -> None:
    _pod(body)["securityContext"]["seccompProfile"] = {"type": "Unconfined"}


def _more_memory(body: Json) -> None:
    resources = _pod(body)["containers"][0]["resources"]
    resources["limits"] = resources["requests"] = resources["limits"] | {"memory": "512Mi"}


def _more_cores(body: Json) -> None:
    resources = _pod(body)["containers"][0]["resources"]
    resources["limits"] = resources["requests"] = resources["limits"] | {"cpu": "900m"}


def _as_another(body: Json) -> None:
    _pod(body)["securityContext"]["runAsUser"] = 65531


def _in_another_group(body: Json) -> None:
    _pod(body)["securityContext"]["supplementalGroups"] = [2000]


def _with_a_variable(body: Json) -> None:
    _pod(body)["containers"][0]["env"] = [{"name": "LD_PRELOAD", "value": "/in/a.txt"}]


def _with_a_token(body: Json) -> None:
    _pod(body)["automountServiceAccountToken"] = True


def _with_the_whole_claim(body: Json) -> None:
    _pod(body)["containers"][0]["volumeMounts"].append({"name": "store", "mountPath": "/more", "readOnly": True})


def _with_a_folder_to_write(body: Json) -> None:
    pod = _pod(body)
    pod["volumes"].append({"name": "more", "emptyDir": {}})
    pod["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/more"})


def _with_usual_last_words(body: Json) -> None:
    del _pod(body)["containers"][0]["terminationMessagePath"]


WEAKENINGS: dict[str, tuple[Callable[[Json], None], str]] = {
    "a network": (_with_network, "network"),
    "a root that may be written": (_writable_root, "root"),
    "capabilities": (_with_capabilities, "capabilities"),
    "new privileges": (_with_new_privileges, "no_new_privileges"),
    "no filter of calls": (_without_seccomp, "seccomp"),
    "more memory": (_more_memory, "memory"),
    "more cores": (_more_cores, "cpu"),
    "another user": (_as_another, "user"),
    "another group": (_in_another_group, "user"),
    "a variable": (_with_a_variable, "environment"),
    "an account's token": (_with_a_token, "mounts"),
    "all of the claim": (_with_the_whole_claim, "mounts"),
    "a folder to write": (_with_a_folder_to_write, "mounts"),
    "a file for last words": (_with_usual_last_words, "mounts"),
}


@pytest.mark.parametrize("name", WEAKENINGS)
def test_the_launcher_refuses_what_is_weaker(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if an admission webhook had changed it: the launcher must refuse for that reason, and the site must see it too."""
    change, property_ = WEAKENINGS[name]

    def weaker(*arguments: Any) -> Json:
        body = job_manifest(*arguments)
        change(body)
        return body

    monkeypatch.setattr(kubernetes_site, "job_manifest", weaker)
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')")
    assert (outcome.exit_code, outcome.log_path.read_bytes()) == (97, b"")
    assert not attestation.holds
    assert attestation.report is not None
    assert property_ in {f.property for f in attestation.report.failed}  # seen from inside …
    assert property_ in {f.property for f in attestation.site_view if not f.holds}  # … and from outside


def test_the_pull_secret_is_nobodys_to_read(bench: KubernetesBench) -> None:
    """It stands in the pod's document by name only; in the container there is nothing of it."""
    push(bench, "run-h.1", b"data")
    spec = spec_for(bench, bench.argv("linger"))
    bench.site.submit(spec, key_of("run-h.1"))
    until(bench.site, key_of("run-h.1"), lambda seen: seen.seen is Seen.RUNNING)
    ((_, (pod,)),) = bench.site._jobs.known([bench.site.layout.job(key_of("run-h.1"))]).values()
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    mounted = {volume["name"] for volume in pod["spec"]["volumes"] if "secret" in volume or "projected" in volume or "configMap" in volume}
    assert mounted == set()
