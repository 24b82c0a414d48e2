"""slurmrestd against Slurm's own commands, on one real cluster: both must say the same, and ask for the same."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.domain.errors import Unreachable
from livinglab.ports import Seen
from livinglab.sites.shell import Failed
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Control, Line, Request
from livinglab.sites.slurm.rest import RestControl
from livinglab.sites.slurm.rest_bodies import VERSIONS
from livinglab.sites.slurm.states import Phase, phase_of
from livinglab.testing.bench import OUT, begin, ended, key_of, spec_of
from tests.contract.benches import SlurmBench, python_image
from tests.fixtures.slurm import SlurmBed
from tests.waiting import until

pytestmark = pytest.mark.slurm

ALIVE = (Phase.WAITING, Phase.RUNNING)
OF_ITS_OWN = {"JobId", "SubmitTime", "EligibleTime", "AccrueTime", "LastSchedEval", "Scheduler", "Reason", "AllocNode:Sid", "Command", "SubmitLine",
              "OOMKillStep"}  # fmt: skip
"""What differs between two jobs that were asked for alike, or between two ways of asking, and changes nothing for the job."""


@pytest.fixture
def rest(slurm_bed: SlurmBed, slurm_token: Path) -> Iterator[RestControl]:
    control = slurm_bed.rest(slurm_token)
    yield control
    control.close()


@pytest.fixture
def commands(slurm_bed: SlurmBed) -> CommandControl:
    return CommandControl(slurm_bed.local(), slurm_bed.settings)


@pytest.fixture
def prefix(commands: CommandControl) -> Iterator[str]:
    """Of this test's jobs' names; they are cancelled when it is over."""
    prefix = f"ll-{secrets.token_hex(4)}-"
    yield prefix
    commands.cancel({line.name for line in commands.queue() if line.name.startswith(prefix)})


def request(name: str, command: str = "sleep 300", **options: int) -> Request:
    return Request(name=name, script=f"#!/bin/bash -p\n{command}\n", cores=1, mebibytes=64, minutes=5, **options)


def line_of(control: Control, name: str) -> Line:
    (line,) = [line for line in control.queue() if line.name == name]
    return line


def until_over(control: Control, names: set[str]) -> None:
    until(lambda: not any(line.name in names and phase_of(line.state) in ALIVE for line in control.queue()), why="they did not all end")


def until_accounted(control: Control, names: set[str]) -> None:
    until(lambda: {line.name for line in control.accounted(names) if line.ended} == names, why="accounting did not hear of the jobs' ends")


def plain(line: Line) -> Line:
    """Without what the two tell differently: who cancelled, which sacct adds, and fractions of a millisecond, which it leaves out."""
    usage = {name: value for name, value in line.usage if name != "cpu_seconds"}
    return replace(line, state=line.state.split()[0], usage=tuple(usage.items()))


def test_both_say_the_same(rest: RestControl, commands: CommandControl, prefix: str) -> None:
    scripts = {"done": "true", "failed": "exit 3", "killed": "kill -9 $$", "cancelled": "sleep 300", "gpu": "true"}
    names = {prefix + name for name in scripts}
    for name, script in scripts.items():
        rest.submit(request(prefix + name, script, gpus=int(name == "gpu")))
    rest.submit(request(prefix + "running"))
    held = rest.submit(request(prefix + "held"))
    rest.hold([held])
    (cancelled,) = (line.id for line in rest.queue() if line.name == prefix + "cancelled")
    rest.cancel([cancelled])
    rest.cancel([cancelled])
    until_over(rest, names)
    ours = [sorted((line for line in control.queue() if line.name.startswith(prefix)), key=lambda line: line.id) for control in (rest, commands)]
    assert len(ours[0]) == 7
    assert ours[0] == ours[1]
    until_accounted(rest, names)
    told, known = rest.accounted(names), commands.accounted(names)
    assert [plain(line) for line in told] == [plain(line) for line in known]
    assert [dict(line.usage)["cpu_seconds"] for line in told] == pytest.approx([dict(line.usage)["cpu_seconds"] for line in known], abs=1e-3 * 2)


def test_both_ask_for_the_same_job(slurm_bed: SlurmBed, slurm_token: Path, prefix: str) -> None:
    """Of more time than its partition gives, so that both wait and are compared as they were asked for."""
    settings = SlurmSettings(scratch=Path("/scratch"), partition="exclusive", account="pilots", qos="scavenge", constraint="plain")
    rest = slurm_bed.rest(slurm_token, settings=settings)
    asked = replace(request(prefix + "x", gpus=1, priority=-20), minutes=100, cores=2)
    shown = []
    for control in (rest, CommandControl(slurm_bed.local(), settings)):
        words = slurm_bed.on("login", "scontrol", "show", "job", "--oneliner", control.submit(asked), user="lab").split()
        fields = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))  # those are sbatch's own arguments
        shown.append({name: value for name, value in fields.items() if name not in OF_ITS_OWN})
    rest.close()
    assert (shown[0]["JobState"], shown[0]["Nice"], shown[0]["TresPerNode"]) == ("PENDING", "1200", "gres/gpu:1")
    assert shown[0] == shown[1]


def test_a_waiting_job_is_held_let_go_and_moved(slurm_bed: SlurmBed, rest: RestControl, prefix: str) -> None:
    name = prefix + "x"
    id_ = rest.submit(request(name))
    rest.hold([id_])
    rest.prioritise(id_, -50)
    assert slurm_bed.on("login", "squeue", "--noheader", "--jobs", id_, "--Format=nice", user="lab").strip() == "1500"
    line = line_of(rest, name)
    if phase_of(line.state) is Phase.WAITING:  # it may have begun before it was held
        assert line.reason == "JobHeldUser"
        rest.let_go([id_])
        assert line_of(rest, name).reason != "JobHeldUser"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_carries_a_job(slurm_bed: SlurmBed, rest: RestControl, prefix: str, version: str) -> None:
    rest._version = version
    name = prefix + "x"
    id_ = rest.submit(request(name, gpus=1))
    assert line_of(rest, name).id == id_
    rest.cancel([id_])
    until_over(rest, {name})
    until_accounted(rest, {name})
    assert rest.accounted([name])[-1].state == "CANCELLED"
    assert rest.ping() == f"slurm 26.05.5 by slurmrestd {version}"
    with pytest.raises(Failed, match="Invalid job id specified"):
        rest.let_go(["999999999"])


def test_slurms_refusal_is_told(slurm_bed: SlurmBed, slurm_token: Path, prefix: str) -> None:
    rest = slurm_bed.rest(slurm_token, settings=SlurmSettings(scratch=Path("/scratch"), partition="nowhere"))
    with pytest.raises(Failed, match="Invalid partition name specified"):
        rest.submit(request(prefix + "x"))
    rest.close()


def test_a_token_that_has_expired_is_told(slurm_bed: SlurmBed, tmp_path: Path, slurm_token: Path, rest: RestControl) -> None:
    path = tmp_path / "token"
    path.write_text(slurm_bed.token(1))
    control = slurm_bed.rest(path)
    time.sleep(2)  # it is good for one
    with pytest.raises(Unreachable, match=f"token in {path} is expired"):
        control.queue()
    path.write_text(slurm_token.read_text())
    control.queue()
    control.close()


def test_many_names_are_asked_for(rest: RestControl) -> None:
    assert rest.accounted([f"ll-{n:020x}" for n in range(2_000)]) == ()


def test_a_scheduler_that_is_away_loses_nothing(slurm_bed: SlurmBed, slurm_token: Path, rest: RestControl, tmp_path: Path) -> None:
    """Only slurmrestd is away, while files can still be reached: the job is placed, and submitted when it is back, once. So is a cancellation."""
    nobody = slurm_bed.rest(slurm_token, "http://127.0.0.1:9")
    bench = SlurmBench(tmp_path / "bench", *python_image(tmp_path), slurm_bed.local(), slurm_bed.local(), control=rest, nobody=nobody)
    try:
        key = begin(bench, "run-a.1", "linger")
        spec, other = spec_of(bench, "run-b.1", "greet", mounts=(OUT,)), key_of("run-b.1")
        with bench.away() as site:
            assert site.observe([key])[key].seen is Seen.UNREACHABLE
            with pytest.raises(Unreachable):
                site.submit(spec, other)
            with pytest.raises(Unreachable):
                site.cancel(key, timedelta(seconds=1))
        assert bench.site.submit(spec, other).id == bench.site.submit(spec, other).id
        bench.site.cancel(key, timedelta(seconds=1))
        assert ended(bench, key).seen is Seen.EXITED
        assert ended(bench, other).exit_code == 0
        assert bench.times_started(other) == 1
    finally:
        bench.close()
        nobody.close()
