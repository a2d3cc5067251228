"""A running engine: what it is given, the parts that it is made of, and how they are joined."""

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
from automq_broker.engine.producers import ProducerLoader
from automq_broker.engine.read import Reader
from automq_broker.engine.recover import WalContents
from automq_broker.engine.retention import Retention
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.engine.store import Store
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.sweep import Sweeper
from automq_broker.engine.timestamps import TimeLookup
from automq_broker.engine.upload import Uploader
from automq_broker.engine.upload_bodies import UploadBodies
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.rows import Endpoint, TopicRow
from automq_broker.ports import Bucket, Clock, Metadata, WalDevice, Workers
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES
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


__all__ = ["Budgets", "Identity", "Outside", "Running", "TopicSettings", "assemble"]
