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


@key.command()
@click.argument("trusted", nargs=-1, required=True, metavar="ROLE:ORGANISATION:FILE...")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def trust(trusted: tuple[str, ...], out: Path) -> None:
    """Write a trust policy for `verify` from public keys that you have from their owners. Roles: lab, authority, participant."""
    from livinglab.evidence.policy import TrustedKey, TrustPolicy

    keys = []
    for item in trusted:
        role, _, rest = item.partition(":")
        organisation, _, file = rest.partition(":")
        if not Path(file).is_file():
            raise click.BadParameter(f"{item!r}: there is no file {file!r}; expected ROLE:ORGANISATION:FILE.")
        keys.append(TrustedKey(pem=Path(file).read_bytes(), role=role, organisation=organisation))
    out.write_text(TrustPolicy.of(keys).dump() + "\n")
    click.echo(f"{out}: {len(keys)} keys")
