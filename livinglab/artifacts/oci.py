"""Container images: an uploaded archive normalised to one single-platform OCI manifest, and back to an archive for an engine.

What identifies an image is the digest of the manifest that is made here: layers in order, by the digest of their
uncompressed bytes, and a configuration that holds platform and layers and nothing else. Environment, entrypoint,
health check and user of the image's own are untrusted and dropped; volumes and a root user are refused.
"""

import gzip
import hashlib
import io
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from livinglab.domain.access import Image
from livinglab.domain.canonical import canonical, parse_json, sha256
from livinglab.domain.errors import Invalid, NotFound
from livinglab.ports import Artifacts

MAX_ENTRIES = 2_000
MAX_JSON = 4 << 20
MAX_LAYERS = 127
MAX_UNPACKED = 16 << 30
MAX_FILES = 1_000_000
_MAX_HEADER = 64 << 10
_CHUNK = 1 << 20

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

_OURS = re.compile(r"\.livinglab(/.*)?|in|out|socket|context|outputs|decoded|participant|hidden|key|tmp|dev(/shm)?|proc|sys")
"""Where an engine mounts something over the image: a file or a link there is first noticed as a container that does not start."""

_OUT = re.compile(r"(^|/)(\.\.|\.wh\.\.{0,2})(/|$)")
"""A step upwards, or a whiteout of one."""

_UNREADABLE = (
    tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError
)  # fmt: skip
"""What reading a hostile archive may raise. Other errors of the operating system are not among them: a full disk is the lab's."""


class _Member(tarfile.TarInfo):
    """A header that is believed as far as it is plausible: `tarfile` reads a name of the length that is stated, whatever it is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        named = member.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
        if not 0 <= member.size <= (_MAX_HEADER if named else MAX_UNPACKED):
            msg = f"an entry states a size of {member.size} bytes"
            raise tarfile.ReadError(msg)
        return member


def ingest(archive: Path, artifacts: Artifacts) -> Image:
    """Normalise an archive (`docker save`, or an OCI layout in a tar) and keep its blobs; the same image gives the same digest.

    Raises:
        Invalid: not such an archive, a hostile one (links, `..`, devices, names given twice), one whose digests do not
            hold, one that an engine could not unpack, or an image that the lab does not take (several platforms, volumes, root).
    """
    try:
        with tarfile.open(archive, mode="r:", tarinfo=_Member) as tar:
            files = _listing(tar)
            config, layers = _contents(tar, files)
            return _store(tar, config, layers, artifacts)
    except _UNREADABLE as error:
        msg = f"the archive is not an image that can be read ({type(error).__name__}: {error})."
        raise Invalid(msg, where="archive", hint="Upload what `docker save IMAGE` writes.") from error


def layers(digest: str, artifacts: Artifacts) -> dict[str, int]:
    """The bytes of each of an image's layers, by the layer's digest; `NotFound` if it is not an image that was taken in."""
    return {layer["digest"]: int(layer["size"]) for layer in OciImages(artifacts).manifest(digest)["layers"]}


def _refuse(what: str, hint: str | None = None) -> Invalid:
    return Invalid(what, where="archive", hint=hint)


def _name(member: tarfile.TarInfo) -> str:
    name = member.name.removeprefix("./")
    if name.startswith("/") or ".." in name.split("/"):
        raise _refuse(f"{name!r} leads out of the archive.")
    if member.size < 0:  # by an extended header
        raise _refuse(f"{name!r} states a size of {member.size} bytes.")
    return name


def _listing(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """The archive's plain files by name. A layer may be a link to another layer: so `docker save` writes the second of two equal ones."""
    files: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    for count, member in enumerate(tar):
        if count >= MAX_ENTRIES:
            raise _refuse(f"it has more than {MAX_ENTRIES} entries.")
        name = _name(member)
        if member.isdir():
            continue
        if name in files or name in links:
            raise _refuse(f"{name!r} is there twice.")
        if member.issym() and name.endswith("/layer.tar"):
            links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        elif not member.isreg() or member.issparse():
            raise _refuse(f"{name!r} is a link, a device or sparse; only plain files are taken.")
        else:
            files[name] = member
    for name, target in links.items():
        if not target.endswith("/layer.tar") or not isinstance(files.get(target), tarfile.TarInfo) or target in links:
            raise _refuse(f"{name!r} is a link to what is no layer of this archive.")
    return files | {name: files[target] for name, target in links.items()}


