"""The real engine and controller over twins of disk and bucket, in lives that may end at any counted effect.

An effect is a write that reaches the WAL device or a change of the bucket. `dies_at` names the effect, `applied` whether it
still takes place: the process then does nothing more, ever, and the disk keeps what was durable and a torn rest.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from automq_broker.adapters.wal_bulks import BulkWal, open_bulk_wal
from automq_broker.engine import start as engine_start
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.recover import read_superblock
from automq_broker.engine.running import Budgets, Identity, Outside, Running, TopicSettings
from automq_broker.engine.supervise import Supervisor
from automq_broker.kernel.ids import NodeId
from automq_broker.log.admission import LogSettings
from automq_broker.meta.rows import TopicRow
from automq_broker.ports import Buffer
from automq_broker.wal.bulks import NONCE_BYTES
from twins.memory_bucket import MemoryBucket, MemoryStore
from twins.memory_wal import MemoryWal
from twins.virtual_time import LoopClock

CAPACITY_BYTES = 4 << 20
KNOBS = EngineKnobs(
    upload_threshold_bytes=1 << 30,
    upload_interval_s=1e6,
    retention_interval_s=1e6,
    sweep_interval_s=1e6,
    wal_heartbeat_s=1e6,
    superblock_bytes=1,  # every trim is written at once, so that one that comes too early is met
)

DEFAULT_CONFIGS = {"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1"}


class Workers:
    """Runs work on the loop, after a while that differs from one piece to the next."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """See ports.Workers."""
        await asyncio.sleep(self._rng.random() / 100)
        return work(*arguments)


def log_settings_of(topic: TopicRow) -> LogSettings:
    """The topic's own configs over a log's defaults."""
    configs = topic.configs
    return LogSettings(
        is_compacted=configs.get("cleanup.policy") == "compact",
        compression_type=configs.get("compression.type", "producer"),
        timestamp_type=configs.get("message.timestamp.type", "CreateTime"),
    )


def config_of(topic: TopicRow, name: str) -> str:
    """The topic's own config, else Kafka's default of what retention asks for."""
    return topic.configs.get(name) or DEFAULT_CONFIGS[name]


@dataclass(slots=True)
class Fate:
    """Counts effects; from number `dies_at` (1 is the first) on, nothing happens any more. 0 = lives on."""

    dies_at: int = 0
    applied: bool = False
    count: int = 0
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def meets_effect(self) -> bool:
        """Count one effect; True if it takes place."""
        self.count += 1
        if not self.dies_at or self.count < self.dies_at:
            return True
        self.died.set()
        return self.count == self.dies_at and self.applied

    @property
    def is_dead(self) -> bool:
        """Whether the process has died."""
        return self.died.is_set()


class MortalWal(MemoryWal):
    """A WAL whose process may die at a write."""

    fate: Fate

    def write(self, position: int, data: memoryview, done: Callable[[BaseException | None], None]) -> None:
        """See WalDevice.write; the device may still finish what a dead process handed over, but tells nobody."""
        if self.fate.meets_effect():
            super().write(position, data, lambda error: None if self.fate.is_dead else done(error))

    def resize(self, capacity_bytes: int) -> None:
        """See WalDevice.resize."""
        if self.fate.meets_effect():
            super().resize(capacity_bytes)


class MortalBucket(MemoryBucket):
    """A bucket whose client may die at a change."""

    fate: Fate

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put."""
        etag: str = await self._change(super().put(key, segments, if_absent=if_absent))
        return etag

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        changed: str = await self._change(super().put_if_match(key, data, etag))
        return changed

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many."""
        await self._change(super().delete_many(keys))

    async def _change(self, call: Any) -> Any:
        if not self.fate.meets_effect():
            call.close()
            await asyncio.Event().wait()
        answer = await call
        if self.fate.is_dead:
            await asyncio.Event().wait()
        return answer


async def bulks_of(node_id: int, bucket: MemoryBucket, life: int) -> BulkWal:
    """The WAL of a node without a disk, as one process of it opens it."""
    return await open_bulk_wal(
        bucket,
        NodeId(node_id),
        handle=f"data:{node_id}",
        nonce=life.to_bytes(NONCE_BYTES, "big"),
        capacity_bytes=CAPACITY_BYTES,
        rng=random.Random(life),
    )


@dataclass(slots=True)
class World:
    """What outlives a process: the bucket's objects and the disk."""

    store: MemoryStore = field(default_factory=MemoryStore)
    platter: bytearray = field(default_factory=lambda: bytearray(CAPACITY_BYTES))
    lives: int = 0
    wanted_bytes: int | None = None
    """The size of WAL that the next process is asked for; None = as it is."""
    has_disk: bool = True
    """False: the WAL lies in the bucket, so that every effect is one there."""

    @contextlib.asynccontextmanager
    async def life(self, fate: Fate | None = None, *, knobs: EngineKnobs = KNOBS) -> AsyncIterator["Life"]:
        """One process; leaving cuts its power. Start it with `Life.start`."""
        self.lives += 1
        fate = fate or Fate()
        bucket = MortalBucket(self.store, seed=self.lives)
        bucket.fate = fate
        disk: MortalWal | None = None
        if self.has_disk:
            disk = MortalWal(platter=self.platter)
            disk.fate = fate
            disk.wanted_bytes = self.wanted_bytes or disk.capacity_bytes
        life = Life(self.lives, disk or await bulks_of(1, bucket, self.lives), bucket, fate, knobs)
        try:
            yield life
        finally:
            if disk is not None:
                self.platter = disk.power_cut(seed=self.lives)
            await life.vanish()


class Life:
    """One process's parts, and the short cuts that tests need."""

    def __init__(self, number: int, device: Any, bucket: MortalBucket, fate: Fate, knobs: EngineKnobs) -> None:
        self.number = number
        self.device = device
        self.bucket = bucket
        self.fate = fate
        self.knobs = knobs
        self.rng = random.Random(number)
        self.supervisor = Supervisor()
        self.control: Control
        self.running: Running

    async def start(self, *, accept_wal_loss: bool = False) -> None:
        """Recover and serve."""
        superblock = await read_superblock(self.device)
        incarnation = uuid.UUID(int=self.rng.getrandbits(128))
        volume = uuid.UUID(int=self.rng.getrandbits(128)) if superblock is None else superblock.volume_uuid
        self.control = Control(
            self.bucket,
            LoopClock(),
            ControlIdentity(
                node_id=NodeId(1),
                incarnation=incarnation,
                endpoint="twin:1",
                volume_uuid=volume,
                wal_cluster_id="" if superblock is None else superblock.cluster_id,
            ),
            rng=self.rng,
        )
        await self.control.start()
        self.running = await engine_start.start(
            identity=Identity(
                node_id=NodeId(1), incarnation=incarnation, volume_uuid=volume, accept_wal_loss=accept_wal_loss
            ),
            superblock=superblock,
            outside=Outside(
                bucket=self.bucket,
                device=self.device,
                clock=LoopClock(),
                workers=Workers(self.rng),
                rng=self.rng,
                allocate=lambda size: memoryview(bytearray(max(size, 64 << 10))),
            ),
            metadata=self.control,
            supervisor=self.supervisor,
            knobs=self.knobs,
            budgets=Budgets(tail_cache_bytes=1 << 20, block_cache_bytes=1 << 20),
            topics=TopicSettings(settings_of=log_settings_of, config_of=config_of),
        )
        self.running.engine.open_partitions.announce_all()

    async def vanish(self) -> None:
        """End what runs, without any of the steps of an orderly stop."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["KNOBS", "Fate", "Life", "World", "bulks_of"]
