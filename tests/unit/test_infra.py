"""The scripts of `infra/`: what they start they stop, what is not theirs they leave alone, and they name no machine."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p.relative_to(ROOT) for p in ROOT.glob("infra/**/*.sh"))
LOCKS = sorted(p.relative_to(ROOT) for pattern in ("locks/*.txt", "pilots/*/*.lock", "sandboxes/**/*.lock") for p in ROOT.glob(pattern))
CONFIGURATION = sorted(
    p.relative_to(ROOT)
    for pattern in ("*.toml", "Makefile", ".ci/*", "infra/**/*.sh", "infra/**/*.py", "**/Dockerfile", "**/*.in", "**/requirements.txt")
    for p in ROOT.glob(pattern)
    if not any(part in {".venv", ".venvs", ".git", ".cache"} for part in p.parts)
)

SERVER = """#!{python}
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "300"])
open(os.environ["SEEN"], "w").write(f"{{os.getpid()}} {{child.pid}}")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["LIVINGLAB_API_PORT"])), Answer).serve_forever()
"""


class House:
    """A checkout of its own, with `infra/` and a `livinglab` command that the test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "infra", root / "infra", ignore=shutil.ignore_patterns("__pycache__"))
        (root / ".run").mkdir()
        for part in ("livinglab", "flows", "sandbox_api", "locks"):
            (root / part).mkdir()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self.seen = root / "seen"
        self.environment = {
            **os.environ,
            "LIVINGLAB_HOME": str(root / "home"),
            "LIVINGLAB_CACHE": str(root / "cache"),
            "LIVINGLAB_API_PORT": str(self.port),
            "SEEN": str(self.seen),
        }

    def command(self, text: str) -> None:
        path = self.root / ".venv" / "bin" / "livinglab"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def services(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [self.root / "infra" / "services.sh", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment, timeout=60, stdin=subprocess.DEVNULL)

    def bash(self, text: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f'. "{self.root}/infra/lib.sh"\n{text}']
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment, timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.services("down", "api")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_up_waits_for_the_answer_and_down_leaves_no_process(house: House) -> None:
    house.command(SERVER.format(python=sys.executable))
    up = house.services("up", "api")
    assert up.returncode == 0, up.stderr
    assert house.services("status", "api").stdout == "api: up\n"
    leader, child = map(int, house.seen.read_text().split())
    assert runs(leader)
    assert runs(child)
    assert house.services("up", "api").returncode == 0, "what is up stays up"
    assert house.seen.read_text().split()[0] == str(leader)
    assert house.services("down", "api").returncode == 0
    assert not runs(leader)
    assert not runs(child)
    assert house.services("status", "api").stdout == "api: down\n"


def test_a_service_that_runs_other_code_than_is_there_is_started_anew(house: House) -> None:
    house.command(SERVER.format(python=sys.executable))
    assert house.services("up", "api").returncode == 0
    before = int(house.seen.read_text().split()[0])
    (house.root / "livinglab" / "new.py").write_text("pass\n")
    up = house.services("up", "api")
    assert (up.returncode, "the code has changed" in up.stderr) == (0, True), up.stderr
    assert not runs(before)
    assert runs(int(house.seen.read_text().split()[0]))


def test_a_service_that_dies_at_its_start_shows_the_end_of_its_log(house: House) -> None:
    house.command("#!/bin/sh\necho 'the reason why' >&2\nexit 3\n")
    up = house.services("up", "api")
    assert up.returncode == 1
    assert "the reason why" in up.stderr
    assert ".run/log/api.log" in up.stderr
    assert "not up: api" in up.stderr


def test_a_port_that_is_taken_is_named_with_the_setting_that_moves_it(house: House) -> None:
    house.command(SERVER.format(python=sys.executable))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", house.port))
        taken.listen()
        up = house.services("up", "api")
    assert up.returncode == 1
    assert f"port {house.port} is taken" in up.stderr
    assert "LIVINGLAB_API_PORT" in up.stderr
    assert not house.seen.exists(), "nothing was started"


@pytest.mark.parametrize("started", ["1", ""], ids=["of another", "ended before it was asked"])
def test_a_recycled_pid_is_never_killed(house: House, started: str) -> None:
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        (house.root / ".run" / "api.pid").write_text(f"{stranger.pid} {started}\n")
        assert house.services("status", "api").stdout == "api: down\n"
        assert house.services("down", "api").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_unknown_service_lists_the_known_ones(house: House) -> None:
    asked = house.services("up", "mlfow")
    assert asked.returncode == 1
    assert "'mlfow' is not known; the names are mlflow prefect api worker" in asked.stderr


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ("true", True),
        ("mkdir t/__pycache__ && echo x > t/__pycache__/a.pyc", True),
        ("touch -d @0 t/a", True),
        ("echo other > t/a", False),
        ("chmod +x t/a", False),
        ("mv t/a t/b", False),
    ],
)
def test_a_hash_covers_names_contents_and_the_executable_bit(house: House, change: str, same: bool) -> None:
    ran = house.bash(f'cd "{house.root}"; mkdir t; echo a > t/a; hash_of t; {change}; hash_of t')
    before, after = ran.stdout.split()
    assert (before == after) is same


