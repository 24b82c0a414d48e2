"""The registry of sites."""

from collections.abc import Mapping

import sqlalchemy as sa

from livinglab.domain.run import RunState
from livinglab.domain.site import SiteRecord
from livinglab.store import tables as t
from livinglab.store.base import Tables
from livinglab.store.refusals import changed


class SiteTables(Tables):
    """See the port."""

    def add_site(self, site: SiteRecord) -> None:
        self.insert(t.sites, name=site.name, state=site.state, doc=_doc(site))

    def site(self, name: str) -> SiteRecord | None:
        return self.one(SiteRecord, t.sites, name=name)

    def sites(self) -> tuple[SiteRecord, ...]:
        return self.many(SiteRecord, sa.select(t.sites.c.doc).order_by(t.sites.c.name))

    def update_site(self, site: SiteRecord, before: SiteRecord) -> None:
        if self.site(site.name) != before:
            raise changed(f"site {site.name}")
        self.put(t.sites, {"name": site.name}, state=site.state, doc=_doc(site))

    def remove_site(self, name: str) -> None:
        self.connection.execute(t.sites.delete().where(t.sites.c.name == name))

    def tally(self, site: str) -> Mapping[RunState, int]:
        counted = sa.select(t.runs.c.state, sa.func.count()).where(t.runs.c.site == site).group_by(t.runs.c.state)
        return {RunState(state): count for state, count in self.connection.execute(counted)}


def _doc(site: SiteRecord) -> str:
    """What processes of an earlier version must read too, while the lab is upgraded, does not say what they don't know."""
    return site.model_dump_json(exclude=None if site.away else {"away"})
