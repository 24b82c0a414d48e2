"""The worst moments of a driven run, as one page that needs nothing else."""

import base64
import hashlib
import html
import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from livinglab.cli.client import Client, address, remote
from livinglab.cli.runs import run_argument

if TYPE_CHECKING:
    from livinglab.domain.replay import Replay


@click.command()
@run_argument
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="replay.html", show_default=True, help="The page.")
@remote
def replay(run_id: str, client: Client, out: Path) -> None:
    """Write the worst moments of a driven RUN as a page to look at. It needs no network, and nothing beside it."""
    found = checked(client.read(address("runs", run_id, "replay")).content)
    out.write_text(page(found, f"Replay of {run_id}"), encoding="utf-8")
    click.echo(f"{out}: {len(found.episodes)} episodes. Open it in a browser.")


def checked(document: bytes) -> "Replay":
    """The document, by its schema: what a server sends is looked at before it becomes part of a page.

    Raises:
        Invalid: it is too large, or not a replay.
    """
    from pydantic import ValidationError

    from livinglab.domain.errors import Invalid
    from livinglab.domain.replay import REPLAY_LIMIT, Replay

    if len(document) > REPLAY_LIMIT:
        raise Invalid(f"the replay is larger than {REPLAY_LIMIT} bytes.")
    try:
        return Replay.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(f"{first['msg']}.", where=f"replay.{'.'.join(map(str, first['loc']))}") from error


def page(found: "Replay", title: str) -> str:
    """One HTML page: the player, and the replay as data that nothing in it can break out of."""
    style, script, frame = (
        resources.files("livinglab.cli").joinpath("player", name).read_text("utf-8") for name in ("style.css", "player.js", "page.html")
    )
    data = json.dumps(found.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    policy = f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    return Template(frame).substitute(title=html.escape(title), policy=policy, style=style, script=script, data=data)


def _source(text: str) -> str:
    """What a content security policy calls this very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
