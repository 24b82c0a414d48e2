"""Statutory deadlines, computed from data: the law's numbers are versioned, this arithmetic is not."""

from calendar import monthrange
from datetime import date, timedelta

from livinglab.domain.model import Frozen


class Term(Frozen):
    """A period as legal texts state one: days and calendar months."""

    days: int = 0
    months: int = 0
    source: str

    def after(self, start: date) -> date:
        """The last day of the term that begins on `start`. A month ends on the same day number, or on the month's last day
        (Regulation (EEC, Euratom) No 1182/71, Article 3(2)(c))."""  # noqa: D205, D209
        index = start.year * 12 + start.month - 1 + self.months
        year, month = divmod(index, 12)
        day = min(start.day, monthrange(year, month + 1)[1])
        return date(year, month + 1, day) + timedelta(days=self.days)
