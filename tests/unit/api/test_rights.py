"""Every address, asked by every kind of caller: what comes is what the table of rights says."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from livinglab.bootstrap import open_lab
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.settings import Settings
from sandbox_api.app import create_app
from sandbox_api.rights import CALLERS, MEANING, RIGHTS
from sandbox_api.routes import content, discovery, documents, plans, runs, sites, uploads
from tests.unit.api.conftest import ROOT, SAFETY_CASE, Door, image_archive
from tests.unit.api.test_tenancy import NOBODYS

ROLES: dict[str, tuple[str, dict[str, str]]] = {
    "owner": ("startup", {"tiny": "participant"}), "rival": ("rival", {"tiny": "participant"}), "authority": ("ministry", {"tiny": "authority"}),
    "reviewer": ("experts", {"tiny": "reviewer"}), "operator": ("lab-ops", {"*": "operator"}), "auditor": ("audit", {"*": "auditor"}),
    "elsewhere": ("city", {"other": "authority"}), "stranger": ("unknown", {}),
}  # fmt: skip
PERIOD = {"valid_from": "2020-01-01", "valid_until": "2099-12-31"}
DIGEST = "sha256:" + "1" * 64


@dataclass(frozen=True)
class World:
    """A lab as it is found by every call anew: a pilot with its document, a plan that is agreed upon, another that is not, a run that waits."""

    home: Path
    tokens: dict[str, str]
    ids: dict[str, str]
    signer: KeySigner
    spare: KeySigner
    plan: dict[str, Any]
    manifest: dict[str, Any]
    image: str
    release: dict[str, Any]


@contextmanager
def serving(home: Path, rate: float = 50) -> Iterator[TestClient]:
    own = Settings(home=home, oidc_issuer="https://id.example", oidc_audience="lab", rate=rate)
    with TestClient(create_app(open_lab(own)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return new_world(tmp_path_factory.mktemp("world"))


def new_world(folder: Path) -> World:
    """One in that folder."""
    home = folder / "home"
    lab = open_lab(Settings(home=home))
    tokens = {name: lab.access.issue_token(organisation, {s: Role(r) for s, r in roles.items()})[1] for name, (organisation, roles) in ROLES.items()}
    spec = yaml.safe_load((ROOT / "tests" / "sandboxes" / "tiny" / "sandbox.yaml").read_text()) | {"required_evidence": [SAFETY_CASE]}
    limits = {"memory": 64 << 20, "cpus": 1, "pids": 16, "wall_seconds": 10, "output_bytes": 1 << 20, "output_files": 4, "log_bytes": 4096}
    manifest = {"name": "tiny", "version": "1", "title": "A pilot", "summary": "A pilot for tests.", "sandbox": "tiny", "task": "survival",
                "entrypoint": ["/x"], "resources": limits}  # fmt: skip
    with serving(home) as client:
        owner, authority = (Door(client, tokens[name], new_key(folder / f"{name}.pem"), ROLES[name][0]) for name in ("owner", "authority"))
        spare = new_key(folder / "spare.pem")  # of the owner, to be revoked
        for door, signer in ((owner, owner.signer), (authority, authority.signer), (owner, spare)):
            door.call("PUT", "/v1/keys", content=signer.public_pem)
        harness = authority.call("POST", "/v1/images", 201, content=image_archive(text=b"harness"))["digest"]
        data = {"digest": DIGEST}
        release = {"spec": spec, "harness_image": harness, "commitment": DIGEST, "participant_data": data, "hidden_data": data}
        authority.call("POST", "/v1/sandboxes", 201, json=release)
        image = owner.call("POST", "/v1/images", 201, content=image_archive())["digest"]
        pilot = owner.call("POST", "/v1/pilots", 201, json={"manifest": manifest, "image": image})["id"]
        owner.call("PUT", f"/v1/pilots/{pilot}/documents/safety-case", content=b"# Safe", headers={"Content-Type": "text/markdown"})
        plan = owner.call("POST", "/v1/plans", 201, json={"pilot": pilot, "objectives": ["to be tested"], **PERIOD})
        owner.sign(plan, "participant")
        authority.sign(plan, "authority")
        run, ended = (owner.call("POST", "/v1/runs", 201, json={"plan": plan["body"]["id"]}, headers={"Idempotency-Key": f"key-0000000{n}"})["id"]
                      for n in range(2))  # fmt: skip
        owner.call("POST", f"/v1/runs/{ended}/cancel", 202, json={"reason": "enough"})
        upload = owner.call("POST", "/v1/uploads", 201, json={"size": 10, "digest": DIGEST})["id"]
    ids = {"sandbox": "tiny", "pilot": pilot, "plan": plan["body"]["id"], "run": run, "name": "safety-case", "ended": ended, "upload": upload,
           "key_id": spare.key_id}  # fmt: skip
    return World(home, tokens, ids, owner.signer, spare, plan, manifest, image, release)


ROUTERS = [("/v1", content), ("", discovery), ("/v1", documents), ("/v1", plans), ("/v1", runs), ("/v1", sites), ("/v1", uploads)]
ROUTES = [(method, prefix + route.path_format) for prefix, module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)
          for method in sorted(route.methods or ())]  # fmt: skip
KINDS = {"plt": "pilot", "pln": "plan", "run": "run", "upl": "upload"}
"""What an id's prefix says that it names."""


