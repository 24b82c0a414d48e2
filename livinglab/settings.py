"""The lab's settings: read once, in `bootstrap`, from the environment (`LIVINGLAB_…`) and from `<home>/livinglab.env`."""

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from livinglab.domain.errors import Invalid

SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones (RFC 7518, RFC 8037)."""


def _default_home() -> Path:
    return Path(os.environ.get("LIVINGLAB_HOME", "~/.livinglab")).expanduser()


class Settings(BaseSettings):
    """Everything that an operator may set. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="LIVINGLAB_", frozen=True, extra="forbid")

    home: Path = Field(default_factory=_default_home)
    """Where database, blobs, the site's work folder and, by default, vault and keys lie."""
    database: str = ""
    """SQLAlchemy URL; empty: SQLite in `home`."""
    vault: Path | None = None
    """The worker's datasets and secrets; never readable by the API's user."""
    lab_key: Path | None = None
    """The lab's private key, for the worker only; made at its first start if it is not there."""
    launcher: Path | None = None
    """The launcher's binary; None: the one that was built in the checkout, or `livinglab-launcher` beside the interpreter."""
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8420, ge=1, le=65_535)
    """Where the API listens, without TLS: what stands before it speaks that."""
    oidc_issuer: str = ""
    """The OpenID Connect provider whose people and machines may be members, as its discovery document names it; empty: tokens of the lab's only."""
    oidc_audience: str = ""
    """What an access token must be meant for: this API, as the provider knows it."""
    oidc_algorithms: tuple[SigningAlgorithm, ...] = ("RS256", "ES256")
    """What an access token may be signed with: never a shared secret, never nothing."""
    oidc_types: tuple[Literal["at+jwt", "JWT"], ...] = ("at+jwt",)
    """What the header of an access token may call it. `JWT` is for providers that do not follow RFC 9068: ID tokens are called so, too, and
    are told apart by what they hold."""
    oidc_client: str = ""
    """The public client that `livinglab login` is at the provider."""
    oidc_scopes: str = "openid offline_access"
    """What `livinglab login` asks the provider for."""
    upload_limit: int = Field(default=8 << 30, ge=1 << 20)
    """Bytes of an image's archive."""
    image_quota: int = Field(default=32 << 30, ge=1 << 20)
    """Bytes of images that an organisation may have here, unpacked, each layer once, uploads that it has open among them."""
    body_limit: int = Field(default=1 << 20, ge=1 << 10)
    """Bytes of any other request."""
    rate: float = Field(default=50, ge=0)
    """Requests a second that a client may make in the long run, whoever it is; 0: without limit. Each API process counts for itself."""
    rate_burst: int = Field(default=500, ge=1)
    """Requests that it may make at once."""
    streams: int = Field(default=50, ge=1)
    """Event streams that a client may have open at a time."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Where this process tells Prometheus its numbers; 0: nowhere. API and worker want one each; whoever may read it sees all of the lab's counts."""
    otlp_url: str = ""
    """Where a collector takes traces, as OTLP over HTTP (`http://127.0.0.1:4318/v1/traces`); empty: none are made."""
    log: Literal["text", "json"] = "text"
    """What a line of a log is: for people, or an object for programs. Both name the run, the attempt and the request that it is about."""
    mlflow_url: str = ""
    """Tracking server; empty: nothing is tracked."""
    prefect_url: str = ""
    """Prefect's API; empty: attempts are carried without Prefect."""
    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1_000)
    """How many steps a worker does at a time; where a site has no queue of its own, as many attempts."""
    docker_url: str | None = None
    """The engine's unix socket; None: as `DOCKER_HOST` says, or the usual one."""
    docker_runtime: str | None = None
    """A runtime of the engine other than its default; `runsc` for gVisor."""

    @property
    def database_url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.home / 'lab.db'}"

    @property
    def vault_path(self) -> Path:
        """Where the worker's datasets and secrets lie."""
        return self.vault or self.home / "vault"

    @property
    def lab_key_path(self) -> Path:
        """Where the lab's private key lies."""
        return self.lab_key or self.home / "keys" / "lab.pem"

    @property
    def instance(self) -> str:
        """A short name for this lab at an engine that it may share with others."""
        return hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:8]

    @property
    def launcher_path(self) -> Path:
        """The launcher's binary."""
        return self.launcher or Path(__file__).resolve().parent.parent / "infra" / "launcher" / "livinglab-launcher"


def read_settings() -> Settings:
    """The settings of this process's environment; `Invalid` names the variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "LIVINGLAB_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Invalid(f"{first['msg']}, not {first['input']!r}.", where=name, hint="See docs/reference/settings.md.") from error
