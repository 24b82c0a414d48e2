"""Runs."""

import secrets
import sys
import time
from typing import Any

import click

from livinglab.cli import echo_json
from livinglab.cli.client import Client, address, as_json, remote
from livinglab.domain.errors import Forbidden

run_argument = click.argument("run_id", metavar="RUN")


class _Run(click.Group):
    """What is no command of the group's is a plan under which a run is asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks = args and args[0] not in self.commands and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["under", *args] if asks else args)


@click.group(cls=_Run, subcommand_metavar="PLAN [OPTIONS] | COMMAND RUN [OPTIONS]")
def run() -> None:
    """Ask for a run under a PLAN, and follow it to its verdict; or change the turn of a RUN that waits."""


@run.command()
@click.argument("plan_id", metavar="PLAN")
@click.option("--site", default="docker", show_default=True)
@click.option("--idempotency-key", help="Asking twice with the same key is asking once [default: a fresh one].")
@click.option("--detach", is_flag=True, help="Do not follow the run.")
@as_json
@remote
def under(plan_id: str, site: str, idempotency_key: str | None, client: Client, *, detach: bool, as_json: bool) -> None:
    """Ask for a run under PLAN, and follow it to its verdict."""
    if idempotency_key and not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise click.BadParameter("it goes into a header: letters, digits and signs of ASCII.", param_hint="--idempotency-key")
    made = client.post("/v1/runs", {"plan": plan_id, "site": site}, Idempotency_Key=idempotency_key or secrets.token_hex(8))
    if as_json and detach:
        echo_json(made)
        return
    if not as_json:
        click.echo(f"{made['id']} is {made['state']} (measured run {made['ordinal']} of the plan).")
    if not detach:
        _follow(client, made["id"], as_json=as_json)


def _echo_changed(changed: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(changed)
    else:
        click.echo(sentence)


@run.command()
@run_argument
@click.option("--reason", required=True, help="Why; everybody who sees the run reads it.")
@as_json
@remote
def hold(run_id: str, reason: str, client: Client, *, as_json: bool) -> None:
    """Keep RUN from beginning, or its job from starting where that waits in the site's own queue."""
    _echo_changed(client.post(address("runs", run_id, "hold"), {"reason": reason}), f"{run_id} is held.", as_json=as_json)


@run.command()
@run_argument
@as_json
@remote
def release(run_id: str, client: Client, *, as_json: bool) -> None:
    """Let a held RUN go."""
    _echo_changed(client.post(address("runs", run_id, "release"), {}), f"{run_id} is let go.", as_json=as_json)


@run.command(context_settings={"ignore_unknown_options": True})  # a number below 0 looks like one
@run_argument
@click.argument("value", type=click.IntRange(-100, 100), metavar="PRIORITY")
@as_json
@remote
def priority(run_id: str, value: int, client: Client, *, as_json: bool) -> None:
    """Give RUN a PRIORITY from -100 to 100: of those that wait, the higher one begins first."""
    changed = client.post(address("runs", run_id, "priority"), {"priority": value})
    _echo_changed(changed, f"{run_id} has priority {changed['priority']}.", as_json=as_json)


@click.command()
@run_argument
@as_json
@remote
def watch(run_id: str, client: Client, *, as_json: bool) -> None:
    """Follow a run until it is over. Exit code 1 if it did not complete. With --json: an event a line."""
    _follow(client, run_id, as_json=as_json)


def _follow(client: Client, run_id: str, *, as_json: bool) -> None:
    if as_json:
        for id_, kind, event in client.events(run_id):
            echo_json({"id": id_, "kind": kind, **event}, line=True)
        sys.exit(0 if client.get(address("runs", run_id))["run"]["state"] == "completed" else 1)
    from rich.console import Console

    from livinglab.cli.show import follow, show_verdict

    console = Console()
    ended = follow(client, run_id, console)
    if ended["state"] == "completed":
        show_verdict(client, run_id, console)
    else:
        console.print(client.get(address("runs", run_id, "why"))["sentence"])
        sys.exit(1)


@click.command()
@run_argument
@as_json
@remote
def show(run_id: str, client: Client, *, as_json: bool) -> None:
    """Show a run, its attempts, and what their containers used (for those whom the sandbox shows it)."""
    found = client.get(address("runs", run_id))
    try:
        found["usage"] = client.get(address("runs", run_id, "usage"))
    except Forbidden:
        found["usage"] = None
    if as_json:
        echo_json(found)
        return
    from livinglab.cli.show import harmless

    run = found["run"]
    held = f", held by {run['held_by']}: {run['held_reason']}" if run["held_by"] else ""
    about = f"measured run {run['ordinal']} of {run['plan']}, at {run['site']}, priority {run['priority']}"
    click.echo(harmless(f"{run['id']} is {run['state']}{held} ({about})."))
    for attempt in found["attempts"]:
        failure = f": {attempt['failure']['sentence']}" if attempt["failure"] else ""
        click.echo(harmless(f"{attempt['id']} is {attempt['state']}{failure}"))
        for used in found["usage"] or ():
            if used["attempt"] == attempt["id"]:
                click.echo(f"  {used['role']}: " + ", ".join(f"{name} {value:,.12g}" for name, value in used["usage"].items()))
    for sentence, wanted in (("Shown to this role", True), ("Not shown", False)):
        if channels := [channel.replace("_", " ") for channel, shown in found["shown"].items() if shown is wanted]:
            click.echo(f"{sentence}: {', '.join(channels)}.")


@click.command()
@run_argument
@as_json
@remote
def verdict(run_id: str, client: Client, *, as_json: bool) -> None:
    """Show a run's verdict, criterion by criterion."""
    if as_json:
        echo_json(client.get(address("runs", run_id, "verdict")))
        return
    from rich.console import Console

    from livinglab.cli.show import show_verdict

    show_verdict(client, run_id, Console())


@click.command()
@run_argument
@as_json
@remote
def why(run_id: str, client: Client, *, as_json: bool) -> None:
    """Say why a run stands where it stands, whose doing that is, and what happens next."""
    answer = client.get(address("runs", run_id, "why"))
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{answer['sentence']} {answer['next']}" + (f" (the site says: {answer['backend']})" if answer["backend"] else ""))


@click.command()
@run_argument
@click.option("--role", type=click.Choice(["prepare", "pilot", "decode", "measure"]), default="pilot", show_default=True)
@click.option("--follow", is_flag=True, help="Go on until the run is over.")
@remote
def logs(run_id: str, role: str, client: Client, *, follow: bool) -> None:
    """Print what a container of the run wrote. Control characters are shown, not obeyed."""
    from livinglab.cli.show import harmless

    offset = 0
    while True:
        over = client.get(address("runs", run_id))["run"]["state"] in ("completed", "failed", "refused", "cancelled")
        answer = client.read(address("runs", run_id, "logs"), role=role, offset=offset)
        offset = int(answer.headers["X-Next-Offset"])
        click.echo(harmless(answer.content.decode(errors="replace")), nl=False)
        if not answer.content and (over or not follow):
            return
        if not answer.content:
            time.sleep(0.5)  # between polls of a run that goes on


@click.command()
@run_argument
@click.option("--reason", default="no reason given", show_default=True)
@as_json
@remote
def cancel(run_id: str, reason: str, client: Client, *, as_json: bool) -> None:
    """Stop a run: it is cancelled once its containers were seen dead."""
    stopped = client.post(address("runs", run_id, "cancel"), {"reason": reason})
    if as_json:
        echo_json(stopped)
    else:
        click.echo(f"{run_id} is {stopped['state']}.")
