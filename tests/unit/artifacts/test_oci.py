"""Image archives: both layouts give the same image, and nothing hostile gets in."""

import errno
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livinglab.artifacts import oci
from livinglab.artifacts.blobs import FileArtifacts
from livinglab.artifacts.oci import OciImages, ingest
from livinglab.domain.access import Image
from livinglab.domain.errors import Invalid, NotFound

Files = dict[str, bytes | tarfile.TarInfo]


def hexdigest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tar(files: Files | list[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


LAYERS = [tar({"app/run.py": b"print('hi')"}), tar({"opt/lib/x.py": b"", "app/.wh.old": b""})]


def config(**changes: Any) -> dict[str, Any]:
    own = {"User": "65532:65532", "Env": ["LD_PRELOAD=/evil.so"], "Entrypoint": ["/bin/sh"], "Healthcheck": {"Test": ["CMD", "true"]}} | changes
    return {"architecture": "amd64", "os": "linux", "config": own, "history": [{"created_by": "me"}], "created": "2026-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hexdigest(layer) for layer in LAYERS]}}  # fmt: skip


def docker_files(document: Any = None, layers: list[bytes] = LAYERS) -> Files:
    """As `docker save` of Docker 20.10 writes it."""
    body = json.dumps(config() if document is None else document).encode()
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    index = [{"Config": f"{hexdigest(body)}.json", "RepoTags": ["evil/name:latest"], "Layers": names}]
    return {f"{hexdigest(body)}.json": body, **dict(zip(names, layers, strict=True)), "manifest.json": json.dumps(index).encode()}


def image_of(layer: bytes) -> Files:
    """An image of one layer, all digests right."""
    return docker_files(config() | {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + hexdigest(layer)]}}, [layer])


def oci_files(document: dict[str, Any] | None = None, pack: Callable[[bytes], bytes] = lambda data: data) -> Files:
    """As an OCI layout."""
    body = json.dumps(document or config()).encode()
    packed = [pack(layer) for layer in LAYERS]
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": f"sha256:{hexdigest(body)}", "size": len(body)},
                           "layers": [{"digest": f"sha256:{hexdigest(p)}", "size": len(p)} for p in packed]}).encode()  # fmt: skip
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": f"sha256:{hexdigest(manifest)}", "size": len(manifest)}]}).encode()
    return {"oci-layout": b"{}", "index.json": index, **{f"blobs/sha256/{hexdigest(b)}": b for b in (body, manifest, *packed)}}


@pytest.fixture
def blobs(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "blobs")


def take(blobs: FileArtifacts, data: bytes) -> Image:
    path = blobs.root.parent / "upload.tar"
    path.write_bytes(data)
    return ingest(path, blobs)


