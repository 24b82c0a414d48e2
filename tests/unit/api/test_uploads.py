"""Images in parts: what came stays, whoever is cut off; nothing is taken in but what was announced; and nobody sees another's."""

import threading
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from livinglab.bootstrap import Lab, open_lab
from livinglab.cli import client as cli
from livinglab.cli.client import Client
from livinglab.domain.errors import Conflict, Unreachable
from livinglab.services.uploads import MOST
from livinglab.settings import Settings
from tests.unit.api.conftest import image_archive

ARCHIVE = image_archive(text=b"a large image" * 1_000)
ABOUT = {"size": len(ARCHIVE), "digest": "sha256:" + sha256(ARCHIVE).hexdigest()}
TYPE = {"Content-Type": "application/partial-upload"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return open_lab(Settings(home=tmp_path / "home", body_limit=64 << 10, upload_limit=1 << 20, image_quota=1 << 20, rate=0, streams=1))


def send(door: Any, upload: dict[str, Any], start: int, end: int, expected: int = 200, data: bytes = ARCHIVE) -> Any:
    return door.call("PATCH", f"/v1/uploads/{upload['id']}", expected, content=data[start:end], headers={"Upload-Offset": str(start), **TYPE})


def left(lab: Lab) -> list[str]:
    folder = lab.settings.home / "uploads"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_an_image_in_parts_is_the_image_that_it_is_whole(lab: Lab, startup: Any) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    assert upload["offset"] == 0
    assert send(startup, upload, 0, 5_000)["offset"] == 5_000
    assert startup.call("GET", f"/v1/uploads/{upload['id']}")["offset"] == 5_000
    assert startup.call("POST", "/v1/uploads", 201, json=ABOUT) == {**upload, "offset": 5_000}  # whoever begins anew goes on
    assert "5000 of" in startup.call("POST", f"/v1/uploads/{upload['id']}/image", 409)["detail"]
    send(startup, upload, 5_000, len(ARCHIVE))
    image = startup.call("POST", f"/v1/uploads/{upload['id']}/image", 201)
    assert image == startup.call("POST", "/v1/images", 201, content=ARCHIVE)
    assert startup.call("POST", f"/v1/uploads/{upload['id']}/image", 201) == image  # the first answer was not heard
    assert startup.call("POST", "/v1/uploads", 201, json=ABOUT)["offset"] == len(ARCHIVE)
    send(startup, upload, len(ARCHIVE), len(ARCHIVE), 409)
    assert left(lab) == []


@pytest.mark.parametrize("offset", [0, 4_999, 5_001, 1 << 40])
def test_it_goes_on_where_it_ended_and_nowhere_else(startup: Any, offset: int) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    send(startup, upload, 0, 5_000)
    told = startup.call("PATCH", f"/v1/uploads/{upload['id']}", 409, content=b"x", headers={"Upload-Offset": str(offset), **TYPE})
    assert "it goes on at byte 5000" in told["detail"]
    assert startup.call("GET", f"/v1/uploads/{upload['id']}")["offset"] == 5_000


def test_more_than_was_announced_is_not_kept(startup: Any) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json={**ABOUT, "size": 1_000})
    send(startup, upload, 0, 1_001, 413)
    assert startup.call("GET", f"/v1/uploads/{upload['id']}")["offset"] <= 1_000


def test_other_bytes_than_were_announced_are_refused_and_forgotten(lab: Lab, startup: Any) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    send(startup, upload, 0, len(ARCHIVE), data=b"x" * len(ARCHIVE))
    assert "not what was announced" in startup.call("POST", f"/v1/uploads/{upload['id']}/image", 409)["detail"]
    startup.call("GET", f"/v1/uploads/{upload['id']}", 404)
    assert left(lab) == []


def test_what_is_no_image_is_said_as_of_a_whole_one(startup: Any) -> None:
    data = b"no archive" * 100
    upload = startup.call("POST", "/v1/uploads", 201, json={"size": len(data), "digest": "sha256:" + sha256(data).hexdigest()})
    send(startup, upload, 0, len(data), data=data)
    startup.call("POST", f"/v1/uploads/{upload['id']}/image", 422)


@pytest.mark.parametrize(("about", "status"), [({"size": 2 << 20}, 413), ({"size": 0}, 422), ({"size": -1}, 422), ({"digest": "sha256:x"}, 422),
                                               ({"size": "much"}, 422), ({"size": 1 << 60}, 422)])  # fmt: skip
