"""`livinglab new`: a working pair of folders to start a domain from."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from livinglab.cli.checkout import BUILD, checkout_of

if TYPE_CHECKING:
    from livinglab.scaffold import Side

_FOLDERS: "dict[Side, str]" = {"sandbox": "sandboxes", "pilot": "pilots"}

_into = click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="A folder that holds nothing yet.")
_interactive = click.option("--interactive", is_flag=True, help="Asked step by step (livinglab.step/1), with a task family of its own.")


@click.group()
def new() -> None:
    """Write a working pair to start a domain from: a sandbox, and a pilot that fits it. Names are those of folders: a-z, 0-9 and '-'."""


@new.command()
@click.argument("domain")
@_into
@_interactive
def sandbox(domain: str, into: Path | None, *, interactive: bool) -> None:
    """Write a sandbox: specification, data card, data with a known truth, harness, tests [default: to sandboxes/DOMAIN]."""
    folder = _write("sandbox", domain, into, interactive=interactive)
    more = " --interactive" if interactive else ""
    _tell(folder, f"livinglab sandbox check {folder}/sandbox.yaml", f"livinglab new pilot {domain}{more}", f"pytest {folder}/tests",
          f"livinglab try pilots/{domain} --sandbox {folder}")  # fmt: skip
    click.echo("It passes as it is. Put your own data, criteria and sources in place of the example's: docs/domains.md says what must be shown.")


@new.command()
@click.argument("domain")
@_into
@_interactive
def pilot(domain: str, into: Path | None, *, interactive: bool) -> None:
    """Write a pilot that fits the sandbox of that name: manifest, image, program, model card [default: to pilots/DOMAIN]."""
    folder = _write("pilot", domain, into, interactive=interactive)
    _tell(folder, f"livinglab pilot check {folder}/pilot.yaml --sandbox sandboxes/{domain}/sandbox.yaml",
          f"livinglab try {folder} --sandbox sandboxes/{domain}")  # fmt: skip


def _write(side: "Side", domain: str, into: Path | None, *, interactive: bool) -> Path:
    from livinglab.scaffold import write_scaffold

    folder = into or Path(_FOLDERS[side]) / domain
    root = checkout_of(folder)
    place = folder.resolve().relative_to(root).as_posix() if root else f"{_FOLDERS[side]}/{domain}"
    for file in write_scaffold(side, domain, folder, place=place, interactive=interactive):
        click.echo(f"  {file}")
    if root is None:
        click.echo(f"{folder} lies in no checkout of livinglab: its image is built where {BUILD} is, with the folder as {place} there.")
    return folder


def _tell(folder: Path, *following: str) -> None:
    click.echo(f"{folder} is written. Next:")
    for command in following:
        click.echo(f"  {command}")
