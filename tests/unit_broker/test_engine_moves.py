"""A partition moves from one broker to another: one open owner, epochs only grow, acked records exactly once."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from automq_broker.engine.append import RECORD_OVERHEAD_BYTES
from automq_broker.engine.partition import Appended
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset, StreamId
from automq_broker.meta.commands import (
    AdvanceStart,
    CloseStream,
    Command,
    CommitObject,
    CreateTopic,
    DeleteTopic,
    FenceNode,
    LiftFence,
    OpenStream,
)
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode
from twins.engine_world import KNOBS
from twins.memory_bucket import Faults
from twins.moves_world import Cluster, Link, Node, in_cluster, one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
PRODUCER = 7


async def two_nodes(cluster: Cluster, partitions: int = 1) -> tuple[Node, Node, list[int]]:
    first, second = await cluster.start(1), await cluster.start(2)
    streams = await cluster.make_topic(TOPIC, partitions, owner=1)
    await first.serves(streams)
    return first, second, streams


async def produce(node: Node, index: int, value: bytes, sequence: int = -1) -> Appended:
    producer = PRODUCER if sequence >= 0 else -1
    partition = node.running.engine.partition(TOPIC, index)
    return await partition.append(one_batch(value, sequence=sequence, producer=producer))


def test_a_moved_partition_goes_on_at_its_new_owner_with_everything_that_was_acknowledged() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        for sequence in range(5):
            await produce(first, 0, b"a%d" % sequence, sequence)
        before = first.running.engine.partition(TOPIC, 0)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        partition = second.running.engine.partition(TOPIC, 0)
        assert partition.log.high_watermark == before.log.high_watermark == 5
        assert partition.stream_epoch == before.stream_epoch + 1
        assert await second.read_back(TOPIC, 0) == [b"a%d" % n for n in range(5)]
        with pytest.raises(ClientFault) as refusal:
            first.running.engine.partition(TOPIC, 0)
        assert refusal.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER

    run_virtual(in_cluster(scenario))


def test_a_retry_at_the_new_owner_of_what_the_old_one_acknowledged_is_a_duplicate() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        for sequence in range(3):
            await produce(first, 0, b"a%d" % sequence, sequence)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        again = await produce(second, 0, b"a2", 2)
        assert again.is_duplicate
        assert again.base_offset == 2
        assert (await produce(second, 0, b"a3", 3)).base_offset == 3

    run_virtual(in_cluster(scenario))


def test_appends_in_flight_when_the_move_begins_are_all_there_or_refused() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        acked: list[bytes] = []
        refused: list[int] = []

        async def send(value: bytes) -> None:
            try:
                await produce(first, 0, value)
            except ClientFault as fault:
                refused.append(fault.code)
            else:
                acked.append(value)

        async def keep_sending() -> None:
            number = 0
            while not refused:
                await asyncio.gather(*(send(b"%d-%d" % (number, each)) for each in range(5)))
                number += 1
                await asyncio.sleep(0.001)

        sending = asyncio.create_task(keep_sending())
        await asyncio.sleep(0.05)
        await cluster.assign(streams, 2)
        await sending
        await second.serves(streams)
        assert len(acked) > 50
        assert set(refused) == {ErrorCode.NOT_LEADER_OR_FOLLOWER}
        assert sorted(await second.read_back(TOPIC, 0)) == sorted(acked)

    run_virtual(in_cluster(scenario))


def test_an_append_that_waits_for_room_in_the_ring_is_refused_by_a_move_and_not_lost() -> None:
    async def scenario(cluster: Cluster) -> None:
        knobs = replace(KNOBS, ring_soft_fraction=0.0, ring_hard_fraction=0.0)
        first = await cluster.start(1, knobs=knobs)
        second = await cluster.start(2)
        streams = await cluster.make_topic(TOPIC, 1, owner=1)
        await first.serves(streams)
        first.bucket.faults = Faults(outage=True)
        waiting = asyncio.create_task(produce(first, 0, b"x" * RECORD_OVERHEAD_BYTES))
        await asyncio.sleep(0.1)
        assert first.running.admission.waiting == 1
        await cluster.assign(streams, 2)
        with pytest.raises(ClientFault) as refusal:
            await waiting
        assert refusal.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        await second.serves(streams)
        assert await second.read_back(TOPIC, 0) == []

    run_virtual(in_cluster(scenario))


def test_an_append_that_waits_for_producer_state_is_refused_by_a_move() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        await produce(first, 0, b"a0", 0)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        second.bucket.faults = Faults(outage=True)
        waiting = asyncio.create_task(produce(second, 0, b"a1", 1))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await cluster.assign(streams, 1)
        with pytest.raises(ClientFault) as refusal:
            await waiting
        assert refusal.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        await first.serves(streams)
        assert (await produce(first, 0, b"a1", 1)).base_offset == 1

    run_virtual(in_cluster(scenario))


def test_a_broker_that_still_loads_producer_state_of_a_partition_that_went_on_elsewhere_lives() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        await produce(first, 0, b"a0", 0)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        second.bucket.faults = Faults(corrupt_read=1.0)  # it looks again and again
        waiting = asyncio.create_task(produce(second, 0, b"a1", 1))
        await asyncio.sleep(0.1)
        await cluster.assign(streams, 1)
        with pytest.raises(ClientFault):
            await waiting
        await first.serves(streams)
        await produce(first, 0, b"a1", 1)
        await first.running.engine.uploader.upload_round()
        await asyncio.sleep(10)
        assert not second.supervisor.has_failed
        second.bucket.faults = Faults()
        await cluster.assign(streams, 2)
        await second.serves(streams)
        assert (await produce(second, 0, b"a1", 1)).is_duplicate

    run_virtual(in_cluster(scenario))


def test_a_waiting_fetch_wakes_when_its_partition_moves_and_is_told_where() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        engine = first.running.engine
        partition = engine.partition(TOPIC, 0)
        started = asyncio.get_running_loop().time()
        wait = engine.wait_appended([partition], 1, started + 300)
        await cluster.assign(streams, 2)
        await wait
        assert asyncio.get_running_loop().time() - started < 1
        leader = engine.leader(TOPIC, uuid.UUID(int=0), 0, "PLAINTEXT")
        assert leader is not None
        await second.serves(streams)
        epoch = second.running.engine.partition(TOPIC, 0).stream_epoch
        assert (leader.node_id, leader.leader_epoch, leader.host) == (2, epoch, "node2")

    run_virtual(in_cluster(scenario))


def test_a_thousand_partitions_leave_in_few_objects_and_few_commits() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster, partitions=1000)
        await asyncio.gather(*(produce(first, index, b"x" * 20) for index in range(1000)))
        sent, commits = len(first.link.sent), cluster.control.statistics().commits
        await cluster.assign(streams, 2)
        await second.serves(streams)
        uploads = [each for each in first.link.sent[sent:] if isinstance(each, CommitObject)]
        assert len(uploads) <= 2
        assert sum(isinstance(each, CloseStream) for each in first.link.sent[sent:]) == 1000
        assert cluster.control.statistics().commits - commits < 20
        assert await second.read_back(TOPIC, 999) == [b"x" * 20]

    run_virtual(in_cluster(scenario))


def test_a_move_to_a_node_that_is_not_there_waits_and_the_partition_is_served_meanwhile() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        epoch = second.running.broker_epoch
        await cluster.control.submit(FenceNode(node_id=second.node_id, broker_epoch=epoch))
        await cluster.assign(streams, 2)
        await asyncio.sleep(5)
        await produce(first, 0, b"still here")
        await cluster.control.submit(LiftFence(node_id=second.node_id, broker_epoch=epoch))
        await second.serves(streams)
        assert await second.read_back(TOPIC, 0) == [b"still here"]

    run_virtual(in_cluster(scenario))


def test_a_move_that_is_called_off_while_it_uploads_changes_nothing() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        epoch = first.running.engine.partition(TOPIC, 0).stream_epoch
        for _ in range(6):
            await produce(first, 0, b"x" * 900_000)
            await first.running.engine.uploader.upload_round()
        first.bucket.faults = Faults(outage=True)
        await asyncio.gather(*(produce(first, 0, b"y" * 500_000) for _ in range(3)))
        round_under_way = asyncio.create_task(first.running.engine.uploader.upload_round())
        await asyncio.sleep(0.5)
        await cluster.assign(streams, 2)
        await asyncio.sleep(0.5)
        assert (await produce(first, 0, b"served while it waits")).base_offset == 9
        await cluster.assign(streams, 1)
        first.bucket.faults = Faults()
        await round_under_way
        await asyncio.sleep(5)
        assert first.running.engine.partition(TOPIC, 0).stream_epoch == epoch
        assert not second.running.engine.open_partitions.by_stream

    run_virtual(in_cluster(scenario))


def test_a_move_that_is_redirected_ends_where_it_was_sent_last() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        third = await cluster.start(3)
        await produce(first, 0, b"a")
        await cluster.assign(streams, 2)
        await cluster.assign(streams, 3)
        await third.serves(streams)
        assert await third.read_back(TOPIC, 0) == [b"a"]
        assert not second.running.engine.open_partitions.by_stream
        await cluster.assign(streams, 1)
        await first.serves(streams)
        assert await first.read_back(TOPIC, 0) == [b"a"]

    run_virtual(in_cluster(scenario))


def test_a_topic_that_is_deleted_while_it_moves_holds_nobody_up() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        await cluster.control.submit(CreateTopic(name="other", topic_id=uuid.UUID(int=5), partitions=1))
        other = cluster.control.state.topic("other").partitions[0].stream_id
        await cluster.assign([other], 1)
        await first.serves([other])
        await produce(first, 0, b"a")
        first.bucket.faults = Faults(outage=True)
        await cluster.assign([*streams, other], 2)
        await asyncio.sleep(0.5)
        row = cluster.control.state.topic(TOPIC)
        await cluster.control.submit(DeleteTopic(topic_id=row.topic_id, now_ms=0))
        first.bucket.faults = Faults()
        await second.serves([other])
        await asyncio.sleep(5)
        assert not first.running.engine.open_partitions.by_stream
        assert not first.supervisor.has_failed

    run_virtual(in_cluster(scenario))


def test_a_read_that_outlives_its_partitions_move_ends_at_the_mark_it_tells() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        for number in range(3):
            await produce(first, 0, b"a%d" % number)
        before = first.running.engine.partition(TOPIC, 0)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        for number in range(3):
            await produce(second, 0, b"b%d" % number)
        await cluster.assign(streams, 1)  # what the second one acknowledged is in the bucket now
        await first.serves(streams)
        answer = await first.running.engine.reader.read(before, Offset(0), 1 << 20)
        found = [header.last_offset for _, header in records.iter_headers(memoryview(b"".join(answer.segments)))]
        assert found == [0, 1, 2]
        assert answer.high_watermark == 3
        assert len(await first.read_back(TOPIC, 0)) == 6

    run_virtual(in_cluster(scenario))


def test_a_read_that_outlives_its_partitions_move_does_not_skip_what_the_next_owner_deleted() -> None:
    async def scenario(cluster: Cluster) -> None:
        first, second, streams = await two_nodes(cluster)
        for number in range(3):
            await produce(first, 0, b"a%d" % number)
        before = first.running.engine.partition(TOPIC, 0)
        await cluster.assign(streams, 2)
        await second.serves(streams)
        advance = AdvanceStart(stream_id=StreamId(streams[0]), start_offset=Offset(2), now_ms=0)
        await cluster.control.submit(advance)
        with pytest.raises(ClientFault) as refusal:
            await first.running.engine.reader.read(before, Offset(0), 1 << 20)
        assert refusal.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER

    run_virtual(in_cluster(scenario))


class _LateAnswers(Link):
    """The answers to one kind of command are on their way until `released` is set."""

    late: type[Command[Any]] = OpenStream
    released: asyncio.Event

    async def submit(self, command: Command[Any]) -> Any:
        answer = await super().submit(command)
        if isinstance(command, self.late):
            await self.released.wait()
        return answer


def test_a_broker_whose_close_is_not_answered_yet_does_not_care_what_the_next_owner_deletes() -> None:
    async def scenario(cluster: Cluster) -> None:
        first = cluster.node(1)
        first.link = link = _LateAnswers(cluster.control, first.fate)
        link.late, link.released = CloseStream, asyncio.Event()
        await first.run(first.start())
        second = await cluster.start(2)
        streams = await cluster.make_topic(TOPIC, 1, owner=1)
        await first.serves(streams)
        await produce(first, 0, b"a0")
        await cluster.assign(streams, 2)
        await second.serves(streams)
        for number in range(3):
            await produce(second, 0, b"b%d" % number)
        await second.running.engine.advance_start(second.running.engine.partition(TOPIC, 0), Offset(3))
        first.running.engine.open_partitions.reloaded(cluster.control.state)
        link.released.set()
        await cluster.assign(streams, 1)
        await first.serves(streams)
        assert not first.supervisor.has_failed
        assert first.running.engine.partition(TOPIC, 0).log.start_offset == 3

    run_virtual(in_cluster(scenario))


def test_a_start_that_advances_while_the_partition_opens_is_kept() -> None:
    async def scenario(cluster: Cluster) -> None:
        first = await cluster.start(1)
        second = cluster.node(2)
        second.link = link = _LateAnswers(cluster.control, second.fate)
        link.released = asyncio.Event()
        await second.run(second.start())
        (stream,) = streams = await cluster.make_topic(TOPIC, 1, owner=1)
        await first.serves(streams)
        for number in range(5):
            await produce(first, 0, b"a%d" % number)
        await cluster.assign(streams, 2)
        while cluster.owners(streams) != {2}:
            await asyncio.sleep(0.01)
        advance = AdvanceStart(stream_id=StreamId(stream), start_offset=Offset(3), now_ms=0)
        await cluster.control.submit(advance)
        link.released.set()
        await second.serves(streams)
        assert second.running.engine.partition(TOPIC, 0).log.start_offset == 3

    run_virtual(in_cluster(scenario))
