"""From the lab's image to a SIF, once per digest: sent, built without root, and kept under the digest of what was sent."""

import re
import shlex
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from livinglab.domain.errors import Invalid, PlatformFault, Unreachable
from livinglab.ports import Images
from livinglab.sites.outputs import members
from livinglab.sites.scratch import Layout
from livinglab.sites.shell import Failed
from livinglab.sites.slurm.control import Cluster, Request
from livinglab.sites.slurm.sharing import Snapshot
from livinglab.sites.slurm.states import given_up, lives
from livinglab.sites.staging import Staging
from livinglab.sites.transfer import place

_FOUND = '[ -f "$1" ] && cat "$1.sha256" 2>/dev/null'
_BUILD = r"""
umask 077
cd "$1" || exit
if ! mkdir "$2.building" 2>/dev/null; then
    # Who builds says so every few seconds. Of one who was cut off the folder is left; by the file system's own clock it is old.
    touch "$2.clock.$$" && now="$(stat -c %Y "$2.clock.$$")" && rm "$2.clock.$$" || exit
    [ "$((now - $(stat -c %Y "$2.building")))" -gt 60 ] && mv -T "$2.building" "$2.stale.$$" || exit 75
    rm -rf "$2.stale.$$"
    mkdir "$2.building" 2>/dev/null || exit 75
fi
(while sleep 5 && kill -0 "$$"; do touch "$2.building"; done) >/dev/null 2>&1 </dev/null &
trap 'kill "$!" 2>/dev/null; rm -rf "$2.building"' EXIT
env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C HOME="$1/$2.building" APPTAINER_CONFIGDIR="$1/$2.building" \
    APPTAINER_CACHEDIR="$1/$2.building" APPTAINER_TMPDIR="$1/$2.building" "$3" --silent --nocolor build --force --disable-cache \
    --mksquashfs-args "-comp gzip -Xcompression-level 1" \
    "$2.building/new.sif" "docker-archive:$2.source/image.tar" || exit 70
sum="$(sha256sum "$2.building/new.sif")" && mv "$2.building/new.sif" "$2.sif" && printf '%s\n' "${sum%% *}" >"$2.sif.sha256.new" \
    && mv "$2.sif.sha256.new" "$2.sif.sha256" && rm -rf "$2.source" "$2.source.sum"
"""
_BUSY = 75
_BUILD_SECONDS = 1_800.0
_BUILD_MEBIBYTES, _BUILD_MINUTES = 4_096, 60
_RUNTIMES = re.compile(r"[./]*(singularity|\.run|\.exec|\.shell|\.test|environment)(/.*)?", re.DOTALL)
_RUNTIMES_FOLDER = re.compile(r"(^|/)\.singularity\.d(/|$)")
"""What Apptainer sources, or looks at, before the first process: an image that brings it could speak before the launcher does.
Its folder is refused wherever it is named, since a link may lead to it."""


class SlurmImages:
    """Images at one cluster."""

    def __init__(self, cluster: Cluster, layout: Layout, images: Images, staging: Staging, queue: Snapshot) -> None:
        self._shell, self._control, self._settings = cluster.shell, cluster.control, cluster.settings
        self._layout, self._images, self._staging, self._queue = layout, images, staging, queue
        self._ready: dict[str, str] = {}

    def ensure(self, digest: str) -> str:
        """The SIF's own digest, once it is there. However many ask, it is built once.

        Raises:
            NotFound: the image is not among the lab's.
            Invalid: it brings what Apptainer would execute before the launcher, or cannot be unpacked.
            Unreachable: the cluster does not answer, or another machine's worker is building it.
        """
        if digest not in self._ready:
            with self._staging.locked(f"image-{digest.removeprefix('sha256:')}"):
                self._ready[digest] = self._find(digest) or self._make(digest)
        return self._ready[digest]

    def forget(self) -> None:
        """Some are there no more: the next time one is asked for, it is looked for, and built again."""
        self._ready.clear()

    def _find(self, digest: str) -> str | None:
        try:
            return "sha256:" + self._shell.run(_FOUND, str(self._layout.image(digest))).decode().strip()
        except Failed:
            return None

    def _make(self, digest: str) -> str:
        image = self._layout.image(digest)
        with tempfile.TemporaryDirectory(dir=self._staging.root) as folder:
            archive = Path(folder) / "image.tar"
            with archive.open("wb") as out:
                self._images.export(digest, out)
            _refuse_what_speaks_first(archive)
            place(self._shell, image.with_name(image.stem + ".source"), {"image.tar": archive})
        self._build(image)
        found = self._find(digest)
        if found is None:
            msg = f"image {digest} was built at site scratch, and is not there."
            raise PlatformFault(msg)
        return found

    def _build(self, image: PurePosixPath) -> None:
        arguments = (str(image.parent), image.stem, str(self._settings.apptainer))
        try:
            if self._settings.build == "login":
                self._shell.run(_BUILD, *arguments, timeout=_BUILD_SECONDS)
            else:
                self._build_in_a_job(arguments)
        except Failed as error:
            if error.exit_code == _BUSY:
                msg = "another worker builds this image at the moment."
                raise Unreachable(msg) from error
            msg = f"Apptainer could not build the image: {error.said}"
            raise PlatformFault(msg) from error

    def _build_in_a_job(self, arguments: tuple[str, ...]) -> None:
        """Where the login node must not be burdened. Its name is the image's, so that a second look finds it."""
        name = f"ll-image-{arguments[1][:16]}"
        script = f"#!/bin/bash -p\nset -- {shlex.join(arguments)}\n{_BUILD}"
        if not self._is_queued(name):
            self._control.submit(Request(name=name, script=script, cores=1, mebibytes=_BUILD_MEBIBYTES, minutes=_BUILD_MINUTES))
        end = time.monotonic() + _BUILD_SECONDS
        while time.monotonic() < end and self._is_queued(name):
            time.sleep(self._settings.poll_seconds)

    def _is_queued(self, name: str) -> bool:
        """Is it waiting or running? What Slurm has given up is cancelled, and is neither."""
        waiting = [line for line in self._queue.look(fresh=True).get(name, ()) if lives(line.state)]
        held = [line for line in waiting if given_up(line.state, line.reason)]
        self._control.cancel([line.id for line in held])
        return len(waiting) > len(held)


def _refuse_what_speaks_first(archive: Path) -> None:
    with tarfile.open(archive, mode="r:") as image:
        for member in image:
            if member.name.endswith("/layer.tar") and (layer := image.extractfile(member)):
                _check_layer(layer)  # type: ignore[arg-type]


def _check_layer(stream: BinaryIO) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in members(tar):
            if _RUNTIMES.fullmatch(member.name) or any(map(_RUNTIMES_FOLDER.search, (member.name, member.linkname))):
                msg = f"{member.name!r} in the image is, or leads to, what Apptainer executes before anything else."
                raise Invalid(msg, hint="Build the image from its files, without what an earlier Apptainer or Singularity left in it.")
