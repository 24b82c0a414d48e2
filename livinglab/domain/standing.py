"""What admission asks of a plan that is another from run to run."""

from livinglab.domain.model import Frozen
from livinglab.domain.pilot import PilotState
from livinglab.domain.plan import Plan
from livinglab.domain.run import Spent
from livinglab.domain.site import SiteRecord


class Standing(Frozen):
    """How it stands with a plan, its pilot and a site at one moment."""

    spent: Spent
    pilot: PilotState | None
    """None: it is not there; here and below."""
    site: SiteRecord | None


class Asked(Frozen):
    """What decides about a run that is asked for."""

    before: tuple[str, str] | None
    """(digest of the request, id of what it made), if its key was used."""
    plan: Plan | None
    """The newest version; None: it is not there."""
    standing: Standing
