"""One broker process from settings to exit code; reads top to bottom.

Bind -> bucket -> WAL -> controller -> engine -> coordinators -> desk -> accept. A stop goes the other way: the other
brokers take the partitions over, the front lets go of its clients, the engine flushes, the WAL is marked clean, the
controller releases its seat.
"""

import asyncio
import contextlib
import logging
import random
import sys
import uuid
from collections.abc import Coroutine
from typing import Any

from automq_broker.adapters.allocator import use_one_arena
from automq_broker.adapters.clock import SystemClock
from automq_broker.adapters.loop import on_stop_signals, raise_open_files_limit, run_loop, settle_collector
from automq_broker.adapters.metered_bucket import MeteredBucket
from automq_broker.adapters.slabs import SlabPool
from automq_broker.adapters.wal_bulks import BulkWal
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.workers import ThreadWorkers
from automq_broker.assembly import knobs
from automq_broker.assembly.admin_pages import AdminPages
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.desk import build_coordinators, build_desk, serve_with
from automq_broker.assembly.inter_broker import InterBroker
from automq_broker.assembly.listeners import client_listeners, endpoints, limits
from automq_broker.assembly.log_level import follow_log_level
from automq_broker.assembly.outside import checked_bucket
from automq_broker.assembly.wal import measured, wal_device
from automq_broker.desk import api_versions, index
from automq_broker.engine import start as engine_start
from automq_broker.engine.balancing import Balancer, BalancerKnobs
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.foresight import foresee_refusal
from automq_broker.engine.hand_over import hand_over
from automq_broker.engine.metadata_node import Controlling
from automq_broker.engine.recover import read_superblock
from automq_broker.engine.running import Identity, Outside, Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.server import Server
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import AutomqError, Bug, Fenced
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import Endpoint
from automq_broker.ports import WalWriteFailed
from automq_broker.settings import Settings
from automq_broker.wal.superblock import Superblock
from automq_broker.wire.frames import RequestHeader

log = logging.getLogger("automq.broker")

STOPPED, FAILED = 0, 1
_WORKER_THREADS = 2
_RENEW_INTERVAL_S = 3.0
_FLUSH_REPORT_INTERVAL_S = 1.0
_HAND_OVER_SHARE = 0.5
"""Of the time that a stop may take; the rest is for closing what nobody took."""
_ENDING_SHARE = 0.05
"""Of that time, what is kept for ending the process itself after an orderly stop was given up."""


def run(settings: Settings) -> int:
    """Run a broker until SIGTERM or Ctrl-C; the exit code. Raises Refused with one clear line before it serves."""
    settings = measured(settings)
    for ignored in settings.ignored:
        log.warning("ignored setting", extra={"key": ignored.key, "reason": ignored.reason, "origin": ignored.origin})
    raise_open_files_limit()
    use_one_arena()
    return run_loop(_run(settings))


async def _run(settings: Settings) -> int:
    supervisor = Supervisor()
    stopping = asyncio.Event()
    pages = AdminPages(settings, SystemClock())
    async with contextlib.AsyncExitStack() as stack:
        await pages.start(stack, supervisor)
        broker = Broker(settings, supervisor, pages)
        limit_s = settings.network.shutdown_timeout_ms / 1000
        on_stop_signals(stopping.set, broker.unfinished, limit_s=limit_s)
        if not await _start_unless(stopping, broker.start(stack)):
            await broker.abandon()
            return STOPPED
        print_banner(settings, broker.endpoints)
        failure = await _wait(stopping, supervisor, broker.control)
        if failure is not None:
            await broker.cut_off()
        else:
            failure = await _stop_in_time(broker, supervisor, limit_s)
        await supervisor.stop()
    return STOPPED if failure is None else _report(failure)


async def _start_unless(stopping: asyncio.Event, start: Coroutine[Any, Any, None]) -> bool:
    """Whether the start came to its end; False if a stop was asked for first. Raises what the start raises."""
    starting = asyncio.ensure_future(start)
    asked = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


async def _wait(stopping: asyncio.Event, supervisor: Supervisor, control: Controlling) -> BaseException | None:
    """Until somebody asks to stop (None), or something failed."""
    waits = {
        asyncio.ensure_future(stopping.wait()),
        failed := asyncio.ensure_future(supervisor.wait_failed()),
        ended := asyncio.ensure_future(control.wait_ended()),
    }
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    if failed in done:
        return failed.result()
    if ended in done:
        return ended.result() or Fenced("the controller's loop ended")
    return None


