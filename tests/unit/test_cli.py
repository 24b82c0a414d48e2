"""The command line: quick, and clear about what was wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from livinglab.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"prefect", "mlflow", "docker", "sqlalchemy", "fastapi", "numpy", "pandas", "pyarrow", "matplotlib", "scipy"}


def livinglab(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "livinglab.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, cwd=ROOT)


def imported_by(code: str) -> set[str]:
    """Top-level packages that running `code` imports, in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    shown = livinglab("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)
    loaded = imported_by("from livinglab.cli import group\ntry:\n    group.main(['--help'], standalone_mode=False)\nexcept SystemExit:\n    pass")
    assert not HEAVY & loaded
    assert "pydantic" not in loaded
    assert "httpx" not in loaded


def test_verify_imports_nothing_heavy() -> None:
    assert not (HEAVY | {"httpx", "rich"}) & imported_by("import livinglab.evidence.verify, livinglab.evidence.policy, livinglab.domain.sandbox")


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        shown = livinglab(name, "--help")
        assert shown.returncode == 0, shown.stderr
        assert "Usage" in shown.stdout


def test_an_unknown_command_names_the_nearest() -> None:
    answer = livinglab("verdit")
    assert answer.returncode == 2
    assert "unknown command 'verdit'. Known: verdict" in answer.stderr


def test_a_specification_is_checked_with_the_place_of_its_fault(tmp_path: Path) -> None:
    assert livinglab("sandbox", "check", "sandboxes/medicine/sandbox.yaml").returncode == 0
    text = (ROOT / "sandboxes/medicine/sandbox.yaml").read_text()
    broken = tmp_path / "sandbox.yaml"
    for change, expected in (
        (text.replace("metric: ici", "metric: icy"), "criteria[17].metric: unknown metric 'icy'. Known: ici"),
        (text.replace("kind: Sandbox", "kind: Beach"), "kind: Input should be 'Sandbox'"),
        ("a: [", "is not YAML"),
    ):
        broken.write_text(change)
        answer = livinglab("sandbox", "check", broken)
        assert answer.returncode == 1
        assert expected in answer.stderr
        assert "Traceback" not in answer.stderr


def test_a_manifest_is_checked_and_answers_in_json(tmp_path: Path) -> None:
    answer = livinglab("pilot", "check", "pilots/medicine/pilot.yaml", "--json")
    assert json.loads(answer.stdout)["ok"] is True
    broken = tmp_path / "pilot.yaml"
    broken.write_text((ROOT / "pilots/medicine/pilot.yaml").read_text().replace("task: survival", "task: survivel"))
    assert "unknown task family 'survivel'. Known: survival" in livinglab("pilot", "check", broken).stderr


def test_a_key_is_never_overwritten_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    first = livinglab("key", "new", file)
    assert first.returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    private = file.read_text()
    assert private.splitlines()[1] not in first.stdout
    again = livinglab("key", "new", file)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
    assert file.read_text() == private


def test_what_is_not_a_dossier_is_said_to_be_none(tmp_path: Path) -> None:
    livinglab("key", "new", tmp_path / "lab.pem")
    policy, dossier = tmp_path / "trust.json", tmp_path / "dossier.zip"
    assert livinglab("key", "trust", f"lab:lab:{tmp_path / 'lab.pem.pub'}", "--out", policy).returncode == 0
    dossier.write_bytes(b"not a zip")
    answer = livinglab("verify", dossier, "--keys", policy, "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["ok"] is False
    assert "cannot be unpacked" in livinglab("verify", dossier, "--keys", policy).stdout
    assert "is not a trust policy" in livinglab("verify", dossier, "--keys", dossier).stderr


def test_tokens_are_shown_once_listed_without_secrets_and_revoked(tmp_path: Path) -> None:
    home = {"LIVINGLAB_HOME": str(tmp_path / "home")}
    secret = livinglab("token", "issue", "startup", "--role", "medicine-flchain=participant", **home).stdout.strip()
    assert secret.startswith("ll_")
    listed = livinglab("token", "list", "--json", **home).stdout
    assert secret not in listed
    (token,) = json.loads(listed)
    assert "hash" not in token
    assert livinglab("token", "revoke", token["id"], **home).returncode == 0
    assert "revoked" in livinglab("token", "list", **home).stdout
    assert "unknown role 'king'" in livinglab("token", "issue", "x", "--role", "a=king", **home).stderr


@pytest.mark.parametrize("arguments", [("why", "run-x"), ("submit", "pilots/medicine/pilot.yaml", "--image", "nowhere.tar"), ("verdict", "run-x")])
def test_without_an_api_a_client_says_so_and_asks_to_try_again(arguments: tuple[str, ...]) -> None:
    without = livinglab(*arguments)
    assert without.returncode == 1
    assert "a token is needed" in without.stderr
    away = livinglab(*arguments, "--token", "ll_x", "--api", "http://127.0.0.1:9")
    assert (away.returncode, "does not answer" in away.stderr) == (75, True) or "there is no archive" in away.stderr
    assert "Traceback" not in away.stderr
