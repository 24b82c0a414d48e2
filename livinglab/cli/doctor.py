"""`livinglab doctor`: what is missing on this machine, and what to do about it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from livinglab.cli import FAILED, echo_json
from livinglab.cli.client import as_json

if TYPE_CHECKING:
    from livinglab.domain.site import SiteRecord
    from livinglab.settings import Settings

ROOM = 10 << 30
"""Bytes that an operator would want to have left: images are stored uncompressed."""
_EXTRAS = {"server": ("the API", ("fastapi", "uvicorn", "sqlalchemy", "jwt")),
           "worker": ("a worker", ("docker", "prefect", "mlflow", "matplotlib")),
           "kubernetes": ("a worker of a Kubernetes site", ("kubernetes",))}  # fmt: skip
"""Who needs what, by the extra that installs it."""
_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `well` is None where it may as well be missing."""

    what: str
    well: bool | None
    said: str
    hint: str = ""


@click.command()
@as_json
def doctor(*, as_json: bool) -> None:
    """Say what is missing on this machine for the lab that its settings describe, and how to mend it. Fails where something is."""
    from livinglab.settings import read_settings

    settings = read_settings()
    findings = list(examine(settings))
    well = all(finding.well is not False for finding in findings)
    if as_json:
        echo_json({"well": well, "findings": [asdict(finding) for finding in findings]})
    else:
        marks = {True: click.style("well   ", fg="green"), None: "without", False: click.style("MISSING", fg="red")}
        for finding in findings:
            hint = f"\n         → {finding.hint}" if finding.hint and finding.well is not True else ""
            click.echo(f"{marks[finding.well]}  {finding.what}: {finding.said}{hint}")
    if not well:
        raise SystemExit(FAILED)


def examine(settings: "Settings") -> Iterator[Finding]:
    """Everything, one after the other; nothing is changed, and no look takes longer than a few seconds."""
    yield from map(_extra, _EXTRAS)
    yield _home(settings)
    sites: tuple[SiteRecord, ...] = ()
    if find_spec("sqlalchemy"):
        finding, sites = _database(settings)
        yield finding
    yield _lab_key(settings)
    yield _launcher(settings)
    for record in sites:
        yield _site(settings, record)
    yield _server("MLflow", settings.mlflow_url, "/health", "LIVINGLAB_MLFLOW_URL: runs are carried, and nothing is tracked.")
    yield _server("Prefect", settings.prefect_url, "/health", "LIVINGLAB_PREFECT_URL: runs are carried without it.")
    yield _identity(settings)
    address = f"http://{settings.api_host}:{settings.api_port}"
    yield _server("the API", os.environ.get("LIVINGLAB_API") or address, "/healthz", "", "livinglab serve", needed=False)


def _extra(name: str) -> Finding:
    who, packages = _EXTRAS[name]
    lacking = [package for package in packages if not find_spec(package)]
    said = f"not installed: {', '.join(lacking)}" if lacking else "installed"
    return Finding(f"what {who} needs", None if lacking else True, said, f"uv pip install 'livinglab[{name}]'")


def _home(settings: "Settings") -> Finding:
    home = settings.home
    place = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(place, os.W_OK):
        return Finding("home", well=False, said=f"{place} cannot be written to", hint="Give it to this user, or set LIVINGLAB_HOME.")
    left = shutil.disk_usage(place).free
    enough = left >= ROOM
    return Finding("home", True if enough else None, f"{home}, {left / 2**30:.0f} GiB left", f"A lab wants {ROOM >> 30} GiB and more.")


def _database(settings: "Settings") -> "tuple[Finding, tuple[SiteRecord, ...]]":
    from livinglab.domain.errors import LivingLabError
    from livinglab.store.migrate import revisions
    from livinglab.store.sql import open_store

    url = settings.database_url
    if url.startswith("sqlite") and not (settings.home / "lab.db").exists() and not settings.database:
        return Finding("database", None, "none yet", "The first command that needs one makes it."), ()
    try:
        store = open_store(url, migrate=False, patience=_SECONDS)
        with store.translated():
            present, newest = revisions(store.engine)
        if present != newest:
            said = f"at revision {present}, this version's newest is {newest}"
            return Finding("database", None, said, "It is brought there when a worker or the API starts; back it up before."), ()
        with store.transaction(read_only=True) as tx:
            sites = tx.sites()
        store.close()
    except LivingLabError as error:
        return Finding("database", well=False, said=error.message, hint=error.hint or "LIVINGLAB_DATABASE names another."), ()
    kind = "SQLite: for a demonstration, not for many at once" if url.startswith("sqlite") else "PostgreSQL"
    return Finding("database", well=True, said=f"{kind}, at revision {newest}"), sites


