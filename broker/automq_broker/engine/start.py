"""Start and stop of one broker's engine, step by step; each step may be repeated after a crash.

Start: WAL superblock -> controller -> register (broker epoch) -> superblock at that epoch -> confirm -> scan -> open
streams at epoch + 1 -> replay above their committed ends -> recovered -> serve. Stop: flush -> close streams -> clean
mark -> stopped. The order is the protocol (DESIGN 5, 5a.6); nothing of it may move.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.readahead import ReadAhead
from automq_broker.cache.tail import TailCache
from automq_broker.engine.admission import Admission
from automq_broker.engine.append import Appender
from automq_broker.engine.closing import Closer
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.compact import Compactor
from automq_broker.engine.engine import Engine
from automq_broker.engine.inspect import Inspector
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.object_ids import ObjectIds
from automq_broker.engine.open_close import LogSettingsOf, OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.producer_ids import ProducerIds
from automq_broker.engine.producers import ProducerLoader, expire_producers
from automq_broker.engine.read import Reader
from automq_broker.engine.recover import WalContents, claim_wal, read_wal, replay, write_superblock
from automq_broker.engine.retention import Retention
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.engine.store import Store
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.sweep import Sweeper
from automq_broker.engine.timestamps import TimeLookup
from automq_broker.engine.upload import Uploader
from automq_broker.engine.upload_bodies import UploadBodies
from automq_broker.engine.voice import Voice
from automq_broker.engine.waiting import Waiters
from automq_broker.engine.wal_heartbeat import watch_device
from automq_broker.engine.wal_size import fit
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamId
from automq_broker.meta.commands import ConfirmWal, NodeRecovered, NodeStopped, RegisterNode
from automq_broker.meta.nodes import describe
from automq_broker.meta.rows import Endpoint, TopicRow, Volume
from automq_broker.ports import Bucket, Clock, Metadata, WalDevice, Workers
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES
from automq_broker.wal.superblock import Superblock
from automq_broker.wal.writer import WalWriter

log = logging.getLogger("automq.start")


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
    writer: WalWriter
    cache: TailCache
    blocks: BlockCache
    cold: ColdReader
    admission: Admission
    ring_keeper: RingKeeper
    retention: Retention
    compactor: Compactor
    sweeper: Sweeper
    closer: Closer
    identity: Identity
    broker_epoch: BrokerEpoch
    device: WalDevice
    metadata: Metadata
    recovered_batches: int
    torn: str | None
    chores: list[asyncio.Task[None]]
    """What runs beside the data path and ends first at a stop."""
    zeroing_from: int
    """Device position from which a file may still be zero-filled; nothing recovered lies above it."""
    heartbeats: asyncio.Task[None] | None = None
    """That the node lives, told until everything is flushed."""


async def start(
    *,
    identity: Identity,
    superblock: Superblock | None,
    outside: Outside,
    metadata: Metadata,
    supervisor: Supervisor,
    knobs: EngineKnobs,
    budgets: Budgets,
    topics: TopicSettings,
) -> Running:
    """Bring the engine up on a started controller. Raises Refused, Corrupt or Fenced: the process must end."""
    broker_epoch, superblock = await _claim(identity, superblock, outside, metadata, knobs)
    metadata = Voice(metadata, identity.node_id, broker_epoch, supervisor.fail)
    committed_end = committed_ends(metadata)
    contents = await read_wal(outside.device, superblock, committed_end)
    resized = await fit(contents, outside.device, outside.rng, outside.allocate)
    if resized is not None:
        contents = await read_wal(outside.device, resized, committed_end)
    running = assemble(identity, broker_epoch, contents, outside, metadata, supervisor, knobs, budgets, topics)
    partitions = running.engine.open_partitions
    metadata.subscribe(partitions.applied, partitions.reloaded)
    await partitions.open_all(contents.ends)
    running.recovered_batches = replay(contents, running.engine.partition_of, running.cache, outside.clock)
    running.ring_keeper.committed()
    await metadata.submit(NodeRecovered(node_id=identity.node_id, broker_epoch=broker_epoch))
    supervisor.start("partitions", partitions.run())
    supervisor.start("moves", running.closer.run())
    watch = watch_device(outside.device, running.engine.appender, running.ring_keeper, knobs.wal_heartbeat_s)
    supervisor.start("write-ahead log", watch)
    supervisor.start("upload", running.engine.uploader.run())
    supervisor.start("producer ids", running.engine.producer_ids.run())
    expiry = expire_producers(partitions, knobs.producer_check_interval_s, outside.clock)
    running.chores += [
        supervisor.start("retention", running.retention.run()),
        supervisor.start("compaction", running.compactor.run()),
        supervisor.start("sweep", running.sweeper.run()),
        supervisor.start("producer expiry", expiry),
    ]
    return running


async def stop(running: Running, progress: Callable[[int], None], *, keeps_partitions: bool = False) -> None:
    """Flush everything to the bucket, close the streams, mark the WAL clean. `progress` hears the bytes left.

    With `keeps_partitions` they stay assigned to this node, which is to be back; else others that serve inherit them.

    Only for an orderly end: nothing may be appended any more. Cut short, it loses nothing; the flag stays unset.
    """
    await flush(running, progress)
    if running.heartbeats is not None:  # one that came after the last word would be refused, and look like a failure
        running.heartbeats.cancel()
        await asyncio.gather(running.heartbeats, return_exceptions=True)
    await running.metadata.submit(
        NodeStopped(
            node_id=running.identity.node_id,
            broker_epoch=running.broker_epoch,
            clean=True,
            keeps_partitions=keeps_partitions,
        )
    )


async def flush(running: Running, progress: Callable[[int], None]) -> None:
    """Everything into the bucket, every stream closed at its end, the WAL marked clean; nothing opens any more."""
    engine = running.engine
    for chore in running.chores:
        chore.cancel()
    await asyncio.gather(*running.chores, return_exceptions=True)
    await engine.appender.wait_durable()
    await engine.uploader.upload_all(progress)
    await running.closer.close_all()
    running.ring_keeper.stop()
    # ORDER: the mark comes behind everything on its way; another superblock beside it could tear both.
    await engine.appender.close()
    await running.ring_keeper.mark_clean()


def registration(identity: Identity, superblock: Superblock | None, device: WalDevice) -> RegisterNode:
    """What a start says of itself to the controller."""
    return RegisterNode(
        node_id=identity.node_id,
        incarnation=identity.incarnation,
        volume_uuid=identity.volume_uuid,
        volume_handle=device.handle,
        wal_epoch_found=BrokerEpoch(0 if superblock is None else superblock.wal_epoch),
        rack=identity.rack,
        endpoints=identity.endpoints,
        accept_wal_loss=identity.accept_wal_loss,
    )


async def _claim(
    identity: Identity, superblock: Superblock | None, outside: Outside, metadata: Metadata, knobs: EngineKnobs
) -> tuple[BrokerEpoch, Superblock]:
    """Register, and own the WAL: its superblock carries the new broker epoch before anything is read from it."""
    cluster_id = metadata.state.cluster_id
    lost = _given_up(identity, outside.device, metadata)
    if superblock is not None:
        superblocks.check_owner(superblock, cluster_id=cluster_id, node_id=identity.node_id)
    registered = await metadata.submit(registration(identity, superblock, outside.device))
    epoch = registered.broker_epoch
    for stream in lost:
        log.error("the loss of the write-ahead log was accepted", extra={"lost_behind": stream})
    if superblock is None:
        owned = superblocks.new_superblock(
            cluster_id=cluster_id,
            node_id=identity.node_id,
            volume_uuid=identity.volume_uuid,
            generation=outside.rng.getrandbits(64),
            wal_epoch=epoch,
            device_bytes=outside.device.capacity_bytes,
            window_bytes=knobs.in_flight_bytes_max,
        )
        await write_superblock(outside.device, owned, outside.allocate)
    else:
        owned = await claim_wal(outside.device, superblock, epoch, outside.allocate)
    await metadata.submit(ConfirmWal(node_id=identity.node_id, broker_epoch=epoch))
    return epoch, owned


def _given_up(identity: Identity, device: WalDevice, metadata: Metadata) -> list[str]:
    """The streams behind whose committed ends an accepted registration would give everything up, with those ends."""
    node = metadata.state.nodes.get(identity.node_id)
    if node is None or not identity.accept_wal_loss:
        return []
    if node.volume == Volume(uuid=identity.volume_uuid, handle=device.handle):
        return []
    return [describe(metadata.state, [each]) for each in metadata.state.open_streams_of(identity.node_id)]


def committed_ends(metadata: Metadata) -> Callable[[StreamId], Offset | None]:
    """Each stream's committed end when it was first asked for; None for a stream that is gone. For `read_wal`."""
    ends: dict[StreamId, Offset | None] = {}

    def committed_end(stream_id: StreamId) -> Offset | None:
        if stream_id not in ends:
            head = metadata.state.stream_head(stream_id)
            ends[stream_id] = None if head is None else head.committed_end
        return ends[stream_id]

    return committed_end


