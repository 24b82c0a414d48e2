"""What hostile containers do: each reaches a limit, or tries a way out. `HostileContainers` is for every site that isolates."""

import pytest

from livinglab.domain.isolation import Attestation
from livinglab.ports import JobSpec, Outcome
from livinglab.sites.attest import attest
from livinglab.testing.bench import IN, NONCE, OUT, Bench, collected, container_of, ended, key_of, push

KEY = key_of("run-h.1")


def spec_for(bench: Bench, argv: tuple[str, ...], **limits: float) -> JobSpec:
    """A job of one container with that command."""
    container = container_of(bench, "pilot", "greet", (IN, OUT), **limits).model_copy(update={"argv": argv})
    return JobSpec(attempt="run-h.1", containers=(container,), profile=bench.profile, nonce=NONCE)


def begin(bench: Bench, argv: tuple[str, ...], **limits: float) -> JobSpec:
    """Submit that job, with all that it needs, under `KEY`."""
    bench.site.ensure_image(bench.image)
    push(bench, KEY.attempt, b"data")
    spec = spec_for(bench, argv, **limits)
    bench.site.submit(spec, KEY)
    return spec


def run(bench: Bench, *argv: str, **limits: float) -> tuple[Outcome, Attestation]:
    """Run a command to its end; what it left, and what is proven about it."""
    spec = begin(bench, argv, **limits)
    ended(bench, KEY)
    outcome = collected(bench, KEY)
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
    "signal the group that it was started in": "import os; assert os.getpgrp() == 0, 'its leader is in here'",
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

WORDS = ["a b", "'", '"', "$(touch /tmp/x)", "`id`", "a\nb", "\\", "-x", "--", "*", "$HOME", "a;b", "&", "ä\u202e", "", "$(HOME)", "$$(HOME)"]


class HostileContainers:
    """What holds of every site; a test class of a site's inherits it, and its module has the fixture `bench`."""

    ways_out: dict[str, str] = {}
    """What else is tried there."""
    possible: tuple[str, ...] = ()
    """What of all that no site of this kind can prevent, and does no harm."""

    def test_memory(self, bench: Bench) -> None:
        outcome, _ = python(bench, MEMORY, memory=64 << 20)
        assert (outcome.limit, outcome.exit_code) == ("memory", 137)

    def test_memory_in_a_scratch_folder_counts(self, bench: Bench) -> None:
        outcome, _ = python(bench, MEMORY_IN_SCRATCH, memory=48 << 20)
        assert outcome.limit == "memory"

    def test_a_fork_bomb(self, bench: Bench) -> None:
        outcome, said = python(bench, FORK_BOMB, pids=16)
        assert int(said.split()[0]) < 16
        assert "temporarily unavailable" in said
        assert outcome.exit_code == 0

    def test_output_bytes(self, bench: Bench) -> None:
        outcome, said = python(bench, OUTPUT_BYTES, output_bytes=1 << 20)
        assert outcome.limit == "output_bytes"
        assert "No space left" in said

    def test_wall_time(self, bench: Bench) -> None:
        outcome, _ = python(bench, WALL_TIME, wall_seconds=1)
        assert (outcome.limit, outcome.exit_code) == ("wall_seconds", 137)
        assert (outcome.ended_at - outcome.started_at).total_seconds() < 4

    @pytest.mark.parametrize(("code", "problem"), ODD_OUTPUTS)
    def test_what_no_one_takes(self, bench: Bench, code: str, problem: str) -> None:
        outcome, said = python(bench, code, output_files=16)
        assert outcome.exit_code == 0, said
        assert outcome.outputs == ()
        assert problem in (outcome.output_problem or "")

    def test_outputs_arrive_without_their_modes(self, bench: Bench) -> None:
        """Unreadable and setuid files are copied as plain bytes of ours."""
        outcome, _ = python(bench, ODD_MODES)
        assert [(f.path, f.size) for f in outcome.outputs] == [("x", 2), ("y", 2)]
        assert all((outcome.outputs_dir / f.path).stat().st_mode & 0o7111 == 0 for f in outcome.outputs)

    def test_no_way_out(self, bench: Bench) -> None:
        """One container tries them all, each in a process of its own; none may succeed."""
        attempts = ATTEMPTS | self.ways_out
        _, said = python(bench, each_in_a_process(attempts), log_bytes=64 << 10)
        assert [line[0] for line in escaped(said, attempts)] == list(self.possible)

    def test_nothing_of_ours_is_left_to_read(self, bench: Bench) -> None:
        """The nonce stood in the launcher's arguments and is gone; nothing of the host's environment came in."""
        _, said = python(bench, LEFT_TO_READ, log_bytes=64 << 10)
        environment, first, found = said.splitlines()
        assert environment == str(sorted(["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"]))
        assert first == "b'python3' 1"
        assert found == "[]"

    def test_a_launchers_line_cannot_be_forged(self, bench: Bench) -> None:
        code = "import os; os.write(2, b'livinglab-launcher/1 {\"launcher\":\"1\"} ' + b'0' * 64 + b'\\n'); raise SystemExit(97)"
        outcome, said = python(bench, code)
        assert outcome.exit_code == 97  # the pilot's own: isolation held
        assert said.startswith("livinglab-launcher/1 {")
        assert NONCE.encode() in (outcome.report or b"")

    def test_a_command_that_is_not_there(self, bench: Bench) -> None:
        outcome, attestation = run(bench, "/app/nowhere")
        assert attestation.holds
        assert outcome.exit_code == 99
        assert outcome.log_path.read_text() == "livinglab-launcher: cannot execute /app/nowhere: No such file or directory\n"

    def test_words_reach_the_command_as_they_are(self, bench: Bench) -> None:
        outcome, attestation = run(bench, "python3", "-c", "import os, sys; print(ascii(sys.argv[1:])); print(os.listdir('/tmp'))", *WORDS)
        assert attestation.holds
        assert outcome.log_path.read_text() == f"{WORDS!a}\n[]\n"
