"""What operators run."""

import logging
import signal
import threading
from contextlib import nullcontext
from datetime import timedelta

import click

from livinglab.cli import echo_json
from livinglab.cli.client import as_json
from livinglab.cli.roles import granted, roles_option


@click.group()
def token() -> None:
    """Tokens of organisations."""


@token.command()
@click.argument("organisation")
@roles_option
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it holds.")
@click.option("--label", default="")
def issue(organisation: str, roles: tuple[str, ...], days: int, label: str) -> None:
    """Issue a token. It is printed once, and kept nowhere."""
    from livinglab.bootstrap import open_lab

    _token, secret = open_lab().access.issue_token(organisation, granted(roles), label=label, lifetime=timedelta(days=days))
    click.echo(secret)


@token.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List tokens, without their secrets."""
    from livinglab.bootstrap import open_lab

    tokens = open_lab().access.tokens()
    if as_json:
        echo_json([t.model_dump(mode="json", exclude={"hash"}) for t in tokens])
        return
    for t in tokens:
        state = "revoked" if t.revoked_at else f"until {t.expires_at:%Y-%m-%d}" if t.expires_at else "without end"
        click.echo(f"{t.id}  {t.organisation}  {', '.join(f'{s}={r}' for s, r in t.roles.items())}  {state}  {t.label}")


@token.command()
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """Revoke a token by its id."""
    from livinglab.bootstrap import open_lab

    open_lab().access.revoke_token(token_id)
    click.echo(f"{token_id} is revoked.")


@click.command()
@click.option("--host", help="[default: from the settings, 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="[default: from the settings, 8420]")
def serve(host: str | None, port: int | None) -> None:
    """Run the API. It holds no key, no Docker socket and no hidden data."""
    import uvicorn

    from livinglab.monitoring.logs import configure
    from livinglab.settings import read_settings

    settings = read_settings()
    configure(settings.log)
    uvicorn.run("sandbox_api.app:serving_app", factory=True, host=host or settings.api_host, port=port or settings.api_port, log_level="warning",
                log_config=None, timeout_graceful_shutdown=2)  # fmt: skip


@click.command()
@click.option("--site", default="docker", show_default=True)
@click.option(
    "--slots", type=click.IntRange(1), help="How many steps at a time; as many attempts, where the site has no queue [default: one per core]."
)
@click.option("--once", is_flag=True, help="End when nothing is left to carry.")
def worker(site: str, slots: int | None, *, once: bool) -> None:
    """Carry the runs of a site. Several may run; a run has one of them at a time, and the next one goes on where one was killed."""
    from livinglab.bootstrap import open_lab, open_worker
    from livinglab.monitoring.logs import configure
    from livinglab.monitoring.metrics import new_registry, serving

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    lab = open_lab()
    configure(lab.settings.log)
    work = open_worker(lab, site, slots=slots, stopping=stopping)
    most = work.supervisor.in_flight or work.supervisor.slots
    logging.getLogger("livinglab").info("carrying the runs of site %s: %d at a time, %d of them by a step", site, most, work.supervisor.slots)
    own = lab.settings
    with serving(new_registry(lab.store, lab.clock), own.metrics_host, own.metrics_port) if own.metrics_port else nullcontext():
        # Not in the main thread, which hears the signals (Prefect would take them for itself).
        thread = threading.Thread(target=work.serve, kwargs={"until_idle": once}, name="worker")
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
