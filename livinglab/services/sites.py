"""The registry of sites: what operators add to it, and how they take a site out of service and back."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from livinglab.domain.canonical import digest_of
from livinglab.domain.errors import Conflict, Invalid, NotFound, unknown_name
from livinglab.domain.model import Frozen
from livinglab.domain.plan import Plan
from livinglab.domain.run import Run, RunState
from livinglab.domain.sandbox import Release
from livinglab.domain.site import Offer, SiteKind, SiteRecord, SiteState, Window
from livinglab.ports import Clock, Store, Tx
from livinglab.services.ids import new_id
from livinglab.services.recording import Recorder, Subject
from livinglab.services.sandboxes import parse

FIRST = "docker"
"""The site that every lab has."""
_PAGE = 200

Check = Callable[[SiteKind, Mapping[str, JsonValue]], tuple[dict[str, JsonValue], Offer]]
"""Reads a site's settings as its kind demands: as they are to be kept, and what such a site offers where its file says nothing. `Invalid`."""


class SiteFile(Frozen):
    """What an operator writes of a site (`livinglab site add NAME FILE`)."""

    kind: SiteKind
    settings: dict[str, JsonValue] = {}
    """As the kind demands."""
    offer: Offer = Offer()


class SiteStatus(Frozen):
    """A site, and how many runs are there."""

    site: SiteRecord
    queued: int
    """Of these, `held` wait for somebody to let them go."""
    held: int
    running: int


@dataclass(frozen=True)
class Sites:
    """The registry, for operators of this machine; everybody else reads it."""

    store: Store
    clock: Clock
    recorder: Recorder
    check: Check

    def add(self, name: str, document: Any, by: str) -> SiteRecord:
        """Register a site.

        Raises:
            Invalid: the document is not what a site of that kind is; the message names the field.
            Conflict: there is a site of that name.
        """
        file = parse(SiteFile, document, "site")
        settings, usual = self.check(file.kind, file.settings)
        offer = usual.model_copy(update={name: getattr(file.offer, name) for name in file.offer.model_fields_set})
        now = self.clock.now()
        record = parse(SiteRecord, {"name": name, "kind": file.kind, "settings": settings, "offer": offer, "changed_by": by, "changed_at": now,
                                    "added_at": now}, "site")  # fmt: skip
        with self.store.transaction() as tx:
            if tx.site(name):
                msg = f"there is a site {name!r} already."
                raise Conflict(msg, hint="Another name, or `livinglab site remove` first.")
            tx.add_site(record)
            self._tell(tx, record, "site-added", {"by": by, "settings": digest_of(settings), "offer": offer.model_dump(mode="json")})
        return record

    def listed(self) -> tuple[SiteRecord, ...]:
        """All sites, by name."""
        with self.store.transaction(read_only=True) as tx:
            return tx.sites()

    def get(self, name: str) -> SiteRecord:
        """A site; `Invalid` with the known names if there is none of that name."""
        with self.store.transaction(read_only=True) as tx:
            return known_site(tx, name)

    def status(self, name: str) -> SiteStatus:
        """A site, and how many runs are there."""
        with self.store.transaction(read_only=True) as tx:
            site, tally = known_site(tx, name), tx.tally(name)
            held = tx.held(name)
        running = sum(tally.get(state, 0) for state in (RunState.RUNNING, RunState.CANCELLING))
        return SiteStatus(site=site, queued=tally.get(RunState.QUEUED, 0), held=held, running=running)

    def queue(self, name: str, limit: int) -> tuple[Run, ...]:
        """The first of those that wait at a site, in the order of their turn; those that are held stand among them."""
        with self.store.transaction(read_only=True) as tx:
            return tx.queue(known_site(tx, name).name, limit)

    def drain(self, name: str, by: str, reason: str) -> SiteRecord:
        """Begin nothing further there; what was begun goes on, and what waits goes on waiting. Draining twice is once, under the newer reason.

        Raises:
            Invalid: without a reason, which everybody who waits reads.
        """
        if not reason.strip():
            msg = "a site is drained for a reason, which everybody reads who waits for it."
            raise Invalid(msg, where="reason")
        return self._turn(name, SiteState.DRAINING, by, reason)

    def resume(self, name: str, by: str) -> SiteRecord:
        """Begin runs there again."""
        return self._turn(name, SiteState.OPEN, by, "")

    def _turn(self, name: str, state: SiteState, by: str, reason: str) -> SiteRecord:
        with self.store.transaction() as tx:
            before = known_site(tx, name)
            if (before.state, before.reason) == (state, reason):
                return before
            since = self.clock.now() if before.state is not state else before.changed_at
            after = before.model_copy(update={"state": state, "reason": reason, "changed_by": by, "changed_at": since})
            tx.update_site(after, before)
            self._tell(tx, after, "site-draining" if state is SiteState.DRAINING else "site-open", {"by": by, "reason": reason})
        return after

    def add_window(self, name: str, begin: datetime, end: datetime, reason: str, by: str) -> Window:
        """Announce maintenance: from `begin` to `end` nothing of the lab's runs there, and nothing begins before that would reach into it.

        Raises:
            Invalid: it is over already, or ends before it begins.
        """
        now = self.clock.now()
        window = parse(Window, {"id": new_id("win", now), "begin": begin, "end": end, "reason": reason}, "window")
        if window.end <= now:
            msg = f"it was over at {window.end.isoformat()}."
            raise Invalid(msg, where="end")
        with self.store.transaction() as tx:
            before = known_site(tx, name)
            self._set_windows(tx, before, (*before.windows, window))
            self._tell(tx, before, "site-window-added", {"by": by, **window.model_dump(mode="json")})
        return window

    def remove_window(self, name: str, id_: str, by: str) -> None:
        """Call maintenance off; `NotFound` with the windows that there are."""
        with self.store.transaction() as tx:
            before = known_site(tx, name)
            left = tuple(w for w in before.windows if w.id != id_)
            if left == before.windows:
                msg = f"site {name!r} has no window {id_!r} (it has {', '.join(w.id for w in left) or 'none'})."
                raise NotFound(msg)
            self._set_windows(tx, before, left)
            self._tell(tx, before, "site-window-removed", {"by": by, "id": id_})

    def _set_windows(self, tx: Tx, before: SiteRecord, windows: Iterable[Window]) -> None:
        tx.update_site(before.model_copy(update={"windows": tuple(sorted(windows, key=lambda w: w.begin))}), before)

    def remove(self, name: str, by: str) -> None:
        """Forget a site to which nothing refers.

        Raises:
            Conflict: runs were there, a plan or a specification names it, or it is the one that every lab has.
        """
        with self.store.transaction() as tx:
            record = known_site(tx, name)
            reasons = ["every lab has it"] if name == FIRST else _references(tx, name)
            if reasons:
                msg = f"site {name!r} stays: {'; '.join(reasons)}."
                raise Conflict(msg, hint="`livinglab site drain` takes it out of service.")
            tx.remove_site(name)
            self._tell(tx, record, "site-removed", {"by": by})

    def _tell(self, tx: Tx, site: SiteRecord, kind: str, data: Mapping[str, object]) -> None:
        tell_of_site(tx, self.recorder, site, kind, data)