def test_what_is_announced_must_be_possible(startup: Any, about: dict[str, Any], status: int) -> None:
    startup.call("POST", "/v1/uploads", status, json={**ABOUT, **about})


def test_an_organisation_has_so_many_open_and_gives_up_what_it_does_not_want(lab: Lab, startup: Any, door: Any) -> None:
    uploads = [startup.call("POST", "/v1/uploads", 201, json={**ABOUT, "size": 1_000 + n}) for n in range(MOST)]
    send(startup, uploads[0], 0, 10)
    assert "uploads open" in startup.call("POST", "/v1/uploads", 409, json=ABOUT)["detail"]
    door("rival", tiny="participant").call("POST", "/v1/uploads", 201, json=ABOUT)
    assert startup.client.delete(f"/v1/uploads/{uploads[0]['id']}", headers=startup.headers).status_code == 204
    startup.call("GET", f"/v1/uploads/{uploads[0]['id']}", 404)
    startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    assert left(lab) == []


def test_what_nobody_goes_on_with_is_forgotten_after_a_day(lab: Lab, startup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    send(startup, upload, 0, 10)
    (lab.settings.home / "uploads" / "upl-nobodys").write_bytes(b"of a process that died")
    monkeypatch.setattr("livinglab.services.uploads.KEPT", timedelta(seconds=-1))
    startup.call("POST", "/v1/uploads", 201, json={**ABOUT, "size": 77})
    startup.call("GET", f"/v1/uploads/{upload['id']}", 404)
    assert left(lab) == []


def test_two_that_send_at_once_do_not_mix(lab: Lab, startup: Any) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)
    parts, begun, go_on = lab.uploads.parts, threading.Event(), threading.Event()

    def slow() -> Any:
        yield ARCHIVE[:100]
        begun.set()
        assert go_on.wait(10)
        yield ARCHIVE[100:200]

    first = threading.Thread(target=lambda: parts.append(upload["id"], 0, slow(), limit=len(ARCHIVE)))
    first.start()
    assert begun.wait(10)
    with pytest.raises(Conflict, match="somebody else"):
        parts.append(upload["id"], 0, [b"other"], limit=len(ARCHIVE))
    go_on.set()
    first.join()
    assert parts.path(upload["id"]).read_bytes() == ARCHIVE[:200]


def test_what_came_before_the_way_was_cut_is_kept(lab: Lab, startup: Any) -> None:
    upload = startup.call("POST", "/v1/uploads", 201, json=ABOUT)

    def cut() -> Any:
        yield ARCHIVE[:100]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        lab.uploads.parts.append(upload["id"], 0, cut(), limit=len(ARCHIVE))
    assert startup.call("GET", f"/v1/uploads/{upload['id']}")["offset"] == 100


def test_a_name_leads_nowhere_else(lab: Lab, startup: Any) -> None:
    for name in ("../lab.db", "a/b", "", "."):
        with pytest.raises(Exception, match="is not a name"):
            lab.uploads.parts.size(name)
    startup.call("GET", "/v1/uploads/..%2flab.db", 404)


# --- what an organisation may have ---------------------------------------------------------------------------------------


BIG = [image_archive(text=letter * 400_000) for letter in (b"a", b"b", b"c")]


def kept(lab: Lab) -> list[str]:
    """All blobs, and whatever lies about beside them."""
    return sorted(str(path) for path in (lab.settings.home / "blobs").rglob("*") if path.is_file())


def open_upload(door: Any, archive: bytes, status: int = 201) -> Any:
    return door.call("POST", "/v1/uploads", status, json={"size": len(archive), "digest": "sha256:" + sha256(archive).hexdigest()})


def test_images_take_of_a_quota_and_layers_in_common_take_it_once(lab: Lab, startup: Any, door: Any) -> None:
    for archive in BIG[:2]:
        startup.call("POST", "/v1/images", 201, content=archive)
    before = kept(lab)
    told = startup.call("POST", "/v1/images", 409, content=BIG[2])["detail"]
    assert told == "startup would have 1,228,800 bytes of images here, and may have 1,048,576."
    assert kept(lab) == before  # nothing of what was refused
    startup.call("POST", "/v1/images", 201, content=BIG[0])
    startup.call("POST", "/v1/images", 201, content=image_archive(user="1:1", text=b"a" * 400_000))  # the same layer
    door("rival", tiny="participant").call("POST", "/v1/images", 201, content=BIG[2])  # has a quota of its own


