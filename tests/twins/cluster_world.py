"""Many brokers' metadata in one world: real nodes over one store and one network, with every commit on record."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from automq_broker.cluster.sessions import Load
from automq_broker.engine.control import Identity
from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.metadata_heartbeat import heartbeats
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.kernel.errors import AutomqError, Refused
from automq_broker.lake.keys import DELTA_PREFIX, HEAD_KEY
from automq_broker.meta import head as heads
from automq_broker.meta.codec import Batch, split_batches
from automq_broker.meta.commands import ConfirmWal, NodeRecovered, RegisterNode
from automq_broker.meta.head import Head
from automq_broker.meta.invariants import findings
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.snapshots import state_as_data
from automq_broker.meta.state import State
from automq_broker.wire.apis.k20002_submit_commands import SubmitCommandsRequest
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest
from automq_broker.wire.apis.k20005_describe_nodes import DescribeNodesRequest
from twins.control_world import HeadBucket
from twins.memory_bucket import Faults, MemoryStore
from twins.network import Network
from twins.virtual_time import LoopClock


class _Keeping(dict[str, Any]):
    """The store's objects; every head and every delta is kept."""

    def __init__(self, history: list[bytes], deltas: dict[str, bytes]) -> None:
        super().__init__()
        self._history = history
        self._deltas = deltas

    def __setitem__(self, key: str, stored: Any) -> None:
        super().__setitem__(key, stored)
        if key == HEAD_KEY:
            self._history.append(stored.data)
        elif key.startswith(DELTA_PREFIX):
            self._deltas[key] = stored.data


@dataclass(slots=True)
class Member:
    """One process of the cluster."""

    node: MetadataNode
    bucket: HeadBucket
    endpoint: str
    broker_epoch: int = 0
    beats: "asyncio.Task[None] | None" = None
    take_load: Callable[[], Load] = Load

    @property
    def node_id(self) -> int:
        return int(self.node.identity.node_id)

    def load(self) -> Load:
        """What its heartbeats tell; may be replaced while it lives."""
        return self.take_load()