def assemble(
    identity: Identity,
    broker_epoch: BrokerEpoch,
    contents: WalContents,
    outside: Outside,
    metadata: Metadata,
    supervisor: Supervisor,
    knobs: EngineKnobs,
    budgets: Budgets,
    topics: TopicSettings,
) -> Running:
    """Every part of the engine, joined. Reads top to bottom: store, caches, reads, appends, uploads."""
    clock, device, node_id = outside.clock, outside.device, identity.node_id
    store = Store(outside.bucket, outside.rng)
    cache = TailCache(
        budgets.tail_cache_bytes, record_header_bytes=RECORD_HEADER_BYTES, block_header_bytes=BLOCK_HEADER_BYTES
    )
    blocks = BlockCache(budgets.block_cache_bytes)
    waiters = Waiters()
    writer = WalWriter(contents.scan.ring, broker_epoch, outside.allocate)
    cold = ColdReader(
        store=store, metadata=metadata, cache=blocks, readahead=ReadAhead(), knobs=knobs, start_task=supervisor.start
    )
    reader = Reader(cache=cache, cold=cold, writer=writer, device=device)
    open_partitions = OpenPartitions(
        metadata=metadata,
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
    producers = ProducerLoader(store=store, metadata=metadata, appender=appender, start_task=supervisor.start)
    inspector = Inspector(
        workers=outside.workers, knobs=knobs, clock=clock, onward=producers.append, start_task=supervisor.start
    )
    ring_keeper = RingKeeper(
        writer=writer, device=device, cache=cache, appender=appender, admission=admission, knobs=knobs
    )
    ids = ObjectIds(metadata=metadata, node_id=node_id, broker_epoch=broker_epoch, knobs=knobs, clock=clock)
    uploader = Uploader(
        store=store,
        metadata=metadata,
        cache=cache,
        bodies=UploadBodies(cache=cache, ring=reader.ring, allocate=outside.allocate),
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
        metadata=metadata,
        open_partitions=open_partitions,
        appender=appender,
        reader=reader,
        uploader=uploader,
        waiters=waiters,
        producers=producers,
        inspector=inspector,
        producer_ids=ProducerIds(metadata=metadata, node_id=node_id, broker_epoch=broker_epoch),
        timestamps=TimeLookup(
            cache=cache, cold=cold, reader=reader, metadata=metadata, workers=outside.workers, knobs=knobs
        ),
        clock=clock,
    )

    def adopt(partition: Partition) -> None:
        partition.engine = engine

    open_partitions.on_opened(adopt)
    return Running(
        engine=engine,
        supervisor=supervisor,
        writer=writer,
        cache=cache,
        blocks=blocks,
        cold=cold,
        admission=admission,
        ring_keeper=ring_keeper,
        retention=Retention(
            metadata=metadata,
            open_partitions=open_partitions,
            uploader=uploader,
            knobs=knobs,
            clock=clock,
            rng=outside.rng,
        ),
        compactor=Compactor(
            store=store,
            metadata=metadata,
            cold=cold,
            ids=ids,
            open_partitions=open_partitions,
            knobs=knobs,
            clock=clock,
            rng=outside.rng,
            node_id=node_id,
            broker_epoch=broker_epoch,
        ),
        closer=Closer(
            open_partitions=open_partitions,
            appender=appender,
            admission=admission,
            producers=producers,
            uploader=uploader,
        ),
        sweeper=Sweeper(store=store, metadata=metadata, knobs=knobs, clock=clock, rng=outside.rng, forget=cold.forget),
        identity=identity,
        broker_epoch=broker_epoch,
        device=device,
        metadata=metadata,
        recovered_batches=0,
        torn=None if contents.scan.torn is None else str(contents.scan.torn),
        chores=[],
        zeroing_from=superblocks.zeroing_start(contents.scan.superblock, contents.scan.end_lsn),
    )


__all__ = [
    "Budgets",
    "Identity",
    "Outside",
    "Running",
    "TopicSettings",
    "assemble",
    "committed_ends",
    "flush",
    "registration",
    "start",
    "stop",
]
