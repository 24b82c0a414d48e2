"""GPUs of a cluster: a container opens those that it asked for and no other, and what they cost is told.

The bed's nodes have none. Devices of their names stand in for them; who may open which is the real scheduler's and the real kernel's doing.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.domain.isolation import Attestation
from livinglab.domain.run import JobKey, JobRole
from livinglab.ports import JobSpec, Outcome
from livinglab.sites.attest import attest
from livinglab.sites.shell import local_shell
from livinglab.sites.slurm import tools
from livinglab.testing.bench import NONCE, OUT, collected, container_of, ended, key_of
from tests.contract.benches import SlurmBench
from tests.fixtures.slurm import SlurmBed
from tests.hostile import python

pytestmark = pytest.mark.slurm

OPENS = """
import glob, os, time
def opens(path):
    try: return bool(open(path, 'rb').read(1))
    except PermissionError: return False
print([opens(path) for path in sorted(glob.glob('/dev/nvidia[0-9]'))], flush=True)
print([path for path in os.environ.get('LD_LIBRARY_PATH', '').split(':') if os.path.exists(path + '/libcuda.so.1')])
time.sleep(1.5)
"""


@pytest.fixture
def bench(tmp_path: Path, engine_image: tuple[FileArtifacts, str], slurm_bed: SlurmBed) -> Iterator[SlurmBench]:
    bench = SlurmBench(tmp_path / "bench", *engine_image, slurm_bed.local(), local_shell(["/nowhere"]))
    yield bench
    bench.close()


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_container_opens_the_gpus_that_it_asked_for(bench: SlurmBench, gpus: int) -> None:
    outcome, said = python(bench, OPENS, gpus=gpus)
    opened, driver = said.splitlines()
    assert sorted(opened.strip("[]").split(", ")) == ["False"] * (2 - gpus) + ["True"] * gpus
    assert driver == "['/.singularity.d/libs']"  # where the loader looks
    assert outcome.usage["gpu_seconds"] >= gpus  # at least a second
    assert 100 <= outcome.usage["energy_joules"] <= 100 * outcome.usage["wall_seconds"] + 200  # the node takes 100 watts


def test_a_container_without_a_gpu_sees_none(bench: SlurmBench) -> None:
    outcome, said = python(bench, OPENS)
    assert said.splitlines() == ["[]", "[]"]
    assert "gpu_seconds" not in outcome.usage


def two(bench: SlurmBench) -> dict[str, tuple[Outcome, Attestation]]:
    """Two containers of one job, of which the first asks for a GPU."""
    bench.site.ensure_image(bench.image)
    asked: tuple[tuple[JobRole, int], ...] = (("pilot", 1), ("drive", 0))
    containers = tuple(container_of(bench, role, "greet", (OUT,), gpus=gpus).model_copy(update={"argv": ("python3", "-c", OPENS)})
                       for role, gpus in asked)  # fmt: skip
    spec = JobSpec(attempt="run-h.1", containers=containers, profile=bench.profile, nonce=NONCE)
    bench.site.submit(spec, key_of("run-h.1"))
    ended(bench, key_of("run-h.1"))
    found = {}
    for key in spec.keys:
        outcome = collected(bench, JobKey(attempt="run-h.1", role=key.role))
        found[str(key.role)] = outcome, attest(spec.profile, spec.only(key.role), outcome.report, outcome.site_view, outcome.exit_code)
    return found


def test_of_two_containers_one_has_a_gpu(bench: SlurmBench) -> None:
    found = two(bench)
    assert all(judged.holds for _, judged in found.values()), [judged.reasons for _, judged in found.values()]
    assert found["pilot"][0].log_path.read_text().count("True") == 1
    assert found["drive"][0].log_path.read_text() == "[]\n[]\n"


def test_a_gpu_that_another_was_given_is_found_open(bench: SlurmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster that does not constrain devices: what a container opens counts, not what it sees."""
    own, gres, only = tools.own, b'--gres="$GRES" ', b'${GPUS[@]+"${GPUS[@]}"}'

    def weaker(name: str) -> bytes:
        script = own(name)
        assert name != "job.sh" or script.count(gres) == script.count(only) == 1
        return script.replace(gres, b"").replace(only, b"--nv") if name == "job.sh" else script

    monkeypatch.setattr(tools, "own", weaker)
    _, judged = two(bench)["drive"]
    assert not judged.holds
    assert any("gpus: 1 open of 2 (demanded: 0)" in reason for reason in judged.reasons)
