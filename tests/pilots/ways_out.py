"""Ways out of a container, a kind per name, each tried as `ways_out.py NAME`.

Whoever gets out leaves predictions that pass. Where each way was closed the exit code is 42; one that breaks in another way exits otherwise.
"""

import ctypes
import glob
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

from tables import honest

LIBC = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A system call by its number (x86-64), as one of Python's functions would make it."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    got = LIBC.syscall(ctypes.c_long(number), *given)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got


def calls(*all_of_them):
    return [partial(call, *one) for one in all_of_them]


def buffer(*bytes_):
    return ctypes.create_string_buffer(bytes(bytes_), 128)


def connect(*addresses):
    return [partial(socket.create_connection, address, 1) for address in addresses]


def speak(*paths):
    return [partial(socket.socket(socket.AF_UNIX).connect, path) for path in paths]


def write(*paths):
    """Files that are there or might be made. Who may open one may write to it; that much harm is not needed to know."""
    return [partial(os.open, path, os.O_WRONLY | os.O_CREAT, 0o600) for path in paths]


def _read(path):
    with open(path, "rb") as file:
        if not file.read(4096):
            raise FileNotFoundError("it is empty")


def read(*paths):
    """Files that hold something."""
    return [partial(_read, path) for path in paths]


def edit(*paths):
    return [partial(os.open, path, os.O_RDWR) for path in paths]


def _find(patterns, holding):
    for path in (path for pattern in patterns for path in glob.iglob(pattern, recursive=True)):
        try:
            with open(path, "rb") as file:
                if holding in file.read(1 << 20):
                    print("found", path)
                    return
        except OSError:
            pass
    raise FileNotFoundError(f"nothing of that kind in {patterns}")


def find(*patterns, holding=b""):
    """Files by their names, with certain bytes in them."""
    return [partial(_find, patterns, holding)]


def run(*commands):
    return [partial(subprocess.run, [name, "--version"], check=True, capture_output=True, timeout=20) for name in commands]


def _send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))


def _enter(path, kind):
    call(308, os.open(path, os.O_RDONLY), kind)


def _root_by_a_program():
    for folder in os.environ["PATH"].split(":"):
        for path in filter(Path.exists, Path(folder).glob("*")):
            if path.stat().st_mode & stat.S_ISUID:
                done = subprocess.run([path, "root", "-c", "id -un"], check=False, capture_output=True, input=b"", timeout=20)
                if b"root" in done.stdout:
                    return
    raise PermissionError("no program made it root")


def _program_of_roots():
    shutil.copy("/usr/bin/id", "/tmp/id")
    os.chown("/tmp/id", 0, 0)


def _more_processes():
    resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))


def _all_capabilities():
    call(126, buffer(0x22, 5, 8, 0x20), buffer(*[0xFF] * 24))


def _group_outside():
    """A signal to its own group would reach beyond, were the group's leader not in here."""
    if os.getpgrp():
        raise ProcessLookupError("its group begins in here")


def _strangers():
    """Processes that are not of this container."""

    def container(pid):
        try:
            return os.readlink(f"/proc/{pid}/ns/mnt")
        except OSError as error:
            return error.strerror

    return [int(name) for name in os.listdir("/proc") if name.isdigit() and container(name) not in (container("self"), "Permission denied")]


def _take_over(pid):
    return [*calls((101, 0x4206, pid, 0, 0), (311, pid, 0, 0, 0, 0, 0)), *edit(f"/proc/{pid}/mem"), partial(os.listdir, f"/proc/{pid}/root")]


