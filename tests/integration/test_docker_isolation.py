"""Hostile containers on a real engine: each limit is reached by one, each way out is tried by one, and each weakening is refused."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.errors import IsolationNotProven, PlatformFault
from livinglab.domain.isolation import IsolationProfile
from livinglab.domain.run import Cause, JobKey
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.services.outcomes import _keep, isolation_failure
from livinglab.sites.attest import attest
from livinglab.sites.docker import DockerSite
from livinglab.testing.bench import collected, ended, key_of, push
from tests import hostile
from tests.contract.benches import DockerBench
from tests.hostile import HostileContainers, python, run, spec_for
from tests.waiting import until

pytestmark = pytest.mark.docker


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str]) -> Iterator[DockerBench]:
    bench = DockerBench(tmp_path / "bench", *engine_image)
    yield bench
    bench.close()


class TestHostile(HostileContainers):
    """What is tried at every site."""


def test_the_cpu_quota(bench: DockerBench) -> None:
    code = """
import time
wall, cpu = time.monotonic(), time.process_time()
while time.monotonic() - wall < 1.5: pass
print((time.process_time() - cpu) / (time.monotonic() - wall))
"""
    _, said = python(bench, code, cpus=0.2)
    assert float(said) < 0.35


def test_a_kill_for_want_of_memory_that_the_engine_has_missed(bench: DockerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy engine may miss it, and one that was killed remembers nothing: the kernel does."""
    monkeypatch.setattr("livinglab.sites.docker.told_of", lambda *_args, **_more: frozenset({"start"}))
    find = bench.site._find

    def without_flag(name: str) -> dict[str, Any] | None:
        inspected = find(name)
        return inspected and {**inspected, "State": {**inspected["State"], "OOMKilled": False}}

    monkeypatch.setattr(bench.site, "_find", without_flag)
    outcome, _ = python(bench, hostile.MEMORY, memory=64 << 20)
    assert (outcome.limit, outcome.exit_code) == ("memory", 137)


def test_output_files(bench: DockerBench) -> None:
    outcome, said = python(bench, hostile.OUTPUT_FILES, output_files=8)
    assert (outcome.limit, len(outcome.outputs)) == ("output_bytes", 8)
    assert "No space left" in said


def test_a_flood_of_log(bench: DockerBench) -> None:
    """A gigabyte, as fast as it goes: it is ended, and the engine's disk keeps a bounded part."""
    outcome, attestation = run(bench, "python3", "-c", hostile.LOG_FLOOD, log_bytes=4 << 10)
    assert (outcome.limit, outcome.log_truncated, outcome.log_bytes, outcome.exit_code) == ("log_bytes", True, 4 << 10, 137)
    # The launcher's line is kept before it is washed away, if the worker is not too slow; either way the flood is the pilot's failure.
    assert attestation.holds or outcome.report is None, attestation.reasons
    inspected = bench.site._find(bench.name(key_of("run-h.1")))
    assert inspected is not None
    kept = sum(path.stat().st_size for path in Path(inspected["LogPath"]).parent.glob("*-json.log*"))
    assert kept < 48 << 20


def test_a_flood_that_imitates_the_launcher_is_still_a_flood(bench: DockerBench) -> None:
    """Nobody looked while the launcher's line was washed away, and what stands first in the log now is the pilot's."""
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    code = "import os\nfor _ in range(4096): os.write(1, b'livinglab-launcher/1 {} 00\\n' * 600)"
    spec, key = spec_for(bench, ("python3", "-c", code), log_bytes=1 << 10), key_of("run-h.1")
    bench.site.submit(spec, key)
    bench.site._engine.wait(bench.name(key))
    outcome = collected(bench, key)
    assert (outcome.limit, (outcome.report or b"")[:21]) == ("log_bytes", b"livinglab-launcher/1 ")
    attestation = attest(spec.profile, spec, outcome.report, outcome.site_view, outcome.exit_code)
    failure = isolation_failure(attestation, _keep(bench.artifacts, key, outcome))
    assert failure
    assert (failure.cause, failure.code) == (Cause.PILOT, "log-limit")


