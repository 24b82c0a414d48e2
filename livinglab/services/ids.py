"""Names for new things: sortable by time, fit for a container, a job and a URL."""

import secrets
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


def new_id(kind: str, now: datetime) -> str:
    """`<kind>-<26 characters>`: 48 bits of milliseconds, then 80 random bits, as a ULID in lower case."""
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return f"{kind}-" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
