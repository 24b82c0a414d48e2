"""Signing keys: made here, kept here; only the public half is sent."""

from pathlib import Path

import click

from livinglab.cli import echo_json
from livinglab.cli.client import Client, address, as_json, remote
from livinglab.domain.errors import unknown_name

SHORTEST = 8
"""How much of a key id names it, at least."""


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


@key.command(name="list")
@as_json
@remote
def list_(client: Client, *, as_json: bool) -> None:
    """List this organisation's public keys."""
    keys = client.get("/v1/keys")
    if as_json:
        echo_json(keys)
        return
    for k in keys:
        state = f"revoked on {k['revoked_at'][:10]}" if k["revoked_at"] else f"since {k['created_at'][:10]}"
        click.echo(f"{k['key_id']}  {k['organisation']}  {state}")


@key.command()
@click.argument("key_id")
@remote
def revoke(key_id: str, client: Client) -> None:
    """Let a key of this organisation sign nothing more. KEY_ID is its id, or the first 8 or more characters of it.

    What it signed stays signed. It cannot be registered again.
    """
    answer = client.delete(address("keys", _own(client, key_id)))
    click.echo(f"{answer['organisation']} signs nothing more with key {answer['key_id']}: it was revoked on {answer['revoked_at'][:10]}.")


def _own(client: Client, given: str) -> str:
    """The id of the organisation's key whose id begins so."""
    if len(given) < SHORTEST:
        raise click.BadParameter(f"{given!r} is too short: {SHORTEST} characters of a key's id are needed.", param_hint="KEY_ID")
    own = [str(k["key_id"]) for k in client.get("/v1/keys")]
    found = [id_ for id_ in own if id_.startswith(given)]
    if not found:
        raise unknown_name("key", given, own)
    if len(found) > 1:
        raise click.BadParameter(f"{given!r} begins the ids of {len(found)} keys: {', '.join(found)}.", param_hint="KEY_ID")
    return found[0]


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
