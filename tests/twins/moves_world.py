"""Several nodes over one bucket and one controller, each with a disk of its own, in lives that may end at any effect.

The controller never dies here (`engine/control` has its own tests): one `Control` is shared, and every node speaks to it
through a link of its own. An effect is a write to the node's WAL, a change of the bucket, or a command; `Fate` says at
which one a node's process ends, before or after it took place. Ending one process leaves the others running.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from automq_broker.contract.adopt import AdoptReport
from automq_broker.engine import start as engine_start
from automq_broker.engine.adopt import Adopter, adopt
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.engine.recover import read_superblock
from automq_broker.engine.running import Budgets, Identity, Outside, Running, TopicSettings
from automq_broker.engine.supervise import Supervisor
from automq_broker.kernel.ids import BrokerEpoch, NodeId, StreamId
from automq_broker.log.admission import LogSettings
from automq_broker.meta.commands import AssignStreams, Command, CreateTopic, RescueNode
from automq_broker.meta.rows import Endpoint
from automq_broker.meta.state import State
from automq_broker.ports import OnRecords, OnReload
from automq_broker.wire import records
from twins.engine_world import CAPACITY_BYTES, KNOBS, Fate, MortalBucket, MortalWal, Workers, bulks_of
from twins.memory_bucket import MemoryBucket, MemoryStore
from twins.virtual_time import LoopClock

R = TypeVar("R")

BUDGETS = Budgets(tail_cache_bytes=1 << 20, block_cache_bytes=1 << 20)
TOPICS = TopicSettings(settings_of=lambda _: LogSettings(), config_of=lambda _, __: "")

_PROCESS: ContextVar["set[asyncio.Task[Any]] | None"] = ContextVar("process", default=None)
"""The tasks of the process that the present task belongs to; inherited by every task that it starts."""


def _task_factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    tasks = _PROCESS.get()
    if tasks is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return task


class Link:
    """Port Metadata of one process: commands count as effects, and a dead process hears nothing any more."""

    def __init__(self, control: Control, fate: Fate) -> None:
        self._control = control
        self._fate = fate
        self.sent: list[Command[Any]] = []

    @property
    def state(self) -> State:
        """See Metadata.state."""
        return self._control.state

    @property
    def is_holder(self) -> bool:
        """See Metadata.is_holder. The controller is none of the nodes."""
        return False

    async def submit(self, command: Command[R]) -> R:
        """See Metadata.submit. What a process sent is decided whether or not it lives to hear of it."""
        if not self._fate.meets_effect():
            await asyncio.Event().wait()
        self.sent.append(command)
        answer = await self._control.submit(command)
        if self._fate.is_dead:
            await asyncio.Event().wait()
        return answer

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """See Metadata.subscribe."""

        def heard(found: Any) -> None:
            if not self._fate.is_dead:
                on_records(found)

        self._control.subscribe(heard, on_reload)


class Cluster:
    """What outlives the nodes: the bucket, the disks by node, the controller. Without disks the logs are in the bucket."""

    def __init__(self, *, has_disks: bool = True) -> None:
        self.has_disks = has_disks
        self.store = MemoryStore()
        self.bucket = MemoryBucket(self.store)
        """The controller's own way to the store."""
        self.disks: dict[int, bytearray] = {}
        self.control: Control
        self._lives = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        """With a controller."""
        asyncio.get_running_loop().set_task_factory(_task_factory)
        self.control = Control(
            self.bucket,
            LoopClock(),
            ControlIdentity(
                node_id=NodeId(0),
                incarnation=uuid.UUID(int=1),
                endpoint="twin:0",
                volume_uuid=uuid.UUID(int=2),
                wal_cluster_id="",
            ),
            rng=random.Random(0),
        )
        await self.control.start()
        yield self

    async def start(self, node_id: int, fate: Fate | None = None, *, knobs: EngineKnobs = KNOBS) -> "Node":
        """Start a node and wait until it serves."""
        node = self.node(node_id, fate, knobs=knobs)
        await node.run(node.start())
        return node

    def node(self, node_id: int, fate: Fate | None = None, *, knobs: EngineKnobs = KNOBS) -> "Node":
        """A process of a node, not started."""
        self._lives += 1
        fate = fate or Fate()
        device = MortalWal(
            platter=self.disks.setdefault(node_id, bytearray(CAPACITY_BYTES)), handle=f"memory:{node_id}"
        )
        device.fate = fate
        bucket = MortalBucket(self.store, seed=self._lives)
        bucket.fate = fate
        return Node(self, node_id, self._lives, device, bucket, fate, knobs)

    async def make_topic(self, name: str, partitions: int, owner: int) -> list[int]:
        """Create a topic whose partitions all lie on `owner`; returns the stream ids in partition order."""
        topic_id = uuid.uuid5(uuid.NAMESPACE_OID, name)
        row = (await self.control.submit(CreateTopic(name=name, topic_id=topic_id, partitions=partitions))).topic
        streams = [each.stream_id for each in row.partitions]
        await self.assign(streams, owner)
        return streams

    async def assign(self, streams: list[int], owner: int) -> None:
        """Order a move."""
        await self.control.submit(AssignStreams(stream_ids=tuple(streams), node_id=NodeId(owner)))

    async def rescue(self, node_id: int, key: int = 1) -> int:
        """The node is proven dead: the epoch for its adopter."""
        node = self.control.state.nodes[NodeId(node_id)]
        granted = await self.control.submit(
            RescueNode(node_id=node.node_id, expected_epoch=node.broker_epoch, rescue=uuid.UUID(int=key))
        )
        return granted.broker_epoch

    def owners(self, streams: list[int]) -> set[int]:
        """The nodes that have these streams open, -1 for a closed one."""
        return {self.control.state.stream_head(stream_id).owner for stream_id in streams}