async def _stop_in_time(broker: "Broker", supervisor: Supervisor, timeout_s: float) -> BaseException | None:
    """An orderly stop, unless something fails or time runs out meanwhile: then the WAL simply stays un-clean."""
    limit_s = timeout_s * (1 - _ENDING_SHARE)
    stop = asyncio.ensure_future(broker.stop())
    failed = asyncio.ensure_future(supervisor.wait_failed())
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED, timeout=limit_s)
    failed.cancel()
    if stop.done():
        return stop.exception()
    stop.cancel()
    if failed.done() and not failed.cancelled():
        return failed.result()
    return Unfinished(f"stopped after {limit_s:g} s with {broker.unfinished()}")


class Unfinished(AutomqError):
    """The stop took longer than allowed; nothing is lost."""


class Broker:
    """All parts of one running broker, in the order in which they come up."""

    def __init__(self, settings: Settings, supervisor: Supervisor, pages: AdminPages) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._pages = pages
        self._clock = SystemClock()
        self._rng = random.Random()
        self._workers = ThreadWorkers(_WORKER_THREADS)
        self._slabs = SlabPool()
        self._running: Running | None = None
        self._bucket: MeteredBucket
        self._device: DirectWal | BulkWal
        self._control: Controlling | None = None
        self._inter_broker = InterBroker(settings, self._clock, self._rng) if settings.inter_broker_listener else None
        self.endpoints: tuple[Endpoint, ...] = ()
        self.server: Server

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Come up and accept clients; raises Refused, Corrupt or Fenced. `stack` closes bucket and device at the end."""
        self._bind()
        await self._open_outside(stack)
        self._running = running = await self._start_engine()
        balancer = self._join_others(running)
        if isinstance(self._device, DirectWal):
            self._device.start_zeroing(running.zeroing_from)
        self._open_desk(running)
        self._pages.serve_broker(running, self.control, self.server, self._groups, balancer, self._configs)
        settle_collector()
        await self.server.start()
        log.info(
            "serving",
            extra={
                "node": running.identity.node_id,
                "cluster": self.control.state.cluster_id,
                "epoch": running.broker_epoch,
                "recovered_batches": running.recovered_batches,
            },
        )

    def _bind(self) -> None:
        """A port in use is said before anything is touched."""
        self.server = self._make_server()
        bound = self.server.bind()
        if self._inter_broker is not None:
            bound += self._inter_broker.bind()
        self.endpoints = endpoints(self._settings, bound)

    async def _open_outside(self, stack: contextlib.AsyncExitStack) -> None:
        self._pages.starting("opening the bucket")
        self._bucket = await stack.enter_async_context(checked_bucket(self._settings.bucket_uri, self._pages.starting))
        self._pages.watch_bucket(self._bucket)
        self._device = await stack.enter_async_context(wal_device(self._settings, self._pages.starting))

    async def _start_engine(self) -> Running:
        """Metadata first, then the log: the controller says which of its tail is not committed yet."""
        self._pages.starting("loading the metadata")
        superblock = await read_superblock(self._device)
        identity = self._identity(superblock)
        await foresee_refusal(self._bucket, engine_start.registration(identity, superblock, self._device), self._rng)
        await self._start_control(identity, superblock)
        self._configs = LiveConfigs(self._settings, self.control)
        follow_log_level(self._configs, self.control)
        self._pages.starting("recovering the write-ahead log")
        return await engine_start.start(
            identity=identity,
            superblock=superblock,
            outside=self._outside(),
            metadata=self.control,
            supervisor=self._supervisor,
            knobs=knobs.engine_knobs(self._settings),
            budgets=knobs.budgets(self._settings),
            topics=knobs.topic_settings(self._configs, self._settings.topics.producer_id_expiration_ms),
        )

    def _join_others(self, running: Running) -> Balancer | None:
        """Heartbeats and balancer; a lone broker has nobody to tell and nobody to balance with."""
        if self._inter_broker is None:
            return None
        self._inter_broker.send_heartbeats(running, self.server, self._supervisor)
        return self._inter_broker.balance(self._pages.decisions, self._workers, self._balancer_knobs, self._supervisor)

    def _open_desk(self, running: Running) -> None:
        self._groups = build_coordinators(self._settings, running, self._clock, self._supervisor)
        self._desk = build_desk(
            self._settings,
            running,
            self._groups,
            self._configs,
            self.control,
            self._clock,
            self._workers,
            self._rng,
        )
        self._desk_serve = serve_with(self._desk)
        running.engine.open_partitions.announce_all()

    @property
    def control(self) -> Controlling:
        """The controller's loop; there from the start on."""
        if self._control is None:
            raise Bug("the controller was asked for before the start")
        return self._control

    async def stop(self) -> None:
        """Hand partitions over, unless all brokers stop; let clients go, flush, close, mark clean."""
        self._pages.stopping()
        are_given = True
        self._supervisor.start("report of the flush", self._report_flush())
        if self._inter_broker is not None and self._running is not None:
            self._inter_broker.leave()
            limit_s = self._settings.network.shutdown_timeout_ms / 1000 * _HAND_OVER_SHARE
            partitions = self._running.engine.open_partitions
            node_id, now_ms = self._running.identity.node_id, self._clock.now_ms()
            are_given = await hand_over(self.control, partitions, node_id, limit_s, now_ms)
        await self.server.stop(self._settings.network.shutdown_grace_ms / 1000)
        self._groups.close()
        if self._running is not None:
            await engine_start.stop(self._running, lambda _: None, keeps_partitions=not are_given)
        await self.abandon()

    async def cut_off(self) -> None:
        """The process has to end: no client may hear from it any more, whatever else takes its time."""
        await self.server.stop(0.0)

    async def abandon(self) -> None:
        """Give the controller's seat back and end the threads; all that is left of a start that was cut short."""
        if self._control is not None:
            await self._control.stop()
        if self._inter_broker is not None:
            await self._inter_broker.stop()
        self._workers.close()

    async def _report_flush(self) -> None:
        """Say every second how much there is still to upload; a quick stop says nothing."""
        while self._running is not None:
            await asyncio.sleep(_FLUSH_REPORT_INTERVAL_S)
            log.info("flushing", extra={"bytes_left": self._running.engine.uploader.waiting_bytes})

    def unfinished(self) -> str:
        """What a forced exit would leave for the next start to recover."""
        if self._running is None:
            return "the start"
        return f"{self._running.engine.uploader.waiting_bytes} bytes to upload; they are safe in the WAL"

    def _make_server(self) -> Server:
        return Server(
            listeners=client_listeners(self._settings),
            serve=self._serve,
            accepted=index.accepted(),
            unsupported_api_versions=lambda: api_versions.unsupported(index.advertised()),
            limits=limits(self._settings),
            clock=self._clock,
            meters=self._pages.meters,
        )

    def _serve(self, header: RequestHeader, request: object, view: ConnectionView) -> object:
        """The front is bound before the desk exists; nobody is accepted until it does."""
        return self._desk_serve(header, request, view)

    def _balancer_knobs(self) -> BalancerKnobs:
        return knobs.balancer_knobs(self._configs.settings)

    def _identity(self, superblock: Superblock | None) -> Identity:
        return Identity(
            node_id=NodeId(self._settings.node.node_id),
            incarnation=uuid.uuid4(),
            volume_uuid=uuid.uuid4() if superblock is None else superblock.volume_uuid,
            rack=self._settings.node.broker_rack or "",
            endpoints=self.endpoints,
            accept_wal_loss=self._settings.recovery.accept_wal_loss,
        )

    async def _start_control(self, identity: Identity, superblock: Superblock | None) -> None:
        name = self._settings.inter_broker_listener or self.endpoints[0].listener
        endpoint = next(each for each in self.endpoints if each.listener == name)
        control_identity = ControlIdentity(
            node_id=identity.node_id,
            incarnation=identity.incarnation,
            endpoint=f"{endpoint.host}:{endpoint.port}",
            volume_uuid=identity.volume_uuid,
            wal_cluster_id="" if superblock is None else superblock.cluster_id,
        )
        if self._inter_broker is not None:
            self._control = self._inter_broker.make_metadata(self._bucket, control_identity)
            await self._control.start()
            await self._inter_broker.serve()
            return
        control_knobs = ControlKnobs(renew_interval_s=_RENEW_INTERVAL_S)
        self._control = Control(self._bucket, self._clock, control_identity, control_knobs, rng=self._rng)
        await self._control.start()

    def _outside(self) -> Outside:
        return Outside(
            bucket=self._bucket,
            device=self._device,
            clock=self._clock,
            workers=self._workers,
            rng=self._rng,
            allocate=self._slabs.take,
        )


def print_banner(settings: Settings, where: tuple[Endpoint, ...]) -> None:
    """A few lines for the person who started it: where to connect, where to look, where the data is."""
    kafka = ", ".join(f"{each.host}:{each.port} ({each.listener})" for each in where)
    admin = settings.admin_address
    print(f"Kafka    {kafka}")
    print(f"Admin    http://{admin[0]}:{admin[1]}" if admin else "Admin    off")
    print(f"Bucket   {settings.bucket_uri.split('?')[0]}")
    print(f"WAL      {settings.wal_uri.split('?')[0]}")
    print("Ctrl-C stops gracefully.", flush=True)


def _report(failure: BaseException) -> int:
    """One clear line for what we know, the whole story for what we do not."""
    if isinstance(failure, AutomqError | WalWriteFailed):
        print(f"automq: {type(failure).__name__}: {failure}", file=sys.stderr)
        log.error("ended", extra={"reason": str(failure)})
    else:
        log.error("ended by a bug", exc_info=failure)
    return FAILED


__all__ = ["run"]
