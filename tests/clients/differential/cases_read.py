"""Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords: reading, finding and trimming."""

from typing import Any
from uuid import UUID

from automq_broker.wire.apis.k01_fetch import FetchPartition, FetchRequest, FetchTopic
from automq_broker.wire.apis.k02_list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from automq_broker.wire.apis.k21_delete_records import DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic
from automq_broker.wire.apis.k23_offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from automq_broker.wire.apis.k61_describe_producers import DescribeProducersRequest, TopicRequest
from clients.differential.world import BASE_TIME_MS, Ask, Steps, World, batch, case

FETCH, LIST_OFFSETS, DELETE_RECORDS, EPOCH_END, DESCRIBE_PRODUCERS = 1, 2, 21, 23, 61


def _fetch(
    world: World, version: int, topic: str, offset: int = 0, *, partition: int = 0, **given: Any
) -> FetchRequest:
    row_fields = ("current_leader_epoch", "last_fetched_epoch", "log_start_offset", "partition_max_bytes")
    row = {"partition_max_bytes": 1 << 20, **{key: given.pop(key) for key in row_fields if key in given}}
    partitions = [FetchPartition(partition=partition, fetch_offset=offset, **row)]
    named = FetchTopic(topic=topic, partitions=partitions)
    if version >= 13:
        named = FetchTopic(topic_id=world.topic_id(topic), partitions=partitions)
    fields = {"max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1 << 20, "session_epoch": -1, **given}
    return FetchRequest(replica_id=-1, topics=[named], **fields)


@case(FETCH)
def whole_batches_come_from_any_offset_inside(world: World, version: int) -> Steps:
    topic = world.seeded()
    for offset in (0, 1, 3, 7, 8, 12, 13):
        yield _fetch(world, version, topic, offset)
    yield _fetch(world, version, topic, 0, partition=1)


@case(FETCH)
def offsets_outside_are_out_of_range(world: World, version: int) -> Steps:
    topic = world.seeded()
    for offset in (14, 1000, -1, -2):
        yield _fetch(world, version, topic, offset)


@case(FETCH)
def a_small_limit_still_gives_one_batch(world: World, version: int) -> Steps:
    topic = world.seeded()
    yield _fetch(world, version, topic, 0, partition_max_bytes=1)
    yield _fetch(world, version, topic, 0, max_bytes=1)
    yield _fetch(world, version, topic, 0, partition_max_bytes=250)
    yield _fetch(world, version, topic, 4, partition_max_bytes=0, max_bytes=0)


@case(FETCH)
def committed_reads_of_plain_records_see_everything(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.seeded(), 0, isolation_level=1)


@case(FETCH)
def unknown_topics_and_partitions_are_refused(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.seeded(), 0, partition=9)
    partitions = [FetchPartition(partition=0, partition_max_bytes=1000)]
    unknown = FetchTopic(topic="nobody-made-this", topic_id=UUID(int=77), partitions=partitions)
    yield FetchRequest(replica_id=-1, max_bytes=1000, session_epoch=-1, topics=[unknown])


@case(FETCH, least=9)
def leader_epochs_are_checked(world: World, version: int) -> Steps:
    for epoch in (-1, 1000):
        yield _fetch(world, version, world.seeded(), 0, current_leader_epoch=epoch)


@case(FETCH, least=12)
def a_diverging_last_epoch_is_told(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.seeded(), 13, last_fetched_epoch=1000)


@case(FETCH, least=7)
def unknown_sessions_are_told(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.seeded(), 0, session_id=12345, session_epoch=1)


@case(FETCH, least=7)
def a_new_session_answers_everything_once(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.seeded(), 8, session_id=0, session_epoch=0)


@case(FETCH, only=(4, 12, 18))
def an_empty_fetch_waits_and_then_answers(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.empty_topic(), 0, max_wait_ms=150, min_bytes=1)
    yield _fetch(world, version, world.seeded(), 0, max_wait_ms=150, min_bytes=10_000_000)


@case(FETCH, only=(4, 12, 18))
def log_append_time_is_in_the_batch(world: World, version: int) -> Steps:
    topic = world.topic(configs={"message.timestamp.type": "LogAppendTime"})
    world.append(topic, batch(3))

    def view(answer: Any) -> Any:
        (row,) = answer.responses[0].partitions
        header = row.records
        return [row.error_code, row.high_watermark, bytes(header[21:23]).hex(), bytes(header[23:27]).hex()]

    yield Ask(message=_fetch(world, version, topic, 0), view=view)


def _list(world: World, topic: str, *timestamps: int, partition: int = 0, **given: Any) -> ListOffsetsRequest:
    epoch = given.pop("current_leader_epoch", -1)
    rows = [
        ListOffsetsPartition(partition_index=partition, timestamp=timestamp, current_leader_epoch=epoch)
        for timestamp in timestamps
    ]
    return ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=rows)], **given)


