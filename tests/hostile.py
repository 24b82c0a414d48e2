"""What hostile containers do: each reaches a limit, or tries a way out. For every site that isolates."""

from livinglab.domain.isolation import Attestation
from livinglab.ports import JobSpec, Outcome
from livinglab.sites.attest import attest
from livinglab.testing.bench import IN, NONCE, OUT, Bench, collected, container_of, ended, key_of, push


def spec_for(bench: Bench, argv: tuple[str, ...], **limits: float) -> JobSpec:
    """A job of one container with that command."""
    container = container_of(bench, "pilot", "greet", (IN, OUT), **limits).model_copy(update={"argv": argv})
    return JobSpec(attempt="run-h.1", containers=(container,), profile=bench.profile, nonce=NONCE)


def run(bench: Bench, *argv: str, **limits: float) -> tuple[Outcome, Attestation]:
    """Run a command to its end; what it left, and what is proven about it."""
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    spec = spec_for(bench, argv, **limits)
    bench.site.submit(spec, key_of("run-h.1"))
    ended(bench, key_of("run-h.1"))
    outcome = collected(bench, key_of("run-h.1"))
    return outcome, attest(spec.profile, spec, outcome.report, outcome.site_view, outcome.exit_code)


def python(bench: Bench, code: str, **limits: float) -> tuple[Outcome, str]:
    """Run Python in isolation that is proven; what it left, and what it said."""
    outcome, attestation = run(bench, "python3", "-c", code, **limits)
    assert attestation.holds, attestation.reasons
    return outcome, outcome.log_path.read_text(errors="replace")


# --- each limit is reached --------------------------------------------------------------------------------------------

MEMORY = "b = bytearray(512 << 20); b[::4096] = b'x' * len(b[::4096])"
MEMORY_IN_SCRATCH = "for n in range(64): open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20))"
FORK_BOMB = """
import os, time
n = 0
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
        n += 1
    except OSError as error:
        print(n, error, flush=True)
        break
"""
OUTPUT_BYTES = """
open('/out/fine', 'w').write('x')
with open('/out/big', 'wb', 0) as f:
    while True:
        f.write(bytes(65536))
"""
OUTPUT_FILES = "for n in range(100): open(f'/out/{n}', 'w')"
LOG_FLOOD = "import os\nfor _ in range(16384): os.write(1, b'x' * 65535 + b'\\n')"
WALL_TIME = "import signal, time\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except OSError: pass\ntime.sleep(600)"
"""It hears no signal that can be ignored."""


# --- outputs are not believed -----------------------------------------------------------------------------------------

ODD_OUTPUTS = [
    ("import os; os.symlink('/etc/shadow', '/out/x')", "symbolic link"),
    ("import os; os.symlink('/', '/out/x')", "symbolic link"),
    ("import os; os.mkfifo('/out/x')", "not a plain file"),
    ("import socket; socket.socket(socket.AF_UNIX).bind('/out/x')", "not a plain file"),
    ("open('/out/x', 'w').truncate(10 << 30)", "over their size limit"),
    ("import os; open('/out/a', 'w').write('x' * 600_000); os.link('/out/a', '/out/b')", "over their size limit"),
    ("import os; os.makedirs('/out/a/b/c/d/e/f')", "deeper"),
    ("open('/out/a b', 'w')", "letters"),
    ("open('/out/' + 'a' * 200, 'w')", "letters"),
    ("open('/out/\\u202egnp.exe', 'w')", "letters"),
    ("open('/out/.hidden', 'w')", "letters"),
]
"""Code, and what is wrong with what it leaves."""

ODD_MODES = "import os; open('/out/x', 'w').write('hi'); os.chmod('/out/x', 0o4755); open('/out/y', 'w').write('hi'); os.chmod('/out/y', 0)"

# --- ways out ---------------------------------------------------------------------------------------------------------

ATTEMPTS = {
    "write to the root": "open('/x', 'w')",
    "write to a system folder": "open('/usr/bin/python3', 'ab')",
    "write to an input": "open('/in/a.txt', 'w')",
    "remove an input": "import os; os.unlink('/in/a.txt')",
    "replace the launcher": "open('/.livinglab/launcher', 'wb')",
    "make a device": "import os, stat; os.mknod('/out/sda', stat.S_IFBLK | 0o666, os.makedev(8, 0))",
    "read a disk": "open('/dev/sda', 'rb')",
    "mount": "import ctypes, os; r = ctypes.CDLL(None, use_errno=True).mount(b'x', b'/tmp', b'tmpfs', 0, 0); assert r == 0",
    "unshare a user namespace": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "become root": "import os; os.setuid(0)",
    "give a file away": "import os; open('/out/x', 'w'); os.chown('/out/x', 0, 0)",
    "execute from the outputs": "import os, shutil; shutil.copy('/bin/true', '/out/t'); os.chmod('/out/t', 0o755); os.execv('/out/t', ['t'])",
    "execute from scratch": "import os, shutil; shutil.copy('/bin/true', '/tmp/t'); os.chmod('/tmp/t', 0o755); os.execv('/tmp/t', ['t'])",
    "call out": "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
    "call the host": "import socket; socket.create_connection(('172.17.0.1', 22), 2)",
    "resolve a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "send a datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
    "open a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "load a kernel module": "import ctypes; assert ctypes.CDLL(None).syscall(175, 0, 0, 0) == 0",
    "read the kernel's memory": "open('/proc/kcore', 'rb').read(4096).index(b'ELF')",
    "set a kernel setting": "open('/proc/sys/kernel/core_pattern', 'w').write('|/out/x')",
    "trigger the kernel": "open('/proc/sysrq-trigger', 'w').write('b')",
    "raise its own limits": "open('/sys/fs/cgroup/memory/memory.limit_in_bytes', 'w').write('-1')",
    "leave its cgroup": "open('/sys/fs/cgroup/memory/cgroup.procs', 'w').write('0')",
    "talk to the engine": "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
}


def each_in_a_process(attempts: dict[str, str]) -> str:
    """Code that tries all, each in a process of its own."""
    return f"""
import subprocess, sys
for name, code in {attempts!r}.items():
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=20)
    print(name, '|', done.returncode, '|', (done.stderr.strip().splitlines() or ['it worked'])[-1], flush=True)
"""


def escaped(said: str, attempts: dict[str, str]) -> list[list[str]]:
    """Those that succeeded; all were tried."""
    lines = [line.split(" | ") for line in said.splitlines()]
    assert [line[0] for line in lines] == list(attempts), said
    return [line for line in lines if line[1] == "0"]


LEFT_TO_READ = """
import glob, os
print(sorted(os.environ))
print(open('/proc/1/cmdline', 'rb').read().split(b'\\0')[0], os.getpid())
found = []
for path in glob.glob('/proc/*/*') + glob.glob('/proc/*/task/*/*'):
    try:
        if b'\\x35a\\x35a\\x35a\\x35a\\x35a\\x35a' in open(path, 'rb').read(1 << 16) and 'cmdline' not in path:
            found.append(path)
    except OSError:
        pass
print(found)
"""
"""It looks for the nonce, which it must not itself hold in its arguments, in whatever it can read."""
