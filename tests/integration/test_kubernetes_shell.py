"""The shell in the staging pod of a real cluster: whatever goes in comes out, by whatever way it goes."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from livinglab.domain.errors import Unreachable
from livinglab.sites.kubernetes.api import Api
from livinglab.sites.kubernetes.config import KubernetesSettings
from livinglab.sites.kubernetes.execute import PodShell
from livinglab.sites.shell import Failed

pytestmark = pytest.mark.kubernetes

EVERY_BYTE = bytes(range(256)) * 5


@pytest.fixture
def shell(kubernetes_lab: KubernetesSettings) -> PodShell:
    return PodShell(Api(kubernetes_lab.kubeconfig), kubernetes_lab.namespace, kubernetes_lab.stager)


@pytest.mark.parametrize("data", [b"", b"x", b"\n", b"\0", b"a\n\nb\n", EVERY_BYTE, EVERY_BYTE * 20, EVERY_BYTE * 4_000], ids=len)
def test_bytes_go_in_and_come_out(shell: PodShell, tmp_path: Path, data: bytes) -> None:
    assert shell.run("cat", stdin=data) == data
    (tmp_path / "in").write_bytes(b"skip" + data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        source.seek(4)
        assert shell.run("cat", stdin=source, out=target) == b""
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("word", ["", " ", "a b", "'", '"', "$(id)", "`id`", "a\nb", "\\", "-n", "*", "$HOME", ";", "ä\u202e", "x" * 10_000])
def test_a_word_arrives_as_it_is(shell: PodShell, word: str) -> None:
    assert shell.run('printf %s "$2"', "first", word, "last").decode() == word


def test_a_failure_is_told_and_spoils_nothing(shell: PodShell) -> None:
    for size in (0, 1 << 20):  # in a session, and with a connection of its own
        with pytest.raises(Failed, match="exit code 3: second; third; fourth") as told:
            shell.run("printf 'first\\nsecond\\nthird\\nfourth\\n' >&2; cat >/dev/null; exit 3", stdin=bytes(size))
        assert told.value.exit_code == 3
        assert shell.run("echo well") == b"well\n"


def test_many_ask_at_once(shell: PodShell) -> None:
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda n: shell.run('sleep 0.0"$1"; echo "$1"', str(n)), range(40)))
    assert said == [f"{n}\n".encode() for n in range(40)]
    assert len(shell._idle) <= 8


def test_a_session_that_was_ended_is_replaced(shell: PodShell) -> None:
    assert shell.run("echo one") == b"one\n"
    assert len(shell._idle) == 1
    shell._idle[0][1].sock.shutdown()
    assert shell.run("echo two") == b"two\n"
    assert len(shell._idle) == 1


def test_who_asks_may_end_the_session(shell: PodShell) -> None:
    """Then nobody knows whether it ran."""
    with pytest.raises(Unreachable, match="was cut"):
        shell.run('kill -9 "$(cut -d" " -f4 /proc/$PPID/stat)" "$PPID"; sleep 1')
    assert shell.run("echo well") == b"well\n"


def test_a_command_that_takes_too_long_is_given_up(shell: PodShell) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="did not answer in time"):
        shell.run("sleep 20", timeout=1)
    assert time.monotonic() - began < 10
    assert shell.run("echo well") == b"well\n"
