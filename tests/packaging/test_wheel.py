"""The wheel, in an empty environment and from another folder: a flat layout hides what was forgotten."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".venv" / "bin" / "uv"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it depends on, at the lock's versions, without any extra."""
    folder = tmp_path_factory.mktemp("wheel")

    def uv(*arguments: str | Path) -> None:
        subprocess.run([UV, *arguments], check=True, capture_output=True, cwd=folder)

    uv("build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    uv("venv", "--python", ROOT / ".venv" / "bin" / "python", folder / "env")
    pins = folder / "pins.txt"
    lock = (ROOT / "locks" / "lab.txt").read_text().splitlines()
    pins.write_text("\n".join(line.split(" \\")[0] for line in lock if "==" in line and not line.startswith((" ", "#"))))
    uv("pip", "install", "--python", folder / "env", "--constraint", pins, wheel)
    return folder / "env" / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-m", "livinglab.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_the_command_line_works_without_any_extra(python: Path, tmp_path: Path) -> None:
    assert "worker" in run(python, "--help", cwd=tmp_path).stdout
    made = run(python, "key", "new", "k.pem", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert run(python, "key", "trust", "lab:lab:k.pem.pub", "--out", "trust.json", cwd=tmp_path).returncode == 0
    (tmp_path / "d.zip").write_bytes(b"no dossier")
    answer = run(python, "verify", "d.zip", "--keys", "trust.json", cwd=tmp_path)
    assert (answer.returncode, "cannot be unpacked" in answer.stdout) == (1, True), answer.stderr


def test_a_specification_is_checked_without_any_extra(python: Path, tmp_path: Path) -> None:
    answer = run(python, "sandbox", "check", str(ROOT / "sandboxes" / "medicine" / "sandbox.yaml"), cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr


def test_migrations_are_in_the_wheel(python: Path) -> None:
    script = "import livinglab, pathlib; print(*(pathlib.Path(livinglab.__file__).parent / 'store' / 'migrations' / 'versions').glob('*.py'))"
    assert "0001" in subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout


def test_nothing_under_the_gpl_is_what_the_wheel_depends_on(python: Path) -> None:
    script = "from importlib.metadata import distributions; print(*sorted(d.name for d in distributions()))"
    installed = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "scikit-survival" not in installed
    assert "sqlalchemy" not in [name.lower() for name in installed]


def test_a_new_pair_is_written_from_the_wheel(python: Path, tmp_path: Path) -> None:
    for name, kind in (("batch", ()), ("asked", ("--interactive",))):
        for side in ("sandbox", "pilot"):
            made = run(python, "new", side, name, *kind, cwd=tmp_path)
            assert made.returncode == 0, made.stderr
        checked = run(python, "pilot", "check", f"pilots/{name}/pilot.yaml", "--sandbox", f"sandboxes/{name}/sandbox.yaml", cwd=tmp_path)
        assert checked.returncode == 0, checked.stderr
        templates = ROOT / "livinglab" / "scaffold" / "templates"
        wanted = {path.relative_to(templates / part / "sandbox").with_suffix("")
                  for part in ("common", "interactive" if kind else "batch") for path in (templates / part / "sandbox").rglob("*.tmpl")}  # fmt: skip
        assert {path.relative_to(tmp_path / "sandboxes" / name) for path in (tmp_path / "sandboxes" / name).rglob("*") if path.is_file()} == wanted


def test_a_rehearsal_without_the_extras_says_which_are_needed(python: Path, tmp_path: Path) -> None:
    answer = run(python, "try", str(ROOT / "pilots" / "medicine"), "--sandbox", str(ROOT / "sandboxes" / "medicine"), cwd=tmp_path)
    assert (answer.returncode, "pip install 'livinglab[server,worker,measuring]'" in answer.stderr) == (1, True), answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_player_of_a_replay_is_in_the_wheel(python: Path, tmp_path: Path) -> None:
    script = "from livinglab.cli.replays import page; from livinglab.domain.replay import Replay; import sys; print(page(Replay.model_validate_json(sys.argv[1]), 'R'))"  # noqa: E501 - one line, as `python -c` takes it
    size = '{"length": 4.6, "width": 1.8}'
    replay = f'{{"ttc_threshold": 1.5, "lane_width": 3.5, "sizes": {{}}, "ego": {size}, "episodes": []}}'
    shown = subprocess.run([python, "-c", script, replay], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "</html>" in shown
