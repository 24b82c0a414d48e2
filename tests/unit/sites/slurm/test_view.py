"""The site's own findings, from what the script saw: each property holds, and each way of its being broken is seen."""

from collections.abc import Callable

import pytest

from livinglab.domain.isolation import Finding, IsolationProfile, Mount, Property, Resources
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.attest import DEMANDED
from livinglab.sites.slurm.view import site_view

CONTAINER = ContainerSpec(
    role="pilot", image="sha256:" + "1" * 64, argv=("true",), resources=Resources(memory=128 << 20, cpus=1, pids=64),
    mounts=(Mount(area="inputs", target="/in"), Mount(area="outputs", target="/out", read_only=False)),
)  # fmt: skip
SPEC = JobSpec(attempt="run-a.1", containers=(CONTAINER,), profile=IsolationProfile(witnesses={"pids": ("rlimit",)}), nonce="5a" * 16)

SEEN = """\
ns net net:[33] net:[1]
ns mnt mnt:[34] mnt:[2]
ns pid pid:[35] pid:[3]
ns ipc ipc:[36] ipc:[4]
ns uts uts:[37] uts:[5]
ns user user:[38] user:[6]
uid_map  65532 65532 1
status Name:\tlauncher
status Uid:\t65532\t65532\t65532\t65532
status Gid:\t65532\t65532\t65532\t65532
status CapInh:\t0000000000000000
status CapPrm:\t0000000000000000
status CapEff:\t0000000000000000
status CapBnd:\t0000000000000000
status CapAmb:\t0000000000000000
status NoNewPrivs:\t1
status Seccomp:\t2
interface Inter-|   Receive
interface  face |bytes    packets
interface     lo:       0       0
mount 708 670 0:172 / / rw,nodev,relatime unbindable - overlay overlay ro,lowerdir=/a:/b
mount 717 708 0:170 /dev /dev rw,nosuid - tmpfs tmpfs rw,size=16384k
mount 721 717 0:127 /null /dev/null rw,nosuid - tmpfs tmpfs rw
mount 725 708 0:177 / /proc rw,nosuid - proc proc rw
mount 726 708 0:129 / /sys ro,nosuid - sysfs sysfs ro
mount 727 726 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
mount 738 708 254:0 /x /in ro,nosuid - ext4 /dev/vda rw
mount 739 708 0:167 / /tmp rw,nosuid,noexec - tmpfs livinglab rw
mount 740 708 0:166 / /out rw,nosuid,noexec - tmpfs livinglab rw
mount 741 717 0:168 / /dev/shm rw,nosuid,noexec - tmpfs livinglab rw
mount 742 708 254:0 /y /.livinglab/launcher ro,nosuid - ext4 /dev/vda rw
rlimit Limit                     Soft Limit           Hard Limit           Units
rlimit Max processes             64                   64                   processes
environment PATH
environment APPTAINER_NAME
environment SINGULARITY_BIND
gpus\x20
cgroup memory.limit_in_bytes 9223372036854771712
cgroup memory.limit_in_bytes 134217728
cgroup cpuset.cpus 0
cgroup cpuset.cpus 0-1
cgroup pids.max max
"""


def view(text: str = SEEN) -> dict[Property, Finding]:
    return {finding.property: finding for finding in site_view(text, SPEC, CONTAINER)}


def broken(text: str) -> set[Property]:
    return {name for name, finding in view(text).items() if not finding.holds}


def test_what_is_as_it_should_be_holds() -> None:
    found = view()
    assert set(found) == set(DEMANDED)
    assert broken(SEEN) == set()
    assert (found["pids"].witness, found["memory"].witness, found["cpu"].witness) == ("rlimit", "cgroup", "cgroup")


