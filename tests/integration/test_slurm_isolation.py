"""Hostile containers under Apptainer on a real cluster: each limit is reached by one, each way out is tried by one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.isolation import IsolationProfile
from livinglab.domain.run import JobKey
from livinglab.ports import JobSpec, Seen
from livinglab.sites.attest import attest
from livinglab.sites.shell import local_shell
from livinglab.sites.slurm import tools
from livinglab.testing.bench import NONCE, OUT, Bench, collected, container_of, ended, key_of, push, until
from tests import hostile
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed
from tests.hostile import HostileContainers, python, run, spec_for

pytestmark = pytest.mark.slurm

NOWHERE = local_shell(["/nowhere/to/be/found"])


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed) -> Iterator[SlurmBench]:
    bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.local(), NOWHERE)
    yield bench
    bench.close()


CLUSTER = {
    "read the scratch": "import os; assert any('livinglab' in name for name in os.listdir('/scratch'))",
    "read the node's users": "assert 'slurm' in open('/etc/passwd').read()",
    "read the node's homes": "import os; assert os.listdir('/home')",
    "read slurm's keys": "open('/etc/munge/munge.key', 'rb').read()",
    "talk to slurm": "import socket; socket.create_connection(('ctl', 6817), 2)",
    "talk to munge": "import socket; socket.socket(socket.AF_UNIX).connect('/run/munge/munge.socket.2')",
    "see the node's processes": "import glob; assert any(b'slurm' in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/comm'))",
    "reach out by a process of another namespace": "import os; assert 'slurm' in os.listdir('/proc/1/root/etc')",
    "make a namespace by clone": """
import ctypes, os
p = ctypes.CDLL(None).syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
p == 0 and os._exit(0)
assert p > 0
""",
    "make a namespace by clone3": """
import ctypes, os, struct
args = struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0)
p = ctypes.CDLL(None).syscall(435, args, len(args))
p == 0 and os._exit(0)
assert p > 0
""",
    "make a namespace of each other kind": """
import ctypes
assert 0 in [ctypes.CDLL(None).unshare(kind) for kind in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000, 0x80)]
""",
    "enter a namespace": "import ctypes, os; assert ctypes.CDLL(None).setns(os.open('/proc/1/ns/mnt', 0), 0) == 0",
    "trace a process": "import ctypes, os; assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "be traced": "import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
    "write to another's memory": "import ctypes, os; assert ctypes.CDLL(None).syscall(311, os.getppid(), 0, 0, 0, 0, 0) == 0",
    "load a program into the kernel": "import ctypes; assert ctypes.CDLL(None).syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0",
    "keep a key": "import ctypes; assert ctypes.CDLL(None).syscall(248, b'user', b'x', b'x', 1, -4) > 0",
    "ask for the keys": "import ctypes; assert ctypes.CDLL(None).syscall(250, 0, -3, 1, 0, 0) > 0",
    "mount anew": "import ctypes; assert ctypes.CDLL(None).syscall(430, b'tmpfs', 0) >= 0",
    "turn the root": "import ctypes; assert ctypes.CDLL(None).syscall(155, b'/tmp', b'/tmp') == 0",
    "change the root": "import os; os.chroot('/tmp')",
    "make an image's file writable": "import os; os.chmod('/etc/passwd', 0o666)",
    "open by a handle": "import ctypes; assert ctypes.CDLL(None).syscall(304, 3, ctypes.create_string_buffer(64), 0) >= 0",
    "use rings": "import ctypes; assert ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(256)) >= 0",
    "watch the machine": "import ctypes; assert ctypes.CDLL(None).syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0",
    "become another": "import os; os.setresuid(2000, 2000, 2000)",
    "join another group": "import os; os.setgroups([0])",
    "raise its own bound of processes": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))",
    "make a device in its own /dev": "import os, stat; os.mknod('/dev/sda', stat.S_IFBLK | 0o666, os.makedev(8, 0))",
    "leave its cores": """
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

    @pytest.mark.parametrize(("code", "problem"), [row for row in hostile.ODD_OUTPUTS if "mkfifo" not in row[0]])
    def test_what_no_one_takes(self, bench: Bench, code: str, problem: str) -> None:
        super().test_what_no_one_takes(bench, code, problem)


