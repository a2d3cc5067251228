"""One broker process from settings to exit code; reads top to bottom.

Bind -> bucket -> WAL -> controller -> engine -> coordinators -> desk -> accept. A stop goes the other way: the front
lets go of its clients, the engine flushes, the WAL is marked clean, the controller releases its seat.
"""

import asyncio
import contextlib
import logging
import random
import sys
import uuid
from collections.abc import AsyncIterator

from automq_broker.adapters.bucket_selftest import check_bucket
from automq_broker.adapters.bucket_uri import open_bucket
from automq_broker.adapters.clock import SystemClock
from automq_broker.adapters.loop import on_stop_signals, raise_open_files_limit, run_loop
from automq_broker.adapters.slabs import SlabPool
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_open import open_wal_device
from automq_broker.adapters.workers import ThreadWorkers
from automq_broker.assembly import knobs
from automq_broker.assembly.admin_pages import AdminPages
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.desk import build_coordinators, build_desk, serve_with
from automq_broker.assembly.listeners import endpoints, limits, listeners
from automq_broker.desk import api_versions, index
from automq_broker.engine import start as engine_start
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.recover import read_superblock
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.server import Server
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import AutomqError, Fenced
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import Endpoint
from automq_broker.ports import Bucket, WalWriteFailed
from automq_broker.settings import Settings
from automq_broker.wal.superblock import Superblock
from automq_broker.wire.frames import RequestHeader

log = logging.getLogger("automq.broker")

STOPPED, FAILED = 0, 1
_WORKER_THREADS = 2
_RENEW_INTERVAL_S = 3.0


def run(settings: Settings) -> int:
    """Run a broker until SIGTERM or Ctrl-C; the exit code. Raises Refused with one clear line before it serves."""
    for ignored in settings.ignored:
        log.warning("ignored setting", extra={"key": ignored.key, "reason": ignored.reason, "origin": ignored.origin})
    raise_open_files_limit()
    return run_loop(_run(settings))


async def _run(settings: Settings) -> int:
    supervisor = Supervisor()
    stopping = asyncio.Event()
    pages = AdminPages(settings, SystemClock())
    async with contextlib.AsyncExitStack() as stack:
        await pages.start(stack, supervisor)
        bucket = await stack.enter_async_context(_bucket(settings))
        device = await stack.enter_async_context(_device(settings))
        broker = Broker(settings, bucket, device, supervisor, pages)
        on_stop_signals(stopping.set, broker.unfinished)
        await broker.start()
        print_banner(settings, broker.endpoints)
        failure = await _wait(stopping, supervisor, broker.control)
        if failure is None:
            failure = await _stop_or_fail(broker, supervisor)
        await supervisor.stop()
    return STOPPED if failure is None else _report(failure)


async def _wait(stopping: asyncio.Event, supervisor: Supervisor, control: Control) -> BaseException | None:
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


async def _stop_or_fail(broker: "Broker", supervisor: Supervisor) -> BaseException | None:
    """An orderly stop, unless something fails meanwhile: then the WAL simply stays un-clean."""
    stop = asyncio.ensure_future(broker.stop())
    failed = asyncio.ensure_future(supervisor.wait_failed())
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        stop.cancel()
        return failed.result()
    failed.cancel()
    return stop.exception()


