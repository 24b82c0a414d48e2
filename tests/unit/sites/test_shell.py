"""Commands where a cluster takes them: what was said, what failed, and what is not known."""

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.errors import PlatformFault, Unreachable
from livinglab.sites.shell import CommandShell, Failed, local_shell, ssh_shell
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings

QUOTED = CommandShell(("bash", "-c"), "lab@login", quoted=True)
"""A far shell that splits one line again, as sshd's does."""
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30), max_size=4)


@given(WORDS)
def test_words_arrive_as_they_are(words: list[str]) -> None:
    for shell in (local_shell(), QUOTED):
        said = shell.run('printf "%s\\0" "$@"', *words)
        assert said.decode().split("\0")[: len(words)] == words


def test_what_is_given_and_said_is_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    assert local_shell().run("cat", stdin=data) == data
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as out:
        source.seek(256)
        assert local_shell().run("cat", stdin=source, out=out) == b""
    assert (tmp_path / "out").read_bytes() == data[256:]


def test_a_no_is_told_with_its_last_words() -> None:
    with pytest.raises(Failed, match="exit code 3: two; three; four") as caught:
        local_shell().run("printf '%s\\n' one two three four >&2; exit 3")
    assert (caught.value.exit_code, caught.value.said) == (3, "two; three; four")
    with pytest.raises(Failed, match="it gave no reason"):
        local_shell().run("false")


def test_who_does_not_answer_in_time_is_not_reached() -> None:
    with pytest.raises(Unreachable, match=r"did not answer within 0\.2 seconds"):
        local_shell().run("exec sleep 60", timeout=0.2)


def test_a_command_that_is_not_here_reaches_nobody() -> None:
    with pytest.raises(Unreachable, match="cannot be run here"):
        local_shell(["/nowhere/to/be/found"]).run("true")


@pytest.mark.parametrize(("said", "sentence"), [
    ("ssh: connect to host x port 22: Connection refused", "cannot be reached: ssh: connect"),
    ("Host key verification failed.", "not the one that is pinned"),
    ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "not the one that is pinned"),
    ("lab@x: Permission denied (publickey).", "does not let the lab's key in"),
    ("", "the connection was cut"),
])  # fmt: skip
def test_what_ssh_says_of_itself_is_no_answer(said: str, sentence: str) -> None:
    with pytest.raises(Unreachable, match=sentence):
        QUOTED.run(f"echo {shlex.quote(said)} >&2; exit 255")


def test_what_a_local_command_says_with_255_is_one() -> None:
    with pytest.raises(Failed):
        local_shell().run("exit 255")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ll-") as folder:
        yield Path(folder)


def test_ssh_asks_nobody_and_trusts_what_is_pinned(tmp_path: Path, short: Path) -> None:
    shell = ssh_shell("login.example", "lab", port=2_222, identity=tmp_path / "key", known_hosts=tmp_path / "hosts", control=short / "s")
    words = " ".join(shell.prefix)
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/hosts", "GlobalKnownHostsFile=/dev/null",
                   "ForwardAgent=no",
                   "IdentitiesOnly=yes", "ClearAllForwardings=yes", "-F /dev/null", "-p 2222", "-l lab -- login.example"):  # fmt: skip
        assert option in words
    assert (short / "s").stat().st_mode & 0o777 == 0o700


def test_a_connection_that_stays_open_has_a_short_path_that_is_ours_alone(tmp_path: Path, short: Path) -> None:
    def folder(control: Path) -> Path:
        shell = ssh_shell("login.example", "lab", port=22, identity=tmp_path / "key", known_hosts=tmp_path / "hosts", control=control)
        return Path(next(word for word in shell.prefix if word.startswith("ControlPath=")).partition("=")[2]).parent

    long = folder(tmp_path / ("x" * 80))
    try:
        assert len(str(long)) < 40
        assert long.stat().st_mode & 0o777 == 0o700
    finally:
        long.rmdir()
    (short / "s").mkdir(mode=0o755)
    with pytest.raises(PlatformFault, match="not the lab's alone"):
        folder(short / "s")


# --- the scheduler behind one -----------------------------------------------------------------------------------------


@pytest.fixture
def control(tmp_path: Path) -> CommandControl:
    """Over commands of this test's own: they say what their environment is, or what stands in `answer`."""
    for name in ("squeue", "sbatch", "sacct", "scancel", "scontrol"):
        (tmp_path / name).write_text(f"#!/bin/bash\nenv >'{tmp_path}/{name}.env'\n. '{tmp_path}/answer'\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "answer").write_text("")
    profile = "SBATCH_ARRAY_INX=1-9 SQUEUE_PARTITION=other SLURM_CLUSTERS=far SACCT_FORMAT=x SCANCEL_STATE=PENDING SLURM_CONF=/etc/site.conf SECRET=1"
    prefix = ("env", f"PATH={tmp_path}:/usr/bin:/bin", *profile.split())
    return CommandControl(local_shell(prefix), SlurmSettings(scratch=tmp_path))


def test_nothing_of_the_accounts_profile_changes_what_is_asked(control: CommandControl, tmp_path: Path) -> None:
    """A partition that squeue is told to show would hide jobs, and what is hidden would be submitted again."""
    control.queue()
    control.accounted(["ll-a"])
    control.cancel(["17"])
    own = {"SLURM_CONF", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN"}
    for name in ("squeue", "sacct", "scancel"):
        seen = dict(line.partition("=")[::2] for line in (tmp_path / f"{name}.env").read_text().splitlines())
        assert {n for n in seen if n.startswith(("SBATCH_", "SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_"))} == own
        assert (seen["TZ"], seen["SLURM_CONF"]) == ("UTC", "/etc/site.conf")


@pytest.mark.parametrize("said", [
    "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sacct: error: Problem talking to the database: Connection refused",
    "scancel: error: Kill job error on job id 5: Zero Bytes were transmitted or received",
    "sbatch: error: Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying",
])  # fmt: skip
def test_a_daemon_that_is_away_is_not_reached(control: CommandControl, tmp_path: Path, said: str) -> None:
    (tmp_path / "answer").write_text(f"echo {shlex.quote(said)} >&2; exit 1\n")
    for ask in (control.queue, lambda: control.accounted(["ll-a"]), lambda: control.cancel(["17"]), lambda: control.hold(["1"])):
        with pytest.raises(Unreachable, match="Slurm does not answer"):
            ask()


def test_a_scheduler_that_says_no_has_answered(control: CommandControl, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("echo 'Invalid account or account/partition combination specified' >&2; exit 1\n")
    with pytest.raises(Failed, match="Invalid account"):
        control.prioritise("5", 10)


def test_nobody_is_asked_about_nothing(control: CommandControl, tmp_path: Path) -> None:
    control.cancel([])
    control.hold([])
    control.let_go([])
    assert control.accounted([]) == ()
    assert list(tmp_path.glob("*.env")) == []
