"""Sites: what operators register, and how they take one out of service and back."""

import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from livinglab.cli import echo_json
from livinglab.cli.client import as_json

if TYPE_CHECKING:
    from livinglab.domain.site import SiteRecord, Window
    from livinglab.services.sitecheck import SiteReport
    from livinglab.services.sites import Sites

name_argument = click.argument("name")
by_option = click.option("--by", help="Who decides this [default: the user of this machine].")
reason_option = click.option("--reason", required=True, help="Why; everybody who waits for the site reads it.")


@click.group()
def site() -> None:
    """Sites: places that compute."""


def _sites() -> "Sites":
    from livinglab.bootstrap import open_lab

    return open_lab().sites


def _who(by: str | None) -> str:
    return by or getpass.getuser()


@site.command()
@name_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@by_option
def add(name: str, file: Path, by: str | None) -> None:
    """Register a site under NAME, from FILE (YAML: kind, settings, offer)."""
    from livinglab.cli.pilots import load_yaml

    made = _sites().add(name, load_yaml(file), _who(by))
    click.echo(f"{made.name} is registered, of kind {made.kind}. Its worker: livinglab worker --site {made.name}")


@site.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List the sites."""
    sites = _sites().listed()
    if as_json:
        echo_json([s.model_dump(mode="json") for s in sites])
        return
    for s in sites:
        click.echo(f"{s.name}  {s.kind}  {_state(s)}")


@site.command()
@name_argument
@as_json
def status(name: str, *, as_json: bool) -> None:
    """Show a site's state, its maintenance windows, and how many runs wait and run there."""
    found = _sites().status(name)
    if as_json:
        echo_json(found.model_dump(mode="json"))
        return
    click.echo(f"{found.site.name} ({found.site.kind}) is {_state(found.site)}.")
    click.echo(f"{found.queued} runs are queued ({found.held} of them held), {found.running} are running.")
    for window in found.site.windows:
        click.echo(_window(window))


@site.command()
@name_argument
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Of how many.")
@as_json
def queue(name: str, limit: int, *, as_json: bool) -> None:
    """List what waits at a site, in the order of its turn: by priority, then in fair shares, then the oldest."""
    waiting = _sites().queue(name, limit)
    if as_json:
        echo_json([run.model_dump(mode="json") for run in waiting])
        return
    if not waiting:
        click.echo(f"Nothing waits at {name}.")
    for place, run in enumerate(waiting, 1):
        asked = f"{run.organisation:<20}  {run.sandbox:<20}  since {run.created_at:%Y-%m-%d %H:%M} UTC"
        held = f"  held by {run.held_by}: {run.held_reason}" if run.held_by else ""
        click.echo(f"{place:>5}  {run.id}  {asked}  priority {run.priority}{held}")


def _state(site: "SiteRecord") -> str:
    state = f"{site.state} since {site.changed_at:%Y-%m-%d %H:%M} UTC, by {site.changed_by}: {site.reason}" if site.reason else str(site.state)
    return f"{state}; nothing can be done there since {site.away.since:%Y-%m-%d %H:%M} UTC: {site.away.sentence}" if site.away else state


def _window(window: "Window") -> str:
    return f"{window.id}  {window.begin.isoformat()} … {window.end.isoformat()}  {window.reason}"


@site.command()
@name_argument
@click.option("--patience", type=click.IntRange(1), default=600, show_default=True, help="Seconds to wait for the containers.")
@as_json
def check(name: str, patience: int, *, as_json: bool) -> None:
    """Ask a site how it is set up, and send containers that see for themselves. Fails unless pilots may run there."""
    from livinglab.bootstrap import check_site, open_lab
    from livinglab.cli import FAILED

    report = check_site(open_lab(), name, lambda said: click.echo(f"… {said}", err=True), timedelta(seconds=patience))
    if as_json:
        echo_json(report.model_dump(mode="json") | {"fit": report.fit})
    else:
        _echo_report(report)
    if not report.fit:
        raise SystemExit(FAILED)


def _echo_report(report: "SiteReport") -> None:
    marks = {True: "holds", False: "FAILS"}
    for demand in report.demands:
        mark = marks[demand.holds] if demand.needed or demand.holds else "advised"
        click.echo(f"{mark:8}  {demand.what}: {demand.seen}" + ("" if demand.holds else f" ({demand.demanded} is demanded). {demand.hint}"))
    for probe in report.probes:
        for finding in probe.attestation.report.findings if probe.attestation.report else ():
            click.echo(f"{marks[finding.holds]:8}  {finding.property}, seen by the {finding.witness} in {probe.role}: {finding.seen}")
        for reason in probe.attestation.reasons:
            click.echo(f"FAILS     {probe.role}: {reason}")
    for what, seconds in report.seconds.items():
        click.echo(f"{what}: {seconds:.2f} s")
    if report.problem:
        click.echo(f"FAILS     {report.problem}")
    click.echo(f"{report.site} is {'fit' if report.fit else 'NOT fit'} for pilots.")


@site.command()
@name_argument
@reason_option
@by_option
def drain(name: str, reason: str, by: str | None) -> None:
    """Begin nothing further at a site. What runs goes on; what waits goes on waiting."""
    _sites().drain(name, _who(by), reason)
    click.echo(f"{name} is draining.")


@site.command()
@name_argument
@by_option
def resume(name: str, by: str | None) -> None:
    """Begin runs at a site again."""
    _sites().resume(name, _who(by))
    click.echo(f"{name} is open.")


@site.command()
@name_argument
@by_option
def remove(name: str, by: str | None) -> None:
    """Forget a site to which no run, no plan and no specification refers."""
    _sites().remove(name, _who(by))
    click.echo(f"{name} is removed.")


@site.group()
def window() -> None:
    """Maintenance windows: nothing of the lab's runs in them, and nothing begins that would reach into one."""


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-03-02T18:00+01:00.", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@window.command(name="add")
@name_argument
@click.option("--begin", required=True, type=_Moment(), help="As 2026-03-02T18:00+01:00; without a zone: UTC.")
@click.option("--end", required=True, type=_Moment())
@reason_option
@by_option
def add_window(name: str, begin: datetime, end: datetime, reason: str, by: str | None) -> None:
    """Announce maintenance of a site."""
    click.echo(_window(_sites().add_window(name, begin, end, reason, _who(by))))


@window.command(name="remove")
@name_argument
@click.argument("window_id", metavar="WINDOW")
@by_option
def remove_window(name: str, window_id: str, by: str | None) -> None:
    """Call maintenance off."""
    _sites().remove_window(name, window_id, _who(by))
    click.echo(f"{window_id} is off.")
