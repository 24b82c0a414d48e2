"""`livinglab login`: with an identity provider's word instead of a token of the lab's."""

from pathlib import Path
from typing import Any

import click

from livinglab.cli import echo_json
from livinglab.cli.client import DEFAULT_API, Client, as_json, base_of, connect_with, remote

_api = click.option("--api", envvar="LIVINGLAB_API", help=f"The API's address [default: {DEFAULT_API}].")


@click.command()
@_api
@click.option("--client-id", help="The client at the provider [default: the one that the lab names].")
@click.option("--secret-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Of a machine: the file with its client's secret.")
@click.option("--scope", "scopes", help="What is asked for [default: what the lab names; of a machine, nothing].")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Where the browser comes back to, on this machine [default: any].")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening it.")
def login(api: str | None, client_id: str | None, secret_file: Path | None, scopes: str | None, port: int, *, no_browser: bool) -> None:
    """Log in at the lab's identity provider, in a browser; or as a machine, with a secret.

    What is given is kept in your own configuration folder, readable by you alone, and prolonged while it is used.
    """
    import httpx

    from livinglab.cli import logins
    from livinglab.cli.oauth import Provider
    from livinglab.domain.errors import Invalid

    base = base_of(api)
    told = connect_with(base).get("/.well-known/oauth-protected-resource")
    client = client_id or told.get("livinglab_client")
    if not client:
        msg = "the lab names no client to log in as."
        raise Invalid(msg, hint="--client-id; the provider's administrators registered one.")
    with httpx.Client(timeout=30, trust_env=False) as http:
        issuer, resource = str(told["authorization_servers"][0]), str(told["resource"])
        provider = Provider(http, issuer, resource)
        if secret_file:
            scopes = scopes or ""
            token = provider.ask_as_machine(client, logins.read_secret(secret_file), scopes)
        else:
            scopes = scopes or " ".join(told["scopes_supported"])
            token = provider.ask_somebody(client, scopes, port, lambda address: _show(address, no_browser=no_browser))
    secret = secret_file.resolve() if secret_file else None
    logins.keep(base, logins.Login(issuer=issuer, resource=resource, client=client, scopes=scopes, secret_file=secret, **token))
    _tell(connect_with(base, logins.LoginAuth(base)).get("/v1/me"))


def _show(address: str, *, no_browser: bool) -> None:
    import webbrowser

    if no_browser or not webbrowser.open(address):
        click.echo(f"Open this address in a browser on this machine:\n\n  {address}\n", err=True)
    click.echo("Waiting for you to log in …", err=True)


@click.command()
@_api
def logout(api: str | None) -> None:
    """Forget the login at an API, and have the provider forget it, where it can."""
    import httpx

    from livinglab.cli import logins
    from livinglab.cli.oauth import Provider
    from livinglab.domain.errors import LivingLabError

    base = base_of(api)
    login = logins.forget(base)
    if login is None:
        click.echo(f"Nobody was logged in at {base}.")
        return
    revoked = False
    if login.refresh_token:
        try:
            with httpx.Client(timeout=10, trust_env=False) as http:
                revoked = Provider(http, login.issuer, login.resource).revoke(login.client, login.refresh_token)
        except (LivingLabError, httpx.HTTPError):
            revoked = False
    what = "" if revoked or not login.refresh_token else " The provider has not: what it gave may hold until its end."
    click.echo(f"The login at {base} is forgotten.{what}")


@click.command()
@as_json
@remote
def whoami(client: Client, *, as_json: bool) -> None:
    """Say as whom the lab knows you."""
    found = client.get("/v1/me")
    if as_json:
        echo_json(found)
    else:
        _tell(found)


def _tell(found: dict[str, Any]) -> None:
    roles = ", ".join(f"{role} in {'every sandbox' if sandbox == '*' else sandbox}" for sandbox, role in sorted(found["roles"].items()))
    click.echo(f"{found['identity']}, for {found['organisation']}: {roles or 'no role yet'}.")