class Broker:
    """All parts of one running broker, in the order in which they come up."""

    def __init__(
        self, settings: Settings, bucket: Bucket, device: DirectWal, supervisor: Supervisor, pages: AdminPages
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._device = device
        self._supervisor = supervisor
        self._pages = pages
        self._clock = SystemClock()
        self._rng = random.Random()
        self._workers = ThreadWorkers(_WORKER_THREADS)
        self._slabs = SlabPool()
        self._running: engine_start.Running | None = None
        self.control: Control
        self.endpoints: tuple[Endpoint, ...] = ()
        self.server: Server

    async def start(self) -> None:
        """Come up and accept clients; raises Refused, Corrupt or Fenced."""
        self.server = self._make_server()
        bound = self.server.bind()
        self.endpoints = endpoints(self._settings, bound)
        superblock = await read_superblock(self._device)
        identity = self._identity(superblock)
        self.control = await self._start_control(identity, superblock)
        self._configs = LiveConfigs(self._settings, self.control)
        self._running = await engine_start.start(
            identity=identity,
            superblock=superblock,
            outside=self._outside(),
            control=self.control,
            supervisor=self._supervisor,
            knobs=knobs.engine_knobs(self._settings),
            budgets=knobs.budgets(self._settings),
            topics=knobs.topic_settings(self._configs, self._settings.topics.producer_id_expiration_ms),
        )
        self._device.start_zeroing(self._running.zeroing_from)
        self._groups = build_coordinators(self._settings, self._running, self._clock, self._supervisor)
        self._desk = build_desk(
            self._settings, self._running, self._groups, self._configs, self._clock, self._workers, self._rng
        )
        self._desk_serve = serve_with(self._desk)
        self._running.engine.open_partitions.announce_all()
        self._pages.serve_broker(self._running, self.server, self._groups)
        await self.server.start()
        log.info(
            "serving",
            extra={
                "node": identity.node_id,
                "cluster": self.control.state.cluster_id,
                "epoch": self._running.broker_epoch,
                "recovered_batches": self._running.recovered_batches,
            },
        )

    async def stop(self) -> None:
        """Let clients go, flush, close, mark clean."""
        self._pages.stopping()
        await self.server.stop(self._settings.network.shutdown_grace_ms / 1000)
        self._groups.close()
        if self._running is not None:
            await engine_start.stop(self._running, _report_flush)
        await self.control.stop()
        self._workers.close()

    def unfinished(self) -> str:
        """What a forced exit would leave for the next start to recover."""
        if self._running is None:
            return "the start"
        return f"{self._running.engine.uploader.waiting_bytes} bytes to upload; they are safe in the WAL"

    def _make_server(self) -> Server:
        return Server(
            listeners=listeners(self._settings),
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

    def _identity(self, superblock: Superblock | None) -> engine_start.Identity:
        return engine_start.Identity(
            node_id=NodeId(self._settings.node.node_id),
            incarnation=uuid.uuid4(),
            volume_uuid=uuid.uuid4() if superblock is None else superblock.volume_uuid,
            rack=self._settings.node.broker_rack or "",
            endpoints=self.endpoints,
            accept_wal_loss=self._settings.recovery.accept_wal_loss,
        )

    async def _start_control(self, identity: engine_start.Identity, superblock: Superblock | None) -> Control:
        endpoint = self.endpoints[0]
        control = Control(
            self._bucket,
            self._clock,
            ControlIdentity(
                node_id=identity.node_id,
                incarnation=identity.incarnation,
                endpoint=f"{endpoint.host}:{endpoint.port}",
                volume_uuid=identity.volume_uuid,
                wal_cluster_id="" if superblock is None else superblock.cluster_id,
            ),
            ControlKnobs(renew_interval_s=_RENEW_INTERVAL_S),
            rng=self._rng,
        )
        await control.start()
        return control

    def _outside(self) -> engine_start.Outside:
        return engine_start.Outside(
            bucket=self._bucket,
            device=self._device,
            clock=self._clock,
            workers=self._workers,
            rng=self._rng,
            allocate=self._slabs.take,
        )


@contextlib.asynccontextmanager
async def _bucket(settings: Settings) -> AsyncIterator[Bucket]:
    bucket = open_bucket(settings.bucket_uri)
    try:
        await check_bucket(bucket, uuid.uuid4().hex)
        yield bucket
    finally:
        await bucket.close()


@contextlib.asynccontextmanager
async def _device(settings: Settings) -> AsyncIterator[DirectWal]:
    device = open_wal_device(
        settings.wal_uri,
        capacity_bytes=settings.wal.capacity,
        iops=max(settings.wal.iops, 0),
        bytes_per_s=max(settings.wal.bandwidth, 0),
    )
    if device.warning is not None:
        log.warning("write-ahead log", extra={"reason": device.warning})
    try:
        yield device
    finally:
        await device.close()


def print_banner(settings: Settings, where: tuple[Endpoint, ...]) -> None:
    """A few lines for the person who started it: where to connect, where to look, where the data is."""
    kafka = ", ".join(f"{each.host}:{each.port} ({each.listener})" for each in where)
    admin = settings.admin_address
    print(f"Kafka    {kafka}")
    print(f"Admin    http://{admin[0]}:{admin[1]}" if admin else "Admin    off")
    print(f"Bucket   {settings.bucket_uri.split('?')[0]}")
    print(f"WAL      {settings.wal_uri.split('?')[0]}")
    print("Ctrl-C stops gracefully.", flush=True)


def _report_flush(bytes_left: int) -> None:
    log.info("flushing", extra={"bytes_left": bytes_left})


def _report(failure: BaseException) -> int:
    """One clear line for what we know, the whole story for what we do not."""
    if isinstance(failure, AutomqError | WalWriteFailed):
        print(f"automq: {type(failure).__name__}: {failure}", file=sys.stderr)
        log.error("ended", extra={"reason": str(failure)})
    else:
        log.error("ended by a bug", exc_info=failure)
    return FAILED


__all__ = ["run"]
