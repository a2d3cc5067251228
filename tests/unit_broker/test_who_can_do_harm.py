"""Who can do harm, and what stops it: one test per actor and stale action. The operator's row is in unit_operator."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from automq_broker.adapters.wal_open import open_wal_device
from automq_broker.engine.metadata_link import ControllerLink
from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Refused
from automq_broker.kernel.ids import NodeId, ObjectId
from automq_broker.log.epochs import check_current_epoch
from automq_broker.meta.commands import AllocateProducerIds, CommitObject, CommitRefused, RescueNode, RetireBlock
from automq_broker.meta.rows import NodeStatus
from automq_broker.ports import PeerUnavailable, WalWriteFailed
from automq_broker.wire.apis.k20004_tail_metadata import TailMetadataRequest, TailMetadataResponse
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.schema import Message
from twins.cluster_world import ClusterWorld, outcome
from twins.control_world import ControlWorld, register, topic
from twins.engine_world import CAPACITY_BYTES, KNOBS
from twins.memory_bucket import Faults
from twins.memory_wal import WalFaults
from twins.meta_world import MetaWorld
from twins.moves_world import Cluster, Node, in_cluster, one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
RESCUE = UUID(int=0xE)


async def serving(cluster: Cluster, record: bytes = b"a") -> tuple[Node, list[int]]:
    """Node 1 with one partition and one acknowledged record that only its WAL has."""
    node = await cluster.start(1, knobs=replace(KNOBS, wal_heartbeat_s=1.0))
    streams = await cluster.make_topic(TOPIC, 1, owner=1)
    await node.serves(streams)
    await append(node, record)
    return node, streams


async def append(node: Node, value: bytes) -> None:
    await node.running.engine.partition(TOPIC, 0).append(one_batch(value))


async def end_of(node: Node, within_s: float) -> BaseException:
    """What the process ends with."""
    async with asyncio.timeout(within_s):
        return await node.supervisor.wait_failed()


async def rescued(cluster: Cluster, node: Node) -> None:
    await cluster.control.submit(
        RescueNode(node_id=node.node_id, expected_epoch=node.running.broker_epoch, rescue=RESCUE)
    )


# --- an old controller -----------------------------------------------------------------------------------------------


def test_an_old_controller_commits_nothing() -> None:
    async def scenario() -> None:
        world = ControlWorld()
        old = await world.started(0)
        await register(old)
        world.bucket_of(old).faults.outage = True
        new = await world.started(1)
        world.bucket_of(old).faults.outage = False
        with pytest.raises(NotMine):
            await old.submit(topic(1))
        await new.submit(topic(2))
        assert new.state.topic("topic-1") is None
        world.check_chain()

    run_virtual(scenario())


def test_an_old_controllers_answers_are_dropped() -> None:
    class OldHolder:
        """Port Peers: everybody answers as the controller of epoch 4."""

        async def call(self, endpoint: str, request: Message, timeout_s: float) -> TailMetadataResponse:
            return TailMetadataResponse(controller_epoch=4, seq=9)

        async def close(self) -> None:
            return None

    async def scenario() -> None:
        link = ControllerLink(OldHolder())
        link.learn(5, "new:1")
        request = TailMetadataRequest(node_id=1, after_seq=0, max_wait_ms=0, max_bytes=1)
        with pytest.raises(PeerUnavailable, match="epoch 4"):
            await link.call(request, 1.0)

    run_virtual(scenario())


def test_an_old_controllers_order_to_rescue_is_no_order_before_it_is_committed() -> None:
    async def scenario() -> None:
        world = ClusterWorld()
        old, second, third = await world.cluster(3)
        old.bucket.faults.outage = True
        world.network.isolate(old.endpoint, [member.endpoint for member in world.members])
        order = RescueNode(node_id=third.node_id, expected_epoch=third.broker_epoch, rescue=RESCUE)
        ordering = asyncio.ensure_future(outcome(old.node.submit(order)))
        await asyncio.sleep(20)
        assert old.node.is_holder, "it does not know yet"
        assert second.node.is_holder or third.node.is_holder
        assert not ordering.done()
        assert world.status_of(third.node_id, old) is NodeStatus.ACTIVE, "nobody sees what is not committed"
        assert (await world.truth()).nodes[third.node_id].status is NodeStatus.ACTIVE
        ordering.cancel()

    run_virtual(scenario())


# --- an old broker whose volume is gone ------------------------------------------------------------------------------


def test_a_broker_whose_volume_is_gone_acknowledges_nothing() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, _ = await serving(cluster)
        node.device.faults = WalFaults(write_fails=1.0)
        late = asyncio.ensure_future(append(node, b"late"))
        assert isinstance(await end_of(node, 2), WalWriteFailed)
        later = asyncio.ensure_future(append(node, b"later"))
        await asyncio.sleep(5)
        assert not late.done()
        assert not later.done()
        assert node.running.engine.partition(TOPIC, 0).log.high_watermark == 1

    run_virtual(in_cluster(scenario))


def test_a_broker_whose_volume_is_gone_commits_no_upload() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, streams = await serving(cluster)
        await rescued(cluster, node)
        upload = node.run(node.running.engine.uploader.upload_round())
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await upload
        assert cluster.control.state.stream_head(streams[0]).committed_end == 0
        assert isinstance(await end_of(node, 1), Fenced)

    run_virtual(in_cluster(scenario))


def test_an_upload_at_an_older_stream_epoch_or_behind_the_committed_end_is_refused() -> None:
    world = MetaWorld(nodes=1)
    (row,) = world.topic(TOPIC).partitions
    world.open(row.stream_id)
    early = world.new_object(0, (row.stream_id, 0, 5))
    world.append(row.stream_id, 5)
    with pytest.raises(CommitRefused) as behind:
        world.do(CommitObject(node_id=NodeId(0), broker_epoch=world.epochs[0], object=early))
    assert behind.value.ends == {row.stream_id: 5}
    late = world.new_object(0, (row.stream_id, 5, 9))
    world.close(row.stream_id)
    world.open(row.stream_id)
    with pytest.raises(CommitRefused):
        world.do(CommitObject(node_id=NodeId(0), broker_epoch=world.epochs[0], object=late))


def test_a_broker_whose_volume_is_gone_answers_no_fetch_for_long() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, _ = await serving(cluster)
        await asyncio.sleep(30)
        node.device.faults = WalFaults(write_fails=1.0)
        assert isinstance(await end_of(node, 2), WalWriteFailed), "idle, and nobody produces"
        own_epoch = node.running.engine.partition(TOPIC, 0).log.leader_epoch
        with pytest.raises(ClientFault) as refusal:
            check_current_epoch(own_epoch + 1, own_epoch)
        assert refusal.value.code == ErrorCode.UNKNOWN_LEADER_EPOCH

    run_virtual(in_cluster(scenario))


def test_a_broker_that_was_replaced_ends_at_whatever_it_asks_for_next() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, _ = await serving(cluster)
        await rescued(cluster, node)
        running = node.running
        with pytest.raises(Fenced):
            await running.metadata.submit(AllocateProducerIds(node_id=node.node_id, broker_epoch=running.broker_epoch))
        failure = await end_of(node, 1)
        assert isinstance(failure, Fenced)
        assert str(failure).startswith("EPOCH_GONE: node 1 is at broker epoch")

    run_virtual(in_cluster(scenario))


# --- wrong processes and wrong volumes -------------------------------------------------------------------------------


def test_two_processes_never_write_the_same_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "wal")
        first = open_wal_device(path, capacity_bytes=4 << 20)
        with pytest.raises(Refused, match="another process uses it"):
            open_wal_device(path, capacity_bytes=4 << 20)
        await first.close()
        await open_wal_device(path, capacity_bytes=4 << 20).close()

    asyncio.run(scenario())


def test_a_broker_with_an_empty_volume_cannot_declare_itself_clean() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, streams = await serving(cluster)
        await node.die()
        cluster.disks[1] = bytearray(CAPACITY_BYTES)
        with pytest.raises(Refused, match=f"{TOPIC}-0 .stream {streams[0]}. at 0"):
            await cluster.start(1)
        assert cluster.owners(streams) == {1}, "its streams stay open until the right volume is back"

    run_virtual(in_cluster(scenario))


def test_a_restored_snapshot_of_a_volume_is_refused() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, _ = await serving(cluster)
        await node.die()
        snapshot = bytes(cluster.disks[1])
        again = await cluster.start(1)
        await append(again, b"behind the snapshot")
        await again.die()
        cluster.disks[1] = bytearray(snapshot)
        with pytest.raises(Refused, match="rolled back"):
            await cluster.start(1)

    run_virtual(in_cluster(scenario))


def test_a_copy_of_a_volume_on_another_disk_is_refused() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, _ = await serving(cluster)
        await node.die()
        copy = cluster.node(1)
        copy.device.handle = "memory:another disk"
        with pytest.raises(Refused, match="another disk"):
            await copy.start()

    run_virtual(in_cluster(scenario))


# --- garbage collection ----------------------------------------------------------------------------------------------


def test_an_upload_slower_than_the_garbage_collection_is_done_again_under_another_id() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, streams = await serving(cluster)
        node.bucket.faults = Faults(latency_s=(60.0, 60.0))
        upload = node.run(node.running.engine.uploader.upload_all())
        await asyncio.sleep(30)
        await cluster.control.submit(RetireBlock(first=ObjectId(1)))
        await upload
        head = cluster.control.state.stream_head(streams[0])
        assert head.committed_end == 1
        (live,) = cluster.control.state.stream(streams[0]).ranges
        assert not cluster.control.state.is_retired(live.object_id)
        assert await node.read_back(TOPIC, 0) == [b"a"]

    run_virtual(in_cluster(scenario))
