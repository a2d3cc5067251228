"""Start and stop of one broker's engine, step by step; each step may be repeated after a crash.

Start: WAL superblock -> controller -> register (broker epoch) -> superblock at that epoch -> confirm -> scan -> open
streams at epoch + 1 -> replay above their committed ends -> recovered -> serve. Stop: flush -> close streams -> clean
mark -> stopped. The order is the protocol (DESIGN 5, 5a.6); nothing of it may move.
"""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.readahead import ReadAhead
from automq_broker.cache.tail import TailCache
from automq_broker.engine.admission import Admission
from automq_broker.engine.append import Appender
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.compact import Compactor
from automq_broker.engine.control import Control
from automq_broker.engine.engine import Engine
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.object_ids import ObjectIds
from automq_broker.engine.open_close import LogSettingsOf, OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.producer_ids import ProducerIds
from automq_broker.engine.producers import ProducerLoader
from automq_broker.engine.read import Reader
from automq_broker.engine.recover import WalContents, read_wal, replay
from automq_broker.engine.retention import Retention
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.engine.store import Store, StoreHealth
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.sweep import Sweeper
from automq_broker.engine.timestamps import TimeLookup
from automq_broker.engine.upload import Uploader
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamId
from automq_broker.meta.commands import ConfirmWal, NodeRecovered, NodeStopped, RegisterNode
from automq_broker.meta.rows import Endpoint, TopicRow
from automq_broker.ports import Bucket, Clock, WalDevice, Workers
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.superblock import Superblock
from automq_broker.wal.writer import WalWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is: the node, this run of it, and the volume that its WAL lies on."""

    node_id: NodeId
    incarnation: uuid.UUID
    volume_uuid: uuid.UUID
    rack: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    accept_wal_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The ports and sources of chance that the engine gets."""

    bucket: Bucket
    device: WalDevice
    clock: Clock
    workers: Workers
    rng: random.Random
    allocate: Callable[[int], memoryview]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """How a topic's configs become a log's settings and single values."""

    settings_of: LogSettingsOf
    config_of: Callable[[TopicRow, str], str]


@dataclass(slots=True, kw_only=True)
class Budgets:
    """Memory of the caches, in bytes."""

    tail_cache_bytes: int
    block_cache_bytes: int


@dataclass(slots=True, kw_only=True)
class Running:
    """A started engine with the parts that metrics, status and the stop need."""

    engine: Engine
    supervisor: Supervisor
    store_health: StoreHealth
    writer: WalWriter
    cache: TailCache
    blocks: BlockCache
    cold: ColdReader
    admission: Admission
    ring_keeper: RingKeeper
    retention: Retention
    compactor: Compactor
    sweeper: Sweeper
    identity: Identity
    broker_epoch: BrokerEpoch
    device: WalDevice
    control: Control
    recovered_batches: int
    torn: str | None
    zeroing_from: int
    """Device position from which a file may still be zero-filled; nothing recovered lies above it."""


async def start(
    *,
    identity: Identity,
    superblock: Superblock | None,
    outside: Outside,
    control: Control,
    supervisor: Supervisor,
    knobs: EngineKnobs,
    budgets: Budgets,
    topics: TopicSettings,
) -> Running:
    """Bring the engine up on a started controller. Raises Refused, Corrupt or Fenced: the process must end."""
    broker_epoch, superblock = await _claim(identity, superblock, outside, control)
    contents = await read_wal(outside.device, superblock, _committed_end(control))
    running = _assemble(identity, broker_epoch, contents, outside, control, supervisor, knobs, budgets, topics)
    partitions = running.engine.open_partitions
    await partitions.open_all(contents.ends)
    running.recovered_batches = replay(contents, running.engine.partition_of, running.cache, outside.clock)
    contents.records.clear()
    running.ring_keeper.committed()
    await control.submit(NodeRecovered(node_id=identity.node_id, broker_epoch=broker_epoch))
    control.subscribe(partitions.applied)
    supervisor.start("partitions", partitions.run())
    supervisor.start("upload", running.engine.uploader.run())
    supervisor.start("retention", running.retention.run())
    supervisor.start("compaction", running.compactor.run())
    supervisor.start("sweep", running.sweeper.run())
    return running


async def stop(running: Running, progress: Callable[[int], None]) -> None:
    """Flush everything to the bucket, close the streams, mark the WAL clean. `progress` hears the bytes left.

    Only for an orderly end: nothing may be appended any more. Cut short, it loses nothing; the flag stays unset.
    """
    engine = running.engine
    await engine.appender.wait_durable()
    await engine.uploader.upload_all(progress)
    await engine.open_partitions.close_all()
    engine.appender.close()
    await running.ring_keeper.mark_clean()
    await running.control.submit(
        NodeStopped(node_id=running.identity.node_id, broker_epoch=running.broker_epoch, clean=True)
    )


async def _claim(
    identity: Identity, superblock: Superblock | None, outside: Outside, control: Control
) -> tuple[BrokerEpoch, Superblock]:
    """Register, and own the WAL: its superblock carries the new broker epoch before anything is read from it."""
    cluster_id = control.state.cluster_id
    if superblock is not None:
        superblocks.check_owner(superblock, cluster_id=cluster_id, node_id=identity.node_id)
    registered = await control.submit(
        RegisterNode(
            node_id=identity.node_id,
            incarnation=identity.incarnation,
            volume_uuid=identity.volume_uuid,
            volume_handle=outside.device.handle,
            wal_epoch_found=BrokerEpoch(0 if superblock is None else superblock.wal_epoch),
            rack=identity.rack,
            endpoints=identity.endpoints,
            accept_wal_loss=identity.accept_wal_loss,
        )
    )
    epoch = registered.broker_epoch
    if superblock is None:
        owned = superblocks.new_superblock(
            cluster_id=cluster_id,
            node_id=identity.node_id,
            volume_uuid=identity.volume_uuid,
            generation=outside.rng.getrandbits(64),
            wal_epoch=epoch,
            device_bytes=outside.device.capacity_bytes,
        )
    else:
        owned = superblocks.claimed(superblock, epoch)
    await _write_superblock(outside, owned)
    await control.submit(ConfirmWal(node_id=identity.node_id, broker_epoch=epoch))
    return epoch, owned