def test_what_is_announced_takes_of_the_quota_until_it_is_given_up(lab: Lab, startup: Any) -> None:
    first, _second = open_upload(startup, BIG[0]), open_upload(startup, BIG[1])
    assert "may have 1,048,576" in open_upload(startup, BIG[2], 409)["detail"]
    assert startup.client.delete(f"/v1/uploads/{first['id']}", headers=startup.headers).status_code == 204
    third = open_upload(startup, BIG[2])
    send(startup, third, 0, len(BIG[2]), data=BIG[2])
    startup.call("POST", f"/v1/uploads/{third['id']}/image", 201)
    assert "may have" in open_upload(startup, BIG[0], 409)["detail"]  # an image, and one that is open


def test_an_upload_that_is_too_much_once_it_is_unpacked_is_refused_and_nothing_of_it_kept(lab: Lab, startup: Any) -> None:
    upload = open_upload(startup, BIG[0])
    send(startup, upload, 0, len(BIG[0]), data=BIG[0])
    for archive in BIG[1:]:
        startup.call("POST", "/v1/images", 201, content=archive)
    before = kept(lab)
    assert "may have" in startup.call("POST", f"/v1/uploads/{upload['id']}/image", 409)["detail"]
    assert kept(lab) == before


def test_of_an_image_that_is_refused_nothing_is_kept(lab: Lab, startup: Any) -> None:
    """Its layer is whole; what is wrong is seen after that."""
    startup.call("POST", "/v1/images", 422, content=BIG[0].replace(b"app/hello", b"../hello_"))
    layer = startup.call("POST", "/v1/images", 422, content=BIG[0].replace(b"aaaa", b"bbbb", 1))["detail"]
    assert "does not have the digest" in layer
    assert kept(lab) == []


# --- the command line -------------------------------------------------------------------------------------------------


class Shaky(httpx.BaseTransport):
    """A way to the API on which every other part is cut: before it arrives, or before the answer does."""

    def __init__(self, app: TestClient) -> None:
        self.app, self.parts, self.cut = app, 0, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        if request.method == "PATCH":
            self.parts += 1
            if self.parts % 2:
                self.cut += 1
                if self.parts % 4 == 1:
                    self.app.request(request.method, request.url.raw_path.decode(), content=content, headers=dict(request.headers))
                raise httpx.ReadError("cut", request=request)
        answer = self.app.request(request.method, request.url.raw_path.decode(), content=content, headers=dict(request.headers))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cli, "WHOLE", 1_000)
    monkeypatch.setattr(cli, "PART", 4_000)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    (tmp_path / "image.tar").write_bytes(ARCHIVE)
    return tmp_path / "image.tar"


def test_a_command_brings_it_over_a_way_that_is_cut_again_and_again(client: TestClient, startup: Any, archive: Path) -> None:
    way, told = Shaky(client), list[int]()
    digest = Client(httpx.Client(base_url="http://lab", transport=way, headers=startup.headers)).upload(archive, told.append)
    assert way.cut >= 2
    assert sum(told) == len(ARCHIVE)
    assert digest == startup.call("POST", "/v1/images", 201, content=ARCHIVE)["digest"]


def test_a_command_that_was_killed_is_gone_on_from_by_the_next(client: TestClient, startup: Any, archive: Path) -> None:
    class Killed(BaseException):
        pass

    told: list[int] = []

    def killed(_size: int) -> None:
        told.append(_size)
        if sum(told) >= 8_000:
            raise Killed

    way = httpx.Client(base_url="http://lab", transport=client._transport, headers=startup.headers)
    with pytest.raises(Killed):
        Client(way).upload(archive, killed)
    after: list[int] = []
    Client(way).upload(archive, after.append)
    assert after[0] == 8_000


def test_a_command_does_not_try_for_ever(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "PATIENCE", 0.05)

    def away(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(201, json={"id": "upl-1", "size": len(ARCHIVE), "offset": 0})
        raise httpx.ConnectError("away", request=request)

    with pytest.raises(Unreachable):
        Client(httpx.Client(base_url="http://lab", transport=httpx.MockTransport(away))).upload(archive)
