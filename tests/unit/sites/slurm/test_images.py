"""Images at a cluster: what would speak before the launcher is refused before it is sent, and what is there is not built again."""

import io
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pytest

from livinglab.domain.errors import Invalid, PlatformFault, Unreachable
from livinglab.sites.scratch import Layout
from livinglab.sites.shell import local_shell
from livinglab.sites.slurm.cli import CommandControl
from livinglab.sites.slurm.config import SlurmSettings
from livinglab.sites.slurm.control import Cluster, Line, Request
from livinglab.sites.slurm.images import SlurmImages
from livinglab.sites.slurm.sharing import Snapshot
from livinglab.sites.staging import Staging

DIGEST = "sha256:" + "1" * 64


def layer_of(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            tar.addfile(member)
    return out.getvalue()


def plain(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, leads_to
    return member


class Export:
    """An image of two layers, of which the second is the test's own."""

    def __init__(self, *members: tarfile.TarInfo) -> None:
        self.layers = [layer_of(plain("bin/sh")), layer_of(*members)]

    def export(self, digest: str, out: BinaryIO) -> None:
        assert digest == DIGEST
        with tarfile.open(fileobj=out, mode="w|") as tar:
            for n, layer in enumerate(self.layers):
                member = tarfile.TarInfo(f"{n}/layer.tar")
                member.size = len(layer)
                tar.addfile(member, io.BytesIO(layer))


APPTAINER = {
    "builds": 'echo built >>"$(dirname "$0")/runs"; echo SIF >"${@: -2:1}"',
    "fails": "echo 'FATAL: no space left on device' >&2; exit 255",
}


def images(tmp_path: Path, export: Any, apptainer: str = "builds", control: Any = None) -> SlurmImages:
    """They are built at the login node; with a `control`, in its jobs."""
    (tmp_path / "apptainer").write_text(f"#!/bin/bash\n{APPTAINER[apptainer]}\n")
    (tmp_path / "apptainer").chmod(0o755)
    settings = SlurmSettings.model_construct(
        scratch=tmp_path, apptainer=tmp_path / "apptainer", build="job" if control else "login", poll_seconds=0.1
    )
    layout = Layout(PurePosixPath(tmp_path), "lab", b"\x01" * 32)
    Path(layout.root / "images").mkdir(parents=True, exist_ok=True)
    shell = local_shell()
    cluster = Cluster(settings, shell, control or CommandControl(shell, settings))
    return SlurmImages(cluster, layout, export, Staging(tmp_path / "work"), Snapshot(cluster.control.queue, settings.poll_seconds))


def built(tmp_path: Path) -> int:
    runs = tmp_path / "runs"
    return len(runs.read_text().splitlines()) if runs.exists() else 0


@pytest.mark.parametrize("member", [
    plain(".singularity.d/env/90-environment.sh"),
    plain("./.singularity.d/actions/exec"),
    plain("/.singularity.d"),
    plain(".singularity.d", tarfile.DIRTYPE),
    plain(".//.singularity.d/env/x.sh"),
    plain("a/../.singularity.d/env/x.sh"),
    plain("somewhere/.singularity.d/env/x.sh"),  # somewhere may be a link to the root
    plain(".singularity.d", tarfile.SYMTYPE, "tmp"),
    plain("x", tarfile.SYMTYPE, ".singularity.d/env"),
    plain("x", tarfile.SYMTYPE, "/.singularity.d"),
    plain("x", tarfile.LNKTYPE, ".singularity.d/env/x.sh"),
    plain("environment"), plain("./singularity"), plain(".run"), plain(".exec"), plain("/.shell"), plain(".test"),
], ids=lambda member: f"{member.name} {member.linkname}".strip())  # fmt: skip
def test_what_would_speak_before_the_launcher_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(Invalid, match="Apptainer executes before anything else"):
        images(tmp_path, Export(plain("app/main.py"), member)).ensure(DIGEST)
    assert built(tmp_path) == 0
    assert list((tmp_path).glob("livinglab-*/images/*")) == []  # it was not even sent


@pytest.mark.parametrize("name", ["etc/environment", "usr/bin/singularity", "app/.run", "singularity.d/x", "x.singularity.d/y", "environment.d/z"])
def test_what_only_sounds_like_it_is_not(tmp_path: Path, name: str) -> None:
    assert images(tmp_path, Export(plain(name), plain("etc/x", tarfile.SYMTYPE, "environment"))).ensure(DIGEST).startswith("sha256:")
    assert built(tmp_path) == 1


def test_an_image_is_built_once_and_found_by_others(tmp_path: Path) -> None:
    first, other = images(tmp_path, Export()), images(tmp_path, Export())
    assert first.ensure(DIGEST) == first.ensure(DIGEST) == other.ensure(DIGEST)
    assert built(tmp_path) == 1
    assert [path.suffix for path in tmp_path.glob("livinglab-*/images/*")].count(".source") == 0


@pytest.mark.parametrize("gone", ["*.sif", "*.sif.sha256"])
def test_an_image_that_was_removed_is_built_again(tmp_path: Path, gone: str) -> None:
    ours = images(tmp_path, Export())
    ours.ensure(DIGEST)
    (path,) = tmp_path.glob(f"livinglab-*/images/{gone}")
    path.unlink()
    ours.forget()
    ours.ensure(DIGEST)
    assert built(tmp_path) == 2


def test_a_build_that_fails_says_why_and_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(PlatformFault, match="no space left on device"):
        images(tmp_path, Export(), "fails").ensure(DIGEST)
    assert list(tmp_path.glob("livinglab-*/images/*.building")) == []
    assert images(tmp_path, Export()).ensure(DIGEST)


def test_a_build_by_another_machines_worker_is_waited_for(tmp_path: Path) -> None:
    ours = images(tmp_path, Export())
    (root,) = tmp_path.glob("livinglab-*/images")
    (root / f"{'1' * 64}.building").mkdir()
    with pytest.raises(Unreachable, match="another worker builds"):
        ours.ensure(DIGEST)
    assert (root / f"{'1' * 64}.building").is_dir()  # it is the other one's
    (root / f"{'1' * 64}.building").rmdir()
    assert ours.ensure(DIGEST)


class Held:
    """A scheduler that executes what is submitted, and holds what was submitted before."""

    def __init__(self) -> None:
        self.lines = [Line(id="7", name=f"ll-image-{DIGEST.removeprefix('sha256:')[:16]}", state="PENDING", reason="launch failed requeued held")]

    def queue(self) -> tuple[Line, ...]:
        return tuple(self.lines)

    def cancel(self, ids: Collection[str]) -> None:
        self.lines = [line for line in self.lines if line.id not in ids]

    def submit(self, request: Request) -> str:
        local_shell().run(request.script)
        return "8"


def test_a_build_that_slurm_has_given_up_is_submitted_again(tmp_path: Path) -> None:
    scheduler = Held()
    assert images(tmp_path, Export(), control=scheduler).ensure(DIGEST).startswith("sha256:")
    assert built(tmp_path) == 1
    assert scheduler.lines == []