async def _write_superblock(outside: Outside, superblock: Superblock) -> None:
    page = outside.allocate(superblocks.SUPERBLOCK_BYTES)[: superblocks.SUPERBLOCK_BYTES]
    page[:] = superblocks.encode_superblock(superblock)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def written(error: BaseException | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    outside.device.write(superblock.position, page, written)
    await done


def _committed_end(control: Control) -> Callable[[StreamId], Offset | None]:
    ends: dict[StreamId, Offset | None] = {}

    def committed_end(stream_id: StreamId) -> Offset | None:
        if stream_id not in ends:
            stream = control.state.stream(stream_id)
            ends[stream_id] = None if stream is None else stream.committed_end
        return ends[stream_id]

    return committed_end


def _assemble(
    identity: Identity,
    broker_epoch: BrokerEpoch,
    contents: WalContents,
    outside: Outside,
    control: Control,
    supervisor: Supervisor,
    knobs: EngineKnobs,
    budgets: Budgets,
    topics: TopicSettings,
) -> Running:
    """Every part of the engine, joined. Reads top to bottom: store, caches, reads, appends, uploads."""
    clock, device, node_id = outside.clock, outside.device, identity.node_id
    health = StoreHealth()
    store = Store(outside.bucket, outside.rng, health)
    cache = TailCache(budgets.tail_cache_bytes)
    blocks = BlockCache(budgets.block_cache_bytes)
    waiters = Waiters()
    writer = WalWriter(contents.scan.ring, broker_epoch, outside.allocate)
    cold = ColdReader(
        store=store, control=control, cache=blocks, readahead=ReadAhead(), knobs=knobs, start_task=supervisor.start
    )
    reader = Reader(cache=cache, cold=cold, writer=writer, device=device)
    open_partitions = OpenPartitions(
        control=control,
        cache=cache,
        waiters=waiters,
        node_id=node_id,
        broker_epoch=broker_epoch,
        settings_of=topics.settings_of,
        config_of=topics.config_of,
    )
    admission = Admission(
        knobs=knobs,
        capacity_bytes=contents.scan.superblock.capacity_bytes,
        free_bytes=lambda: writer.free_bytes,
        press=lambda: uploader.press(),  # noqa: PLW0108 - the uploader is made below
    )
    appender = Appender(
        writer=writer,
        device=device,
        cache=cache,
        admission=admission,
        knobs=knobs,
        clock=clock,
        broker_epoch=broker_epoch,
        on_durable=waiters.appended,
        fail=supervisor.fail,
    )
    producers = ProducerLoader(store=store, control=control, appender=appender, start_task=supervisor.start)
    ring_keeper = RingKeeper(
        writer=writer, device=device, cache=cache, appender=appender, admission=admission, knobs=knobs
    )
    ids = ObjectIds(control=control, node_id=node_id, broker_epoch=broker_epoch, knobs=knobs, clock=clock)
    uploader = Uploader(
        store=store,
        control=control,
        cache=cache,
        reader=reader,
        ids=ids,
        knobs=knobs,
        clock=clock,
        node_id=node_id,
        broker_epoch=broker_epoch,
        partition_of=open_partitions.by_stream.get,
        load_producers=producers.load,
        on_committed=ring_keeper.committed,
    )
    engine = Engine(
        node_id=node_id,
        control=control,
        open_partitions=open_partitions,
        appender=appender,
        reader=reader,
        uploader=uploader,
        waiters=waiters,
        producers=producers,
        producer_ids=ProducerIds(control=control, node_id=node_id, broker_epoch=broker_epoch),
        timestamps=TimeLookup(
            cache=cache, cold=cold, reader=reader, control=control, workers=outside.workers, knobs=knobs
        ),
        clock=clock,
    )

    def adopt(partition: Partition) -> None:
        partition.engine = engine

    open_partitions.on_opened(adopt)
    return Running(
        engine=engine,
        supervisor=supervisor,
        store_health=health,
        writer=writer,
        cache=cache,
        blocks=blocks,
        cold=cold,
        admission=admission,
        ring_keeper=ring_keeper,
        retention=Retention(
            control=control,
            open_partitions=open_partitions,
            uploader=uploader,
            knobs=knobs,
            clock=clock,
            rng=outside.rng,
        ),
        compactor=Compactor(
            store=store,
            control=control,
            cold=cold,
            ids=ids,
            open_partitions=open_partitions,
            knobs=knobs,
            clock=clock,
            rng=outside.rng,
            node_id=node_id,
            broker_epoch=broker_epoch,
        ),
        sweeper=Sweeper(store=store, control=control, knobs=knobs, clock=clock, rng=outside.rng, forget=cold.forget),
        identity=identity,
        broker_epoch=broker_epoch,
        device=device,
        control=control,
        recovered_batches=0,
        torn=None if contents.scan.torn is None else str(contents.scan.torn),
        zeroing_from=superblocks.zeroing_start(contents.scan.superblock, contents.scan.end_lsn),
    )


__all__ = ["Budgets", "Identity", "Outside", "Running", "TopicSettings", "start", "stop"]