def compressed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize("files", [oci_files(), oci_files(pack=compressed), docker_files() | {"repositories": b"{}"}])
def test_every_layout_gives_the_same_image(blobs: FileArtifacts, files: Files) -> None:
    image = take(blobs, tar(files))
    assert image == take(blobs, tar(docker_files()))
    assert image.size == sum(map(len, LAYERS))
    reduced = json.loads(blobs.read(image.config))
    assert reduced == {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": config()["rootfs"]}


def test_what_goes_out_comes_in_again(blobs: FileArtifacts) -> None:
    image, images = take(blobs, tar(docker_files())), OciImages(blobs)
    out = io.BytesIO()
    images.export(image.digest, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        index = json.load(stream)
    assert index[0]["RepoTags"] == [images.tag(image.digest)]
    assert images.config(image.digest) == (image.config, tuple(config()["rootfs"]["diff_ids"]))
    with pytest.raises(Invalid, match="root"):  # with no user of its own any more, it is for engines and not for uploads
        take(blobs, out.getvalue())


def test_a_layer_that_is_there_twice_is_a_link(blobs: FileArtifacts) -> None:
    """`docker save` writes the second of two equal layers as a link to the first."""
    document = config()
    document["rootfs"]["diff_ids"] = [document["rootfs"]["diff_ids"][0]] * 2
    files = docker_files(document)
    files["1/layer.tar"] = special(tarfile.SYMTYPE, linkname="../0/layer.tar")
    image = take(blobs, tar(files))
    assert image.size == 2 * len(LAYERS[0])
    out = io.BytesIO()
    OciImages(blobs).export(image.digest, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert len(archive.getnames()) == 3


def special(kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, linkname
    return member


@pytest.mark.parametrize(("files", "reason"), [
    ({"manifest.json": special(tarfile.SYMTYPE, "/etc/passwd")}, "link"),
    ({"manifest.json": special(tarfile.LNKTYPE, "x")}, "link"),
    ({"x": special(tarfile.CHRTYPE)}, "device"),
    ({"x": special(tarfile.FIFOTYPE)}, "device"),
    ({"0/layer.tar": special(tarfile.SYMTYPE, "../../../etc/passwd")}, "link"),
    ({"0/layer.tar": special(tarfile.SYMTYPE, "../1/layer.tar"), "1/layer.tar": special(tarfile.SYMTYPE, "../0/layer.tar")}, "link"),
    ({"/etc/passwd": b""}, "out of the archive"),
    ({"../x": b""}, "out of the archive"),
    ({"a/../../x": b""}, "out of the archive"),
    ({"manifest.json": b"[]"}, "0 images"),
    ({"manifest.json": b"[{}, {}]"}, "2 images"),
    ({"manifest.json": b"{"}, "cannot be read|can be read"),
    ({"manifest.json": b'[{"Config": "a", "Config": "b", "Layers": []}]'}, "twice"),
    ({"manifest.json": b'[{"Config": "nowhere.json", "Layers": []}]'}, "nowhere.json"),
    ({"manifest.json": b'[{"Config": ["x"], "Layers": 3}]'}, "can be read"),
    ({"manifest.json": b"[" * 100_000}, "can be read"),
    ({"1/layer.tar": b"something else"}, "digest"),
    ({"1/layer.tar": b"\x1f\x8bnot gzip"}, "can be read"),
    ({"1/layer.tar": gzip.compress(LAYERS[1])[:10] + b"\xff" * 40}, "can be read"),
    ({"1/layer.tar": b"\x28\xb5\x2f\xfd zstd"}, "zstd"),
    (docker_files([]), "can be read"),
    (docker_files(config() | {"config": [1]}), "can be read"),
    (docker_files("linux"), "can be read"),
])  # fmt: skip
def test_hostile_archives_are_refused(blobs: FileArtifacts, files: Files, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        take(blobs, tar(docker_files() | files))


@pytest.mark.parametrize(("document", "reason"), [
    (config(User=""), "root"),
    (config(User="0"), "root"),
    (config(User="0:65532"), "root"),
    (config(User="00"), "root"),
    (config(User="root:root"), "root"),
    (config(User="nobody"), "name"),
    (config(User="٣"), "name"),
    (config(Volumes={"/data": {}}), "VOLUME"),
    (config() | {"architecture": "arm64"}, "arm64"),
    (config() | {"os": "windows"}, "windows"),
    (config() | {"rootfs": {"type": "layers", "diff_ids": []}}, "names 0 layers"),
    (config() | {"config": None}, "root"),
    (config() | {"rootfs": None}, "can be read"),
])  # fmt: skip
def test_images_that_the_lab_does_not_take(blobs: FileArtifacts, document: dict[str, Any], reason: str) -> None:
    for files in (docker_files(document), oci_files(document)):
        with pytest.raises(Invalid, match=reason):
            take(blobs, tar(files))


def test_names_given_twice_are_refused(blobs: FileArtifacts) -> None:
    with pytest.raises(Invalid, match="twice"):
        take(blobs, tar([*docker_files().items(), ("manifest.json", b"[]")]))
    with pytest.raises(Invalid, match="twice"):
        take(blobs, tar([*docker_files().items(), ("./manifest.json", b"[]")]))


def test_every_digest_is_checked(blobs: FileArtifacts) -> None:
    for files in (oci_files(), oci_files(pack=compressed), docker_files()):
        for name in files:
            content = files[name]
            if len(name) > 60 and isinstance(content, bytes):
                with pytest.raises(Invalid):
                    take(blobs, tar(files | {name: content + b" "}))


def test_an_index_of_several_platforms_is_refused(blobs: FileArtifacts) -> None:
    inner = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    index = json.dumps({"manifests": [{"digest": f"sha256:{hexdigest(inner)}"}]}).encode()
    with pytest.raises(Invalid, match="--platform linux/amd64"):
        take(blobs, tar({"index.json": index, f"blobs/sha256/{hexdigest(inner)}": inner}))


def test_what_unpacks_to_too_much_is_refused(blobs: FileArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci, "MAX_UNPACKED", 10_000)
    with pytest.raises(Invalid, match="bytes"):
        take(blobs, tar(oci_files(pack=compressed)))


def test_too_many_entries_are_refused(blobs: FileArtifacts) -> None:
    with pytest.raises(Invalid, match="entries"):
        take(blobs, tar(docker_files() | {f"x{n}": b"" for n in range(oci.MAX_ENTRIES)}))


def test_what_is_no_archive_is_refused(blobs: FileArtifacts) -> None:
    for data in (b"", b"hello", b"\0" * 10_240, compressed(tar(docker_files()))):
        with pytest.raises(Invalid, match="docker save"):
            take(blobs, data)


def test_a_sparse_entry_is_refused(blobs: FileArtifacts) -> None:
    member = tarfile.TarInfo()
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "99999999999"}
    with pytest.raises(Invalid):
        take(blobs, tar([*docker_files().items(), ("x", member)]))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_no_damage_gets_in(blobs: FileArtifacts, at: int, byte: int) -> None:
    """One byte is changed anywhere: the archive is refused, or what matters of it is the same."""
    data = bytearray(tar(docker_files()))
    data[at % len(data)] = byte
    try:
        image = take(blobs, bytes(data))
    except Invalid:
        return
    assert image == take(blobs, tar(docker_files()))


def test_a_blob_that_is_no_image_is_not_found(blobs: FileArtifacts) -> None:
    with pytest.raises(NotFound):
        OciImages(blobs).config(blobs.put(b"{}"))


@pytest.mark.parametrize(("layer", "reason"), [
    (b"no archive" * 100, "can be read"),
    (tar({"../x": b""}), "out of the image"),
    (tar({"a/../../x": b""}), "out of the image"),
    (tar({"a/.wh...": b""}), "out of the image"),
    (tar({"a": special(tarfile.SYMTYPE, "../../etc/shadow")}), "out of the image"),
    (tar({"a": special(tarfile.LNKTYPE, "../etc/shadow")}), "out of the image"),
    (tar({"etc/passwd": special(tarfile.FIFOTYPE)}), "device or a pipe"),
    (tar({"sda": special(tarfile.BLKTYPE)}), "device or a pipe"),
    (tar({"out": b""}), "/out in the image is no folder"),
    (tar({"./in": special(tarfile.SYMTYPE, "/etc")}), "/in in the image is no folder"),
    (tar({".livinglab": special(tarfile.SYMTYPE, "/app")}), "/.livinglab in the image is no folder"),
    (tar({"/.livinglab/launcher/x": b""}), "is no folder"),
])  # fmt: skip
def test_a_layer_that_no_engine_could_use_is_the_uploaders_affair(blobs: FileArtifacts, layer: bytes, reason: str) -> None:
    """Found at upload, or it would be found when a run begins, and be the lab's failure three times over."""
    for pack in (bytes, compressed):
        with pytest.raises(Invalid, match=reason):
            take(blobs, tar(image_of(layer) | {"0/layer.tar": pack(layer)}))


def test_a_layer_may_hold_what_layers_hold(blobs: FileArtifacts) -> None:
    folder = special(tarfile.DIRTYPE)
    links = {"lib": special(tarfile.SYMTYPE, "usr/lib"), "usr/x/y": special(tarfile.SYMTYPE, "../../lib"), "b": special(tarfile.LNKTYPE, "/app/a")}
    layer = tar(
        {
            "./": special(tarfile.DIRTYPE),
            "out": folder,
            "app/a": b"",
            "app/.wh.old": b"",
            "app/.wh..wh..opq": b"",
            "dev/console": special(tarfile.CHRTYPE),
            **links,
        }
    )
    assert take(blobs, tar(image_of(layer))).size == len(layer)


def test_a_layer_of_too_many_files_is_refused(blobs: FileArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci, "MAX_FILES", 20)
    with pytest.raises(Invalid, match="more than 20 files"):
        take(blobs, tar(image_of(tar({f"x{n}": b"" for n in range(20)}))))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [-512, -1, 1 << 62, 1 << 80])
def test_sizes_that_cannot_be_are_refused(blobs: FileArtifacts, kind: bytes, size: int) -> None:
    """`tarfile` would go back in the file, or read as many bytes as are stated into memory."""
    member = special(kind)
    member.name, member.size = "x", size
    for data in (member.tobuf(tarfile.GNU_FORMAT) + tar(docker_files()), tar(image_of(member.tobuf(tarfile.GNU_FORMAT) + LAYERS[0]))):
        with pytest.raises(Invalid, match=f"states a size of {size} bytes"):
            take(blobs, data)


def test_a_size_that_an_extended_header_makes_negative_is_refused(blobs: FileArtifacts) -> None:
    member = tarfile.TarInfo("x")
    member.pax_headers = {"size": "-512"}
    with pytest.raises(Invalid, match="states a size of -512 bytes"):
        take(blobs, tar([("x", member), *docker_files().items()]))


def test_a_full_disk_is_not_the_uploaders_fault(blobs: FileArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(chunks: Iterable[bytes], *, limit: int) -> tuple[str, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs, "put_stream", full)
    with pytest.raises(OSError, match="No space left"):
        take(blobs, tar(docker_files()))
