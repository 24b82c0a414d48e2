"""What the engine is told, and what its answers are taken for: pure functions, no engine."""

from pathlib import Path
from typing import Any

import pytest

from livinglab.domain.errors import IsolationNotProven
from livinglab.domain.isolation import IsolationProfile, Mount, Resources
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.docker_spec import check_runtime, container_name, create_body, key_of, site_view

MOUNTS = (Mount(area="inputs", target="/in"), Mount(area="outputs", target="/out", read_only=False))
CONTAINER = ContainerSpec(role="pilot", image="sha256:" + "0" * 64, argv=("python3", "/app/run.py"), mounts=MOUNTS,
                          resources=Resources(memory=64 << 20, cpus=0.5, pids=32, log_bytes=1 << 20))  # fmt: skip
SPEC = JobSpec(attempt="run-a.1", containers=(CONTAINER,), profile=IsolationProfile(), nonce="5a" * 16)
SOURCES = {"/in": Path("/site/in"), "/out": Path("/site/out")}
LAUNCHER = Path("/site/launcher")


def body() -> dict[str, Any]:
    return create_body("lab", SPEC, CONTAINER, "sha256:" + "1" * 64, SOURCES, LAUNCHER)


def inspected(**changes: Any) -> dict[str, Any]:
    """What an engine answers that did as it was told, with some changes."""
    told = body()
    host = told["HostConfig"] | {"Runtime": "runc"} | changes.pop("host", {})
    config = {"User": told["User"], "Env": ["PATH=/usr/bin"]} | changes.pop("config", {})
    mounts = [{"Type": "bind", "Source": m["Source"], "Destination": m["Target"], "RW": not m["ReadOnly"]} for m in told["HostConfig"]["Mounts"]]
    return {"HostConfig": host, "Config": config, "Mounts": mounts, "NetworkSettings": {"Networks": {"none": {}}}} | changes


def view(document: dict[str, Any]) -> set[str]:
    return {f.property for f in site_view(document, CONTAINER, "65532:65532", SOURCES, LAUNCHER) if not f.holds}


def test_the_whole_preset() -> None:
    told = body()
    host = told["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == ("none", True, ["ALL"], False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]  # and no word of seccomp: the engine's default is kept
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert (host["NanoCpus"], host["PidsLimit"], host["IpcMode"]) == (500_000_000, 32, "private")
    assert host["Tmpfs"]["/tmp"].startswith("rw,noexec,nosuid,nodev,size=")
    assert [(m["Target"], m["ReadOnly"]) for m in host["Mounts"]] == [("/.livinglab/launcher", True), ("/in", True), ("/out", False)]
    assert host["LogConfig"]["Config"]["max-file"] == "2"
    assert (told["User"], told["Env"], told["Cmd"], told["Healthcheck"]) == ("65532:65532", [], [], {"Test": ["NONE"]})
    assert told["Entrypoint"][0] == "/.livinglab/launcher"
    assert told["Entrypoint"][-2:] == ["python3", "/app/run.py"]


def test_an_engine_that_did_as_told_holds() -> None:
    assert view(inspected()) == set()


@pytest.mark.parametrize(("changes", "broken"), [
    ({"host": {"NetworkMode": "host"}}, {"network"}),
    ({"NetworkSettings": {"Networks": {"none": {}, "bridge": {}}}}, {"network"}),
    ({"host": {"ReadonlyRootfs": False}}, {"root"}),
    ({"host": {"CapAdd": ["NET_RAW"]}}, {"capabilities"}),
    ({"host": {"Privileged": True}}, {"capabilities"}),
    ({"host": {"PidMode": "host"}}, {"capabilities"}),
    ({"host": {"IpcMode": "host"}}, {"capabilities"}),
    ({"host": {"SecurityOpt": ["no-new-privileges:false"]}}, {"no_new_privileges"}),
    ({"host": {"SecurityOpt": None}}, {"no_new_privileges"}),
    ({"host": {"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]}}, {"seccomp"}),
    ({"host": {"Memory": 0}}, {"memory"}),
    ({"host": {"MemorySwap": -1}}, {"memory"}),
    ({"host": {"OomKillDisable": True}}, {"memory"}),
    ({"host": {"NanoCpus": 0}}, {"cpu"}),
    ({"host": {"PidsLimit": None}}, {"pids"}),
    ({"config": {"User": ""}}, {"user"}),
    ({"host": {"GroupAdd": ["0"]}}, {"user"}),
    ({"config": {"Env": ["PATH=/usr/bin", "LD_PRELOAD=/x"]}}, {"environment"}),
    ({"Mounts": []}, {"mounts"}),
    ({"host": {"Devices": [{"PathOnHost": "/dev/sda"}]}}, {"gpus"}),
    ({"host": {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}}, {"gpus"}),
    ({"host": {"DeviceCgroupRules": ["c 195:* rwm"]}}, {"gpus"}),
    ({"host": {"Binds": ["/:/host"]}}, {"mounts"}),
    ({"host": {"Tmpfs": {"/tmp": "", "/run": ""}}}, {"mounts"}),
])  # fmt: skip
def test_each_weakness_is_seen(changes: dict[str, Any], broken: set[str]) -> None:
    assert view(inspected(**changes)) == broken


@pytest.mark.parametrize("change", [{"Source": "/etc"}, {"RW": True}, {"Destination": "/inn"}])
def test_a_mount_that_is_not_ours_is_seen(change: dict[str, Any]) -> None:
    document = inspected()
    document["Mounts"][1] |= change
    assert view(document) == {"mounts"}


def test_a_key_is_read_only_where_label_and_name_agree() -> None:
    key = JobKey(attempt="run-a.1", role="pilot")
    ours = {"Labels": body()["Labels"], "Names": [f"/{container_name('lab', key)}"]}
    assert key_of(ours, "lab") == key
    assert key_of(ours, "other") is None
    assert key_of(ours | {"Names": ["/something"]}, "lab") is None
    assert key_of(ours | {"Labels": {"livinglab.key": "run-a.1.root"}}, "lab") is None
    assert key_of({"Labels": None, "Names": None}, "lab") is None


def test_gvisor_is_not_started_with_too_few_processes() -> None:
    check_runtime(None, CONTAINER.resources)
    check_runtime("runsc", Resources(pids=64))
    with pytest.raises(IsolationNotProven, match="64"):
        check_runtime("runsc", CONTAINER.resources)