def _lab_key(settings: "Settings") -> Finding:
    from livinglab.domain.errors import LivingLabError
    from livinglab.evidence.keys import KeySigner

    path = settings.lab_key_path
    if not path.exists():
        return Finding("the lab's key", None, f"none at {path}", "A worker makes it at its first start. On the API's machine it has no business.")
    try:
        return Finding("the lab's key", well=True, said=f"{KeySigner.load(path).key_id[:16]}…, in {path}")
    except LivingLabError as error:
        return Finding("the lab's key", well=False, said=error.message, hint=error.hint or "")


def _launcher(settings: "Settings") -> Finding:
    path = settings.launcher_path
    if os.access(path, os.X_OK):
        return Finding("the launcher", well=True, said=str(path))
    return Finding("the launcher", well=False, said=f"none at {path}", hint="infra/launcher/build.sh, or LIVINGLAB_LAUNCHER.")


def _site(settings: "Settings", record: "SiteRecord") -> Finding:
    what, look = f"site {record.name} ({record.kind})", f"livinglab site check {record.name} looks closer."
    if record.kind == "docker":
        return _docker(settings, record, what)
    if record.kind == "kubernetes":
        path = Path(str(record.settings["kubeconfig"]))
        there = os.access(path, os.R_OK)
        return Finding(what, there, f"{path} {'can' if there else 'cannot'} be read", look)
    there = bool(shutil.which("ssh")) or not record.settings.get("ssh")
    return Finding(what, there, "its commands are there" if there else "there is no ssh on this machine", look)


def _docker(settings: "Settings", record: "SiteRecord", what: str) -> Finding:
    if not find_spec("docker"):
        return Finding(what, None, "its library is not installed", "Only a worker needs it.")
    from livinglab.domain.errors import LivingLabError
    from livinglab.sites.docker_engine import connect, translated

    runtime = record.settings.get("runtime") or settings.docker_runtime
    url = record.settings.get("url") or settings.docker_url
    try:
        with translated(), closing(connect(str(url) if url else None, _SECONDS)) as engine:
            info = engine.info()
    except LivingLabError as error:
        said = f"no Docker Engine answers ({error.message.rstrip('.')})"
        return Finding(what, well=False, said=said, hint=error.hint or "infra/engine.sh up starts one.")
    if runtime and runtime not in info["Runtimes"]:
        known = ", ".join(sorted(info["Runtimes"]))
        return Finding(what, well=False, said=f"the engine has no runtime {runtime!r}, but {known}", hint="Register it in /etc/docker/daemon.json.")
    return Finding(what, well=True, said=f"Docker {info['ServerVersion']}" + (f", with {runtime}" if runtime else ""))


def _server(what: str, url: str, path: str, without: str, hint: str = "make up starts it.", *, needed: bool = True) -> Finding:
    import httpx

    if not url:
        return Finding(what, None, "not asked for", without)
    try:
        answer = httpx.get(f"{url.rstrip('/')}{path}", timeout=_SECONDS, trust_env=False)
        said, well = f"{url} answered {answer.status_code}", answer.is_success
    except httpx.HTTPError as error:
        said, well = f"{url} does not answer ({type(error).__name__})", False
    return Finding(what, well or (False if needed else None), f"{url} answers" if well else said, hint)


def _identity(settings: "Settings") -> Finding:
    import httpx

    from livinglab.cli.oauth import Provider
    from livinglab.domain.errors import LivingLabError

    if not settings.oidc_issuer:
        return Finding("identity provider", None, "none", "LIVINGLAB_OIDC_ISSUER: the lab's own tokens are the only way in.")
    if not settings.oidc_audience:
        return Finding(
            "identity provider", well=False, said="no audience is set, so no token could be meant for this lab", hint="LIVINGLAB_OIDC_AUDIENCE."
        )
    try:
        with httpx.Client(timeout=_SECONDS, trust_env=False) as http:
            Provider(http, settings.oidc_issuer, settings.oidc_audience)
    except LivingLabError as error:
        return Finding("identity provider", well=False, said=error.message, hint="LIVINGLAB_OIDC_ISSUER must be as its discovery document says.")
    return Finding("identity provider", well=True, said=settings.oidc_issuer)
