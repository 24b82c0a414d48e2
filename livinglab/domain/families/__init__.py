"""The task families that the lab ships. A sandbox may bring one of its own instead, written out in its specification."""

from livinglab.domain.errors import unknown_name
from livinglab.domain.families.binary_risk import BINARY_RISK
from livinglab.domain.families.closed_loop_driving import CLOSED_LOOP_DRIVING
from livinglab.domain.families.credit_scoring import CREDIT_SCORING
from livinglab.domain.families.survival import SURVIVAL
from livinglab.domain.tasks import TaskFamily

FAMILIES = {family.name: family for family in (SURVIVAL, BINARY_RISK, CREDIT_SCORING, CLOSED_LOOP_DRIVING)}


def task_family(name: str, *, where: str | None = None) -> TaskFamily:
    """The family of that name; `Invalid` with the known names otherwise."""
    if name not in FAMILIES:
        raise unknown_name("task family", name, FAMILIES, where=where)
    return FAMILIES[name]
