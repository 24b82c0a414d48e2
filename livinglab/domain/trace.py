"""W3C Trace Context, as far as the lab takes part: the call that asked for a run, as `traceparent` names it."""

import re

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def parent_of(traceparent: str | None) -> tuple[str, str] | None:
    """Trace id and span id in hexadecimal; None for what is no `traceparent` (of version 00), which is then ignored, as the standard has it."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return found[1], found[2]
