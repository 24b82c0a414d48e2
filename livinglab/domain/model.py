"""What every document and record of the lab is built on."""

import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Frozen(BaseModel):
    """An immutable document: unknown fields are errors, numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def check_slug(value: str) -> str:
    """The value, if it is such a name; `ValueError` says what was expected."""
    if not _SLUG.fullmatch(value):
        msg = "expected 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
        raise ValueError(msg)
    return value


Slug = Annotated[str, AfterValidator(check_slug)]
"""A name that fits a DNS label, a container name and a job name."""

Moment = AwareDatetime
"""A time with its zone; the lab stores UTC."""
