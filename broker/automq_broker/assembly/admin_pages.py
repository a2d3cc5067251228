"""The admin page's routes: up before recovery begins, ready when the broker serves.

/healthz asks only whether the loop turns. /readyz is 503 while starting, while stopping, and while the bucket denies
access. A bucket that is slow or away unreadies nobody, not even with full logs: it would be all brokers at once, and
clients could not even ask why; the text of the 200 and the metrics say it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from automq_broker.adapters.metered_bucket import MeteredBucket
from automq_broker.admin import broker_samples
from automq_broker.admin.api import ClusterApi
from automq_broker.admin.exposition import Metrics
from automq_broker.admin.http import AdminServer
from automq_broker.admin.loop_watch import LoopWatch
from automq_broker.admin.pages import build_routes
from automq_broker.admin.request_meters import RequestMeters
from automq_broker.admin.token import Token
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.listeners import admin_tls
from automq_broker.contract import admin, metrics
from automq_broker.contract.metrics import Sample
from automq_broker.engine.balancing import Balancer
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.groups import GroupCoordinators
from automq_broker.engine.metadata_node import Controlling
from automq_broker.engine.recoveries import Recoveries
from automq_broker.engine.running import Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.server import Server
from automq_broker.ports import Clock
from automq_broker.settings import Settings

_DECISIONS_SHOWN = 50


class AdminPages:
    """The admin server of one process, and what it may say at each moment of the process's life."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = Metrics()
        self._loop_watch = LoopWatch(clock)
        self._running: Running | None = None
        self._control: Controlling | None = None
        self._server: Server | None = None
        self._balancer: Balancer | None = None
        self._bucket: MeteredBucket | None = None
        self._not_ready: str | None = "starting"
        self.meters = RequestMeters()
        self.decisions = Decisions(clock)
        token_file = settings.admin_token_file
        self._api = ClusterApi(settings.node.node_id, self.decisions, Token(token_file) if token_file else None, clock)

    async def start(self, stack: contextlib.AsyncExitStack, supervisor: Supervisor) -> None:
        """Listen, unless admin.listener is empty. Raises Refused if the port is taken."""
        self._metrics.add_source(self._ready_samples)
        self._metrics.add_source(self.meters.samples)
        self._metrics.add_source(self._loop_watch.samples)
        supervisor.start("loop watch", self._loop_watch.run())
        address = self._settings.admin_address
        if address is None:
            return
        routes = build_routes(
            why_unhealthy=lambda: None,
            why_not_ready=self._why_not_ready,
            trouble=self._trouble,
            metrics=self._metrics,
            status=self._status,
            more=self._api.routes(),
        )
        server = AdminServer(routes, host=address[0], port=address[1], tls=admin_tls(self._settings))
        await server.start()
        stack.push_async_callback(server.stop)

    def starting(self, step: str) -> None:
        """What the start is at, for whoever asks why it takes long."""
        self._not_ready = f"starting: {step}"

    def watch_bucket(self, bucket: MeteredBucket) -> None:
        """From now on the pages show the bucket's figures and troubles."""
        self._bucket = bucket
        self._metrics.add_source(bucket.samples)

    def serve_broker(
        self,
        running: Running,
        control: Controlling,
        server: Server,
        groups: GroupCoordinators,
        balancer: Balancer | None,
        configs: LiveConfigs,
    ) -> None:
        """The broker serves: from now on the pages show it."""
        self._running = running
        self._control = control
        self._server = server
        self._balancer = balancer
        self._api.serve(running.metadata, lambda: _controller(control), balancer, running.sweeper, configs)
        end_of = broker_samples.end_of_partitions(running)
        self._metrics.add_source(lambda: broker_samples.front_samples(server))
        self._metrics.add_source(lambda: broker_samples.engine_samples(running))
        self._metrics.add_source(lambda: broker_samples.end_samples(broker_samples.ends_of_partitions(running)))
        self._metrics.add_source(lambda: broker_samples.control_samples(control))
        self._metrics.add_source(lambda: broker_samples.group_samples(groups, end_of))
        self._metrics.add_source(lambda: broker_samples.move_samples(running))
        recoveries = Recoveries(control, self._clock)
        self._metrics.add_source(lambda: broker_samples.recovery_samples(recoveries, control.state))
        if balancer is not None:
            self._metrics.add_source(lambda: broker_samples.balancer_samples(balancer))
        self._not_ready = None

    def stopping(self) -> None:
        """Readiness goes first, so that nobody sends new clients here."""
        self._not_ready = "stopping"

    def _ready_samples(self) -> Iterator[Sample]:
        yield Sample(metrics.READY, int(self._why_not_ready() is None))
        yield Sample(metrics.BUILD_INFO, 1, (version("automq"),))

    def _why_not_ready(self) -> str | None:
        if self._not_ready is not None or self._running is None or self._bucket is None:
            return self._not_ready
        if self._bucket.denial is not None:
            return f"the bucket denies access: {self._bucket.denial}"
        return None

    def _trouble(self) -> str | None:
        if self._running is None or self._bucket is None or not self._running.admission.is_full:
            return None
        reason = self._bucket.trouble or "it takes uploads too slowly"
        return f"the write-ahead log is full and waits for the bucket: {reason}"

    def _status(self) -> Mapping[str, Any]:
        if self._running is None or self._control is None or self._server is None:
            return {"state": self._not_ready, "bucket": self._bucket_status()}
        running, engine = self._running, self._running.engine
        return {
            "state": self._not_ready or "serving",
            "cluster_id": running.metadata.state.cluster_id,
            "node_id": running.identity.node_id,
            "broker_epoch": running.broker_epoch,
            "open_partitions": len(engine.open_partitions.by_stream),
            "recovered_batches": running.recovered_batches,
            "torn_tail": running.torn,
            "wal": {
                "capacity_bytes": running.admission.capacity_bytes,
                "free_bytes": running.writer.free_bytes,
                "waiting_for_upload_bytes": engine.uploader.waiting_bytes,
                "left_to_zero_bytes": max(0, running.device.capacity_bytes - running.ring_keeper.zeroed_bytes),
                **engine.appender.statistics(),
            },
            "bucket": self._bucket_status(),
            "tail_cache": running.cache.statistics(),
            "block_cache": running.blocks.statistics(),
            "memory": self._memory(running, self._server),
            "controller": {
                **{name: value for name, value in _fields(self._control.statistics()).items() if name != "role"},
                "role": self._control.statistics().role.value,
            },
            "balancer": self._balancer_status(),
            "decisions": [each._asdict() for each in self.decisions.newest_first()[:_DECISIONS_SHOWN]],
            "connections": self._server.connections(),
        }

    def _balancer_status(self) -> Mapping[str, Any] | None:
        """None for a lone broker; the last look where this broker is the controller."""
        if self._balancer is None:
            return None
        latest = self._balancer.latest
        return {
            "enabled": self._balancer.is_enabled,
            "looks": self._balancer.looks_total,
            "moves": {goal.value: count for goal, count in self._balancer.moves_total.items()},
            "under_way": self._balancer.under_way,
            "not_moved": [{"subject": each.subject, "reason": each.reason} for each in latest.refusals]
            if latest
            else [],
        }

    def _memory(self, running: Running, server: Server) -> Mapping[str, Any]:
        """Every budget by its setting, with what is used of it now."""
        cache = self._settings.cache
        used = {
            "s3.wal.cache.size": (cache.wal_cache_size, running.cache.used_bytes),
            "s3.block.cache.size": (cache.block_cache_size, running.blocks.used_bytes),
            "automq.upload.memory.size": (cache.upload_memory_size, running.engine.uploader.memory_bytes),
            "queued.max.request.bytes": (server.in_flight_limit_bytes, server.in_flight_bytes),
        }
        return {name: {"budget_bytes": budget, "used_bytes": now} for name, (budget, now) in used.items()}

    def _bucket_status(self) -> Mapping[str, Any] | None:
        return None if self._bucket is None else {"trouble": self._bucket.trouble, "calls": self._bucket.calls()}


def _controller(control: Controlling) -> admin.Controller:
    holder = control.holder
    if holder is None:
        return admin.Controller(node_id=None)
    return admin.Controller(node_id=holder.node_id, endpoint=holder.endpoint, epoch=control.statistics().epoch)


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


__all__ = ["AdminPages"]
