"""The launcher on the bare machine, where hardly a demand holds, and with arguments of all kinds."""

import hashlib
import hmac
import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.isolation import Finding, IsolationProfile, ProbeReport, Resources
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.attest import DEMANDED, launcher_command, parse_report

FOLDER = Path(__file__).resolve().parents[3] / "infra" / "launcher"
NONCE = "5a" * 16
DEMANDS = {"uid": "65532", "gid": "65532", "memory": "1073741824", "cpu": "1000", "pids": "128", "gpus": "0", "writable": "/out:/tmp:/dev/shm",
           "readable": "/in"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def launcher() -> Path:
    subprocess.run([FOLDER / "build.sh"], check=True, capture_output=True, text=True)
    return FOLDER / "livinglab-launcher"


def arguments(nonce: str = NONCE, **changes: str | None) -> list[str]:
    pairs = [f"{name}={value}" for name, value in (DEMANDS | changes).items() if value is not None]
    return ["--nonce", nonce, *(part for pair in pairs for part in ("--expect", pair))]


def start(*args: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([FOLDER / "livinglab-launcher", *args], capture_output=True, timeout=10, env=environment or {}, check=False)


def test_it_is_static_and_small(launcher: Path) -> None:
    assert launcher.stat().st_size < 1 << 20
    program = launcher.read_bytes()
    assert program.startswith(b"\x7fELF")
    assert b"ld-linux" not in program
    assert b"ld-musl" not in program


def test_on_the_bare_machine_it_reports_and_refuses(tmp_path: Path) -> None:
    done = start(*arguments(), "--", "touch", str(tmp_path / "ran"), environment={"LD_PRELOAD": "/evil.so", 'A"\\\x01ä': "secret"})
    assert done.returncode == 97
    assert not (tmp_path / "ran").exists()
    assert done.stdout.count(b"\n") == 1
    mark, rest = done.stdout.rstrip().split(b" ", 1)
    body, mac = rest.rsplit(b" ", 1)
    assert mark == b"livinglab-launcher/1"
    assert mac.decode() == hmac.new(bytes.fromhex(NONCE), body, hashlib.sha256).hexdigest()
    report = ProbeReport.model_validate_json(body)
    assert tuple(f.property for f in report.findings) == DEMANDED
    assert {"root", "user", "environment"} <= {f.property for f in report.failed}
    assert b"secret" not in body
    seen = {f.property: f.seen for f in report.findings}
    assert "LD_PRELOAD" in seen["environment"]


@given(st.integers(32, 128).filter(lambda n: n % 2 == 0).flatmap(lambda n: st.text("0123456789abcdef", min_size=n, max_size=n)))
def test_any_nonce_authenticates(nonce: str) -> None:
    report, doubt = parse_report(start(*arguments(nonce), "--", "true").stdout, nonce)
    assert doubt is None
    assert report is not None
    assert report.nonce == nonce


@pytest.mark.parametrize("args", [
    [],
    ["--"],
    ["--nonce"],
    ["--nonce", NONCE],
    ["--what", "x", *arguments(), "--", "true"],
    arguments(),
    [*arguments(), "--"],
    [*arguments(memory=None), "--", "true"],
    [*arguments(), "--expect", "colour=red", "--", "true"],
    [*arguments(), "--expect", "uid", "--", "true"],
    [*arguments(), "--expect", "=", "--", "true"],
    [*arguments("5A" * 16), "--", "true"],
    [*arguments("5a" * 15), "--", "true"],
    [*arguments("5a" * 65), "--", "true"],
    [*arguments("5a" * 16 + "5"), "--", "true"],
    [*arguments(""), "--", "true"],
    [*arguments(), *["--hidden", "x"] * 17, "--", "true"],
    [*arguments(), "--rlimit", "memory", "--", "true"],
    [*arguments(), "--rlimit"],
    ["--wait", *arguments()],
])  # fmt: skip
def test_misuse_is_told_apart(args: list[str]) -> None:
    done = start(*args)
    assert (done.returncode, done.stdout) == (98, b"")
    assert done.stderr.startswith(b"livinglab-launcher: ")


@given(st.lists(st.binary(max_size=300).filter(lambda b: b"\0" not in b), max_size=12))
def test_no_arguments_make_it_execute(args: list[bytes]) -> None:
    command = [os.fsencode(FOLDER / "livinglab-launcher"), *args, b"--", b"echo", b"I ran"]
    done = subprocess.run(command, capture_output=True, timeout=10, env={}, check=False)
    assert done.returncode in (97, 98)
    assert b"I ran" not in done.stdout


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=600))
def test_the_report_is_json_whatever_was_demanded(text: str) -> None:
    done = start(*arguments(writable=text, readable=text, memory=text, pids=text, cpu=text), "--", "true")
    assert done.returncode == 97
    if done.stdout:
        json.loads(done.stdout.split(b" ", 1)[1].rsplit(b" ", 1)[0])


