"""The command line: quick, and clear about what was wrong."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    whole = livinglab("sandbox", "check", "sandboxes/medicine/sandbox.yaml")
    assert (whole.returncode, "In 200 simulations: 14% PASS, 86% INCONCLUSIVE, 0% FAIL." in whole.stdout) == (0, True)
    assert "Nothing is said of the chance" in livinglab("sandbox", "check", "tests/sandboxes/tiny/sandbox.yaml").stdout
    text = (ROOT / "sandboxes/medicine/sandbox.yaml").read_text()
    broken = tmp_path / "sandbox.yaml"
    for change, expected in (
        (text.replace("metric: ici", "metric: icy"), "criteria[19].metric: unknown metric 'icy'. Known: ici"),
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
    assert "task 'survivel', which is none of the lab's (binary-risk, closed-loop-driving" in livinglab("pilot", "check", broken).stdout
    held = livinglab("pilot", "check", broken, "--sandbox", "sandboxes/medicine/sandbox.yaml")
    assert "the sandbox measures 'survival', not 'survivel'." in held.stderr
    assert held.returncode != 0


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


@pytest.mark.parametrize(("arguments", "says"), [
    (("issue", "Bad Org", "--role", "a=auditor"), "organisation: expected 1 to 63 of a-z"),
    (("issue", "org", "--role", "participant"), "expected SANDBOX=ROLE"), (("issue", "org", "--role", "=participant"), "expected SANDBOX=ROLE"),
])  # fmt: skip
def test_a_token_for_nobody_or_nowhere_is_not_issued(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    answer = livinglab("token", *arguments, LIVINGLAB_HOME=str(tmp_path / "home"))
    assert answer.returncode in {1, 2}
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_setting_that_cannot_be_used_is_named() -> None:
    answer = livinglab("serve", LIVINGLAB_API_PORT="abc")
    assert answer.returncode == 1
    assert answer.stderr.startswith("livinglab: LIVINGLAB_API_PORT: Input should be a valid integer")
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [
    ("why", "run-x"), ("watch", "run-x"), ("watch", "run-x", "--json"), ("verdict", "run-x"), ("logs", "run-x"), ("cancel", "run-x"),
    ("run", "pln-x"), ("dossier", "pln-x"), ("plan", "show", "pln-x"), ("plan", "propose", "plt-x", "--objective", "x"),
    ("pilot", "show", "plt-x"), ("pilot", "attach", "plt-x", "safety-case", "README.md"), ("key", "list"), ("key", "revoke", "62b72b4e"),
    ("submit", "pilots/medicine/pilot.yaml", "--image", "sha256:" + "0" * 64),
])  # fmt: skip
def test_without_an_api_a_client_says_so_and_asks_to_try_again(arguments: tuple[str, ...]) -> None:
    without = livinglab(*arguments)
    assert without.returncode == 1
    assert "a token is needed" in without.stderr
    away = livinglab(*arguments, "--token", "ll_x", "--api", "http://127.0.0.1:9")
    assert away.returncode == 75
    assert "does not answer" in away.stderr
    assert "Traceback" not in away.stderr


HERE = {"LIVINGLAB_TOKEN": "ll_x", "LIVINGLAB_API": "http://127.0.0.1:9"}


@pytest.mark.parametrize(("arguments", "environment", "says"), [
    (("why", "run-x"), {"LIVINGLAB_TOKEN": "ll_…"}, "not the one that was issued"),
    (("why", "run-x"), {"LIVINGLAB_TOKEN": "ll_x\n"}, "not the one that was issued"),
    (("why", "run-x"), {"LIVINGLAB_API": "localhost:8420"}, "'localhost:8420' is not the address of an API. It looks like http://127.0.0.1:8420"),
    (("why", ""), {}, "'' is not an id"),
    (("why", ".."), {}, "'..' is not an id"),
    (("run", "pln-x", "--idempotency-key", "schlüssel"), {}, "it goes into a header"),
    (("submit", "README.md", "--image", "x"), {}, "README.md is not YAML"),
    (("submit", "pilots/medicine/pilot.yaml", "--image", "nowhere.tar"), {}, "there is no archive nowhere.tar"),
    (("pilot", "check", "NOTHING"), {}, "holds no fields, but nothing"),
    (("pilot", "check", "LIST"), {}, "holds no fields, but a list"),
    (("submit", "DATE", "--image", "sha256:0"), {}, "Put dates into quotes"),
    (("submit", "NAN", "--image", "sha256:0"), {}, "numbers are finite"),
    (("sandbox", "register", "sandboxes/medicine/sandbox.yaml", "--bindings", "README.md", "--harness", "sha256:0"), {}, "README.md is not JSON"),
    (("sandbox", "prepare", "sandboxes/medicine", "--out", "b.json", "--secret", "zz", "--vault", "VAULT"), {}, "the secret is not hexadecimal"),
    (("try", "pilots/medicine", "--sandbox", "sandboxes/fintech"), {}, "is for sandbox 'medicine-flchain', and this one is 'fintech-credit'"),
    (("try", "pilots", "--sandbox", "sandboxes/fintech"), {}, "there is no pilots/pilot.yaml. PILOT is a folder with a pilot.yaml"),
    (("try", "pilots/medicine", "--sandbox", "sandboxes/medicine", "--keep", "docs"), {}, "docs is not empty; nothing there is overwritten"),
    (("try", "pilots/medicine", "--sandbox", "no/such/folder"), {}, "Directory 'no/such/folder' does not exist"),
    (("new", "sandbox", "medicine"), {}, "sandboxes/medicine is there already; nothing is overwritten"),
    (("new", "pilot", "No_Name"), {}, "'No_Name' cannot name a domain"),
    (("key", "new", "NOTHING/key.pem"), {}, "NOTHING: File exists"),
    (("key", "revoke", "62b72b4"), {}, "'62b72b4' is too short: 8 characters of a key's id are needed"),
    (("serve", "--port", "99999"), {}, "99999 is not in the range"),
])  # fmt: skip
def test_what_is_misused_is_said_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], says: str) -> None:
    for name, text in {"NOTHING": "", "LIST": "- a", "DATE": "a: 2026-01-01", "NAN": "a: .nan"}.items():
        (tmp_path / name).write_text(text)
    placed = [str(tmp_path / a) if a.partition("/")[0] in {"NOTHING", "LIST", "DATE", "NAN", "VAULT"} else a for a in arguments]
    answer = livinglab(*placed, **{**HERE, **environment})
    assert answer.returncode in {1, 2}
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture
def client() -> Iterator[Any]:
    """A client of an API that is made of a list of streams: what each is, or how it breaks."""
    import httpx

    from livinglab.cli.client import Client

    def make(*streams: bytes | int | Exception) -> Any:
        left = list(streams)
        asked: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.headers["Last-Event-ID"])
            stream = left.pop(0)
            if isinstance(stream, Exception):
                raise stream
            if isinstance(stream, int):
                return httpx.Response(stream, json={"detail": "the bearer token is unknown, revoked or expired."})
            return httpx.Response(200, content=stream)

        opened.append(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://lab"))
        return Client(opened[-1]), asked

    opened: list[httpx.Client] = []
    yield make
    for one in opened:
        one.close()


def test_events_are_taken_up_where_the_connection_broke(client: Any) -> None:
    import httpx

    def broken() -> Iterator[bytes]:
        yield b'id: 3\nevent: run-queued\ndata: {"data": {}}\n\nid: 4\neve'
        raise httpx.ReadError("gone")

    following, asked = client(broken(), httpx.ConnectError("not yet"), b'id: 5\nevent: run-ended\ndata: {"data": {}}\n\n')
    assert [(id_, kind) for id_, kind, _ in following.events("run-x")] == [(3, "run-queued"), (5, "run-ended")]
    assert asked == ["0", "3", "3"]


def test_the_wait_for_an_api_that_went_away_begins_when_it_went(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    from livinglab.domain.errors import Unreachable

    def broken() -> Iterator[bytes]:
        yield b'id: 3\nevent: run-queued\ndata: {"data": {}}\n\n'
        raise httpx.ReadError("gone after a long silence")

    monkeypatch.setattr("livinglab.cli.client.PATIENCE", 0.5)
    following, asked = client(broken(), httpx.ConnectError("away"))
    with pytest.raises(Unreachable, match="does not answer"):
        list(following.events("run-x"))
    assert asked == ["0", "3"], "it was looked for again"


ENDED = b'event: access-ended\ndata: {"title": "unauthenticated", "detail": "it is expired"}\n\n'


def test_a_stream_whose_token_is_over_is_asked_for_with_the_next_one(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    first = b'id: 3\nevent: run-queued\ndata: {"data": {}}\n\n' + ENDED
    following, asked = client(first, b'id: 5\nevent: run-ended\ndata: {"data": {}}\n\n')
    assert [id_ for id_, _, _ in following.events("run-x")] == [3, 5]
    assert asked == ["0", "3"]


def test_a_stream_whose_token_was_revoked_ends_with_what_is_said_then(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from livinglab.domain.errors import Unauthenticated

    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    following, asked = client(ENDED, 401)
    with pytest.raises(Unauthenticated, match="unknown, revoked or expired"):
        list(following.events("run-x"))
    assert asked == ["0", "0"]


def test_a_verdict_is_readable_at_any_width() -> None:
    from rich.console import Console

    from livinglab.cli.show import verdict_table
    from sandbox_api import examples

    criterion = {**examples.SPEC["criteria"][0], "slice": "all", "baseline": None, "id": "discrimination-of-women-and-men"}
    result = {**examples.VERDICT["verdict"]["results"][0], "criterion": criterion["id"], "severity": "advisory"}
    for measured in (True, False):
        verdict = {"results": [{**result, "measurement": result["measurement"] if measured else None}]}
        for width in (80, 100, 140):
            console = Console(width=width, file=io.StringIO(), force_terminal=False)
            console.print(verdict_table(verdict, [criterion], "A sandbox", width))
            text = console.file.getvalue()  # type: ignore[attr-defined]
            wanted = ["INCONCLUSIVE", "(advisory)", "≥ 0.750", "all", *(["0.775", "[0.745, 0.805]", "1418", "305"] if measured else [])]
            assert all(word in text for word in wanted), text
            assert "…" not in text
            assert ("interval" in text) == (measured and width == 140), "columns without contents are left out"


@pytest.mark.parametrize(("words", "completed"), [("livinglab ver", {"verdict", "verify"}), ("livinglab site che", {"check"}),
                                                  ("livinglab site check --pat", {"--patience"})])  # fmt: skip
def test_a_shell_completes_commands_and_options(words: str, completed: set[str]) -> None:
    """As bash does it: the printed script asks the command itself."""
    script = livinglab("completion", "bash").stdout
    assert "complete -o nosort -F" in script
    count = len(words.split()) - 1
    answer = livinglab(_LIVINGLAB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    assert {line.partition(",")[2] for line in answer.stdout.splitlines()} == completed, answer.stderr
