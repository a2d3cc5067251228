"""The parts of one engine and how they are joined: each is made when it is first asked for, from others by name."""

from dataclasses import dataclass
from functools import cached_property

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
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.producer_ids import ProducerIds
from automq_broker.engine.producers import ProducerLoader
from automq_broker.engine.read import Reader
from automq_broker.engine.recover import WalContents
from automq_broker.engine.retention import Retention
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.engine.running import Budgets, Identity, Outside, Running, TopicSettings
from automq_broker.engine.store import Store
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.sweep import Sweeper
from automq_broker.engine.timestamps import TimeLookup
from automq_broker.engine.upload import Uploader
from automq_broker.engine.upload_bodies import UploadBodies
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.ports import Metadata
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES
from automq_broker.wal.writer import WalWriter


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one engine is made from; `running` is the whole. Nothing of it works before somebody starts it."""

    identity: Identity
    broker_epoch: BrokerEpoch
    contents: WalContents
    outside: Outside
    metadata: Metadata
    supervisor: Supervisor
    knobs: EngineKnobs
    budgets: Budgets
    topics: TopicSettings

    @property
    def node_id(self) -> NodeId:
        """Of this broker, or of the one whose log is adopted."""
        return self.identity.node_id

    # --- store and caches

    @cached_property
    def store(self) -> Store:
        """The bucket, with patience."""
        return Store(self.outside.bucket, self.outside.rng)

    @cached_property
    def cache(self) -> TailCache:
        """What was appended lately."""
        return TailCache(
            self.budgets.tail_cache_bytes,
            record_header_bytes=RECORD_HEADER_BYTES,
            block_header_bytes=BLOCK_HEADER_BYTES,
        )

    @cached_property
    def blocks(self) -> BlockCache:
        """What was read from the bucket."""
        return BlockCache(self.budgets.block_cache_bytes)

    # --- reads

    @cached_property
    def waiters(self) -> Waiters:
        """Fetches that wait for more."""
        return Waiters()

    @cached_property
    def cold(self) -> ColdReader:
        """Reads from the bucket."""
        return ColdReader(
            store=self.store,
            metadata=self.metadata,
            cache=self.blocks,
            readahead=ReadAhead(),
            knobs=self.knobs,
            start_task=self.supervisor.start,
        )

    @cached_property
    def reader(self) -> Reader:
        """Reads, wherever the records are."""
        return Reader(cache=self.cache, cold=self.cold, writer=self.writer, device=self.outside.device)

    @cached_property
    def timestamps(self) -> TimeLookup:
        """Offsets by time."""
        return TimeLookup(
            cache=self.cache,
            cold=self.cold,
            reader=self.reader,
            metadata=self.metadata,
            workers=self.outside.workers,
            knobs=self.knobs,
        )

    # --- appends

    @cached_property
    def writer(self) -> WalWriter:
        """The write-ahead log, behind what it was found to hold."""
        return WalWriter(self.contents.scan.ring, self.broker_epoch, self.outside.allocate)

    @cached_property
    def admission(self) -> Admission:
        """Room for appends; without room it presses for uploads, which are made later than this is."""
        return Admission(
            knobs=self.knobs,
            capacity_bytes=self.contents.scan.superblock.capacity_bytes,
            free_bytes=lambda: self.writer.free_bytes,
            press=lambda: self.uploader.press(),  # noqa: PLW0108 - the uploader needs what needs this
        )

    @cached_property
    def appender(self) -> Appender:
        """From a checked batch to a durable one."""
        return Appender(
            writer=self.writer,
            device=self.outside.device,
            cache=self.cache,
            admission=self.admission,
            knobs=self.knobs,
            clock=self.outside.clock,
            broker_epoch=self.broker_epoch,
            on_durable=self.waiters.appended,
            fail=self.supervisor.fail,
        )

    @cached_property
    def producers(self) -> ProducerLoader:
        """Idempotent producers' state, loaded before they continue."""
        return ProducerLoader(
            store=self.store, metadata=self.metadata, appender=self.appender, start_task=self.supervisor.start
        )

    @cached_property
    def inspector(self) -> Inspector:
        """Checks of batches that take a look inside."""
        return Inspector(
            workers=self.outside.workers,
            knobs=self.knobs,
            clock=self.outside.clock,
            onward=self.producers.append,
            start_task=self.supervisor.start,
        )

    @cached_property
    def open_partitions(self) -> OpenPartitions:
        """What this node leads."""
        return OpenPartitions(
            metadata=self.metadata,
            cache=self.cache,
            waiters=self.waiters,
            node_id=self.node_id,
            broker_epoch=self.broker_epoch,
            settings_of=self.topics.settings_of,
            config_of=self.topics.config_of,
        )

    # --- uploads

    @cached_property
    def ring_keeper(self) -> RingKeeper:
        """Trims what is committed."""
        return RingKeeper(
            writer=self.writer,
            device=self.outside.device,
            cache=self.cache,
            appender=self.appender,
            admission=self.admission,
            knobs=self.knobs,
        )

    @cached_property
    def ids(self) -> ObjectIds:
        """Leased ids of objects."""
        return ObjectIds(
            metadata=self.metadata,
            node_id=self.node_id,
            broker_epoch=self.broker_epoch,
            knobs=self.knobs,
            clock=self.outside.clock,
        )

    @cached_property
    def uploader(self) -> Uploader:
        """From the log to the bucket."""
        return Uploader(
            store=self.store,
            metadata=self.metadata,
            cache=self.cache,
            bodies=UploadBodies(cache=self.cache, ring=self.reader.ring, allocate=self.outside.allocate),
            ids=self.ids,
            knobs=self.knobs,
            clock=self.outside.clock,
            node_id=self.node_id,
            broker_epoch=self.broker_epoch,
            partition_of=self.open_partitions.by_stream.get,
            load_producers=self.producers.load,
            on_committed=self.ring_keeper.committed,
        )

    @cached_property
    def closer(self) -> Closer:
        """Partitions that leave."""
        return Closer(
            open_partitions=self.open_partitions,
            appender=self.appender,
            admission=self.admission,
            producers=self.producers,
            uploader=self.uploader,
        )

    # --- what runs beside the data path

    @cached_property
    def retention(self) -> Retention:
        """What is too old goes."""
        return Retention(
            metadata=self.metadata,
            open_partitions=self.open_partitions,
            uploader=self.uploader,
            knobs=self.knobs,
            clock=self.outside.clock,
            rng=self.outside.rng,
        )

    @cached_property
    def compactor(self) -> Compactor:
        """Many small objects become few large ones."""
        return Compactor(
            store=self.store,
            metadata=self.metadata,
            cold=self.cold,
            ids=self.ids,
            open_partitions=self.open_partitions,
            knobs=self.knobs,
            clock=self.outside.clock,
            rng=self.outside.rng,
            node_id=self.node_id,
            broker_epoch=self.broker_epoch,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """What nothing refers to goes."""
        return Sweeper(
            store=self.store,
            metadata=self.metadata,
            knobs=self.knobs,
            clock=self.outside.clock,
            rng=self.outside.rng,
            forget=self.cold.forget,
        )

    # --- the whole

    @cached_property
    def engine(self) -> Engine:
        """What requests are put to; partitions know it from their opening on."""
        engine = Engine(
            node_id=self.node_id,
            metadata=self.metadata,
            open_partitions=self.open_partitions,
            appender=self.appender,
            reader=self.reader,
            uploader=self.uploader,
            waiters=self.waiters,
            producers=self.producers,
            inspector=self.inspector,
            producer_ids=ProducerIds(metadata=self.metadata, node_id=self.node_id, broker_epoch=self.broker_epoch),
            timestamps=self.timestamps,
            clock=self.outside.clock,
        )

        def adopt(partition: Partition) -> None:
            partition.engine = engine

        self.open_partitions.on_opened(adopt)
        return engine

    def running(self) -> Running:
        """The engine with all its parts, joined and at rest."""
        scan = self.contents.scan
        return Running(
            engine=self.engine,
            supervisor=self.supervisor,
            writer=self.writer,
            cache=self.cache,
            blocks=self.blocks,
            cold=self.cold,
            admission=self.admission,
            ring_keeper=self.ring_keeper,
            retention=self.retention,
            compactor=self.compactor,
            sweeper=self.sweeper,
            closer=self.closer,
            identity=self.identity,
            broker_epoch=self.broker_epoch,
            device=self.outside.device,
            metadata=self.metadata,
            recovered_batches=0,
            torn=None if scan.torn is None else str(scan.torn),
            chores=[],
            zeroing_from=superblocks.zeroing_start(scan.superblock, scan.end_lsn),
        )


__all__ = ["Parts"]
