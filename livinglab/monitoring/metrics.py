"""Numbers that Prometheus reads: of the lab as its database has it, and of one process. Nothing here names an organisation or a run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from livinglab.domain.errors import LivingLabError
from livinglab.domain.run import RunState
from livinglab.ports import Clock, Store


class LabCollector(Collector):
    """The lab's runs, as they are when they are asked for: one query, however many there are."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def collect(self) -> Iterator[Metric]:
        """See the library. A database that does not answer is told as such, and the rest is not."""
        up = GaugeMetricFamily("livinglab_database_up", "Whether the lab's database answers.")
        try:
            with self._store.transaction(read_only=True) as tx:
                counts, events, sites = tx.run_counts(), tx.last_event(), tx.sites()
        except LivingLabError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        runs = GaugeMetricFamily("livinglab_runs", "Runs by site and state.", labels=["site", "state"])
        oldest = GaugeMetricFamily("livinglab_queue_oldest_seconds", "How long the run has waited that waits longest.", labels=["site"])
        now = self._clock.now()
        for count in counts:
            runs.add_metric([count.site, count.state], count.runs)
            if count.state is RunState.QUEUED:
                oldest.add_metric([count.site], max(0.0, (now - count.oldest).total_seconds()))
        told = GaugeMetricFamily("livinglab_events", "Events of the lab so far.")
        told.add_metric([], events)
        reached = GaugeMetricFamily("livinglab_site_up", "Whether anything can be done at the site, as its worker finds.", labels=["site"])
        for site in sites:
            reached.add_metric([site.name], site.away is None)
        yield from (up, runs, oldest, told, reached)


def new_registry(store: Store, clock: Clock) -> CollectorRegistry:
    """What every process tells: the lab's runs, and the process itself (memory, descriptors, time of the processor)."""
    registry = CollectorRegistry()
    registry.register(LabCollector(store, clock))
    for own in (ProcessCollector, PlatformCollector, GCCollector):
        own(registry=registry)
    Gauge("livinglab_threads", "Threads of this process.", registry=registry).set_function(threading.active_count)
    return registry


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """At an address of its own, which is for the operator's machines; the port, which is a free one for 0."""
    server, thread = start_http_server(port, addr=host, registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