def test_memory_of_one_of_two_containers(bench: SlurmBench) -> None:
    """Each has a limit of its own: what one takes, the other may not have, and is not blamed for."""
    bench.site.ensure_image(bench.image)
    greedy = container_of(bench, "pilot", "greet", (OUT,), memory=64 << 20).model_copy(update={"argv": ("python3", "-c", hostile.MEMORY)})
    modest = container_of(bench, "measure", "linger", (OUT,), memory=512 << 20)
    spec = JobSpec(attempt="run-h.1", containers=(greedy, modest), profile=bench.profile, nonce=NONCE)
    bench.site.submit(spec, key_of("run-h.1"))
    ended(bench, key_of("run-h.1"))
    mine, others = collected(bench, key_of("run-h.1")), collected(bench, JobKey(attempt="run-h.1", role="measure"))
    assert (mine.limit, mine.exit_code) == ("memory", 137)
    assert others.limit is None
    for outcome, container in ((mine, greedy), (others, modest)):
        own = spec.model_copy(update={"containers": (container,)})
        judged = attest(spec.profile, own, outcome.report, outcome.site_view, outcome.exit_code)
        assert judged.holds, judged.reasons


def test_cores(bench: SlurmBench) -> None:
    """A scheduler gives whole cores: two processes that ask for all there is share the one."""
    code = """
import os, time
begun = time.monotonic()
child = os.fork()
while time.monotonic() - begun < 1.5: pass
if child:
    os.waitpid(child, 0)
    print(sum(os.times()[:4]) / (time.monotonic() - begun))
"""
    _, said = python(bench, code, cpus=0.2)
    assert float(said) < 1.15


def test_output_files(bench: SlurmBench) -> None:
    outcome, said = python(bench, hostile.OUTPUT_FILES, output_files=8)
    assert (outcome.limit, len(outcome.outputs)) == ("output_bytes", 8)
    assert "No space left" in said


def test_a_flood_of_log(bench: SlurmBench) -> None:
    """A gigabyte, as fast as it goes: it is ended, and the scratch keeps what the limit allows and a byte."""
    outcome, _ = python(bench, hostile.LOG_FLOOD, log_bytes=4 << 10)
    assert (outcome.limit, outcome.log_truncated, outcome.log_bytes, outcome.exit_code) == ("log_bytes", True, 4 << 10, 137)
    left = bench.site.layout.left(key_of("run-h.1"))
    assert bench.shell.run('stat -c %s "$1/log"', str(left)).strip() == b"4097"


def test_a_log_of_many_words(bench: SlurmBench) -> None:
    """However small they come, all are taken down."""
    code = "import time\nfor n in range(100): print(n, flush=True); time.sleep(0.005)"
    outcome, said = python(bench, code)
    assert said.split() == [str(n) for n in range(100)]
    assert (outcome.exit_code, outcome.log_truncated) == (0, False)


def test_no_fifo_is_made(bench: SlurmBench) -> None:
    """The filter knows no call for it."""
    outcome, said = python(bench, "import os; os.mkfifo('/out/x')")
    assert (outcome.exit_code, outcome.outputs) == (1, ())
    assert "not permitted" in said


def test_nothing_can_be_written_but_where_it_may(bench: SlurmBench) -> None:
    code = """
import os
places = set()
for folder, names, _ in os.walk('/', onerror=lambda error: None):
    names[:] = [name for name in names if os.path.join(folder, name) not in ('/proc', '/sys')]
    try:
        open(os.path.join(folder, '.probe'), 'w').close()
        places.add(folder)
    except OSError:
        pass
print(sorted(places))
"""
    _, said = python(bench, code)
    assert said.strip() == "['/dev', '/dev/mqueue', '/dev/shm', '/out', '/tmp']"


