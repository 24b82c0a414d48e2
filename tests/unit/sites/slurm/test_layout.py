"""What lies where at a cluster, under names that tell nothing; and that a command reaches a container as it was given."""

import io
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.isolation import IsolationProfile, Mount, Resources
from livinglab.domain.run import JobKey
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.scratch import Layout, archive_bytes
from livinglab.sites.slurm import layout as laid
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.transfer import packed

LAYOUT = Layout(PurePosixPath("/scratch"), "lab", b"\x01" * 32)
SETTINGS = SlurmSettings(scratch=Path("/scratch"))
IMAGE, DATASET = "sha256:" + "1" * 64, "sha256:" + "2" * 64
MOUNTS = (Mount(area="inputs", target="/in"), Mount(area="outputs", target="/out", read_only=False),
          Mount(area="hidden", target="/d", dataset=DATASET),
          Mount(area="socket", target="/socket", read_only=False))  # fmt: skip
TOOLS = LAYOUT.root / "bin" / "x"


def spec_of(argv: tuple[str, ...] = ("true",), **limits: float) -> JobSpec:
    container = ContainerSpec(role="pilot", image=IMAGE, argv=argv, mounts=MOUNTS, resources=Resources.model_validate(limits))
    return JobSpec(attempt="run-a.1", containers=(container,), profile=IsolationProfile(), nonce="5a" * 16)


def sourced(files: dict[str, bytes], name: str, variable: str) -> list[str]:
    """An array (or a word) of a file that `job.sh` sources, as bash then has it."""
    script = f'. /dev/stdin; printf "%s\\0" "${{{variable}[@]}}"'
    said = subprocess.run(["bash", "-p", "-c", script], input=files[name], capture_output=True, check=True)
    assert not said.stderr
    return [word.decode() for word in said.stdout.split(b"\0")[:-1]]


def launched(spec: JobSpec, variable: str, name: str = "pilot.launch") -> list[str]:
    return sourced(laid.job_files(LAYOUT, SETTINGS, spec, TOOLS), name, variable)


HOSTILE = ["a b", "'", '"', "$(id)", "`id`", "a\nb", "\\", "-x", "--", "*", "~", "$HOME", "!!", "#",
           "a;b", "a|b", "&", ">x", "", "ä\u202e", "$'\\n'", "\x1b[2J"]  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE)
def test_a_word_reaches_the_container_as_it_is(word: str) -> None:
    assert launched(spec_of(("echo", word, "end")), "COMMAND")[-3:] == ["echo", word, "end"]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=5))
def test_every_command_does(argv: list[str]) -> None:
    command = launched(spec_of(tuple(argv)), "COMMAND")
    assert command[command.index("--") + 1 :] == argv


def test_limits_are_told_as_the_script_takes_them() -> None:
    spec = spec_of(memory=(100 << 20) + 5, cpus=1.5, wall_seconds=2.5, log_bytes=4_096, output_bytes=70_001, output_files=7)
    told = {name: launched(spec, name)[0] for name in ("MEBIBYTES", "CORES", "WALL_SECONDS", "LOG_BYTES", "OUT_BYTES", "OUT_FILES")}
    assert told == {"MEBIBYTES": "100", "CORES": "2", "WALL_SECONDS": "2.500", "LOG_BYTES": "4096", "OUT_BYTES": str(18 * 4_096), "OUT_FILES": "7"}
    assert (laid.cores(spec), laid.mebibytes(spec), laid.minutes(spec)) == (2, 100, 3)
    assert archive_bytes(spec.containers[0].resources) == 18 * 4_096 + 7 * 4_096 + 65_536


def test_what_is_mounted_comes_from_the_labs_folder() -> None:
    area = LAYOUT.area("run-a.1", "inputs")
    assert launched(spec_of(), "BINDS") == [
        f"{TOOLS}/launcher:/.livinglab/launcher:ro", f"{area}:/in:ro", "@out:/out", f"{LAYOUT.root}/data/{'2' * 64}:/d:ro",
        "@socket:/socket"]  # fmt: skip
    assert laid.sources_of(LAYOUT, spec_of()) == sorted([LAYOUT.image(IMAGE), LAYOUT.dataset(DATASET), area])


def test_names_tell_nothing_and_are_a_labs_own() -> None:
    key = JobKey(attempt="run-secret.1", role="pilot")
    other = Layout(LAYOUT.scratch, LAYOUT.instance, b"\x02" * 32)
    keys = [key, JobKey(attempt="run-secret.1", role="measure"), JobKey(attempt="run-secret.11", role="pilot")]
    names = [*map(LAYOUT.job, keys), other.job(key)]
    assert len(set(names)) == 4
    assert all("secret" not in name and "pilot" not in name and name.startswith("ll-") and len(name) == 23 for name in names)
    assert LAYOUT.root != other.root
    assert "secret" not in str(LAYOUT.area("run-secret.1", "inputs").relative_to(LAYOUT.scratch))


def test_the_folder_of_a_job_is_packed_closed() -> None:
    files = laid.job_files(LAYOUT, SETTINGS, spec_of(), TOOLS)
    with tarfile.open(fileobj=io.BytesIO(packed(files))) as tar:
        assert {member.name for member in tar} == {"keys", "spec", "spec.json", "job.launch", "pilot.launch"}
        assert {member.mode for member in tar.getmembers()} == {0o600}
    assert JobSpec.model_validate_json(files["spec.json"]) == spec_of()
    assert files["keys"] == b"run-a.1.pilot\n"


def test_a_socket_is_made_only_where_it_is_asked_for() -> None:
    without = spec_of()
    container = without.containers[0].model_copy(update={"mounts": MOUNTS[:2]})
    assert launched(spec_of(), "SOCKET_BYTES", "job.launch") != ["0"]
    assert launched(without.model_copy(update={"containers": (container,)}), "SOCKET_BYTES", "job.launch") == ["0"]