class ClusterWorld:
    """One store, one network, any number of processes. `history` holds every head that ever was in the store."""

    def __init__(self, seed: int = 0, knobs: ClusterKnobs | None = None) -> None:
        self.history: list[bytes] = []
        self.deltas: dict[str, bytes] = {}
        """Every delta object that ever was, also those that were swept since."""
        self.store = MemoryStore(objects=_Keeping(self.history, self.deltas))
        self.network = Network(seed)
        self.clock = LoopClock()
        self.knobs = knobs if knobs is not None else ClusterKnobs()
        self.members: list[Member] = []
        self.superblocks: dict[UUID, int] = {}
        """The WAL epoch on each volume."""
        self._lives = 0
        self._seed = seed

    def member(self, node_id: int, *, wal: str = "", faults: Faults | None = None, **changes: Any) -> Member:
        """A process of a node on the node's own volume; `wal` is the cluster id that its superblock names."""
        self._lives += 1
        endpoint = f"host-{node_id}:{9000 + self._lives}"
        fields: dict[str, Any] = {
            "node_id": node_id,
            "incarnation": UUID(int=0x1000 + self._lives),
            "endpoint": endpoint,
            "volume_uuid": UUID(int=0xD000 + node_id),
            "wal_cluster_id": wal,
        }
        bucket = HeadBucket(self.store, faults=faults, seed=self._lives)
        rng = Random(self._seed * 1000 + self._lives)
        identity = Identity(**(fields | changes))
        node = MetadataNode(bucket, self.clock, identity, self.network.peers(endpoint), self.knobs, rng=rng)
        member = Member(node, bucket, endpoint)
        self.members.append(member)
        return member

    async def started(self, node_id: int, **changes: Any) -> Member:
        """A process that follows or holds."""
        member = self.member(node_id, **changes)
        await member.node.start()
        self.network.handlers[member.endpoint] = lambda request: _serve(member.node, request)
        return member

    async def joined(self, node_id: int, **changes: Any) -> Member:
        """A process whose node is ACTIVE and sends heartbeats."""
        member = await self.started(node_id, **changes)
        await register(self, member)
        return member

    async def cluster(self, count: int) -> list[Member]:
        """`count` nodes, all ACTIVE; the first one holds the seat."""
        return [await self.joined(node_id) for node_id in range(count)]

    def kill(self, member: Member) -> None:
        """The process is gone: it does nothing more and its connections are refused."""
        self.network.handlers.pop(member.endpoint, None)
        if member in self.members:
            self.members.remove(member)
        if member.beats is not None:
            member.beats.cancel()
        if member.node._task is not None:
            member.node._task.cancel()
        for task in member.node._tasks:
            task.cancel()

    def holders(self) -> list[Member]:
        """Those that believe to hold the seat."""
        return [member for member in self.members if member.node.is_holder]

    def heads(self) -> list[Head]:
        """Every head that ever was, in order."""
        return [heads.parse(data) for data in self.history]

    def status_of(self, node_id: int, member: Member) -> NodeStatus:
        """A node's status as one process sees it."""
        return member.node.state.nodes[node_id].status

    async def truth(self) -> State:
        """The state that the store stands for now."""
        bucket = PatientBucket(HeadBucket(self.store), Random(0), self.knobs.control)
        return (await load_state(bucket, heads.parse(self.store.objects[HEAD_KEY].data), self.knobs.control)).state

    async def settle(self, timeout_s: float = 60.0) -> State:
        """Wait until every process has all commits; then all states are the store's. Returns it."""
        async with asyncio.timeout(timeout_s):
            while True:
                head = self.heads()[-1]
                last = max((batch.seq for batch in head.inline_batches()), default=head.snapshot_seq)
                if len(self.holders()) == 1 and all(member.node.seq >= last for member in self.members):
                    break
                await asyncio.sleep(0.25)
        truth = await self.truth()
        assert findings(truth) == []
        for member in self.members:
            assert state_as_data(member.node.state) == state_as_data(truth), f"node {member.node_id} has another state"
        self.check_chain()
        return truth

    def lineage(self) -> list[Batch]:
        """Every batch that a head ever carried or referenced, in order: all that was ever committed."""
        batches: dict[int, Batch] = {}
        for head in self.heads():
            parts = [head.inline, *(self.deltas[key] for key in head.deltas)]
            for batch in (each for part in parts for each in split_batches(part)):
                assert batches.setdefault(batch.seq, batch).whole == batch.whole, "two batches with one number"
        return [batches[seq] for seq in sorted(batches)]

    def check_chain(self) -> None:
        """One lineage: each head continues the one before by exactly one step and drops no batch but into a snapshot."""
        for before, after in zip(self.heads(), self.heads()[1:], strict=False):
            assert after.seq == before.seq + 1
            assert after.epoch in (before.epoch, before.epoch + 1)
            if after.epoch == before.epoch:
                assert after.holder == before.holder
            if after.deltas == before.deltas and after.snapshot == before.snapshot:
                assert after.inline.startswith(before.inline), "a committed batch was dropped"


async def register(world: ClusterWorld, member: Member) -> int:
    """Make the process's node ACTIVE, and let it send heartbeats; returns its broker epoch."""
    node = member.node
    volume = node.identity.volume_uuid
    registered = await node.submit(
        RegisterNode(
            node_id=node.identity.node_id,
            incarnation=node.identity.incarnation,
            volume_uuid=volume,
            volume_handle=f"disk-{volume}",
            wal_epoch_found=world.superblocks.get(volume, 0),
        )
    )
    member.broker_epoch = registered.broker_epoch
    if member not in world.members:
        raise Refused("killed before it wrote its superblock")
    world.superblocks[volume] = registered.broker_epoch
    await node.submit(ConfirmWal(node_id=node.identity.node_id, broker_epoch=member.broker_epoch))
    await node.submit(NodeRecovered(node_id=node.identity.node_id, broker_epoch=member.broker_epoch))
    beats = heartbeats(node, node.identity.node_id, member.broker_epoch, member.load, Random(member.node_id))
    member.beats = asyncio.get_running_loop().create_task(beats)
    return registered.broker_epoch


async def _serve(node: MetadataNode, request: Any) -> Any:
    if isinstance(request, SubmitCommandsRequest):
        return await node.service.submit_commands(request)
    if isinstance(request, NodeHeartbeatRequest):
        return await node.service.heartbeat(request)
    if isinstance(request, DescribeNodesRequest):
        return await node.service.describe_nodes(request)
    return await node.service.tail(request)


async def outcome(work: Any) -> Any:
    """The result of a command, or its refusal as a value."""
    try:
        return await work
    except AutomqError as refusal:
        return refusal


__all__ = ["ClusterWorld", "Member", "outcome", "register"]