def tell_of_site(tx: Tx, recorder: Recorder, site: SiteRecord, kind: str, data: Mapping[str, object]) -> None:
    """In a chain of the site's own, of the lab's and of no sandbox."""
    recorder.transition(tx, Subject(chain=f"site-{site.name}", organisation="lab", sandbox="*"), kind, {"site": site.name, **data})


def known_site(tx: Tx, name: str) -> SiteRecord:
    """The site; `Invalid` with the known names if there is none of that name."""
    record = tx.site(name)
    if record is None:
        raise unknown_name("site", name, [site.name for site in tx.sites()])
    return record


def _references(tx: Tx, name: str) -> list[str]:
    """What refers to a site, as clauses."""
    reasons = []
    if count := sum(tx.tally(name).values()):
        reasons.append(f"{count} of the lab's runs were asked for there")
    plans = [plan.id for plan in _plans(tx) if name in plan.body.sites]
    if plans:
        reasons.append(f"plan {plans[0]} names it" + (f", and {len(plans) - 1} more" if plans[1:] else ""))
    sandboxes = [release.spec.id for release in _releases(tx) if name in release.spec.sites]
    if sandboxes:
        reasons.append(f"the specification of {' and '.join(sandboxes)} names it")
    return reasons


def _plans(tx: Tx) -> Iterator[Plan]:
    after = None
    while page := tx.plans(pilot=None, organisation=None, sandboxes=None, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def _releases(tx: Tx) -> Iterator[Release]:
    after = None
    while page := tx.sandboxes(after, _PAGE):
        yield from (release for release, _authority in page)
        after = page[-1][0].spec.id