# --- weaker isolation is refused --------------------------------------------------------------------------------------

WEAKENINGS: dict[str, dict[str, Any]] = {
    "network": {"NetworkMode": "bridge"},
    "root": {"ReadonlyRootfs": False},
    "capabilities": {"CapDrop": None},
    "no_new_privileges": {"SecurityOpt": []},
    "seccomp": {"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]},
    "memory": {"Memory": 256 << 20, "MemorySwap": 256 << 20},
    "cpu": {"NanoCpus": 0},
    "pids": {"PidsLimit": 1024},
    "mounts": {"Tmpfs": {"/tmp": "", "/more": "mode=1777"}},
    "user": {"User": "0:0"},
    "environment": {"Env": ["LD_PRELOAD=/in/a.txt"]},
}


def refused(tmp_path: Path, engine_image: tuple[FileArtifacts, str], weakened: str, changes: dict[str, Any]) -> None:
    """An engine is told something weaker; the launcher must refuse for that reason, and the site must see it too."""

    class Weakened(DockerSite):
        def _body(self, spec: JobSpec, container: ContainerSpec, image: str, sources: dict[str, Path]) -> dict[str, Any]:
            body = super()._body(spec, container, image, sources)
            top = {key: value for key, value in changes.items() if key in ("User", "Env")}
            host = {key: value for key, value in changes.items() if key not in top}
            return body | top | {"NetworkDisabled": weakened != "network", "HostConfig": body["HostConfig"] | host}

    bench = DockerBench(tmp_path / "bench", *engine_image, make=Weakened)
    try:
        outcome, attestation = run(bench, "python3", "-c", "print('I ran')")
    finally:
        bench.close()
    assert outcome.exit_code == 97
    assert outcome.log_path.read_bytes() == b""
    assert not attestation.holds
    assert attestation.report is not None
    assert weakened in {f.property for f in attestation.report.failed}  # seen from inside …
    assert [f.property for f in attestation.site_view if not f.holds] == [weakened]  # … and from outside


@pytest.mark.parametrize("weakened", WEAKENINGS)
def test_the_launcher_refuses_what_is_weaker(tmp_path: Path, engine_image: tuple[FileArtifacts, str], weakened: str) -> None:
    refused(tmp_path, engine_image, weakened, WEAKENINGS[weakened])


@pytest.mark.parametrize(("target", "mode"), [("/host", "rw"), ("/host", "ro"), ("/a b", "rw"), ("/opt", "ro")])
def test_the_launcher_refuses_a_mount_that_nobody_asked_for(tmp_path: Path, engine_image: tuple[FileArtifacts, str], target: str, mode: str) -> None:
    """A folder of root's that holds one which all may write to; and hidden data that would only be read."""
    (tmp_path / "more" / "open").mkdir(parents=True)
    (tmp_path / "more" / "open").chmod(0o777)
    refused(tmp_path, engine_image, "mounts", {"Binds": [f"{tmp_path / 'more'}:{target}:{mode}"]})


def test_an_unknown_runtime_is_refused(bench: DockerBench) -> None:
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    spec = spec_for(bench, ("true",)).model_copy(update={"runtime": "nowhere"})
    with pytest.raises(IsolationNotProven, match="nowhere"):
        bench.site.submit(spec, key_of("run-h.1"))


def test_an_image_that_was_exchanged_is_not_started(bench: DockerBench) -> None:
    bench.site.ensure_image(bench.image)
    push(bench, "run-h.1", b"data")
    engine, tag = bench.site._engine, bench.site._images.images.tag(bench.image)
    real = engine.inspect_image(tag)["Id"]
    name, _, version = tag.partition(":")
    other = engine.commit(engine.create_container(real, "true", name=f"livinglab-{bench.instance}-other")["Id"], changes="ENV LD_PRELOAD=/x")["Id"]
    engine.tag(other, name, version)
    try:
        with pytest.raises(PlatformFault, match="something else"):
            bench.site.submit(spec_for(bench, ("true",)), key_of("run-h.1"))
    finally:
        engine.tag(real, name, version)
        engine.remove_container(f"livinglab-{bench.instance}-other")
        engine.remove_image(other)


def _runtimes(bench: DockerBench) -> list[str]:
    return list(bench.site._engine.info()["Runtimes"])


def test_gvisor_with_witnesses_and_without(bench: DockerBench) -> None:
    """What gVisor hides from inside, the engine must witness, and only where the profile accepts that."""
    if "runsc" not in _runtimes(bench):
        pytest.skip("the engine knows no runtime `runsc`: register gVisor in its configuration")
    bench.site.runtime = "runsc"
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')", pids=64)
    assert outcome.exit_code == 97
    assert not attestation.holds
    bench.site.release("run-h.1")
    hidden = ("no_new_privileges", "seccomp", "memory", "cpu", "pids")
    bench.profile = IsolationProfile.model_validate({"witnesses": {name: ["engine"] for name in hidden}})
    outcome, attestation = run(bench, "python3", "-c", "print('I ran')", pids=64)
    assert attestation.holds, attestation.reasons
    assert attestation.report is not None
    assert attestation.report.runtime == "gvisor"
    assert {f.property for f in attestation.report.failed} == set(hidden)
    assert outcome.log_path.read_text() == "I ran\n"


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_worker_whose_clock_is_wrong_ends_nothing_early_or_late(bench: DockerBench, minutes: int) -> None:
    """Found by the campaign: what had run for five seconds was taken for ten minutes old, ended, and its end taken for the pilot's own."""

    class Wrong:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=minutes)

    bench.site.clock = Wrong()
    outcome, _ = python(bench, "import time; time.sleep(2)", wall_seconds=20)
    assert (outcome.limit, outcome.exit_code) == (None, 0)
    bench.site.release("run-h.1")
    outcome, _ = python(bench, "import time; time.sleep(60)", wall_seconds=2)
    assert (outcome.limit, outcome.exit_code) == ("wall_seconds", 137)


