"""A running engine: what it is given, and the parts that others ask for."""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.tail import TailCache
from automq_broker.engine.admission import Admission
from automq_broker.engine.closing import Closer
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.compact import Compactor
from automq_broker.engine.engine import Engine
from automq_broker.engine.open_close import LogSettingsOf
from automq_broker.engine.retention import Retention
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.sweep import Sweeper
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.rows import Endpoint, TopicRow
from automq_broker.ports import Bucket, Clock, Metadata, WalDevice, Workers
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


__all__ = ["Budgets", "Identity", "Outside", "Running", "TopicSettings"]
