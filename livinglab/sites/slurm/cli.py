"""The scheduler by its command line, wherever a shell runs it."""

from collections.abc import Collection

from livinglab.domain.errors import Unreachable
from livinglab.sites.shell import Failed, Shell
from livinglab.sites.slurm import commands
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Line, Request

_RUN = r"""
for name in $(compgen -e); do
    case "$name" in
    SLURM_CONF) ;;
    SBATCH_* | SLURM_* | SQUEUE_* | SACCT_* | SCANCEL_* | SCONTROL_*) unset "$name" ;;
    esac
done
"$@"
"""
"""What the account's profile sets for Slurm's commands would change what they do, and what they answer; where their configuration lies stays."""
_AWAY = ("Unable to contact slurm controller", "Connection refused", "Socket timed out", "Zero Bytes were transmitted",
         "slurm_persist_conn", "Problem talking to the database", "Transport endpoint", "Slurm backup controller in standby",
         "Unable to open connection",
         "sending persist",
         "failed to open persistent", "Resource temporarily unavailable", "Slurm temporarily unable to accept job")  # fmt: skip
"""What Slurm's commands say when a daemon is away or busy."""
_NO_SUCH_JOB = "Invalid job id"


class CommandControl:
    """`Control` over sbatch, squeue, sacct, scancel and scontrol."""

    def __init__(self, shell: Shell, settings: SlurmSettings) -> None:
        self._shell = shell
        self._settings = settings

    @property
    def array_size(self) -> int:
        """See the protocol."""
        return self._settings.array_size

    def submit(self, request: Request) -> str:
        """See the protocol."""
        return commands.submitted(self._say(commands.sbatch(self._settings, request), request.script.encode()))

    def queue(self) -> tuple[Line, ...]:
        """See the protocol."""
        return commands.queued(self._say(commands.squeue()))

    def accounted(self, names: Collection[str]) -> tuple[Line, ...]:
        """See the protocol."""
        lines = commands.accounted(self._say(commands.sacct(names))) if names else ()
        return tuple(line for line in lines if line.name in names)

    def cancel(self, ids: Collection[str]) -> None:
        """See the protocol."""
        if not ids:
            return
        try:
            self._say(commands.scancel(ids))
        except Failed as error:
            if _NO_SUCH_JOB not in error.said:
                raise

    def hold(self, ids: Collection[str]) -> None:
        """See the protocol."""
        if ids:
            self._say(["scontrol", "hold", ",".join(ids)])

    def let_go(self, ids: Collection[str]) -> None:
        """See the protocol."""
        if ids:
            self._say(["scontrol", "release", ",".join(ids)])

    def prioritise(self, id_: str, priority: int) -> None:
        """See the protocol."""
        self._say(commands.update(id_, Nice=commands.nice(priority)))

    def config(self) -> str:
        """See the protocol."""
        return self._say(["scontrol", "show", "config"])

    def _say(self, argv: list[str], stdin: bytes = b"") -> str:
        try:
            return self._shell.run(_RUN, *argv, stdin=stdin).decode(errors="replace")
        except Failed as error:
            if any(words in error.said for words in _AWAY):
                msg = f"Slurm does not answer: {error.said}"
                raise Unreachable(msg) from error
            raise
