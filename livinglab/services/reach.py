"""Whether anything can be done at a site, written into its record, so that whoever waits for it is told."""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from livinglab.domain.errors import DatabaseAway, NothingKnown, Unreachable
from livinglab.domain.site import Away
from livinglab.ports import Store
from livinglab.services.recording import Recorder
from livinglab.services.sites import tell_of_site


@dataclass
class Reach:
    """What one worker finds of its site. It is written once per change: a site that stays away, or is there, costs nothing.

    Attributes:
        hold: seconds for which a site must have been away before it is told, so that a hiccup is not.
    """

    store: Store
    recorder: Recorder
    site: str
    hold: float = 3.0
    _since: tuple[float, datetime] | None = field(default=None, init=False)
    _told: bool | None = field(default=None, init=False)  # that it is away; at first nobody knows what the worker before has told
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def lost(self, error: Unreachable) -> None:
        """It did not answer, or has no room. Of the lab's own database nothing is told: it is where that would be written."""
        if isinstance(error, (DatabaseAway, NothingKnown)):
            return
        with self._lock:
            at, since = self._since = self._since or (time.monotonic(), self.recorder.clock.now())
            if self._told is not True and time.monotonic() - at >= self.hold:
                self._tell(Away(since=since, sentence=error.message))

    def found(self) -> None:
        """It has answered."""
        if self._since is None and self._told is False:
            return
        with self._lock:
            self._since = None
            if self._told is not False:
                self._tell(None)

    def _tell(self, away: Away | None) -> None:
        try:
            with self.store.transaction() as tx:
                before = tx.site(self.site)
                if before and (before.away is None) != (away is None):
                    tx.update_site(before.model_copy(update={"away": away}), before)
                    tell_of_site(tx, self.recorder, before, "site-away" if away else "site-back", {"sentence": away.sentence} if away else {})
        except Unreachable:
            return  # told at the next look
        self._told = away is not None