# --- the account and its neighbours -----------------------------------------------------------------------------------

PROFILE = """
export SECRET=leaked SBATCH_ARRAY_INX=1-3 SBATCH_EXPORT=ALL SBATCH_WAIT=1 SBATCH_GET_USER_ENV=1 SQUEUE_PARTITION=exclusive SLURM_EXPORT_ENV=ALL
export APPTAINER_BIND=/scratch:/mnt APPTAINERENV_SECRET=leaked SINGULARITYENV_SECRET=leaked APPTAINER_NETWORK=bridge APPTAINER_WRITABLE_TMPFS=1
export BASH_ENV=/home/lab/.bashrc LD_LIBRARY_PATH=/tmp PYTHONSTARTUP=/tmp/x
"""


@contextmanager
def profiles(bed: SlurmBed) -> Iterator[None]:
    """The account's shells are told a lot, on each machine."""
    machines = ("login", "c1", "c2")
    before = {name: [bed.on(machine, "cat", f"/home/lab/{name}") for machine in machines] for name in (".bashrc", ".profile")}
    try:
        for name in before:
            for machine in machines:
                bed.on(machine, "bash", "-c", f"printf '%s' '{PROFILE}' >/home/lab/{name}")
        yield
    finally:
        for name, texts in before.items():
            for machine, text in zip(machines, texts, strict=True):
                command = ["docker", "exec", "-i", f"{bed.name}-{machine}", "tee", f"/home/lab/{name}"]
                subprocess.run(command, input=text.encode(), stdout=subprocess.DEVNULL, check=True)


def test_nothing_of_the_accounts_profile_reaches_a_container(
    slurm_bed: SlurmBed, ssh_folder: Path, tmp_path: Path, engine_image: tuple[FileArtifacts, str]
) -> None:
    bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.ssh(ssh_folder), NOWHERE)
    try:
        with profiles(slurm_bed):
            assert b"leaked" in bench.shell.run('echo "$SECRET"')  # so far it does come
            _, said = python(bench, hostile.LEFT_TO_READ.replace("5a" * 6, "leaked"), log_bytes=64 << 10)
            assert bench.times_started(key_of("run-h.1")) == 1
    finally:
        bench.close()
    assert "SECRET" not in said
    assert said.splitlines()[0] == "['HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONPATH']"


def test_another_user_of_the_cluster_sees_nothing(bench: SlurmBench, slurm_bed: SlurmBed) -> None:
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    bench.site.submit(spec_for(bench, bench.argv("linger")), key_of("run-h.1"))
    until(bench.site, key_of("run-h.1"), lambda seen: seen.seen is Seen.RUNNING)
    name = bench.site.layout.job(key_of("run-h.1"))
    root = str(bench.site.layout.root)

    def says(*command: str, machine: str = "login") -> str:
        done = subprocess.run(
            ["docker", "exec", "--user", "other", f"{slurm_bed.name}-{machine}", *command], capture_output=True, text=True, check=False
        )
        return done.stdout

    for machine in ("login", "c1", "c2"):
        assert says("bash", "-c", f"ls -R {root}; cat {root}/*/*; cat {root}/jobs/{name}/spec.json {root}/lab", machine=machine) == ""
    for asked in (
        ["squeue", "--noheader", "--format=%j"],
        ["scontrol", "show", "jobs"],
        ["sacct", "--noheader", "--allusers", "--format=JobName%40"],
    ):
        assert name not in says(*asked)
    assert says("scancel", f"--name={name}") == ""
    assert bench.site.observe([key_of("run-h.1")])[key_of("run-h.1")].seen is Seen.RUNNING


