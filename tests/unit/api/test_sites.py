"""Sites at the API's door, and at the operators' command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab
from livinglab.cli.client import Client
from tests.unit.api.test_api import agree, request_run
from tests.unit.test_cli import livinglab

SECRETIVE = {"kind": "slurm", "settings": {"scratch": "/scratch/of-the-lab", "account": "p200000"}, "offer": {"gpus": 4}}


def test_anybody_with_a_token_sees_the_sites_and_nobody_how_they_are_reached(lab: Lab, client: TestClient, door: Any) -> None:
    lab.sites.add("meluxina", SECRETIVE, "ops")
    lab.sites.drain("meluxina", "ops", "new disks")
    now = lab.clock.now()
    lab.sites.add_window("meluxina", now, now.replace(year=now.year + 1), "new disks", "ops")
    docker, meluxina = door("nobody").call("GET", "/v1/sites")
    assert (docker["name"], docker["state"], docker["offer"]["gpus"]) == ("docker", "open", 0)
    assert set(meluxina) == {"name", "kind", "state", "reason", "offer", "windows"}
    assert (meluxina["state"], meluxina["reason"], meluxina["offer"]["gpus"]) == ("draining", "new disks", 4)
    assert meluxina["windows"][0]["reason"] == "new disks"
    assert "of-the-lab" not in json.dumps(meluxina)
    assert "p200000" not in json.dumps(meluxina)
    assert client.get("/v1/sites").status_code == 401


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"LIVINGLAB_HOME": str(tmp_path / "home")}


def test_operators_register_drain_and_remove_by_command(tmp_path: Path, home: dict[str, str]) -> None:
    file = tmp_path / "meluxina.yaml"
    file.write_text(yaml.safe_dump(SECRETIVE))
    assert "meluxina is registered, of kind slurm" in livinglab("site", "add", "meluxina", file, **home).stdout
    assert livinglab("site", "drain", "meluxina", "--reason", "new disks", "--by", "ops", **home).stdout == "meluxina is draining.\n"
    shown = livinglab("site", "list", **home).stdout.splitlines()
    assert shown[0].split() == ["docker", "docker", "open"]
    assert shown[1].startswith("meluxina  slurm  draining since ")
    assert shown[1].endswith(" UTC, by ops: new disks")
    assert [s["name"] for s in json.loads(livinglab("site", "list", "--json", **home).stdout)] == ["docker", "meluxina"]
    made = livinglab(
        "site", "window", "add", "meluxina", "--begin", "2099-01-01T10:00", "--end", "2099-01-01T13:00+01:00", "--reason", "disks", **home
    )
    assert "2099-01-01T10:00:00+00:00 … 2099-01-01T13:00:00+01:00  disks" in made.stdout
    status = json.loads(livinglab("site", "status", "meluxina", "--json", **home).stdout)
    assert (status["queued"], status["held"], status["running"], status["site"]["state"]) == (0, 0, 0, "draining")
    assert "0 runs are queued (0 of them held), 0 are running." in livinglab("site", "status", "meluxina", **home).stdout
    window = status["site"]["windows"][0]["id"]
    assert livinglab("site", "window", "remove", "meluxina", window, **home).stdout == f"{window} is off.\n"
    assert livinglab("site", "resume", "meluxina", **home).stdout == "meluxina is open.\n"
    assert livinglab("site", "remove", "meluxina", **home).stdout == "meluxina is removed.\n"


def test_a_command_that_cannot_be_obeyed_says_why(tmp_path: Path, home: dict[str, str]) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("kind: slurm\nsettings: {scratch: here}\n")
    answer = livinglab("site", "add", "meluxina", file, **home)
    assert (answer.returncode, "settings.scratch: an absolute path" in answer.stderr) == (1, True)
    answer = livinglab("worker", "--site", "doker", **home)
    assert (answer.returncode, "unknown site 'doker'. Known: docker." in answer.stderr) == (1, True)
    answer = livinglab("site", "window", "add", "docker", "--begin", "tomorrow", "--end", "later", "--reason", "disks", **home)
    assert (answer.returncode, "'tomorrow' is not a time like" in answer.stderr) == (2, True)


def test_an_operator_sees_what_waits_in_the_order_of_its_turn(
    lab: Lab, plan: dict[str, Any], startup: Any, authority: Any, home: dict[str, str]
) -> None:
    assert livinglab("site", "queue", "docker", **home).stdout == "Nothing waits at docker.\n"
    agree(plan, startup, authority)
    first, second = (request_run(startup, plan, key=f"key-0000000{number}")["id"] for number in (1, 2))
    authority.call("POST", f"/v1/runs/{second}/priority", json={"priority": 5})
    startup.call("POST", f"/v1/runs/{first}/hold", json={"reason": "the data card is wrong"})
    shown = [line.split() for line in livinglab("site", "queue", "docker", **home).stdout.splitlines()]
    assert [(words[0], words[1], words[2], words[3]) for words in shown] == [("1", second, "startup", "tiny"), ("2", first, "startup", "tiny")]
    assert shown[0][-2:] == ["priority", "5"]
    assert " ".join(shown[1]).endswith("priority 0 held by startup: the data card is wrong")
    told = json.loads(livinglab("site", "queue", "docker", "--limit", "1", "--json", **home).stdout)
    assert [run["id"] for run in told] == [second]
    unknown = livinglab("site", "queue", "doker", **home)
    assert (unknown.returncode, "unknown site 'doker'. Known: docker." in unknown.stderr) == (1, True)


def test_a_run_is_held_let_go_and_given_a_priority(plan: dict[str, Any], startup: Any, authority: Any) -> None:
    agree(plan, startup, authority)
    address = f"/v1/runs/{request_run(startup, plan)['id']}"
    assert startup.call("POST", f"{address}/hold", json={"reason": "the data card is wrong"})["held_by"] == "startup"
    assert "is held by startup: the data card is wrong." in startup.call("GET", f"{address}/why")["sentence"]
    assert startup.call("POST", f"{address}/release")["held_by"] is None
    assert "does not raise the priority" in startup.call("POST", f"{address}/priority", 403, json={"priority": 1})["detail"]
    assert authority.call("POST", f"{address}/priority", json={"priority": 100})["priority"] == 100
    assert startup.call("POST", f"{address}/priority", json={"priority": -100})["priority"] == -100
    authority.call("POST", f"{address}/priority", 422, json={"priority": 101})
    authority.call("POST", f"{address}/hold", json={"reason": "an incident"})
    assert "who alone lets it go" in startup.call("POST", f"{address}/release", 403)["detail"]


def test_run_is_a_plan_or_a_command() -> None:
    shown = livinglab("run", "--help").stdout
    assert all(command in shown for command in ("hold", "release", "priority"))
    for arguments in (("pln-x",), ("--detach", "pln-x"), ("hold", "run-x", "--reason", "wait"), ("release", "run-x"), ("priority", "run-x", "-5")):
        answer = livinglab("run", *arguments, "--token", "ll_x", "--api", "http://127.0.0.1:9")
        assert (answer.returncode, "does not answer" in answer.stderr) == (75, True), answer.stderr
    assert "-100<=x<=100" in livinglab("run", "priority", "run-x", "101", "--token", "x").stderr


def test_show_says_how_a_run_stands_and_who_holds_it(plan: dict[str, Any], startup: Any, authority: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from livinglab.cli import group

    agree(plan, startup, authority)
    run = request_run(startup, plan)["id"]
    authority.call("POST", f"/v1/runs/{run}/hold", json={"reason": "an incident\x1b[2J"})

    def shown(caller: Any, *options: str) -> str:
        caller.client.headers.update(caller.headers)
        monkeypatch.setattr("livinglab.cli.client.connect", lambda *_: Client(caller.client))
        return CliRunner().invoke(group, ["show", run, *options], catch_exceptions=False).output

    first = f"{run} is queued, held by ministry: an incident\\x1b[2J (measured run 1 of {plan['body']['id']}, at docker, priority 0)."
    assert shown(startup).splitlines() == [
        first, f"{run}.1 is queued", "Shown to this role: logs, outputs, exit code, verdict.", "Not shown: usage, measurements, plots."]  # fmt: skip

    assert "Shown to this role: logs, outputs, exit code, usage, verdict, measurements, plots." in shown(authority)
    assert json.loads(shown(authority, "--json"))["usage"] == []
    assert authority.call("GET", f"/v1/runs/{run}/usage") == []
    startup.call("GET", f"/v1/runs/{run}/usage", 403)
