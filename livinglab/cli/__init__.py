"""`livinglab …`: a group whose commands are imported when they are called, so that `--help` answers at once."""

import importlib
import json
import os
import sys
from keyword import iskeyword
from typing import Any

import click

from livinglab import __version__
from livinglab.domain.errors import LivingLabError

COMMANDS = {
    "new": ("scaffolds", "Write a sandbox, or a pilot, to start a domain from."),
    "try": ("rehearsals", "Run a pilot here, against a sandbox's folder: a rehearsal."),
    "submit": ("pilots", "Bring a pilot: upload its image and its manifest."),
    "plan": ("plans", "Propose a plan for a pilot, or look at one."),
    "sign": ("plans", "Sign a plan with your own key."),
    "run": ("runs", "Ask for a run under a plan, and follow it; hold one that waits."),
    "watch": ("runs", "Follow a run until it is over."),
    "show": ("runs", "Show a run, its attempts and what they used."),
    "verdict": ("runs", "Show a run's verdict, criterion by criterion."),
    "why": ("runs", "Say why a run stands where it stands."),
    "logs": ("runs", "Print what a run's pilot wrote."),
    "replay": ("replays", "Look at the worst moments of a driven run."),
    "cancel": ("runs", "Stop a run."),
    "documents": ("takings", "List what a run left, or download it."),
    "receipt": ("takings", "Keep the signed entry that says how a run ended."),
    "dossier": ("plans", "Download a plan's evidence."),
    "verify": ("verify", "Check a dossier, offline."),
    "pilot": ("pilots", "Check a manifest; attach what is required; look at a pilot."),
    "sandbox": ("sandboxes", "Check, prepare and register a sandbox."),
    "key": ("keys", "Make, register and revoke signing keys."),
    "login": ("login", "Log in at the lab's identity provider."),
    "logout": ("login", "Forget a login."),
    "whoami": ("login", "Say as whom the lab knows you."),
    "member": ("members", "Let in whom the identity provider knows."),
    "token": ("operators", "Issue, list and revoke tokens."),
    "site": ("sites", "Register sites, drain them, announce maintenance."),
    "doctor": ("doctor", "Say what is missing on this machine, and how to mend it."),
    "completion": ("completion", "Make a shell complete commands and options."),
    "serve": ("operators", "Run the API."),
    "worker": ("operators", "Carry the runs of a site."),
}
"""Command → the module that has it, and its line in the help."""

TRANSIENT = 75  # EX_TEMPFAIL
FAILED = 1


def echo_chances(chances: list[dict[str, Any]]) -> None:
    """How models that deserve to pass fared under a specification's criteria: what one wants to know before signing."""
    if not chances:
        click.echo("Nothing is said of the chance that a deserving model has under these criteria.")
    for c in chances:
        shares = f"{c['passes']:.0%} PASS, {c['inconclusive']:.0%} INCONCLUSIVE, {c['fails']:.0%} FAIL"
        click.echo(f"In {c['simulations']} simulations: {shares}. {c['model']}")


def echo_documents(documents: list[dict[str, Any]]) -> None:
    """The required evidence that a plan froze: what signing it agrees to besides the rest."""
    for d in documents:
        click.echo(f"It freezes {d['name']} ({d['media_type']}) as {d['digest']}.")


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"livinglab.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from livinglab.domain.errors import unknown_name

            raise click.UsageError(str(unknown_name("command", args[0], COMMANDS)), ctx) from error


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def group() -> None:
    """The living lab: pilots measured against criteria that were fixed beforehand, with evidence that a stranger can check."""


def main(args: list[str] | None = None) -> None:
    """The entry point. Errors are sentences; exit codes are 0 (well), 1 (not), 2 (misused), 75 (try again later)."""
    try:
        group.main(args, prog_name="livinglab", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except LivingLabError as error:
        click.echo(f"livinglab: {error}", err=True)
        sys.exit(TRANSIENT if error.transient else FAILED)
    except BrokenPipeError:  # whoever read has enough (`| head`); nothing more may be written, not at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        click.echo(f"livinglab: {error.filename or 'a file'}: {error.strerror or error}.", err=True)
        sys.exit(FAILED)


def echo_json(document: Any, *, line: bool = False) -> None:
    """One JSON document on standard output; as a single line where more of them may follow."""
    click.echo(json.dumps(document, indent=None if line else 2, ensure_ascii=False))
