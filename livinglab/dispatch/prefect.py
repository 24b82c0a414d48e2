"""Attempts as Prefect flow runs, in the site's work pool, within this long-lived process.

Prefect shows and conducts; it decides nothing. Where its server is away, or dies under a flow, the attempt is carried
inline: the database is the truth, and the engine goes on from the journal either way.
"""

import asyncio
import logging
import os
import threading
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from livinglab.dispatch.carrier import Carrier
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.run import Attempt

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

log = logging.getLogger(__name__)

POOL_TYPE = "livinglab"
WATCH_SECONDS = 2.0
"""How often a flow run is looked at for a cancel that was asked for in Prefect."""

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


@dataclass(frozen=True)
class PrefectDispatch:
    """Carries each attempt as a flow run."""

    supervisor: Supervisor
    pool: str

    def carry(self, attempt: Attempt) -> None:
        """Carry an attempt to its end: by a flow run, and inline if Prefect cannot."""
        try:
            asyncio.run(self._carry(attempt))
        except Exception as error:  # noqa: BLE001 - whatever ails Prefect must not ail the run
            log.warning("Prefect could not carry %s (%s: %s); going on without it", attempt.id, type(error).__name__, str(error)[:200])
            carry_inline(self.supervisor, attempt)
            self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        """Bring a flow run that could not be carried to its end to the state that the database has; if Prefect is still away, it stays as it is."""
        try:
            asyncio.run(self._set_end(attempt))
        except Exception as error:  # noqa: BLE001 - the same
            log.warning("the flow run of %s stays unsettled (%s)", attempt.id, type(error).__name__)

    async def _set_end(self, attempt: Attempt) -> None:
        from prefect.client.orchestration import get_client

        _flow, _carrying, end_of = _entry()
        async with get_client() as client:
            left = await _find(client, attempt)
            if left:
                await client.set_flow_run_state(left.id, end_of(Carrier(self.supervisor, attempt)), force=True)

    async def _carry(self, attempt: Attempt) -> None:
        from prefect.client.orchestration import get_client
        from prefect.flow_engine import run_flow_async

        flow, carrying, _end_of = _entry()
        carrier = Carrier(self.supervisor, attempt)
        async with get_client() as client:
            flow_run = await self._flow_run(client, flow, attempt)
            watching = asyncio.create_task(self._watch(client, flow_run.id, carrier))
            token = carrying.set(carrier)
            try:
                await run_flow_async(flow, flow_run=flow_run, parameters={"attempt": attempt.id}, return_type="state")
            finally:
                carrying.reset(token)
                watching.cancel()

    async def _flow_run(self, client: "PrefectClient", flow: Any, attempt: Attempt) -> "FlowRun":
        """The attempt's flow run: the one that a killed worker left, entered again, or a new one."""
        left = await _find(client, attempt) if attempt.epoch > 1 else None
        if left:
            return left
        await _ensure_pool(client, self.pool)
        return await client.create_flow_run(flow, name=attempt.id, parameters={"attempt": attempt.id}, tags=[attempt.run], work_pool_name=self.pool)

    async def _watch(self, client: "PrefectClient", flow_run: Any, carrier: Carrier) -> None:
        """A cancel in Prefect's own pages never reaches a flow in this process: look for it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                state = (await client.read_flow_run(flow_run)).state
            except Exception as error:  # noqa: BLE001 - looked again in a moment
                log.debug("could not look at flow run %s: %s", flow_run, error)
                continue
            if state and state.is_cancelling():
                await asyncio.to_thread(carrier.cancel, "an operator", "cancelled in Prefect")
                return


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
    from prefect.exceptions import ObjectAlreadyExists

    try:
        await client.create_work_pool(WorkPoolCreate(name=pool, type=POOL_TYPE))
    except ObjectAlreadyExists:
        log.debug("work pool %s is there", pool)


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