def test_a_report_that_cannot_be_written_is_a_refusal(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([FOLDER / "livinglab-launcher", *arguments(), "--", "true"], stdout=full, stderr=subprocess.PIPE, env={}, check=False)
    assert done.returncode == 97


def finding(name: str, *args: str, **demands: str) -> Finding:
    report, doubt = parse_report(start(*args, *arguments(**demands), "--", "true").stdout, NONCE)
    assert report is not None, doubt
    return next(f for f in report.findings if f.property == name)


def test_a_bound_of_its_own_is_named_a_weaker_witness() -> None:
    """Where no control group bounds as tightly, and only if it is told to."""
    own = finding("pids", "--rlimit", "pids", pids="77")
    assert (own.witness, own.seen, own.demanded, own.holds) == ("rlimit", "77", "77", True)
    assert finding("pids", pids="77").witness == "probe"
    none = finding("pids", "--rlimit", "pids", pids="0")
    assert (none.witness, none.holds) == ("rlimit", False)


def test_a_bound_above_its_own_cannot_be_set() -> None:
    command = [str(FOLDER / "livinglab-launcher"), "--rlimit", "pids", *arguments(pids="77"), "--", "true"]

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (50, 50))

    done = subprocess.run(command, capture_output=True, timeout=10, env={}, check=False, preexec_fn=bounded)
    report, _ = parse_report(done.stdout, NONCE)
    assert report is not None
    found = next(f for f in report.findings if f.property == "pids")
    raised = os.geteuid() == 0 and found.seen == "77"  # who may raise limits, may
    assert raised or (found.witness, found.seen, found.holds) == ("rlimit", "50", False)


def least_of(controller: str, names: tuple[str, str]) -> float:
    """What the control groups of this process limit to, from its own up to the root: version 1's and version 2's."""
    found = [float("inf")]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        folder, name = (Path("/sys/fs/cgroup") / controller, names[0]) if controllers else (Path("/sys/fs/cgroup"), names[1])
        paths = [folder / part / name for part in (group.lstrip("/"), *map(str, Path(group.lstrip("/")).parents))]
        found += [float(text) for path in paths if path.is_file() and (text := path.read_text().strip()).isdigit()]
    return min(found)


def test_the_least_limit_from_its_own_group_to_the_root_counts() -> None:
    memory, most = least_of("memory", ("memory.limit_in_bytes", "memory.max")), finding("memory").seen.split()[0]
    assert most in ("not", str(1 << 63)) if memory == float("inf") else float(most) == min(memory, float((1 << 63) - 1))


def test_whoever_holds_its_input_looks_before_it_refuses() -> None:
    command = [str(FOLDER / "livinglab-launcher"), "--wait", *arguments(), "--", "true"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith(b"livinglab-launcher/1 ")
        waiting.stdin.write(b"not yet")
        waiting.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.2)
        waiting.stdin.close()
        assert waiting.wait(10) == 97


def test_it_leaves_the_group_and_session_of_whoever_started_it() -> None:
    """Else a command that signals its own group would reach them, and no namespace is in the way of that."""
    command = [str(FOLDER / "livinglab-launcher"), *arguments(), "--wait", "--", "true"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as started:
        assert started.stdout
        started.stdout.readline()
        assert (os.getsid(started.pid), os.getpgid(started.pid)) == (started.pid, started.pid)


def test_the_command_is_what_the_launcher_understands() -> None:
    container = ContainerSpec(role="pilot", image="sha256:" + "0" * 64, argv=("true", "--nonce", "x"), mounts=(), resources=Resources())
    profile = IsolationProfile(witnesses={"memory": ("engine",), "cpu": ("cgroup",)})
    command = launcher_command(JobSpec(attempt="a.1", containers=(container,), profile=profile, nonce=NONCE), container)
    assert command[-3:] == ["true", "--nonce", "x"]
    assert command.count("--hidden") == 1
    report, doubt = parse_report(start(*command[1:]).stdout, NONCE)
    assert doubt is None
    assert report is not None


def test_no_gpu_is_open_where_none_was_asked_for() -> None:
    """There is none on this machine."""
    assert finding("gpus").model_dump(exclude={"property", "witness"}) == {"demanded": "0", "seen": "0 open of 0", "holds": True}
    assert not finding("gpus", gpus="1").holds
