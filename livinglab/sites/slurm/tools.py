"""What the lab brings to a cluster, placed once under its digest: the launcher, the job's script, Apptainer's configuration."""

import hashlib
from importlib import resources
from pathlib import Path, PurePosixPath

from livinglab.sites.shell import Shell
from livinglab.sites.transfer import place

_OWN = ("job.sh", "apptainer.conf", "seccomp.json")
_MAKE_ROOT = 'umask 077; mkdir -p "$1/jobs" "$1/attempts" "$1/images" "$1/data" "$1/bin" "$1/ended" && chmod 700 "$1"'


def own(name: str) -> bytes:
    """One of this package's files."""
    return (resources.files("livinglab.sites.slurm") / name).read_bytes()


def place_tools(shell: Shell, root: PurePosixPath, launcher: Path) -> PurePosixPath:
    """Make the lab's folder, readable by nobody else, and place the tools in it; where they are. Idempotent."""
    files = {name: own(name) for name in _OWN} | {"launcher": launcher.read_bytes()}
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for _, data in sorted(files.items()))).hexdigest()
    shell.run(_MAKE_ROOT, str(root))
    folder = root / "bin" / digest[:20]
    place(shell, folder, files)
    shell.run('chmod 500 "$1/launcher"', str(folder))
    return folder
