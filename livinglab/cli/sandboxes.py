"""Sandboxes: what an authority does before it opens one."""

import json
from pathlib import Path
from typing import Any

import click

from livinglab.cli import echo_chances, echo_json
from livinglab.cli.client import Client, as_json, remote
from livinglab.cli.pilots import load_yaml, upload
from livinglab.domain.errors import Invalid


@click.group()
def sandbox() -> None:
    """Sandboxes."""


@sandbox.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def check(file: Path, *, as_json: bool) -> None:
    """Check a specification: schema, metrics, slices, contradictions."""
    from livinglab.domain.sandbox import SandboxSpec
    from livinglab.services.sandboxes import parse

    spec = parse(SandboxSpec, load_yaml(file), "sandbox")
    criteria = spec.frozen_criteria()
    if as_json:
        echo_json({"ok": True, "digest": spec.digest, "criteria": criteria.digest})
        return
    click.echo(f"{file}: {spec.id} version {spec.version}, {len(criteria.gates)} gates and {len(spec.criteria) - len(criteria.gates)} advisories.")
    if not criteria.gates:
        click.echo("It has no gate, so every verdict will be NOT_EVALUABLE.", err=True)
    click.echo(f"specification {spec.digest}\ncriteria      {criteria.digest} (for {criteria.measured_runs} measured runs)")
    echo_chances([c.model_dump() for c in spec.chance])


@sandbox.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--vault", type=click.Path(file_okay=False, path_type=Path), help="The site's vault [default: that of the settings].")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write the bindings, for `register`.")
@click.option("--secret", envvar="LIVINGLAB_SANDBOX_SECRET", help="Hexadecimal, ≥ 128 bits; only to repeat a split [default: a fresh one].")
def prepare(folder: Path, vault: Path | None, out: Path, secret: str | None) -> None:
    """Draw the secret, split the data with it, and place both in the site's vault. Runs FOLDER/data/make.py."""
    from livinglab.artifacts.placing import place_data
    from livinglab.artifacts.vault import FileVault
    from livinglab.settings import read_settings

    place = FileVault(vault or read_settings().vault_path)
    bindings = place_data(place, folder / "data" / "make.py", _from_hex(secret) if secret else None)
    out.write_text(json.dumps(bindings, indent=2) + "\n")
    digests = [str(bindings[name]["digest"])[:19] for name in ("participant_data", "hidden_data")]
    click.echo(f"{out}: the participant's data {digests[0]}…, hidden data {digests[1]}…, commitment {bindings['commitment'][:19]}…")


def _from_hex(secret: str) -> bytes:
    try:
        return bytes.fromhex(secret)
    except ValueError as error:
        raise Invalid("the secret is not hexadecimal.", where="--secret", hint="At least 32 digits of 0-9 and a-f.") from error


def _bindings(file: Path) -> dict[str, Any]:
    """What `prepare` wrote."""
    try:
        document = json.loads(file.read_text())
    except ValueError as error:
        raise Invalid(f"{file} is not JSON: {error}.", hint="It is what `livinglab sandbox prepare` wrote.") from error
    if not isinstance(document, dict):
        raise Invalid(f"{file} holds no bindings.", hint="It is what `livinglab sandbox prepare` wrote.")
    return document


@sandbox.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bindings", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What `prepare` wrote.")
@click.option("--harness", required=True, help="The harness image's archive, or the digest of one that was uploaded.")
@as_json
@remote
def register(file: Path, bindings: Path, harness: str, client: Client, *, as_json: bool) -> None:
    """Register FILE (a sandbox.yaml) with its data and its harness."""
    document, bound = load_yaml(file), _bindings(bindings)
    if not harness.startswith("sha256:"):
        harness = upload(client, Path(harness), quiet=as_json)
    answer = client.post("/v1/sandboxes", {"spec": document, "harness_image": harness, **bound})
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{answer['id']} version {answer['version']} is registered: criteria {answer['criteria']}")
