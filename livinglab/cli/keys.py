"""Signing keys: made here, kept here; only the public half is sent."""

from pathlib import Path

import click

from livinglab.cli.client import Client, remote


@click.group()
def key() -> None:
    """Signing keys."""


@key.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new(file: Path) -> None:
    """Make a key pair: FILE (private, mode 0600) and FILE.pub."""
    from livinglab.evidence.keys import new_key

    signer = new_key(file)
    click.echo(f"{file} (keep it) and {file}.pub (register it); key id {signer.key_id}")


@key.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@remote
def register(file: Path, client: Client) -> None:
    """Register the public key FILE (*.pub) for this organisation."""
    answer = client.send("PUT", "/v1/keys", file.read_bytes(), "application/x-pem-file")
    click.echo(f"{answer['organisation']} signs with key {answer['key_id']}")