def _read(tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo], name: str) -> bytes:
    if name not in files:
        raise _refuse(f"it has no {name!r}.", "Upload what `docker save IMAGE` writes.")
    if files[name].size > MAX_JSON:
        raise _refuse(f"{name!r} is larger than {MAX_JSON} bytes.")
    stream = tar.extractfile(files[name])
    return stream.read() if stream else b""


def _contents(tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo]) -> tuple[dict[str, Any], list[tarfile.TarInfo]]:
    """The image's configuration and its layers' files, by whichever of the two layouts is there."""
    if "manifest.json" in files:
        manifests = parse_json(_read(tar, files, "manifest.json"))
        if len(manifests) != 1:
            raise _refuse(f"it holds {len(manifests)} images; exactly one is expected.")
        config, names = _read(tar, files, manifests[0]["Config"]), manifests[0]["Layers"]
        named = posixpath.basename(manifests[0]["Config"]).removesuffix(".json")
        if sha256(config) != f"sha256:{named}":
            raise _refuse("its configuration does not have the digest that it is filed under.")
    else:
        index = parse_json(_read(tar, files, "index.json"))
        if len(index["manifests"]) != 1:
            raise _refuse(f"it holds {len(index['manifests'])} images; exactly one, for one platform, is expected.")
        manifest = parse_json(_blob(tar, files, index["manifests"][0]["digest"]))
        if "layers" not in manifest:
            raise _refuse("it is an index of several platforms; one is expected.", "docker buildx build --platform linux/amd64 --provenance=false")
        config = _blob(tar, files, manifest["config"]["digest"])
        names = [_blob_name(layer["digest"]) for layer in manifest["layers"]]
        for name in names:
            if name in files and _digest(tar, files[name]) != "sha256:" + posixpath.basename(name):
                raise _refuse(f"the layer {name!r} does not have the digest that it is filed under.")
    if len(names) > MAX_LAYERS:
        raise _refuse(f"it has {len(names)} layers; {MAX_LAYERS} are the most.")
    missing = [name for name in names if name not in files]
    if missing:
        raise _refuse(f"its layer {missing[0]!r} is missing.")
    return parse_json(config), [files[name] for name in names]


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _blob(tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo], digest: str) -> bytes:
    data = _read(tar, files, _blob_name(digest))
    if sha256(data) != digest:
        raise _refuse(f"a blob does not have the digest {digest} that it is filed under.")
    return data


def _digest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = tar.extractfile(member)
    assert stream is not None  # noqa: S101 - only plain files are listed
    return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type] # it reads as one


def _check_config(config: dict[str, Any]) -> None:
    own = config.get("config") or {}
    platform = f"{config.get('os')}/{config.get('architecture')}"
    if platform != "linux/amd64":
        raise _refuse(f"the image is for {platform}; the sites run linux/amd64.")
    if own.get("Volumes"):
        raise _refuse(f"the image declares volumes ({', '.join(own['Volumes'])}); remove VOLUME: outputs go to /out.")
    user = str(own.get("User") or "")
    name = user.partition(":")[0]
    if name in ("", "root") or not name.strip("0"):
        raise _refuse("the image's user is root.", "Add a line like `USER 65532:65532` to its Dockerfile.")
    if not re.fullmatch("[0-9]+", name):
        raise _refuse(f"the image's user {user!r} is a name; a number is expected.", "Add a line like `USER 65532:65532`.")


def _store(tar: tarfile.TarFile, config: dict[str, Any], layers: list[tarfile.TarInfo], artifacts: Artifacts) -> Image:
    _check_config(config)
    declared = config["rootfs"]["diff_ids"]
    if len(declared) != len(layers):
        raise _refuse(f"its configuration names {len(declared)} layers, and it has {len(layers)}.")
    descriptors, total = [], 0
    for layer, diff_id in zip(layers, declared, strict=True):
        stream = tar.extractfile(layer)
        assert stream is not None  # noqa: S101 - only plain files are listed
        digest, size = artifacts.put_stream(_unpacked(stream), limit=MAX_UNPACKED - total)
        if digest != diff_id:
            raise _refuse(f"the layer {layer.name!r} does not have the digest {diff_id} that the configuration names.")
        _check_layer(artifacts, digest)
        descriptors.append({"mediaType": LAYER_TYPE, "digest": digest, "size": size})
        total += size
    plain = canonical({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": declared}})
    manifest = canonical({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": sha256(plain), "size": len(plain)}, "layers": descriptors,
    })  # fmt: skip
    return Image(digest=artifacts.put(manifest), config=artifacts.put(plain), size=total, architecture="amd64")


def _check_layer(artifacts: Artifacts, digest: str) -> None:
    """Refuse what an engine would only refuse when a run is under way, where it would look like the lab's own failure."""
    with artifacts.open(digest) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as tar:
        for _ in range(MAX_FILES):
            member = tar.next()
            if member is None:
                return
            tar.members = []  # type: ignore[attr-defined] # it keeps them all, and a layer of nothing but names would fill the memory
            _check_member(member)
    raise _refuse(f"a layer has more than {MAX_FILES} files.")


def _check_member(member: tarfile.TarInfo) -> None:
    path = posixpath.normpath("/" + member.name).lstrip("/")
    leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname)) if member.issym() else ""
    if _OUT.search(member.name) or (member.islnk() and _OUT.search(member.linkname)) or leads_to.split("/")[0] == "..":
        raise _refuse(f"{member.name!r} in a layer leads out of the image.")
    plain = member.isreg() or member.isdir() or member.issym() or member.islnk()
    if member.size < 0 or not (plain or path.startswith("dev/")):  # what lies in /dev is covered by the engine's own
        raise _refuse(f"{member.name!r} in a layer is a device or a pipe; files, folders and links are taken.")
    if not member.isdir() and _OURS.fullmatch(path):
        raise _refuse(f"/{path} in the image is no folder, and the lab mounts its own there.", "Remove it from the image.")


