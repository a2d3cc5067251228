"""The admin page's routes: up before recovery begins, ready when the broker serves.

/healthz asks only whether the loop turns. /readyz is 503 while starting, while stopping, and while the bucket denies
access; a bucket that is merely slow or away does not unready a broker that still serves from its WAL and caches.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from automq_broker.admin import broker_samples
from automq_broker.admin.exposition import Metrics
from automq_broker.admin.http import AdminServer
from automq_broker.admin.loop_watch import LoopWatch
from automq_broker.admin.pages import build_routes
from automq_broker.admin.request_meters import RequestMeters
from automq_broker.assembly.knobs import engine_knobs
from automq_broker.contract import metrics
from automq_broker.contract.metrics import Sample
from automq_broker.engine.groups import GroupCoordinators
from automq_broker.engine.start import Running
from automq_broker.engine.store import StoreHealth
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.server import Server
from automq_broker.ports import Clock
from automq_broker.settings import Settings


class AdminPages:
    """The admin server of one process, and what it may say at each moment of the process's life."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._loop_watch = LoopWatch(clock)
        self._running: Running | None = None
        self._server: Server | None = None
        self._not_ready: str | None = "starting"
        self.meters = RequestMeters()

    async def start(self, stack: contextlib.AsyncExitStack, supervisor: Supervisor) -> None:
        """Listen, unless admin.listener is empty. Raises Refused if the port is taken."""
        self._metrics.add_source(self.meters.samples)
        self._metrics.add_source(self._loop_watch.samples)
        supervisor.start("loop watch", self._loop_watch.run())
        address = self._settings.admin_address
        if address is None:
            return
        routes = build_routes(
            why_unhealthy=lambda: None,
            why_not_ready=self._why_not_ready,
            metrics=self._metrics,
            status=self._status,
        )
        server = AdminServer(routes, host=address[0], port=address[1])
        await server.start()
        stack.push_async_callback(server.stop)

    def serve_broker(self, running: Running, server: Server, groups: GroupCoordinators) -> None:
        """The broker serves: from now on the pages show it."""
        self._running = running
        self._server = server
        knobs = engine_knobs(self._settings)
        end_of = broker_samples.end_of_partitions(running)
        self._metrics.add_source(lambda: broker_samples.front_samples(server))
        self._metrics.add_source(lambda: broker_samples.engine_samples(running, knobs))
        self._metrics.add_source(lambda: broker_samples.control_samples(running.control))
        self._metrics.add_source(lambda: broker_samples.group_samples(groups, end_of))
        self._metrics.add_source(lambda: _store_samples(running.store_health))
        self._not_ready = None

    def stopping(self) -> None:
        """Readiness goes first, so that nobody sends new clients here."""
        self._not_ready = "stopping"

    def _why_not_ready(self) -> str | None:
        if self._not_ready is None and self._running is not None and self._running.store_health.is_denied:
            return f"the bucket denies access: {self._running.store_health.trouble}"
        return self._not_ready

    def _status(self) -> Mapping[str, Any]:
        if self._running is None or self._server is None:
            return {"state": self._not_ready}
        running, engine = self._running, self._running.engine
        return {
            "state": self._not_ready or "serving",
            "cluster_id": running.control.state.cluster_id,
            "node_id": running.identity.node_id,
            "broker_epoch": running.broker_epoch,
            "open_partitions": len(engine.open_partitions.by_stream),
            "recovered_batches": running.recovered_batches,
            "torn_tail": running.torn,
            "wal": {
                "capacity_bytes": running.device.capacity_bytes,
                "free_bytes": running.writer.free_bytes,
                "waiting_for_upload_bytes": engine.uploader.waiting_bytes,
                **engine.appender.statistics(),
            },
            "bucket": {"trouble": running.store_health.trouble, "calls": dict(running.store_health.calls)},
            "tail_cache": running.cache.statistics(),
            "block_cache": running.blocks.statistics(),
            "controller": {
                **{name: value for name, value in _fields(running.control.statistics()).items() if name != "role"},
                "role": running.control.statistics().role.value,
            },
            "connections": self._server.connections(),
        }


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _store_samples(health: StoreHealth) -> Iterator[Sample]:
    """Calls by kind and outcome; what did not fail succeeded."""
    failed: dict[str, int] = {}
    for (kind, family), count in sorted(health.errors.items()):
        failed[kind] = failed.get(kind, 0) + count
        yield Sample(metrics.BUCKET_REQUESTS, count, (kind, family))
    for kind, count in sorted(health.calls.items()):
        yield Sample(metrics.BUCKET_REQUESTS, count - failed.get(kind, 0), (kind, "ok"))
    yield Sample(metrics.BUCKET_BYTES, health.bytes_in, ("in",))
    yield Sample(metrics.BUCKET_BYTES, health.bytes_out, ("out",))


__all__ = ["AdminPages"]
