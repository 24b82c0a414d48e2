"""`livinglab try` on the real engine: exit codes, and nothing left behind, however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from livinglab.settings import Settings
from tests.labs import ROOT, TINY, harness_archive, manifest, pilots_archive

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

Command = subprocess.Popen[str]


@dataclass
class Tries:
    """Tries on this machine, with temporary files of their own. Whatever a test starts is over when the test is."""

    folder: Path
    begun: list[Command] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def begin(self, *entrypoint: str, sandbox: Path = TINY, options: tuple[str | Path, ...] = ()) -> Command:
        """A `livinglab try` of the tests' pilots with this entry point."""
        pilot = self.folder / f"pilot-{len(self.begun)}"
        pilot.mkdir()
        (pilot / "pilot.yaml").write_text(yaml.safe_dump(manifest(*entrypoint)))
        images = ("--pilot-image", pilots_archive(), "--harness-image", harness_archive())
        return self.call(pilot, "--sandbox", sandbox, *images, *options)  # of an option that is given twice, the second holds

    def call(self, *arguments: str | Path) -> Command:
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # of uv
        command = [sys.executable, "-m", "livinglab.cli", "try", *map(str, arguments)]
        self.begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment))
        return self.begun[-1]

    def homes(self) -> list[Path]:
        return list(self.temporary.glob("livinglab-try-*"))

    def running(self) -> Path:
        """The home of the try whose pilot's container runs by now."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for home in self.homes():
                if any(c["State"] == "running" and c["Labels"]["livinglab.key"].endswith(".pilot") for c in containers(home)):
                    return home
            time.sleep(0.05)
        pytest.fail("the pilot did not start")

    def assert_nothing_is_left(self, *homes: Path) -> None:
        assert list(self.temporary.iterdir()) == []
        assert mounts(self.folder) == []
        assert [containers(home) for home in homes] == [[] for _home in homes]


@pytest.fixture
def tries(tmp_path: Path) -> Iterator[Tries]:
    """For a test that fails, too: a last try removes what killed ones have left."""
    made = Tries(tmp_path)
    made.temporary.mkdir()
    try:
        yield made
    finally:
        for command in made.begun:
            command.kill()
            command.communicate()
        if made.homes():
            end(made.begin())


def end(command: Command) -> tuple[int, str, str]:
    """Exit code, and what was written."""
    out, err = command.communicate(timeout=280)
    return command.returncode, out, err


def containers(home: Path) -> list[Any]:
    return list(docker.APIClient().containers(all=True, filters={"label": f"livinglab.instance={Settings(home=home).instance}"}))


def mounts(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


def rehearsed(out: str) -> None:
    assert out.startswith("This is a rehearsal: split and seeds are drawn here and are not the authority's, so it counts for nothing.")
    assert "Nothing was sent anywhere." in out.splitlines()[-1]


def test_a_good_pilot_passes_and_what_it_left_is_kept(tries: Tries) -> None:
    code, out, err = end(tries.begin(options=("--logs", "--keep", tries.folder / "kept")))
    assert code == 0, out + err
    rehearsed(out)
    assert "predicted " in out
    assert "execute: execute" in out
    assert "Verdict of the gates: PASS" in out
    kept = tries.folder / "kept"
    assert json.loads((kept / "measurements.json").read_text())["measurements"]
    assert (kept / "pilot" / "predictions.csv").read_text().startswith("id,risk")
    command = [sys.executable, "-m", "livinglab.cli", "verify", kept / "dossier.zip", "--keys", kept / "trust.json"]
    assert "holds." in subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd=ROOT).stdout
    tries.assert_nothing_is_left()


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The tiny sandbox with something else in its specification."""
    sandbox = folder / "sandbox"
    shutil.copytree(TINY, sandbox)
    spec = yaml.safe_load((sandbox / "sandbox.yaml").read_text())
    change(spec)
    (sandbox / "sandbox.yaml").write_text(yaml.safe_dump(spec))
    return sandbox


# The data are drawn anew by every rehearsal. Over 1,500 draws the interval went from 0.69 ± 0.02 to 0.79 ± 0.02, and was wider than 0.06:
# so between 0.71 and 0.765 it never lies inside, nor outside.
@pytest.mark.parametrize(("demand", "verdict", "code"), [
    ({"threshold": 0.99}, "FAIL", 1),
    ({"direction": "within", "threshold": {"low": 0.71, "high": 0.765}}, "INCONCLUSIVE", 3),
    ({"min_events": 100_000}, "NOT_EVALUABLE", 4),
])  # fmt: skip
def test_the_exit_code_is_the_verdicts(tries: Tries, demand: dict[str, Any], verdict: str, code: int) -> None:
    sandbox = changed(tries.folder, lambda spec: spec["criteria"][1].update(demand))
    ended, out, err = end(tries.begin(sandbox=sandbox, options=("--json",)))
    document = json.loads(out)
    assert (document["state"], document["verdict"]["verdict"], ended) == ("completed", verdict, code), document
    assert "counts for nothing" in document["notice"]
    rehearsed(err)
    tries.assert_nothing_is_left()