SPEAKS_LATE = ("python3", "-c", "import time; time.sleep(3); print('predicted', flush=True)")


@pytest.mark.parametrize(("argv", "looked"), [(SPEAKS_LATE, True), (("python3", "-c", "import time; time.sleep(3)"), False)])
def test_a_launchers_line_that_the_engine_has_lost_is_the_platforms_fault(bench: DockerBench, argv: tuple[str, ...], looked: bool) -> None:
    """As where its disk is full for a moment: a pilot cannot write before the launcher does, and not take back what is written."""
    key = lose_the_launchers_line(bench, argv)
    if looked:
        until(lambda: bench.site.observe([key]) and bench.site._staging.unheard(key))
    ended(bench, key)
    with pytest.raises(PlatformFault, match="did not keep what the pilot container's launcher wrote"):
        collected(bench, key)


def test_a_line_that_is_missing_and_was_not_missed_while_it_ran_proves_nothing(bench: DockerBench) -> None:
    key = lose_the_launchers_line(bench, SPEAKS_LATE)
    bench.site._engine.wait(bench.name(key))
    outcome = collected(bench, key)
    assert outcome.report is None
    assert not attest(bench.profile, spec_for(bench, SPEAKS_LATE), outcome.report, outcome.site_view, outcome.exit_code).holds


def lose_the_launchers_line(bench: DockerBench, argv: tuple[str, ...]) -> JobKey:
    hostile.begin(bench, argv)
    log = Path(bench.site._engine.inspect_container(bench.name(hostile.KEY))["LogPath"])
    until(lambda: log.stat().st_size)
    os.truncate(log, 0)
    return hostile.KEY
