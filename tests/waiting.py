"""Waiting for a condition, never for luck."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: Callable[[], T], seconds: float = 120, why: str = "it did not come to that", pause: float = 0.1) -> T:
    """Ask until the answer is true, and return it; fail with `why` when it was not within so many seconds."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"{why} within {seconds:g} s"
        time.sleep(pause)  # between looks; the condition decides
    return found
