"""`livinglab member`: whom the operator lets in of those that the identity provider knows."""

import click

from livinglab.cli import echo_json
from livinglab.cli.client import as_json
from livinglab.cli.roles import granted, roles_option


@click.group()
def member() -> None:
    """Members: people and machines that the lab's identity provider knows, and what the lab lets them do."""


@member.command()
@click.argument("subject")
@click.argument("organisation")
@roles_option
@click.option("--issuer", help="Who knows them [default: the lab's identity provider].")
@click.option("--label", default="", help="Who that is, for people to read.")
def add(subject: str, organisation: str, roles: tuple[str, ...], issuer: str | None, label: str) -> None:
    """Let a subject in for an organisation, or change what they may do.

    SUBJECT is what the provider calls them (`sub`): whom the lab does not know yet is told it when they try `livinglab whoami`.
    """
    from livinglab.bootstrap import open_lab

    lab = open_lab()
    made = lab.access.enrol(_issuer(issuer, lab.settings.oidc_issuer), subject, organisation, granted(roles), label=label)
    click.echo(f"{made.identity.subject} of {made.identity.issuer} may come in, for {made.organisation}.")


@member.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List members, and those who were."""
    from livinglab.bootstrap import open_lab

    members = open_lab().access.members()
    if as_json:
        echo_json([m.model_dump(mode="json") for m in members])
        return
    for m in members:
        state = f"revoked on {m.revoked_at:%Y-%m-%d}" if m.revoked_at else f"since {m.created_at:%Y-%m-%d}"
        roles = ", ".join(f"{sandbox}={role}" for sandbox, role in m.roles.items())
        click.echo(f"{m.identity.issuer}  {m.identity.subject}  {m.organisation}  {roles}  {state}  {m.label}".rstrip())


@member.command()
@click.argument("subject")
@click.option("--issuer", help="Who knows them [default: the lab's identity provider].")
def revoke(subject: str, issuer: str | None) -> None:
    """Let a member in no more: the next request is refused, and streams end within seconds."""
    from livinglab.bootstrap import open_lab

    lab = open_lab()
    lab.access.expel(_issuer(issuer, lab.settings.oidc_issuer), subject)
    click.echo(f"{subject} may not come in any more.")


def _issuer(given: str | None, own: str) -> str:
    if not (given or own):
        msg = "the lab has no identity provider: set LIVINGLAB_OIDC_ISSUER, or say who knows them."
        raise click.BadParameter(msg, param_hint="--issuer")
    return given or own
