"""Bringing a pilot."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livinglab.cli import echo_json
from livinglab.cli.client import Client, address, as_json, remote
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import Invalid, TooLarge

if TYPE_CHECKING:
    from livinglab.domain.tasks import TaskFamily


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML document of names and values that JSON has too; `Invalid`, with line and column where it is no YAML."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Invalid(f"{path} holds no fields, but {'nothing' if document is None else f'a {type(document).__name__}'}.", hint="docs/reference.")
    try:
        json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{path} holds a value that JSON has not: {error}.", hint="Put dates into quotes; numbers are finite.") from error
    return document


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--image", required=True, help="The image's archive (`docker save IMAGE > pilot.tar`), or the digest of one that was uploaded.")
@as_json
@remote
def submit(manifest: Path, image: str, client: Client, *, as_json: bool) -> None:
    """Bring a pilot into its sandbox: MANIFEST is a pilot.yaml."""
    document = load_yaml(manifest)
    if not image.startswith("sha256:"):
        image = upload(client, Path(image), quiet=as_json)
    pilot = client.post("/v1/pilots", {"manifest": document, "image": image})
    if as_json:
        echo_json(pilot)
    else:
        click.echo(f"{pilot['id']} is {pilot['state']} in sandbox {pilot['sandbox']} (image {image[:19]}…).")


def upload(client: Client, archive: Path, *, quiet: bool = False) -> str:
    """Upload an archive with a progress bar; its digest."""
    if not archive.is_file():
        raise Invalid(f"there is no archive {archive}.", hint="Make one: docker save IMAGE > pilot.tar")
    if quiet:
        return client.upload(archive)
    with click.progressbar(length=archive.stat().st_size, label=f"uploading {archive.name}") as bar:
        return client.upload(archive, bar.update)


@click.group()
def pilot() -> None:
    """Pilots: before they are brought, and what is required of them."""


@pilot.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sandbox", "spec_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The sandbox.yaml it is meant for.")
@as_json
def check(file: Path, spec_file: Path | None, *, as_json: bool) -> None:
    """Check a manifest without sending it anywhere; with --sandbox, also whether that sandbox would take it."""
    from livinglab.domain.families import FAMILIES
    from livinglab.domain.pilot import PilotManifest
    from livinglab.domain.sandbox import SandboxSpec
    from livinglab.services.applications import check_fits
    from livinglab.services.sandboxes import parse

    manifest = parse(PilotManifest, load_yaml(file), "manifest")
    spec = parse(SandboxSpec, load_yaml(spec_file), "specification") if spec_file else None
    if spec:
        check_fits(manifest, spec)
    family = spec.family if spec else FAMILIES.get(manifest.task)
    if as_json:
        echo_json({"ok": True, "digest": manifest.digest})
    else:
        does = _expected(family) if family else f", which is none of the lab's ({', '.join(sorted(FAMILIES))}): its sandbox must bring it"
        click.echo(f"{file}: a pilot for {manifest.sandbox!r}, task {manifest.task!r}{does}.")
        click.echo(f"digest {manifest.digest}")


def _expected(family: "TaskFamily") -> str:
    """What a pilot of that family does, as the end of a sentence."""
    return f"; it answers by {family.protocol}" if family.interactive else f"; it writes /out/{family.output}.parquet or .csv"


_KINDS = {".md": "text/markdown", ".pdf": "application/pdf", ".txt": "text/plain", ".json": "application/json"}


@pilot.command()
@click.argument("pilot_id", metavar="PILOT")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--media-type", type=click.Choice(sorted(_KINDS.values())), help="What FILE is [default: by how its name ends].")
@as_json
@remote
def attach(pilot_id: str, name: str, file: Path, media_type: str | None, client: Client, *, as_json: bool) -> None:
    """Attach FILE to PILOT as the document NAME that its sandbox requires."""
    from livinglab.domain.documents import MOST_BYTES

    kind = media_type or _KINDS.get(file.suffix.lower())
    if kind is None:
        raise Invalid(f"the name of {file} does not say what it is (known: {', '.join(_KINDS)}).", hint="Say it by --media-type.")
    if file.stat().st_size > MOST_BYTES:
        raise TooLarge(f"{file} has more than the {MOST_BYTES} bytes that any sandbox takes.")
    data = file.read_bytes()
    document = client.send("PUT", address("pilots", pilot_id, "documents", name), data, kind)
    if document["digest"] != sha256(data):
        raise Invalid(f"the API took other bytes than those of {file}: it says {document['digest']}.", hint="Attach it again.")
    if as_json:
        echo_json(document)
    else:
        click.echo(f"{name} of {pilot_id} is {document['digest']} ({document['size']} bytes, {document['media_type']}).")


@pilot.command()
@click.argument("pilot_id", metavar="PILOT")
@as_json
@remote
def show(pilot_id: str, client: Client, *, as_json: bool) -> None:
    """Show a pilot, and the documents that are required of it."""
    found = client.get(address("pilots", pilot_id))
    documents = client.get(address("pilots", pilot_id, "documents"))
    if as_json:
        echo_json({**found, "documents": documents})
        return
    click.echo(f"{found['id']} of {found['organisation']} is {found['state']} in sandbox {found['sandbox']}.\nimage {found['image']}")
    for document in documents:
        there = document["attached"]
        if there:
            click.echo(f"{document['name']}: {there['digest']} ({there['size']} bytes, {there['media_type']})")
        else:
            kinds = " or ".join(document["media_types"])
            click.echo(f"{document['name']}: missing. {document['title']}, {kinds}, at most {document['max_bytes']} bytes: {document['must_hold']}")
