"""What is taken home of a run: its receipt, and its documents."""

from pathlib import Path

import click

from livinglab.cli import echo_json
from livinglab.cli.client import Client, address, as_json, remote, save
from livinglab.cli.runs import run_argument


@click.command()
@run_argument
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it [default: RUN.receipt.json].")
@remote
def receipt(run_id: str, out: Path | None, client: Client) -> None:
    """Keep the signed entry that says how RUN ended: `livinglab verify --receipt` finds it in the dossier, or says that it is not there."""
    out = out or Path(f"{run_id}.receipt.json")
    answer = client.read(address("runs", run_id, "receipt"))
    out.write_bytes(answer.content)
    found = answer.json()
    counted = "counts" if found["counts"] else "does not count"
    click.echo(f"{out}: run {found['ordinal']} of {found['plan']} is {found['state']} and {counted}; entry {found['sequence']}, {found['digest']}")


@click.command()
@run_argument
@click.argument("name", required=False)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it [default: the document's own file name].")
@as_json
@remote
def documents(run_id: str, name: str | None, out: Path | None, client: Client, *, as_json: bool) -> None:
    """List what RUN left, or download the document called NAME. What a sandbox keeps from your role is listed by its digest, or not at all."""
    if name is None:
        found = client.get(address("runs", run_id, "documents"))
        if as_json:
            echo_json(found)
            return
        from livinglab.cli.show import harmless

        for document in found:
            more = "" if document["readable"] else "  (by digest only)"
            click.echo(harmless(f"{document['digest'][:19]}…  {document['size']:>12,}  {document['name']}{more}"))
        return
    save(client.read(address("runs", run_id, "documents", *name.split("/"))), out or Path(name.rpartition("/")[2]))