def test_two_attempts_at_once_see_nothing_of_each_other(bench: SlurmBench) -> None:
    """Both on the same nodes, for the same account, at the same time."""
    bench.site.ensure_image(bench.image)
    code = """
import os, time
open('/tmp/mine', 'w').write('x'); open('/dev/shm/mine', 'w').write('x'); open('/out/mine', 'w').write('x'); open('/dev/mine', 'w').write('x')
time.sleep(2)
print(sorted(os.listdir('/tmp')), sorted(os.listdir('/dev/shm')), len([p for p in os.listdir('/proc') if p.isdigit()]))
print(open('/in/a.txt').read())
"""
    keys = [key_of(f"run-{n}.1") for n in range(4)]
    for n, key in enumerate(keys):
        push(bench, key.attempt, f"of {n}".encode())
        spec = spec_for(bench, ("python3", "-c", code)).model_copy(update={"attempt": key.attempt})
        bench.site.submit(spec, key)
    processes = set()
    for n, key in enumerate(keys):
        ended(bench, key)
        outcome = collected(bench, key)
        first, second = outcome.log_path.read_text().splitlines()
        assert first.startswith("['mine'] ['mine'] ")
        processes.add(int(first.rsplit(" ", 1)[1]))
        assert second == f"of {n}"
        assert [f.path for f in outcome.outputs] == ["mine"]
    assert max(processes) <= 3  # its own, and what the runtime keeps beside it


# --- weaker isolation is refused --------------------------------------------------------------------------------------


def test_a_profile_that_takes_no_weaker_witness_is_not_met(bench: SlurmBench) -> None:
    """Slurm's control groups bound no processes: whoever does not accept the launcher's own bound for it, is refused."""
    bench.profile = IsolationProfile()
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')")
    assert (outcome.exit_code, outcome.log_path.read_bytes()) == (97, b"")
    assert not attestation.holds
    assert attestation.report is not None
    assert {f.property for f in attestation.report.failed} == {"pids"}


def test_a_report_of_a_weaker_witness_is_judged_by_the_profile(bench: SlurmBench) -> None:
    spec = spec_for(bench, ("true",))
    outcome, attestation = run(bench, "true")
    assert attestation.holds, attestation.reasons
    assert {f.property: f.witness for f in attestation.site_view} | {"pids": "rlimit"} == {f.property: f.witness for f in attestation.site_view}
    strict = spec.model_copy(update={"profile": IsolationProfile()})
    judged = attest(strict.profile, strict, outcome.report, outcome.site_view, outcome.exit_code)
    assert judged.reasons == ("pids is witnessed by rlimit only, which the profile does not accept",)


@pytest.mark.parametrize(("old", "new", "property_"), [
    ("--net --network none ", "", "network"),
    ('--security "seccomp:$SECCOMP" ', "", "seccomp"),
    ("--cleanenv ", "--cleanenv --env SECRET=x ", "environment"),
    ('--bind "$box/tmp:/tmp"', '--bind "$box/tmp:/tmp" --bind "$box/tmp:/more"', "mounts"),
    ('--bind "$box/tmp:/tmp"', '--bind "$box/tmp:/tmp" --bind "/etc:/more:ro"', "mounts"),
    ("exec --containall ", "exec --writable-tmpfs --containall ", "root"),
])  # fmt: skip
def test_the_launcher_refuses_what_is_weaker(bench: SlurmBench, monkeypatch: pytest.MonkeyPatch, old: str, new: str, property_: str) -> None:
    """The script of a job is another one; the launcher must refuse for that reason, and the site must see it too."""
    own = tools.own

    def weaker(name: str) -> bytes:
        text = own(name).decode()
        assert name != "job.sh" or text.count(old) == 1
        return (text.replace(old, new) if name == "job.sh" else text).encode()

    monkeypatch.setattr(tools, "own", weaker)
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')")
    assert (outcome.exit_code, outcome.log_path.read_bytes()) == (97, b"")
    assert not attestation.holds
    assert attestation.report is not None
    assert {f.property for f in attestation.report.failed} >= {property_}
    assert property_ in {f.property for f in attestation.site_view if not f.holds}