def _unpacked(stream: Any) -> Iterator[bytes]:
    """A layer's uncompressed bytes; the caller bounds how many."""
    magic = stream.read(4)
    stream.seek(0)
    if magic == b"\x28\xb5\x2f\xfd":
        raise _refuse("a layer is compressed with zstd; gzip or none is expected.", "docker buildx build --output type=docker,compression=gzip")
    reader = gzip.GzipFile(fileobj=stream) if magic.startswith(b"\x1f\x8b") else stream
    while chunk := reader.read(_CHUNK):
        yield chunk


# --- back to an archive -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OciImages:
    """The `Images` port over the blobs."""

    artifacts: Artifacts

    def tag(self, digest: str) -> str:
        """See the port; its uploader's names are dropped."""
        return f"livinglab/image:{digest.removeprefix('sha256:')[:32]}"

    def config(self, digest: str) -> tuple[str, tuple[str, ...]]:
        """See the port."""
        manifest = self.manifest(digest)
        return str(manifest["config"]["digest"]), tuple(layer["digest"] for layer in manifest["layers"])

    def export(self, digest: str, out: BinaryIO) -> None:
        """See the port: as `docker save` writes one."""
        manifest = self.manifest(digest)
        config = manifest["config"]["digest"].removeprefix("sha256:")
        layers = {layer["digest"].removeprefix("sha256:") + "/layer.tar": layer for layer in manifest["layers"]}
        names = [layer["digest"].removeprefix("sha256:") + "/layer.tar" for layer in manifest["layers"]]
        index = canonical([{"Config": f"{config}.json", "RepoTags": [self.tag(digest)], "Layers": names}])
        with tarfile.open(fileobj=out, mode="w|") as tar:
            _add(tar, f"{config}.json", io.BytesIO(self.artifacts.read("sha256:" + config)), manifest["config"]["size"])
            for name, layer in layers.items():
                with self.artifacts.open(layer["digest"]) as stream:
                    _add(tar, name, stream, layer["size"])
            _add(tar, "manifest.json", io.BytesIO(index), len(index))

    def manifest(self, digest: str) -> dict[str, Any]:
        """The manifest that identifies an image; `NotFound` if it is none."""
        manifest = json.loads(self.artifacts.read(digest))
        if manifest.get("mediaType") != MANIFEST_TYPE:
            msg = f"{digest} is not an image."
            raise NotFound(msg)
        return dict(manifest)


def _add(tar: tarfile.TarFile, name: str, stream: BinaryIO, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, stream)


def program_image(program: Path, name: str, target: Path) -> None:
    """Write an archive, as `docker save` does, of an image that holds one static program and nothing else."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = program.stat().st_size, 0o755
        with program.open("rb") as stream:
            tar.addfile(member, stream)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = canonical(
        {"architecture": "amd64", "os": "linux", "config": {"User": "65532:65532"}, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    )
    names = (f"{hashlib.sha256(config).hexdigest()}.json", f"{digest}/layer.tar", "manifest.json")
    index = canonical([{"Config": names[0], "RepoTags": [], "Layers": [names[1]]}])
    with tarfile.open(target, mode="w") as tar:
        for entry, data in zip(names, (config, layer.getvalue(), index), strict=True):
            _add(tar, entry, io.BytesIO(data), len(data))
