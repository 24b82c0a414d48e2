"""Talking to a Docker Engine: one keep-alive client, the engine's errors as the domain's, its times, its logs."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import docker
import requests
import urllib3.exceptions
from docker.errors import APIError, DockerException
from docker.errors import NotFound as DockerNotFound
from docker.utils import convert_filters

from livinglab.domain.errors import IsolationNotProven, NoRoom, NotFound, PlatformFault, Unreachable

_NEVER = "0001-01-01T00:00:00Z"
_SOCKET = "unix:///var/run/docker.sock"
API = "1.41"  # of Engine 20.10, the oldest that we know
KILLED = {137, 255}
"""Exit codes of what was killed: by SIGKILL, or unseen, while the engine was away."""


class TimedOut(Unreachable):
    """A wait that was given a time, and used it up."""


def connect(url: str | None, timeout: float = 120) -> Any:
    """A client with a fixed API version, so that making it asks the engine nothing: it may be away just now.

    Raises:
        IsolationNotProven: the engine is on another machine, where nothing could be mounted or looked at.
    """
    url = url or os.environ.get("DOCKER_HOST") or _SOCKET
    if not url.startswith(("unix://", "/")):
        msg = f"the Docker Engine at {url} is on another machine, where outputs cannot be bounded"
        raise IsolationNotProven(msg, hint="Run the worker on the engine's own machine and give it the engine's unix:// socket.")
    return docker.APIClient(base_url=url, version=API, timeout=timeout)


@contextmanager
def translated() -> Iterator[None]:
    """The engine's errors as the domain's."""
    try:
        yield
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectTimeout, urllib3.exceptions.TimeoutError) as error:
        msg = "the Docker Engine did not answer in time."
        raise TimedOut(msg) from error
    except requests.exceptions.ConnectionError as error:
        if "Read timed out" in str(error):
            msg = "the Docker Engine did not answer in time."
            raise TimedOut(msg) from error
        if "Permission denied" in str(error):
            msg = "the Docker Engine may not be used by this user."
            raise Unreachable(msg, hint="Run this as root on the engine's own machine.") from error
        msg = "the Docker Engine does not answer."
        raise Unreachable(msg, hint="Is it running? `docker version` tells.") from error
    except DockerNotFound as error:
        raise NotFound(f"the Docker Engine says: {error.explanation}") from error
    except APIError as error:
        if "nknown runtime" in str(error.explanation):
            msg = f"the Docker Engine says: {error.explanation}"
            raise IsolationNotProven(msg, hint="Register the runtime in /etc/docker/daemon.json, or choose another site.") from error
        if "no space left on device" in str(error.explanation):
            msg = f"the Docker Engine has no room: {error.explanation}"
            raise NoRoom(msg, hint="`docker system df` tells what takes it.") from error
        raise PlatformFault(f"the Docker Engine says: {error.explanation}") from error
    except (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        msg = f"the Docker Engine does not answer ({type(error).__name__})."
        raise Unreachable(msg, hint="Is it running? `docker version` tells.") from error


def moment(text: str) -> datetime | None:
    """The engine's nanosecond times, to the microsecond; None for its year 1."""
    if not text or text == _NEVER:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}+00:00")


def times(state: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """When a container started and ended. The engine notes the start when its runtime says so, and a short life may be over by then."""
    started, ended = moment(state["StartedAt"]), moment(state["FinishedAt"])
    return (min(started, ended) if started and ended else started), ended


def told_of(engine: Any, inspected: dict[str, Any], patience: float = 1.0) -> frozenset[str]:
    """What the engine remembers of an ended container, of `start`, `kill` and `oom`.

    It has the last 256 events, and none from before its own start. A kill for want of memory may be told a moment after
    the death, so that much patience is had with it (seconds).
    """
    started = moment(inspected["State"]["StartedAt"])
    filters = {"container": inspected["Id"], "event": ["start", "kill", "oom"]}
    told: set[str] = set()
    with translated():
        now = moment(engine.info()["SystemTime"])  # by its own clock, which is that of its events
        until = (now.timestamp() if now else time.time()) + patience
        with events(engine, int(started.timestamp()) if started else 0, until, patience, filters) as found:
            for event in found:
                told.add(str(event["Action"]))
                if told & {"kill", "oom"}:
                    break
    return frozenset(told)


@contextmanager
def events(engine: Any, since: int, until: float, seconds: float, filters: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
    """The engine's events from one time to another, by its own clock, as they come; the connection is closed at the end.

    The library's own way waits for an engine that has stopped in the middle as long as that takes.

    Args:
        seconds: for which none need come, besides what this client waits for any answer.
    """
    params: dict[str, Any] = {"since": since, "until": f"{until:.6f}", "filters": convert_filters(filters)}
    with engine.get(f"{engine.base_url}/v{API}/events", params=params, stream=True, timeout=seconds + engine.timeout) as response:
        response.raise_for_status()
        yield (json.loads(line) for line in response.iter_lines() if line)
