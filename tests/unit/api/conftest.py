"""The API over a lab without any engine: images are small archives made here."""

import io
import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab, open_lab
from livinglab.cli.client import Client
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.settings import Settings
from sandbox_api.app import create_app

ROOT = Path(__file__).resolve().parents[3]


def image_archive(user: str = "65532:65532", text: bytes = b"hello", **config: Any) -> bytes:
    """An image as `docker save` writes one, with a single file in its only layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member = tarfile.TarInfo("app/hello")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    diff_id = "sha256:" + sha256(layer.getvalue()).hexdigest()
    description = {"architecture": "amd64", "os": "linux", "config": {"User": user, **config}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    config_bytes = json.dumps(description).encode()
    name = f"{sha256(config_bytes).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]).encode()
    files = {name: config_bytes, "layer.tar": layer.getvalue(), "manifest.json": manifest}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


class Door:
    """An organisation at the API's door."""

    def __init__(self, client: TestClient, token: str, signer: KeySigner, organisation: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}
        self.signer = signer
        self.organisation = organisation

    def call(self, method: str, path: str, expected: int = 200, **arguments: Any) -> Any:
        headers = {**self.headers, **arguments.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **arguments)
        assert answer.status_code == expected, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert {"type", "title", "status", "detail"} <= set(answer.json())
        return answer.json() if "json" in answer.headers["content-type"] else answer

    def sign(self, of: dict[str, Any], role: str, expected: int = 201, signer: KeySigner | None = None, **changes: Any) -> Any:
        body = of["body"]
        claims = {"plan": body["id"], "version": 1, "digest": of["digest"], "role": role, "organisation": self.organisation, **changes}
        envelope = (signer or self.signer).sign(statements.plan_signature(**claims), dsse.IN_TOTO)
        return self.call("POST", f"/v1/plans/{body['id']}/signatures", expected, content=envelope)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return open_lab(Settings(home=tmp_path / "home", body_limit=64 << 10, upload_limit=1 << 20, rate=0, streams=1))


@pytest.fixture
def client(lab: Lab) -> Iterator[TestClient]:
    with TestClient(create_app(lab), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def door(lab: Lab, client: TestClient, tmp_path: Path) -> Any:
    def make(organisation: str, **roles: str) -> Door:
        _token, secret = lab.access.issue_token(organisation, {sandbox: Role(role) for sandbox, role in roles.items()})
        made = Door(client, secret, new_key(tmp_path / f"{organisation}.pem"), organisation)
        made.call("PUT", "/v1/keys", content=made.signer.public_pem)
        return made

    return make


SAFETY_CASE = {"name": "safety-case", "title": "Safety case", "media_types": ["text/markdown", "application/pdf"], "max_bytes": 100_000,
               "must_hold": "Which hazards were found, and what is done about each of them."}  # fmt: skip
HAZARDS = {"name": "hazard-log", "title": "Hazard log", "media_types": ["application/json", "text/plain"],
           "must_hold": "Every hazard with its severity."}  # fmt: skip


@pytest.fixture
def spec() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "sandboxes" / "tiny" / "sandbox.yaml").read_text())
    return found


@pytest.fixture
def authority(door: Any, spec: dict[str, Any]) -> Door:
    """The tiny sandbox's authority, with the sandbox registered."""
    made: Door = door("ministry", tiny="authority")
    harness = made.call("POST", "/v1/images", 201, content=image_archive(text=b"harness"))["digest"]
    digest = "sha256:" + "1" * 64
    data = {"participant_data": {"digest": digest}, "hidden_data": {"digest": digest}}
    release = {"spec": spec, "harness_image": harness, "commitment": digest, **data}
    made.call("POST", "/v1/sandboxes", 201, json=release)
    return made


@pytest.fixture
def startup(door: Any) -> Door:
    made: Door = door("startup", tiny="participant")
    return made


@pytest.fixture
def manifest() -> dict[str, Any]:
    limits = {"memory": 64 << 20, "cpus": 1, "pids": 16, "wall_seconds": 10, "output_bytes": 1 << 20, "output_files": 4, "log_bytes": 4096}
    about = {"name": "tiny", "version": "1", "title": "A pilot", "summary": "A pilot for tests.", "sandbox": "tiny", "task": "survival"}
    return {**about, "entrypoint": ["/x"], "resources": limits}


@pytest.fixture
def pilot(authority: Door, startup: Door, manifest: dict[str, Any]) -> dict[str, Any]:
    image = startup.call("POST", "/v1/images", 201, content=image_archive())["digest"]
    made: dict[str, Any] = startup.call("POST", "/v1/pilots", 201, json={"manifest": manifest, "image": image})
    return made


@pytest.fixture
def plan(startup: Door, pilot: dict[str, Any]) -> dict[str, Any]:
    proposal = {"pilot": pilot["id"], "objectives": ["to be tested"], "valid_from": "2020-01-01", "valid_until": "2099-12-31"}
    made: dict[str, Any] = startup.call("POST", "/v1/plans", 201, json=proposal)
    return made


@pytest.fixture
def livinglab(startup: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commands as the participant gives them, whose client goes straight to the application."""
    startup.client.headers.update(startup.headers)
    monkeypatch.setattr("livinglab.cli.client.connect", lambda _api, _token: Client(startup.client))

    def run(command: Any, *arguments: object) -> Result:
        return CliRunner().invoke(command, [str(a) for a in arguments])

    return run