@pytest.mark.parametrize(("old", "new", "names"), [
    ("net:[33]", "net:[1]", {"network", "capabilities"}),
    ("interface     lo:", "interface   eth0: 1\ninterface     lo:", {"network"}),
    ("rw,nodev,relatime unbindable - overlay overlay ro,", "rw,nodev,relatime unbindable - overlay overlay rw,", {"root"}),
    ("status Uid:\t65532\t65532", "status Uid:\t65532\t0", {"user"}),
    ("status Gid:\t65532", "status Gid:\t0", {"user"}),
    ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000200000", {"capabilities"}),
    ("CapAmb:\t0000000000000000", "CapAmb:\t0000000000000001", {"capabilities"}),
    ("pid:[35]", "pid:[3]", {"capabilities"}),
    ("ipc:[36]", "ipc:[4]", {"capabilities"}),
    ("uts:[37]", "uts:[5]", {"capabilities"}),
    ("NoNewPrivs:\t1", "NoNewPrivs:\t0", {"no_new_privileges"}),
    ("Seccomp:\t2", "Seccomp:\t0", {"seccomp"}),
    ("Seccomp:\t2", "Seccomp:\t1", {"seccomp"}),
    ("134217728", "134217729", {"memory"}),
    ("memory.limit_in_bytes 134217728", "memory.limit_in_bytes max", {"memory"}),
    ("cpuset.cpus 0\n", "cpuset.cpus 0,2\n", {"cpu"}),
    ("cpuset.cpus 0\n", "cpuset.cpus \n", {"cpu"}),
    ("cpuset.cpus 0\n", "cpuset.cpus x\n", {"cpu"}),
    ("Max processes             64                   64 ", "Max processes             64                   65 ", {"pids"}),
    ("Max processes             64                   64 ", "Max processes             64                   unlimited ", {"pids"}),
    ("environment PATH", "environment PATH\nenvironment SECRET", {"environment"}),
    ("environment PATH", "environment PATH\nenvironment LD_PRELOAD", {"environment"}),
    ("/in ro,nosuid", "/in rw,nosuid", {"mounts"}),
    ("mount 738", "mount 800 708 0:1 / /home rw - ext4 /dev/vda rw\nmount 738", {"mounts"}),
    ("mount 738", "mount 800 708 0:1 / /scratch ro - ext4 /dev/vda rw\nmount 738", {"mounts"}),
    ("mount 738 708 254:0 /x /in", "mount 738 708 254:0 /x /input", {"mounts"}),
    ("/.livinglab/launcher ro", "/.livinglab/launcher rw", {"mounts"}),
    ("mount 738", "mount 800 708 0:1 / /.singularity.d/libs/libcuda.so.1 ro - ext4 /dev/vda rw\nmount 738", {"mounts"}),
    ("gpus ", "gpus 0", {"gpus"}),
    ("gpus ", "", {"gpus"}),
])  # fmt: skip
def test_what_is_not_is_seen(old: str, new: str, names: set[Property]) -> None:
    assert SEEN.count(old) == 1
    assert broken(SEEN.replace(old, new)) == names


@pytest.mark.parametrize(("kind", "names"), [
    ("ns", {"network", "capabilities"}), ("status", {"user", "capabilities", "no_new_privileges", "seccomp"}), ("interface", {"network"}),
    ("mount", {"root", "mounts"}), ("rlimit", {"pids"}), ("cgroup", {"memory", "cpu"}),
])  # fmt: skip
def test_what_was_not_looked_at_does_not_hold(kind: str, names: set[Property]) -> None:
    left = "".join(line for line in SEEN.splitlines(keepends=True) if not line.startswith(f"{kind} "))
    assert broken(left) == names


def test_nothing_seen_is_no_finding() -> None:
    assert site_view("", SPEC, CONTAINER) == ()


def test_what_is_cut_off_in_the_middle_never_holds_in_all() -> None:
    whole = len(SEEN.rstrip()) - len("cgroup pids.max max\ncgroup cpuset.cpus 0-1\n")
    assert all(broken(SEEN[:at]) or not view(SEEN[:at]) for at in range(0, whole - 20, 7))


def test_version_2_of_control_groups_is_read_too() -> None:
    head = SEEN[: SEEN.index("cgroup memory")]
    two = "cgroup memory.max 134217728\ncgroup memory.max max\ncgroup cpuset.cpus.effective 1\ncgroup pids.max 64\n"
    assert broken(head + two) == set()
    assert view(head + two)["pids"].witness == "cgroup"
    assert broken(head + two.replace("134217728", "max")) == {"memory"}


@pytest.mark.parametrize("change", [lambda line: "", lambda line: line.split(" ")[0] + "\n", lambda line: "\x00\xff " + line])
def test_noise_is_no_crash(change: Callable[[str], str]) -> None:
    lines = SEEN.splitlines(keepends=True)
    for at in range(len(lines)):
        view("".join([*lines[:at], change(lines[at]), *lines[at + 1 :]]))


def test_of_one_with_a_gpu_the_drivers_parts_are_known() -> None:
    container = CONTAINER.model_copy(update={"resources": CONTAINER.resources.model_copy(update={"gpus": 2})})
    libraries = "".join(f"mount 80{n} 708 0:1 / {path} ro - ext4 /dev/vda rw\n"
                        for n, path in enumerate(("/.singularity.d/libs/libcuda.so.1", "/usr/bin/nvidia-smi")))  # fmt: skip
    text = SEEN.replace("gpus ", "gpus 0,3") + libraries
    assert all(finding.holds for finding in site_view(text, SPEC, container))
    for old, new, name in [(" ro - ext4 /dev/vda rw\n", " rw - ext4 /dev/vda rw\n", "mounts"), ("/usr/bin/nvidia-smi", "/usr/bin/smi", "mounts"),
                           ("gpus 0,3", "gpus 0", "gpus"), ("gpus 0,3", "gpus 0,1,3", "gpus")]:  # fmt: skip
        assert [finding.property for finding in site_view(text.replace(old, new), SPEC, container) if not finding.holds] == [name]
