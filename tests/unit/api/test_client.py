"""The client that is made from the OpenAPI document: all of it is there, with types that hold, and a real server is spoken to with it."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra import client as maker
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from tests.fixtures.servers import api_command, free_port, running
from tests.unit.api.conftest import ROOT, image_archive
from tests.unit.api.test_rights import World, new_world

pytestmark = pytest.mark.slow

DRIVE = ROOT / "tests" / "unit" / "api" / "participant.py"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The client's package, where Python finds it."""
    folder = tmp_path_factory.mktemp("client") / "made"
    assert maker.make(folder) == [], "there is something in the document that the generator cannot do"
    sys.path.insert(0, str(folder))
    yield folder / "livinglab_client"
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return new_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """A server's, which shows that world."""
    port = free_port()
    command, health, settings = api_command(world.home, port)
    with running(command, health, world.home.parent / "server", settings):
        yield f"http://127.0.0.1:{port}"


def example() -> str:
    """The one that participants are shown."""
    (text,) = re.findall(r"(?ms)^ *```python\n(.*?)^ *```", (ROOT / "docs" / "participants.md").read_text())
    return re.sub("(?m)^   ", "", text)


def test_every_operation_is_there_with_what_it_takes_and_answers(package: Path) -> None:
    made = {path.stem: path.read_text() for path in package.glob("api/*/*.py") if path.stem != "__init__"}
    described = {o["operationId"]: o for item in maker.document()["paths"].values() for o in item.values()}
    assert set(made) == set(described)
    for name, operation in described.items():
        (answers,) = set(re.findall(r"(?ms)def sync_detailed\(.*?\) -> Response\[(.*?)\]:\n", made[name]))
        without = {status for status, answer in operation["responses"].items() if "content" not in answer}
        assert ("Any" in answers) == bool(without), f"{name}: {answers}"
        assert without <= {"204", "304"}, name
        assert "Problem" in answers, name
        assert ("body: " in made[name]) == ("requestBody" in operation), name
        assert not re.search(r"body: .*Any", made[name]), name


def test_its_types_hold_for_itself_what_a_participant_does_and_the_example(package: Path, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(example())
    command: list[str | Path] = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", tmp_path, "--check-untyped-defs"]
    checked = subprocess.run([*command, package, DRIVE, "example.py"], capture_output=True, text=True, check=False, cwd=tmp_path,
                             env={**os.environ, "MYPYPATH": str(package.parent)})  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_what_a_participant_does_is_done_with_it(package: Path, address: str, world: World, tmp_path: Path) -> None:
    client, models, drive = (importlib.import_module(name) for name in ("livinglab_client", "livinglab_client.models", "tests.unit.api.participant"))
    signer = new_key(tmp_path / "own.pem")

    def envelope(by: KeySigner, plan: str, digest: str, role: str, organisation: str) -> bytes:
        return by.sign(statements.plan_signature(plan=plan, version=1, digest=digest, role=role, organisation=organisation), dsse.IN_TOTO)

    def mine(plan: str, digest: str) -> Any:
        return models.Envelope.from_dict(json.loads(envelope(signer, plan, digest, "participant", "startup")))

    def theirs(plan: str, digest: str) -> None:
        authority = KeySigner.load(world.home.parent / "authority.pem")
        headers = {"Authorization": f"Bearer {world.tokens['authority']}"}
        signature = envelope(authority, plan, digest, "authority", "ministry")
        assert httpx.post(f"{address}/v1/plans/{plan}/signatures", headers=headers, content=signature).status_code == 201

    texts = {models.MediaType.APPLICATIONPDF: b"%PDF-1.7\n", models.MediaType.TEXTMARKDOWN: b"# Safe\n"}
    with client.AuthenticatedClient(address, world.tokens["owner"], raise_on_unexpected_status=True) as lab:
        drive.look_around(lab)
        drive.register(lab, signer.public_pem)
        drive.revoke(lab, new_key(tmp_path / "lost.pem").public_pem)
        image = drive.upload(lab, image_archive(text=b"of the client"))
        drive.run(lab, drive.agree(lab, drive.apply(lab, world.manifest, image.digest, texts), mine, theirs))


def test_the_example_does_what_it_says(package: Path, address: str, world: World) -> None:
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "LIVINGLAB_API": address, "LIVINGLAB_TOKEN": world.tokens["owner"]}
    program = [sys.executable, "-c", example().replace("pln-…", world.ids["plan"])]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    assert (ran.returncode, "waits" in ran.stdout) == (0, True), ran.stdout + ran.stderr
