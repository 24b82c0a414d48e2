"""A lab in a temporary home: nothing of it is left afterwards, however its process ends.

The folder is locked for as long as its process lives, and the kernel gives the lock up with the process. So a folder whose lock can be had
is one that a killed process has left, and the next one removes it, with the containers and mounts that belong to it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livinglab.artifacts.blobs import FileArtifacts
from livinglab.bootstrap import Lab, SystemClock, open_lab, open_site, site_of
from livinglab.domain.site import SiteRecord
from livinglab.rehearsal.parties import SITE
from livinglab.settings import Settings
from livinglab.sites.tmpfs import mount_sized, unmount

PREFIX = "livinglab-try-"


@contextmanager
def throwaway_lab(settings: Settings) -> Iterator[Lab]:
    """A lab with a home of its own; of `settings`, it keeps what they say of the machine: engine, runtime, launcher.

    What killed predecessors of the same user have left is removed first, and everything of this one at the end.

    Raises:
        Unreachable: the site does not answer. What could not be removed for that is left to the next one.
        Invalid, IsolationNotProven: the site cannot be used (no launcher, no right to mount).
    """
    for left in _abandoned():
        _remove(_at(left, settings))
    with _own() as home:
        here = _at(home, settings)
        try:
            lab = open_lab(here)
            open_site(lab, SITE).owned()  # asked now: without an engine nothing needs to be begun
            _try_mounting(home / "mount")
        except BaseException:
            shutil.rmtree(home)
            raise
        try:
            yield lab
        finally:
            _remove(here)


def _try_mounting(path: Path) -> None:
    """`IsolationNotProven`, before anything is built, where this process may not mount the volumes that bound a pilot's output."""
    mount_sized(path, size=4096, inodes=1, uid=0, gid=0)
    unmount(path)


def _at(home: Path, settings: Settings) -> Settings:
    """The same machine, another home, and nothing that anybody else would see."""
    own = {"home": home, "database": "", "vault": None, "lab_key": None, "mlflow_url": "", "prefect_url": "", "slots": 1}
    return settings.model_copy(update=own)


def _remove(settings: Settings) -> None:
    """Containers, mounts and folder of a home that is nobody's any more. Its database is not asked: it may be half made."""
    clock = SystemClock()
    record = SiteRecord(name=SITE, kind="docker", added_at=clock.now(), changed_at=clock.now())
    site = site_of(settings, record, FileArtifacts(settings.home / "blobs"), clock)
    for attempt in {key.attempt for key in site.owned()}:
        site.release(attempt)
    shutil.rmtree(settings.home)


@contextmanager
def _own() -> Iterator[Path]:
    """A fresh folder, locked. One that another process took for abandoned, before it was locked, is not there any more; then another is made."""
    while True:
        home = Path(tempfile.mkdtemp(prefix=PREFIX))
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if home.is_dir():
                yield home
                return
        finally:
            os.close(descriptor)


def _abandoned() -> Iterator[Path]:
    """Homes of this user that no process holds; each is locked until the next one is asked for."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # removed meanwhile, or nothing of ours
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield home
        except BlockingIOError:
            continue  # at work
        finally:
            os.close(descriptor)
