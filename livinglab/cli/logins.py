"""Who is logged in where: kept for the person who runs the commands, and for nobody else."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
from pydantic import BaseModel, ValidationError

from livinglab.cli.oauth import Provider
from livinglab.domain.errors import Invalid, Unauthenticated

_BEFORE_ITS_END = 30.0
"""Seconds before a token's end from which on another one is asked for."""


class Login(BaseModel):
    """A login at one API."""

    issuer: str
    resource: str
    client: str
    scopes: str
    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    """Seconds since the epoch; None: nobody said."""
    secret_file: Path | None = None
    """Of a machine: where its secret is. The secret itself is not kept here."""

    @property
    def is_over(self) -> bool:
        """Is another token needed?"""
        return self.expires_at is not None and time.time() > self.expires_at - _BEFORE_ITS_END


def _path() -> Path:
    return Path(os.environ.get("LIVINGLAB_LOGINS") or Path(click.get_app_dir("livinglab")) / "logins.json")


@contextmanager
def _kept() -> Iterator[dict[str, Any]]:
    """All logins, by API; what is changed is kept. One process at a time: a refresh token is good once."""
    path = _path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            found = json.loads(path.read_text()) if path.exists() else {}
        except ValueError as error:
            msg = f"{path} is not what was written there."
            raise Invalid(msg, hint="Remove it, and log in again: livinglab login.") from error
        before = json.dumps(found)
        yield found
        if (after := json.dumps(found, indent=1)) != before:
            new = path.with_suffix(".new")
            with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(after)
            new.replace(path)


def _login(found: dict[str, Any], api: str) -> Login | None:
    try:
        return Login.model_validate(found[api]) if api in found else None
    except ValidationError as error:
        msg = f"{_path()} is not what was written there."
        raise Invalid(msg, hint="Remove it, and log in again: livinglab login.") from error


def keep(api: str, login: Login) -> None:
    """In place of the one that was there."""
    with _kept() as found:
        found[api] = login.model_dump(mode="json")


def forget(api: str) -> Login | None:
    """The one that was there."""
    with _kept() as found:
        login = _login(found, api)
        found.pop(api, None)
        return login


def is_logged_in(api: str) -> bool:
    """Without a word to anyone."""
    if not _path().exists():
        return False
    with _kept() as found:
        return api in found


class LoginAuth(httpx.Auth):
    """Every request with a token that holds: another one is asked for shortly before its end."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._login: Login | None = None

    def auth_flow(self, request: httpx.Request) -> Any:
        """See httpx."""
        if self._login is None or self._login.is_over:
            self._login = self._fresh()
        request.headers["Authorization"] = f"Bearer {self._login.access_token}"
        yield request

    def _fresh(self) -> Login:
        with _kept() as found:
            login = _login(found, self._api)
            if login is None:
                msg = f"nobody is logged in at {self._api}."
                raise Unauthenticated(msg, hint="livinglab login")
            if login.is_over:
                login = login.model_copy(update=another_token(login))
                found[self._api] = login.model_dump(mode="json")
            return login


def another_token(login: Login) -> dict[str, Any]:
    """Of the same login."""
    if login.secret_file is None and login.refresh_token is None:
        msg = "the login is over, and the provider gave nothing to prolong it with."
        raise Unauthenticated(msg, hint="livinglab login")
    with httpx.Client(timeout=30, trust_env=False) as http:
        provider = Provider(http, login.issuer, login.resource)
        if login.secret_file is not None:
            return provider.ask_as_machine(login.client, read_secret(login.secret_file), login.scopes)
        return provider.refresh(login.client, str(login.refresh_token))


def read_secret(path: Path) -> str:
    """A client's secret, from a file that others cannot read."""
    if path.stat().st_mode & 0o077:
        msg = f"others may read {path}, which holds a secret."
        raise Invalid(msg, hint=f"chmod 600 {path}")
    return path.read_text().strip()
