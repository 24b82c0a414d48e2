"""`livinglab new`: what it writes holds by the project's own rules, and nothing that is there is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "livinglab" / "scaffold" / "templates"
KINDS = [(), ("--interactive",)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As much of a checkout as a new domain needs."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("docs", "infra", "livinglab", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def livinglab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "livinglab.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})


def well(*command: str, cwd: Path) -> str:
    answer = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=cwd)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.parametrize("kind", KINDS, ids=["batch", "interactive"])
def test_a_new_pair_fits_and_keeps_the_house_rules(checkout: Path, kind: tuple[str, ...]) -> None:
    name = "demo-asked" if kind else "demo-risk"
    sandbox, pilot = f"sandboxes/{name}", f"pilots/{name}"
    said = well("livinglab.cli", "new", "sandbox", name, *kind, cwd=checkout)
    assert f"livinglab try {pilot} --sandbox {sandbox}" in said
    well("livinglab.cli", "new", "pilot", name, *kind, cwd=checkout)
    assert f"{name} version 1" in well("livinglab.cli", "sandbox", "check", f"{sandbox}/sandbox.yaml", cwd=checkout)
    assert f"for '{name}'" in well("livinglab.cli", "pilot", "check", f"{pilot}/pilot.yaml", "--sandbox", f"{sandbox}/sandbox.yaml", cwd=checkout)
    well("ruff", "check", sandbox, pilot, cwd=checkout)
    well("ruff", "format", "--check", sandbox, pilot, cwd=checkout)
    for listing in (checkout / sandbox / "harness" / "app.list", checkout / pilot / "app.list"):
        sources = [line.split()[0] for line in listing.read_text().splitlines() if not line.startswith("#")]
        assert all((checkout / source).exists() for source in sources), sources
    assert subprocess.run([sys.executable, "infra/reference.py", "--check"], capture_output=True, check=False, cwd=checkout).stdout == b""
    assert not [file for file in (checkout / sandbox).rglob("*") if file.is_file() and "{{" in file.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo-risk", "demo-asked"])
def test_a_new_sandboxs_own_tests_pass(checkout: Path, name: str) -> None:
    if not (checkout / "sandboxes" / name).exists():
        for side in ("sandbox", "pilot"):
            well("livinglab.cli", "new", side, name, *(KINDS[1] if name == "demo-asked" else KINDS[0]), cwd=checkout)
    assert " passed" in well("pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={checkout}/tmp", f"sandboxes/{name}/tests", cwd=checkout)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    first = livinglab("new", "pilot", "mine", "--into", "here", cwd=tmp_path)
    assert (first.returncode, "lies in no checkout of livinglab" in first.stdout) == (0, True), first.stderr
    before = {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    again = livinglab("new", "pilot", "mine", "--into", "here", cwd=tmp_path)
    assert (again.returncode, "here is there already; nothing is overwritten. Name another folder" in again.stderr) == (1, True)
    assert {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("mine")
    assert livinglab("new", "pilot", "mine", "--into", "file", cwd=tmp_path).returncode in {1, 2}
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("name", "says"), [
    ("Mine", "'Mine' cannot name a domain: expected 1 to 63 of a-z"), ("../x", "cannot name a domain"), ("a b", "cannot name a domain"),
    ("x" * 41, "has 41 characters, and may have 40"),
])  # fmt: skip
def test_a_name_that_can_be_no_id_is_refused_and_writes_nothing(tmp_path: Path, name: str, says: str) -> None:
    for side in ("sandbox", "pilot"):
        answer = livinglab("new", side, name, cwd=tmp_path)
        assert (answer.returncode, says in answer.stderr) == (1, True), answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["no", "123", "1e3", "a" * 40])
def test_a_name_that_yaml_would_read_otherwise_stays_a_name(tmp_path: Path, name: str) -> None:
    for side in ("sandbox", "pilot"):
        assert livinglab("new", side, name, "--into", side, cwd=tmp_path).returncode == 0
    checked = livinglab("pilot", "check", "pilot/pilot.yaml", "--sandbox", "sandbox/sandbox.yaml", cwd=tmp_path)
    assert (checked.returncode, f"for '{name}'" in checked.stdout) == (0, True), checked.stderr


def test_the_scaffolds_lock_is_that_of_the_harnesses_that_measure_the_same() -> None:
    """`make lock` writes it anew with the others."""
    for file in ("requirements.txt", "requirements.lock"):
        theirs = (ROOT / "sandboxes" / "fintech" / "harness" / file).read_text()
        ours = (TEMPLATES / "common" / "sandbox" / "harness" / f"{file}.tmpl").read_text()
        assert ours.replace("{{place}}", "sandboxes/fintech") == theirs