def sent(world: World, method: str, path: str) -> dict[str, Any]:
    """What goes along: what somebody who may do it would send."""
    plan = world.ids["plan"]
    claims = {"plan": plan, "version": 1, "digest": world.plan["digest"], "role": "participant", "organisation": "startup"}
    bodies: dict[str, dict[str, Any]] = {
        "POST /v1/sandboxes": {"json": world.release},
        "POST /v1/images": {"content": image_archive(text=b"another")},
        "PUT /v1/keys": {"content": world.spare.public_pem},
        "POST /v1/pilots": {"json": {"manifest": world.manifest, "image": world.image}},
        "PUT /v1/pilots/{pilot}/documents/{name}": {"content": b"# Safer", "headers": {"Content-Type": "text/markdown"}},
        "POST /v1/plans": {"json": {"pilot": world.ids["pilot"], "objectives": ["to be tested"], **PERIOD}},
        "POST /v1/plans/{plan}/signatures": {"content": world.signer.sign(statements.plan_signature(**claims), dsse.IN_TOTO)},
        "POST /v1/plans/{plan}/state": {"json": {"state": "terminated", "reason": "enough"}},
        "POST /v1/runs": {"json": {"plan": plan}},
        "POST /v1/uploads": {"json": {"size": 10, "digest": DIGEST}},
        "PATCH /v1/uploads/{upload}": {"content": b"part", "headers": {"Upload-Offset": "0", "Content-Type": "application/partial-upload"}},
        "POST /v1/runs/{run}/priority": {"json": {"priority": 10}},
    }
    reasoned = {"json": {"reason": "enough"}} if path.endswith(("/cancel", "/hold")) else {}
    return bodies.get(f"{method} {path}", reasoned)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @classmethod
    def of(cls, client: TestClient, world: World, caller: str, method: str, path: str, ids: dict[str, str]) -> "Answer":
        arguments = sent(world, method, path)
        body = arguments.get("json")
        if body and ids is not world.ids:
            arguments = {**arguments, "json": json.loads(re.sub(r"(plt|pln|run|upl)-\w+", lambda m: NOBODYS[KINDS[m[1]]], json.dumps(body)))}
        own = {"Authorization": f"Bearer {world.tokens[caller]}"} if caller in world.tokens else {}
        headers = {"Idempotency-Key": "key-00000002", **own, **arguments.pop("headers", {})}
        address = path.replace("{run}/events", "{ended}/events").replace("{run}/documents/{name}", "{run}/documents/left-pilot.json")
        got = client.request(method, address.format(**ids), headers=headers, **arguments)
        kept = {name: value for name, value in got.headers.items() if name not in ("date", "content-length", "x-request-id")}
        return cls(got.status_code, kept, re.sub(r"(plt|pln|run|upl)-[a-z0-9]+|\b[0-9a-f]{64}\b", "ID", got.text))


def letter(client: TestClient, world: World, caller: str, method: str, path: str) -> str:
    """What comes, as the table says it."""
    got = Answer.of(client, world, caller, method, path, world.ids)
    if got.status == 404:
        never = Answer.of(client, world, caller, method, path, {**world.ids, **NOBODYS})
        return "-" if got == never else "y"
    if got.status in (401, 403):
        return {401: "!", 403: "f"}[got.status]
    assert got.status < 300 or got.status in (409, 422), got
    listed = json.loads(got.text) if method == "GET" and "json" in got.headers["content-type"] else None
    return "o" if isinstance(listed, dict) and listed.get("items") == [] else "y"


@pytest.fixture(scope="module")
def reading(world: World) -> Iterator[TestClient]:
    with serving(world.home) as client:
        yield client


def test_the_table_has_every_address_and_no_other() -> None:
    assert list(RIGHTS) == [f"{method} {path}" for method, path in ROUTES]
    assert {len(row) for row in RIGHTS.values()} == {len(CALLERS)}
    assert set("".join(RIGHTS.values())) <= set(MEANING)


@pytest.mark.parametrize("address", RIGHTS)
def test_every_kind_of_caller_gets_what_the_table_says(address: str, world: World, reading: TestClient, tmp_path: Path) -> None:
    method, path = address.split()
    found = ""
    for caller in CALLERS:
        if method == "GET":
            found += letter(reading, world, caller, method, path)
            continue
        home = tmp_path / caller  # as it was before anybody asked
        shutil.copytree(world.home, home)
        with serving(home) as client:
            found += letter(client, world, caller, method, path)
    assert found == RIGHTS[address]