@case(LIST_OFFSETS)
def special_times_in_every_version(world: World, version: int) -> Steps:
    for special in (-1, -2, -3, -4, -5, -6, -7):
        yield _list(world, world.seeded(), special)
        yield _list(world, world.seeded(), special, partition=1)


@case(LIST_OFFSETS)
def times_find_the_first_record_at_or_after(world: World, version: int) -> Steps:
    for number in (-1, 0, 0.5, 1, 2, 3.5, 7, 8, 8.5, 11.9, 12, 12.1):
        yield _list(world, world.seeded(), int(BASE_TIME_MS + 100 * number))
    yield _list(world, world.seeded(), 0)
    yield _list(world, world.seeded(), BASE_TIME_MS, partition=1)


@case(LIST_OFFSETS)
def unknown_topics_and_doubled_partitions_are_refused(world: World, version: int) -> Steps:
    yield _list(world, "nobody-made-this", -1)
    yield _list(world, world.seeded(), -1, partition=9)
    yield _list(world, world.seeded(), -1, -2)


@case(LIST_OFFSETS, least=2)
def committed_reads_and_old_epochs(world: World, version: int) -> Steps:
    yield _list(world, world.seeded(), -1, isolation_level=1)
    yield _list(world, world.seeded(), -1, current_leader_epoch=1000)


@case(LIST_OFFSETS, only=(1, 6, 11))
def deleted_records_move_the_earliest(world: World, version: int) -> Steps:
    topic = world.topic()
    for first in (0, 4, 8):
        world.append(topic, batch(4, first=first))
    row = DeleteRecordsPartition(partition_index=0, offset=5)
    request = DeleteRecordsRequest(timeout_ms=5000, topics=[DeleteRecordsTopic(name=topic, partitions=[row])])
    yield Ask(message=request, version=2)
    for asked in (-2, -1, BASE_TIME_MS, BASE_TIME_MS + 600):
        yield _list(world, topic, asked)
    for offset in (0, 4, 5):
        yield Ask(message=_fetch(world, 12, topic, offset), version=12)


def _delete(topic: str, offset: int, partition: int = 0) -> DeleteRecordsRequest:
    row = DeleteRecordsPartition(partition_index=partition, offset=offset)
    return DeleteRecordsRequest(timeout_ms=5000, topics=[DeleteRecordsTopic(name=topic, partitions=[row])])


@case(DELETE_RECORDS)
def records_go_up_to_an_offset_and_never_come_back(world: World, version: int) -> Steps:
    topic = world.topic()
    for first in (0, 4):
        world.append(topic, batch(4, first=first))
    for offset in (0, 3, 2, 9, -2, 6, -1):
        yield _delete(topic, offset)


@case(DELETE_RECORDS)
def what_cannot_be_deleted_from_is_refused(world: World, version: int) -> Steps:
    yield _delete("nobody-made-this", 0)
    yield _delete(world.empty_topic(), 0, partition=9)
    compacted = world.topic(configs={"cleanup.policy": "compact"})
    world.append(compacted, batch(2))
    yield _delete(compacted, 1)
    world.group()
    yield _delete("__consumer_offsets", 0)


@case(EPOCH_END)
def the_end_of_an_epoch(world: World, version: int) -> Steps:
    def asked(topic: str, epoch: int, current: int = -1, partition: int = 0) -> OffsetForLeaderEpochRequest:
        row = OffsetForLeaderPartition(partition=partition, leader_epoch=epoch, current_leader_epoch=current)
        return OffsetForLeaderEpochRequest(replica_id=-1, topics=[OffsetForLeaderTopic(topic=topic, partitions=[row])])

    yield asked(world.seeded(), 0)
    yield asked(world.seeded(), -1)
    yield asked(world.seeded(), 1000)
    yield asked(world.seeded(), 0, current=1000)
    yield asked(world.seeded(), 0, partition=9)
    yield asked("nobody-made-this", 0)


@case(DESCRIBE_PRODUCERS)
def active_producers_are_described(world: World, version: int) -> Steps:
    topic = world.topic()
    world.append(topic, batch(2, producer_id=4000, producer_epoch=3, base_sequence=5))

    def view(answer: Any) -> Any:
        (row,) = answer.topics[0].partitions
        producers = [(p.producer_id, p.producer_epoch, p.last_sequence) for p in row.active_producers]
        starts = [(p.coordinator_epoch, p.current_txn_start_offset) for p in row.active_producers]
        return [row.error_code, producers, starts]

    yield Ask(message=DescribeProducersRequest(topics=[TopicRequest(name=topic, partition_indexes=[0])]), view=view)
    yield DescribeProducersRequest(topics=[TopicRequest(name=topic, partition_indexes=[7])])
    yield DescribeProducersRequest(topics=[TopicRequest(name="nobody-made-this", partition_indexes=[0])])
