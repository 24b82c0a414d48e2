"""The Slurm test bed itself: what the tests of the cluster's site take for granted is so."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from livinglab.domain.errors import Unreachable
from livinglab.sites.shell import CommandShell
from tests.fixtures.slurm import SlurmBed

pytestmark = pytest.mark.slurm

ISOLATED = "apptainer exec --containall --cleanenv --no-home --net --network none"
UNFINISHED = {"", "PENDING", "RUNNING", "COMPLETING"}
"""What sacct says of a job that has not ended; nothing, of one that slurmdbd has not heard of yet."""


@pytest.fixture
def folder(slurm_bed: SlurmBed) -> Iterator[str]:
    """On the cluster's scratch, and of no other test's."""
    path = f"/scratch/bed-{secrets.token_hex(4)}"
    slurm_bed.local().run('mkdir -m 700 "$1"', path)
    yield path
    slurm_bed.local().run('rm -rf "$1"', path)


def submit(shell: CommandShell, folder: str, command: str, memory: str = "200M") -> str:
    """The id of a job that runs a command line, and writes what it says to `said`."""
    return shell.run('sbatch --parsable --mem="$1" --output="$2/said" --wrap="$3"', memory, folder, command).decode().strip()


def ended(shell: CommandShell, job: str) -> str:
    """How a job ended, as the accounting has it."""
    end = time.monotonic() + 60
    while (state := shell.run('sacct --noheader --parsable2 --allocations --format=State --jobs="$1"', job).decode().strip()) in UNFINISHED:
        assert time.monotonic() < end, f"job {job} is {state or 'unknown'} still"
        time.sleep(0.2)
    return state


def test_both_nodes_take_jobs(slurm_bed: SlurmBed) -> None:
    nodes = dict(line.split() for line in slurm_bed.on("login", "sinfo", "--noheader", "--Node", "--partition=lab", "--format=%N %T").splitlines())
    assert len(nodes) == 2
    assert set(nodes.values()) <= {"idle", "mixed", "allocated"}, nodes


def test_a_job_runs_apptainer_as_the_labs_user_without_a_network(slurm_bed: SlurmBed, folder: str, tmp_path: Path) -> None:
    shell = slurm_bed.local()
    subprocess.run(["docker", "save", "--output", tmp_path / "image.tar", "livinglab/base:bookworm"], check=True)
    with (tmp_path / "image.tar").open("rb") as archive:
        shell.run('cat >"$1/image.tar"', folder, stdin=archive)
    shell.run('apptainer build --mksquashfs-args "-comp gzip -Xcompression-level 1" "$1/image.sif" "docker-archive:$1/image.tar"', folder)
    code = "import os; print(os.getuid()); print([line.split(':')[0].strip() for line in list(open('/proc/self/net/dev'))[2:]])"
    job = submit(shell, folder, f"LEAKED=yes {ISOLATED} {folder}/image.sif python3 -c \"{code}; print(os.environ.get('LEAKED'))\"")
    state, said = ended(shell, job), shell.run('cat "$1/said"', folder).decode()
    assert state == "COMPLETED", said
    assert said.splitlines()[-3:] == ["2000", "['lo']", "None"]


def test_a_job_that_takes_more_memory_than_it_asked_for_is_killed(slurm_bed: SlurmBed, folder: str) -> None:
    shell = slurm_bed.local()
    greedy = "python3 -c \"b = bytearray(512 << 20); b[::4096] = b'x' * len(b[::4096])\""
    assert ended(shell, submit(shell, folder, greedy, memory="64M")) == "OUT_OF_MEMORY"
    assert ended(shell, submit(shell, folder, greedy, memory="1G")) == "COMPLETED"


def test_another_user_sees_neither_jobs_nor_files(slurm_bed: SlurmBed, folder: str) -> None:
    shell = slurm_bed.local()
    job = submit(shell, folder, "sleep 600")
    try:
        asked = ("squeue", "--noheader", "--format=%i")
        assert job in slurm_bed.on("login", *asked, user="lab").split()
        assert job not in slurm_bed.on("login", *asked, user="other").split()
        looked = ["docker", "exec", "--user", "other", f"{slurm_bed.name}-login", "ls", folder]
        assert "Permission denied" in subprocess.run(looked, capture_output=True, text=True, check=False).stderr
        cancelled = ["docker", "exec", "--user", "other", f"{slurm_bed.name}-login", "scancel", job]
        assert subprocess.run(cancelled, capture_output=True, check=False).returncode != 0
    finally:
        shell.run('scancel "$1"', job)
    assert ended(shell, job).startswith("CANCELLED by 2000")


def test_rest_answers_who_brings_a_token(slurm_bed: SlurmBed) -> None:
    def get(path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{slurm_bed.rest_url}/slurm/{path}", headers=headers, timeout=30, trust_env=False)

    token = {"X-SLURM-USER-TOKEN": slurm_bed.token()}
    pings = get("v0.0.42/ping", **token).json()["pings"]
    assert [(ping["hostname"], ping["pinged"]) for ping in pings] == [("ctl", "UP")]
    assert get("v0.0.45/jobs/", **token).status_code == httpx.codes.OK
    head, body, _ = token["X-SLURM-USER-TOKEN"].split(".")
    assert get("v0.0.45/jobs/", **{"X-SLURM-USER-TOKEN": f"{head}.{body}.{'A' * 43}"}).json()["errors"]
    assert get("v0.0.45/jobs/").status_code == httpx.codes.UNAUTHORIZED


def test_ssh_lets_the_labs_key_in(slurm_bed: SlurmBed, ssh_folder: Path) -> None:
    assert slurm_bed.ssh(ssh_folder).run("id -un; hostname") == b"lab\nlogin\n"


def test_ssh_refuses_a_host_key_that_is_not_the_pinned_one(slurm_bed: SlurmBed, ssh_folder: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    kind, key, *_ = (tmp_path / "key.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"{slurm_bed.host} {kind} {key}\n")
    with pytest.raises(Unreachable, match="is not the one that is pinned"):
        slurm_bed.ssh(ssh_folder / "of-its-own", tmp_path / "known_hosts").run("true")  # a connection that is open already asks for no key
