"""Logs for people, a line each, or for programs, a JSON object a line; both say which run, attempt and request a line is about."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

Form = Literal["text", "json"]

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - it is never changed, only replaced
CHATTY = ("httpx", "alembic")
"""What says at INFO what nobody asked for."""


@contextmanager
def about(**names: str | None) -> Iterator[None]:
    """Whatever is logged within, in this thread or task, is about these (`run`, `attempt`, `site`, `request`)."""
    token = _ABOUT.set({**_ABOUT.get(), **{name: value for name, value in names.items() if value}})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class TextLines(logging.Formatter):
    """Time, level, logger, message, and what it is about."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """See the library."""
        names = " ".join(f"{name}={value}" for name, value in _names(record).items())
        return super().formatMessage(record) + (f" [{names}]" if names else "")


class JsonLines(logging.Formatter):
    """An object a line: `at` (UTC, RFC 3339), `level`, `logger`, `message`, `error` with its traceback, and a field for each thing it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """See the library."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        document: dict[str, Any] = {"at": at, "level": record.levelname, "logger": record.name, "message": record.getMessage(), **_names(record)}
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def _names(record: logging.LogRecord) -> dict[str, Any]:
    """What a line is about: what holds where it is written, and what it was given itself (`extra={"about": …}`)."""
    return {**_ABOUT.get(), **getattr(record, "about", {})}


def configure(form: Form) -> None:
    """Log to standard error, in that form, from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