def test_a_pilot_that_fails_is_told_in_a_sentence(tries: Tries) -> None:
    code, out, err = end(tries.begin("python3", "/app/no_such.py"))
    assert code == 1
    assert "The run is failed: The pilot exited with code 2; 0 was expected." in out
    assert "No such file" in out
    assert "Traceback" not in out + err
    tries.assert_nothing_is_left()


def test_of_a_harness_that_fails_the_log_is_shown(tries: Tries) -> None:
    sandbox = changed(tries.folder, lambda spec: spec["harness"]["parameters"].pop("horizon"))
    code, out, _err = end(tries.begin(sandbox=sandbox))
    assert code == 1
    assert "the harness failed at measure" in out
    assert "What the harness wrote at measure:" in out
    assert "KeyError: 'horizon'" in out
    tries.assert_nothing_is_left()


@pytest.mark.parametrize(("endings", "code"), [((signal.SIGINT,), 130), ((signal.SIGTERM,), 143), ((signal.SIGINT,) * 3, 130)])
def test_one_that_is_stopped_leaves_nothing(tries: Tries, endings: tuple[signal.Signals, ...], code: int) -> None:
    command = tries.begin("python3", "/app/tiny.py", "25")
    home = tries.running()
    assert mounts(home)
    for ending in endings:
        command.send_signal(ending)
        time.sleep(0.1)  # the second finds the first at work
    ended, _out, err = end(command)
    assert ended == code, err
    assert "stopped; what had begun is removed" in err
    assert "Traceback" not in err
    tries.assert_nothing_is_left(home)


def test_what_a_killed_one_left_the_next_one_removes(tries: Tries) -> None:
    command = tries.begin("python3", "/app/tiny.py", "25")
    home = tries.running()
    command.kill()
    command.communicate()
    assert home.is_dir()
    assert containers(home)
    assert mounts(home)
    code, out, err = end(tries.begin())
    assert code == 0, out + err
    tries.assert_nothing_is_left(home)


def test_one_that_is_at_work_is_left_alone(tries: Tries) -> None:
    first = tries.begin("python3", "/app/tiny.py", "8")
    tries.running()
    assert end(tries.begin())[0] == 0
    code, out, err = end(first)
    assert code == 0, out + err
    tries.assert_nothing_is_left()


def test_without_an_engine_it_says_so_and_leaves_nothing(tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVINGLAB_DOCKER_URL", f"unix://{tries.folder}/nowhere.sock")
    code, _out, err = end(tries.begin())
    assert (code, "the Docker Engine does not answer. Is it running?" in err) == (75, True), err
    tries.assert_nothing_is_left()


def test_an_archive_that_is_none_is_named(tries: Tries) -> None:
    code, _out, err = end(tries.begin(options=("--pilot-image", ROOT / "README.md")))
    assert (code, err.startswith(f"livinglab: {ROOT}/README.md: ")) == (1, True), err
    tries.assert_nothing_is_left()


def test_data_that_cannot_be_made_are_named_with_the_line(tries: Tries) -> None:
    sandbox = changed(tries.folder, lambda _spec: None)
    (sandbox / "data" / "make.py").write_text("def make(out, secret):\n    return secret.age\n")
    code, _out, err = end(tries.begin(sandbox=sandbox))
    assert code == 1
    assert "make.py, line 2: make() failed: AttributeError: 'bytes' object has no attribute 'age'" in err
    tries.assert_nothing_is_left()


def test_images_are_built_where_the_folders_lie_in_a_checkout(tries: Tries) -> None:
    code, out, err = end(tries.call("pilots/medicine", "--sandbox", "sandboxes/medicine"))
    assert code in {0, 1, 3}, err  # what an honest model is found to be depends on what is drawn
    assert "Verdict of the gates: " in out
    assert "Image pilot-medicine …" in out
    tries.assert_nothing_is_left()


@pytest.mark.parametrize("kind", [(), ("--interactive",)], ids=["batch", "interactive"])
def test_a_new_pair_passes_as_it_is(tries: Tries, kind: tuple[str, ...]) -> None:
    checkout, name = tries.folder / "checkout", "demo-asked" if kind else "demo-risk"
    for part in ("infra", "livinglab"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for side in ("sandbox", "pilot"):
        made = [sys.executable, "-m", "livinglab.cli", "new", side, name, *kind]
        subprocess.run(made, check=True, capture_output=True, cwd=checkout)
    code, out, err = end(tries.call(checkout / "pilots" / name, "--sandbox", checkout / "sandboxes" / name))
    assert (code, "Verdict of the gates: PASS" in out) == (0, True), out + err
    tries.assert_nothing_is_left()
