"""The Docker site beside an engine that misbehaves: what must be right although nobody answers as expected."""

from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.artifacts.oci import OciImages
from livinglab.domain.errors import NoRoom, PlatformFault, Unreachable
from livinglab.sites import docker
from livinglab.sites.docker import DockerSite
from livinglab.sites.docker_engine import translated
from livinglab.testing.fakes import FakeClock
from tests.unit.sites.test_staging import KEY, RECORD


def test_what_the_engine_does_not_remove_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is what makes it ours: without it, nobody would ever look for the container again."""

    class Engine:
        def remove_container(self, *_: Any, **__: Any) -> None:
            msg = "conflict"
            raise APIError(msg, explanation="removal of container x is already in progress")

    site = DockerSite(name="docker", instance="lab", root=tmp_path / "work", vault=tmp_path, launcher=tmp_path, clock=FakeClock(),
                      images=OciImages(FileArtifacts(tmp_path / "blobs")))  # fmt: skip
    site._staging.write_record(KEY, RECORD)
    monkeypatch.setattr(site, "_engine", Engine())
    monkeypatch.setattr(docker, "_REMOVAL_WAIT", 0.05)
    with pytest.raises(Unreachable, match="did not remove"):
        site.release(KEY.attempt)
    assert site._staging.recorded() == {KEY}


def test_an_engine_that_may_not_be_used_is_told_from_one_that_is_away() -> None:
    refused = requests.exceptions.ConnectionError("Connection aborted.", PermissionError(13, "Permission denied"))
    with pytest.raises(Unreachable, match="may not be used by this user"), translated():
        raise refused
    with pytest.raises(Unreachable, match="does not answer"), translated():
        raise requests.exceptions.ConnectionError("Connection aborted.", FileNotFoundError(2, "No such file or directory"))


def test_an_engine_without_room_is_waited_for_and_one_that_refuses_is_not() -> None:
    with pytest.raises(NoRoom, match="no space left on device"), translated():
        raise APIError("500", explanation="write /var/lib/docker/overlay2/x/link: no space left on device")
    with pytest.raises(PlatformFault, match="the Docker Engine says: no such driver"), translated():
        raise APIError("500", explanation="no such driver")
