"""Attempts as Prefect flow runs, in the site's work pool, within this long-lived process.

Prefect shows and conducts; it decides nothing. Where its server is away, or dies under a flow, the attempt is carried
inline: the database is the truth, and the engine goes on from the journal either way.
"""

import asyncio
import logging
import os
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from livinglab.dispatch.carrier import Carrier
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.errors import NotFound
from livinglab.domain.marks import PREFECT_SANDBOX
from livinglab.domain.run import Attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.context import AsyncClientContext

log = logging.getLogger(__name__)

POOL_TYPE = "livinglab"
WATCH_SECONDS = 2.0
"""How often Prefect is asked which flow runs are being cancelled there."""
_CANCELLED_AT_ONCE = 200

HEARTBEAT_SECONDS = 20.0
"""How often a worker shows Prefect that it is there; Prefect takes it for gone after three times as long."""


def configure(url: str) -> None:
    """Point this process's Prefect at its server. Before prefect is imported, since it reads the environment then."""
    os.environ["PREFECT_API_URL"] = url
    # A server that is away is found out in seconds; the attempt does not wait for it.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    for name, value in (("PREFECT_SERVER_ANALYTICS_ENABLED", "false"), ("DO_NOT_TRACK", "1")):
        os.environ[name] = value


@dataclass
class PrefectDispatch:
    """Carries each attempt as a flow run. All of them share one connection to Prefect, and one look for what was cancelled there."""

    supervisor: Supervisor
    pool: str
    _carried: dict[str, Carrier] = field(default_factory=dict, init=False)
    _shared: "AsyncClientContext | None" = field(default=None, init=False)
    _users: int = field(default=0, init=False)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _watching: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def carry(self, attempt: Attempt) -> None:
        """Carry an attempt to its end: by a flow run, and inline if Prefect cannot."""
        try:
            await self._carry(attempt)
        except Exception as error:  # noqa: BLE001 - whatever ails Prefect must not ail the run
            log.warning("Prefect could not carry %s (%s: %s); going on without it", attempt.id, type(error).__name__, str(error)[:200])
            await carry_inline(self.supervisor, attempt)
            await self._settle(attempt)

    async def _settle(self, attempt: Attempt) -> None:
        """Bring a flow run that could not be carried to its end to the state that the database has; if Prefect is still away, it stays as it is."""
        _flow, _carrying, end_of = _entry()
        try:
            async with self._client() as client:
                left = await _find(client, attempt)
                if left:
                    end = await asyncio.to_thread(end_of, Carrier(self.supervisor, attempt))
                    await client.set_flow_run_state(left.id, end, force=True)
        except Exception as error:  # noqa: BLE001 - the same
            log.warning("the flow run of %s stays unsettled (%s)", attempt.id, type(error).__name__)

    async def _carry(self, attempt: Attempt) -> None:
        from prefect.flow_engine import run_flow_async

        flow, carrying, _end_of = _entry()
        carrier = Carrier(self.supervisor, attempt)
        async with self._client() as client:
            flow_run = await self._flow_run(client, flow, attempt)
            carrying.set(carrier)
            self._carried[attempt.id] = carrier
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch(client))
            try:
                await run_flow_async(flow, flow_run=flow_run, parameters={"attempt": attempt.id}, return_type="state")
            finally:
                self._carried.pop(attempt.id, None)

    @asynccontextmanager
    async def _client(self) -> "AsyncIterator[PrefectClient]":
        """The client that all share, also what Prefect's own code finds in this task; closed with the last that uses it."""
        from prefect.context import AsyncClientContext

        async with self._opening:
            if self._users == 0:
                shared = AsyncClientContext()
                await shared.client.__aenter__()
                self._shared = shared
            self._users += 1
        assert self._shared is not None  # noqa: S101 - somebody uses it
        AsyncClientContext.__var__.set(self._shared)
        try:
            yield self._shared.client
        finally:
            async with self._opening:
                self._users -= 1
                if self._users == 0:
                    await self._shared.client.__aexit__(None, None, None)

    async def _flow_run(self, client: "PrefectClient", flow: Any, attempt: Attempt) -> "FlowRun":
        """The attempt's flow run: the one that a killed worker left, entered again, or a new one."""
        left = await _find(client, attempt) if attempt.epoch > 1 else None
        if left:
            return left
        await _ensure_pool(client, self.pool)
        tags = [attempt.run, PREFECT_SANDBOX + await asyncio.to_thread(self._sandbox_of, attempt)]
        return await client.create_flow_run(flow, name=attempt.id, parameters={"attempt": attempt.id}, tags=tags, work_pool_name=self.pool)

    def _sandbox_of(self, attempt: Attempt) -> str:
        with self.supervisor.store.transaction(read_only=True) as tx:
            run = tx.run(attempt.run)
        if run is None:
            msg = f"there is no run {attempt.run!r}."
            raise NotFound(msg)
        return run.sandbox

    async def _watch(self, client: "PrefectClient") -> None:
        """A cancel in Prefect's own pages never reaches a flow in this process: look for it."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
        from prefect.client.schemas.objects import StateType
        from prefect.client.schemas.sorting import FlowRunSort

        cancelling = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])))
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._carried:
                return
            try:
                found = await client.read_flow_runs(flow_run_filter=cancelling, sort=FlowRunSort.START_TIME_DESC, limit=_CANCELLED_AT_ONCE)
            except Exception as error:  # noqa: BLE001 - looked again in a moment
                log.warning("could not look for cancelled flow runs: %s", error)
                continue
            for carrier in [self._carried[flow_run.name] for flow_run in found if flow_run.name in self._carried]:
                await asyncio.to_thread(carrier.cancel, "an operator", "cancelled in Prefect")


@dataclass(frozen=True)
class Presence:
    """Shows this worker in its pool, as Prefect's own workers are shown: by a sign of life."""

    pool: str
    worker: str
    name: str = "presence"

    def serve(self, stopping: threading.Event) -> None:
        """Give a sign of life until `stopping`; a server that is away is told the next time."""
        while not stopping.is_set():
            try:
                asyncio.run(self._give())
            except Exception as error:  # noqa: BLE001 - whatever ails Prefect must not ail the worker
                log.debug("no sign of life to Prefect: %s", error)
            stopping.wait(HEARTBEAT_SECONDS)

    async def _give(self) -> None:
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            await _ensure_pool(client, self.pool)
            await client.send_worker_heartbeat(self.pool, self.worker, HEARTBEAT_SECONDS)


async def _ensure_pool(client: "PrefectClient", pool: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with suppress(ObjectNotFound):
        await client.read_work_pool(pool)
        return
    with suppress(ObjectAlreadyExists):  # another worker's, in between
        await client.create_work_pool(WorkPoolCreate(name=pool, type=POOL_TYPE))


def _entry() -> Any:
    """The flow, where to put what it carries, and its end from the database's: found by name, since flows and core do not know each other."""
    (entry,) = entry_points(group="livinglab.flows", name="attempt")
    return entry.load()


async def _find(client: "PrefectClient", attempt: Attempt) -> "FlowRun | None":
    """The attempt's flow run, if there is one that is not over."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    named = FlowRunFilter(name=FlowRunFilterName(any_=[attempt.id]))
    for found in await client.read_flow_runs(flow_run_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1):
        if found.state and not found.state.is_final():
            return found
    return None