def test_a_failure_in_the_middle_of_a_step_is_a_failure(house: House) -> None:
    ran = house.bash('work() { false; echo "went on"; }; step "a step" work; echo "and on"')
    assert ran.returncode == 1
    assert "a step: FAILED" in ran.stderr
    assert "on" not in ran.stdout
    assert "went on" not in ran.stderr


def test_what_a_locked_command_leaves_running_does_not_keep_the_lock(house: House) -> None:
    leave = "work() { sleep 5; }; leave() { work >/dev/null 2>&1 & }"
    ran = house.bash(f'{leave}; f="$RUN/lock"; with_lock "$f" leave; flock -n "$f" echo free || echo held')
    assert ran.stdout.strip() == "free"


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize(
    "script",
    ["engine.sh", "services.sh", "images/base.sh", "images/build.sh", "images/all.sh", "kubernetes/bed.sh", "kubernetes/build.sh", "slurm/bed.sh"],
)
def test_a_misused_script_says_how_it_is_used(script: str) -> None:
    asked = subprocess.run([ROOT / "infra" / script, "--nonsense"], capture_output=True, text=True, check=False, timeout=60)
    assert asked.returncode == 1
    assert "usage:" in asked.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_a_lock_pins_every_package_by_hash_and_names_no_registry(lock: Path) -> None:
    text = (ROOT / lock).read_text()
    requirements = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text).strip())
    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", requirement), requirement.splitlines()[0]
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]
    assert not re.search(r"https?://|file:|index-url|find-links|trusted-host", text.replace("--no-emit-index-url", ""))


@pytest.mark.parametrize("file", [*CONFIGURATION, *LOCKS], ids=str)
def test_no_configuration_names_a_host_or_a_machine(file: Path) -> None:
    text = (ROOT / file).read_text()
    addresses = re.findall(r"\w+://([\w.-]+)", text)
    assert [host for host in addresses if host not in {"127.0.0.1", "localhost"}] == []
    assert not re.search(r"(?<![\w./}])/(work|home|root|Users|mnt)/", text), "a path of somebody's machine"
    assert str(Path.home()) + "/" not in text


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    locked = dict(re.findall(r"(?m)^([a-z0-9._-]+)==([^\s;]+)", (ROOT / "locks" / "lab.txt").read_text()))
    for one in map(Requirement, asked):
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        assert name in locked, f"{one} is not in the lock: make lock"
        assert one.specifier.contains(locked[name], prereleases=True), f"{one} is locked at {locked[name]}: make lock"


def test_what_the_cluster_is_given_is_of_a_current_schema() -> None:
    import kubernetes_validate

    now = kubernetes_validate.latest_version()
    for document in yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "etc" / "cluster.yaml").read_text()):
        kubernetes_validate.validate(document, now, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="values"):
        kubernetes_validate.validate({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "values": 1}, now, strict=True)