class Node:
    """One process of one node."""

    def __init__(
        self,
        cluster: Cluster,
        node_id: int,
        number: int,
        device: MortalWal,
        bucket: MortalBucket,
        fate: Fate,
        knobs: EngineKnobs,
    ) -> None:
        self.cluster = cluster
        self.node_id = NodeId(node_id)
        self.number = number
        self.device: Any = device
        self.bucket = bucket
        self.fate = fate
        self.knobs = knobs
        self.tasks: set[asyncio.Task[Any]] = set()
        self.link = Link(cluster.control, fate)
        self.rng = random.Random(number)
        self.supervisor = Supervisor()
        self.running: Running
        self.announced: dict[int, Partition] = {}

    def run(self, work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """Run `work` as a task of this process: it ends with it."""
        token = _PROCESS.set(self.tasks)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            _PROCESS.reset(token)

    @property
    def outside(self) -> Outside:
        """What the engine of this process works with."""
        return Outside(
            bucket=self.bucket,
            device=self.device,
            clock=LoopClock(),
            workers=Workers(self.rng),
            rng=self.rng,
            allocate=lambda size: memoryview(bytearray(max(size, 64 << 10))),
        )

    async def open(self) -> None:
        """Take the log in the bucket instead of a disk, where the cluster has none; done once."""
        if not self.cluster.has_disks and isinstance(self.device, MortalWal):
            self.device = await bulks_of(self.node_id, self.bucket, self.number)

    async def start(self) -> None:
        """Recover and serve."""
        await self.open()
        superblock = await read_superblock(self.device)
        volume = uuid.UUID(int=self.rng.getrandbits(128)) if superblock is None else superblock.volume_uuid
        self.running = await engine_start.start(
            identity=Identity(
                node_id=self.node_id,
                incarnation=uuid.UUID(int=self.rng.getrandbits(128)),
                volume_uuid=volume,
                endpoints=(Endpoint(listener="PLAINTEXT", host=f"node{self.node_id}", port=9092),),
            ),
            superblock=superblock,
            outside=self.outside,
            metadata=self.link,
            supervisor=self.supervisor,
            knobs=self.knobs,
            budgets=BUDGETS,
            topics=TOPICS,
        )
        partitions = self.running.engine.open_partitions
        partitions.on_opened(lambda partition: self.announced.update({partition.stream_id: partition}))
        partitions.announce_all()

    async def adopt(self, broker_epoch: int) -> AdoptReport:
        """Be an adopter of this node's disk instead of a broker."""
        await self.open()
        adopter = Adopter(
            node_id=self.node_id,
            broker_epoch=BrokerEpoch(broker_epoch),
            outside=self.outside,
            metadata=self.link,
            supervisor=self.supervisor,
            knobs=self.knobs,
            budgets=BUDGETS,
            topics=TOPICS,
        )
        return await adopt(adopter)

    async def die(self) -> None:
        """The power goes: nothing more happens in this process, the disk keeps what was durable and a torn rest."""
        self.fate.died.set()
        self.fate.dies_at = self.fate.dies_at or 1
        self.fate.count = max(self.fate.count, self.fate.dies_at)
        if isinstance(self.device, MortalWal):
            self.cluster.disks[self.node_id] = self.device.power_cut(seed=self.number)
        tasks = [task for task in self.tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def lives_or_dies(self, work: "asyncio.Task[Any]") -> bool:
        """Wait until `work` is done (True) or the process died (False, and its remains are cleared away)."""
        died = asyncio.ensure_future(self.fate.died.wait())
        failed = asyncio.ensure_future(self.supervisor.wait_failed())
        await asyncio.wait({work, died, failed}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        failed.cancel()
        if failed.done() and not failed.cancelled():
            raise failed.result()
        if self.fate.is_dead:
            await self.die()
            return False
        work.result()
        return True

    async def serves(self, streams: list[int]) -> None:
        """Wait until all these streams are open here, and everybody has been told."""
        by_stream = self.running.engine.open_partitions.by_stream

        def is_served(stream: int) -> bool:
            partition = by_stream.get(StreamId(stream))
            return partition is not None and partition.is_open and self.announced.get(stream) is partition

        while not all(is_served(stream) for stream in streams):
            await asyncio.sleep(0.01)

    async def gave_up(self, streams: list[int]) -> None:
        """Wait until none of these streams is held here."""
        by_stream = self.running.engine.open_partitions.by_stream
        while any(stream in by_stream for stream in streams):
            await asyncio.sleep(0.01)

    async def read_back(self, topic: str, index: int) -> list[bytes]:
        """Every record value of a partition, in order; asserts that offsets are contiguous."""
        partition = self.running.engine.partition(topic, index)
        found: list[bytes] = []
        offset = 0
        while offset < partition.log.high_watermark:
            data = memoryview(b"".join(await partition.read(offset, 1 << 20)))
            for position, header in records.iter_headers(data):
                assert header.base_offset == offset, "offsets are contiguous"
                batch = data[position : position + header.size_bytes]
                found += [each.value for each in records.decode_records(batch, limit_bytes=1 << 20, limit_ratio=100)]
                offset = header.last_offset + 1
        return found


def one_batch(value: bytes, *, sequence: int = -1, producer: int = -1) -> bytearray:
    """A batch of one record; idempotent with a producer."""
    record = records.Record(0, 1_700_000_000_000, None, value, ())
    epoch = 0 if producer >= 0 else -1
    return bytearray(records.encode_batch([record], producer_id=producer, producer_epoch=epoch, base_sequence=sequence))


def in_cluster(work: Callable[[Cluster], Coroutine[Any, Any, R]], *, has_disks: bool = True) -> Coroutine[Any, Any, R]:
    """`work` with a running cluster; for `run_virtual`."""

    async def scenario() -> R:
        async with Cluster(has_disks=has_disks).running() as cluster:
            return await work(cluster)

    return scenario()


__all__ = ["Cluster", "Link", "Node", "in_cluster", "one_batch"]
