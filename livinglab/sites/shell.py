"""Running commands where a cluster takes them: on this machine, or at its login node over SSH. Files travel the same way."""

import hashlib
import os
import shlex
import stat
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from livinglab.domain.errors import PlatformFault, Unreachable

TIMEOUT = 60.0
AT_ONCE = 8
"""Commands at a time: an sshd takes ten over one connection, unless it is told otherwise."""
_SSH_FAILED = 255
_SOCKET_PATH, _SOCKET_NAME = 108, 60  # bytes: of a socket's whole path (unix(7)), and of the name that ssh makes for it


class Failed(PlatformFault):
    """A command answered, and said no. `code` is its exit code, `said` its last words."""

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message)
        self.exit_code = code
        self.said = said


class Shell(Protocol):
    """Where commands are run as the lab's account at the cluster."""

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = TIMEOUT) -> bytes:
        """Run a bash script there; return its standard output (or write it to `out`, a real file).

        Raises:
            Failed: it ended with another exit code than 0.
            Unreachable: nobody answered, or not in time. Whether it was run is not known.
        """
        ...


@dataclass(frozen=True)
class CommandShell:
    """A shell behind a command: none for this machine, `sudo -u lab` for another account, `ssh …` for another machine."""

    prefix: tuple[str, ...]
    where: str
    quoted: bool = False
    """SSH joins its arguments into one line that the far shell splits again."""
    at_once: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def run(self, script: str, *arguments: str, stdin: bytes | BinaryIO = b"", out: BinaryIO | None = None, timeout: float = TIMEOUT) -> bytes:
        """See the protocol."""
        command = ["bash", "--noprofile", "--norc", "-p", "-c", script, "livinglab", *arguments]
        argv = [*self.prefix, shlex.join(command)] if self.quoted else [*self.prefix, *command]
        data, stream = (stdin, None) if isinstance(stdin, bytes) else (None, stdin)
        try:
            pipe = subprocess.PIPE
            with self.at_once, subprocess.Popen(argv, stdin=stream or pipe, stdout=out or pipe, stderr=pipe) as process:  # noqa: S603 - what it is for
                done = _finish(process, data, timeout)
        except subprocess.TimeoutExpired as error:
            msg = f"{self.where} did not answer within {timeout:g} seconds."
            raise Unreachable(msg) from error
        except OSError as error:
            msg = f"{argv[0]} cannot be run here: {error.strerror}."
            raise Unreachable(msg) from error
        if done.code == 0:
            return done.out
        said = _last_words(done.err)
        if self.quoted and done.code == _SSH_FAILED:
            raise Unreachable(_ssh_sentence(self.where, said))
        msg = f"a command at {self.where} ended with exit code {done.code}: {said or 'it gave no reason'}"
        raise Failed(msg, done.code, said)


@dataclass(frozen=True)
class _Done:
    out: bytes
    err: bytes
    code: int


def _finish(process: subprocess.Popen[bytes], data: bytes | None, timeout: float) -> _Done:
    """What it said. It is killed where it takes too long, and where this process is interrupted."""
    try:
        out, err = process.communicate(data, timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return _Done(out or b"", err or b"", process.returncode)


def _last_words(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-3:])[-600:]


def _ssh_sentence(where: str, said: str) -> str:
    if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return (f"the host key of {where} is not the one that is pinned, so nobody was talked to. "
                "If it was changed on purpose, put the new one into known_hosts.")  # fmt: skip
    if "Permission denied" in said:
        return f"{where} does not let the lab's key in: {said}"
    return f"{where} cannot be reached: {said or 'the connection was cut'}"


def _private(folder: Path) -> Path:
    """A folder of ours that nobody else may enter; a shorter one than asked for, where a socket in that would have too long a name."""
    if len(os.fsencode(folder)) + _SOCKET_NAME > _SOCKET_PATH:
        folder = Path(tempfile.gettempdir()) / f"ll-ssh-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        msg = f"{folder} is not the lab's alone, so the connection to a cluster is not kept there."
        raise PlatformFault(msg, hint="Remove it.")
    return folder


def local_shell(prefix: Sequence[str] = ()) -> CommandShell:
    """Commands on this machine, behind a prefix if there is one."""
    return CommandShell(tuple(prefix), "the cluster's command line")


def ssh_shell(host: str, user: str, *, port: int, identity: Path, known_hosts: Path, control: Path) -> CommandShell:
    """Commands over one OpenSSH connection that stays open between them. The host's key must be pinned in `known_hosts`.

    Args:
        control: a folder of ours for the connection's socket; its path must be short.
    """
    control = _private(control)
    options = {
        "BatchMode": "yes", "StrictHostKeyChecking": "yes", "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no", "IdentitiesOnly": "yes", "IdentityAgent": "none", "ForwardAgent": "no",
        "ForwardX11": "no", "ClearAllForwardings": "yes", "PreferredAuthentications": "publickey", "ConnectTimeout": "10",
        "ServerAliveInterval": "5", "ServerAliveCountMax": "3",
        "ControlMaster": "auto", "ControlPersist": "120", "ControlPath": str(control / "%C"), "LogLevel": "ERROR",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    prefix = ("ssh", "-F", "/dev/null", "-T", *flags, "-p", str(port), "-i", str(identity), "-l", user, "--", host)
    return CommandShell(prefix, f"{user}@{host}:{port}", quoted=True)