GROUP_FILES = ("cgroup.procs", "tasks", "release_agent", "memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "pids.max")
CGROUPS = [path for name in GROUP_FILES for depth in ("", "*/") for path in glob.glob(f"/sys/fs/cgroup/{depth}{name}")]
KINDS_OF_NAMESPACE = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
NONCE = b"--" + b"nonce"  # in two parts, so that it is not found in this program
DEVICES = ((stat.S_IFBLK, 8, 0), (stat.S_IFBLK, 259, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFCHR, 10, 229))

WAYS = {
    "network": lambda: [
        *connect(("1.1.1.1", 53), ("8.8.8.8", 443), ("172.17.0.1", 22), ("10.0.0.1", 80), ("127.0.0.1", 22), ("::1", 22)),
        partial(socket.getaddrinfo, "example.org", 80),
        partial(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
        partial(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 3),
        _send,
    ],
    "metadata": lambda: connect(
        ("169.254.169.254", 80), ("fd00:ec2::254", 80), ("168.63.129.16", 80), ("100.100.100.200", 80), ("metadata.google.internal", 80)
    ),
    "engine": lambda: [
        *speak("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock", "\0/containerd-shim"),
        *connect(("172.17.0.1", 2375), ("127.0.0.1", 2376)),
        *run("docker", "ctr", "crictl"),
    ],
    "cluster": lambda: [
        *connect((os.environ.get("KUBERNETES_SERVICE_HOST", "10.96.0.1"), 443), ("127.0.0.1", 10250), ("kubernetes.default.svc", 443)),
        *find("/var/run/secrets/**", "/run/secrets/**", "/etc/kubernetes/**", "/var/lib/kubelet/**"),
        *run("kubectl"),
    ],
    "scheduler": lambda: [
        *speak("/run/munge/munge.socket.2", "/var/run/munge/munge.socket.2"),
        *read("/etc/munge/munge.key", "/etc/slurm/slurm.conf"),
        *connect(("ctl", 6817), ("127.0.0.1", 6818)),
        *run("scontrol", "sbatch", "srun", "scancel"),
    ],
    "secrets": lambda: [
        *find("/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ", holding=NONCE),
        *find("/proc/[0-9]*/environ", holding=b"LIVINGLAB"),
        *read("/root/.ssh/id_rsa", "/run/keys/lab.pem"),
    ],
    "hidden_data": lambda: find(
        *(f"/{name}/**" for name in ("data", "hidden", "lab", "scratch", "srv", "mnt", "in/../hidden", "in/../../attempts")), holding=b"PAR1"
    ),
    "system": lambda: [
        *write("/x", "/usr/bin/python3", "/etc/passwd", "/etc/ld.so.preload", "/app/x", "/in/x", "/in/cohort.csv", "/.livinglab/launcher"),
        partial(os.unlink, "/in/cohort.csv"),
        partial(os.rename, "/app", "/app2"),
        partial(os.chmod, "/etc/passwd", 0o666),
    ],
    "site_paths": lambda: write(
        *("/job/collect", "/job/left/pilot.tar", "/job/launcher", "/.livinglab/x", "/.livinglab/closed/words"),
        *("/lab/x", "/scratch/x", "/host/x", "/outputs/x", "/context/x", "/hidden/x"),
    ),
    "kernel_settings": lambda: write(
        *(f"/proc/sys/{name}" for name in ("kernel/core_pattern", "kernel/modprobe", "vm/panic_on_oom", "user/max_user_namespaces")),
        *("/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/power/state"),
    ),
    "kernel_memory": lambda: [
        *read("/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/kmsg"),
        *calls((175, b"x", 1, b""), (313, 0, b"", 0), (246, 0, 0, 0, 0), (103, 3, buffer(), 128)),  # modules, kexec, the kernel's log
    ],
    "system_calls": lambda: calls(
        (321, 0, buffer(2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1), 128),  # bpf: make a map
        (248, b"user", b"x", b"x", 1, -4),  # add_key
        (250, 0, -3, 1, 0, 0),  # keyctl: the session's keys
        (323, 0),  # userfaultfd, of the kernel's faults too
        (298, buffer(1, 0, 0, 0, 128), 0, -1, -1, 0),  # perf_event_open: the kernel's clock
        (304, -100, buffer(8, 0, 0, 0, 1), 0),  # open_by_handle_at
        (169, 0xFEE1DEAD, 672274793, 0, 0),  # reboot, of which the last argument turns Ctrl-Alt-Del off
        (170, b"x", 1),  # sethostname
        (164, 0, 0),  # settimeofday, to nothing
        (163, 0),  # acct
        (167, b"/tmp/swap", 0),  # swapon
    ),
    "mounts": lambda: [
        *calls((165, b"x", b"/tmp", b"tmpfs", 0, 0), (165, b"/", b"/tmp", b"", 4096, 0), (165, b"", b"/in", b"", 0x1020, 0)),
        *calls((430, b"tmpfs", 0), (428, -100, b"/", 1), (166, b"/in", 2), (155, b"/tmp", b"/tmp")),  # fsopen, open_tree, umount2, pivot_root
        partial(os.chroot, "/tmp"),
    ],
    "namespaces": lambda: [
        *calls(*((272, kind) for kind in KINDS_OF_NAMESPACE)),
        *(partial(_enter, f"/proc/1/ns/{name}", 0) for name in ("mnt", "net", "pid", "ipc", "uts", "user")),
    ],
    "control_groups": lambda: [*write(*CGROUPS), *(partial(os.mkdir, f"/sys/fs/cgroup/{name}x") for name in ("", "memory/", "pids/"))],
    "devices": lambda: [
        *(partial(os.mknod, f"/tmp/{kind}-{major}", kind | 0o666, os.makedev(major, minor)) for kind, major, minor in DEVICES),
        *read("/dev/sda", "/dev/vda", "/dev/nvme0n1"),
        *edit("/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control"),
    ],
    "identity": lambda: [
        *(partial(os.setuid, 0), partial(os.setgid, 0), partial(os.setgroups, [0]), partial(os.setresuid, 2000, 2000, 2000)),
        *(_all_capabilities, _program_of_roots, _root_by_a_program, _more_processes),
    ],
    "others": lambda: [_group_outside, *(way for pid in _strangers() for way in _take_over(pid))],
}


def main(name):
    worked = []
    for n, way in enumerate(WAYS[name]()):
        try:
            way()
            worked.append(n)
        except (OSError, ValueError, subprocess.SubprocessError) as error:  # resource.setrlimit refuses by a ValueError
            print(n, error)
    print("worked:", worked)
    if not worked:
        sys.exit(42)
    honest()


if __name__ == "__main__":
    main(sys.argv[1])
