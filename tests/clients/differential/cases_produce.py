"""Produce and InitProducerId: what is stored, under which offset, and every refusal with its code."""

import struct
from typing import Any
from uuid import UUID

from automq_broker.wire.apis.k00_produce import PartitionProduceData, ProduceRequest, TopicProduceData
from automq_broker.wire.apis.k03_metadata import MetadataRequest
from automq_broker.wire.apis.k22_init_producer_id import InitProducerIdRequest
from automq_broker.wire.records import Record, encode_batch, stamp_crc
from clients.differential.world import BASE_TIME_MS, Ask, Steps, World, batch, case, records

PRODUCE, INIT_PRODUCER_ID = 0, 22
ALL = 3
"""The first version that is served; 0 to 2 are only advertised."""


def _request(world: World, version: int, topic: str, data: Any, *, partition: int = 0, **fields: Any) -> ProduceRequest:
    rows = [PartitionProduceData(index=partition, records=data)]
    named = TopicProduceData(name=topic, partition_data=rows)
    if version >= 13:
        named = TopicProduceData(topic_id=world.topic_id(topic), partition_data=rows)
    return ProduceRequest(topic_data=[named], **{"acks": -1, "timeout_ms": 5000, **fields})


def _patched(data: bytes, position: int, value: bytes) -> bytes:
    """A batch with other header bytes and a CRC that is right again."""
    changed = bytearray(data)
    changed[position : position + len(value)] = value
    stamp_crc(changed)
    return bytes(changed)


@case(PRODUCE, least=ALL)
def batches_get_consecutive_offsets(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)
    for acks in (-1, 1):
        yield _request(world, version, topic, batch(3), acks=acks)
    yield _request(world, version, topic, batch(1), partition=1)


@case(PRODUCE, least=ALL)
def compressed_batches_are_taken(world: World, version: int) -> Steps:
    topic = world.topic()
    for codec in (1, 2, 3, 4):
        yield _request(world, version, topic, batch(5, compression=codec, size=200))


@case(PRODUCE, only=(3, 9, 13))
def an_unknown_compression_is_refused(world: World, version: int) -> Steps:
    yield _request(world, version, world.topic(), _patched(batch(1), 21, struct.pack(">h", 5)))


@case(PRODUCE, least=ALL)
def unknown_topics_and_partitions_are_refused(world: World, version: int) -> Steps:
    yield _request(world, version, world.empty_topic(), batch(1), partition=17)
    yield _request(world, version, world.empty_topic(), batch(1), partition=-1)
    if version < 13:
        yield _request(world, version, "nobody-made-this", batch(1))
        yield _request(world, version, "not a name", batch(1))
    else:
        rows = [PartitionProduceData(index=0, records=batch(1))]
        unknown = TopicProduceData(topic_id=UUID(int=77), partition_data=rows)
        yield ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[unknown])


@case(PRODUCE, least=ALL)
def bad_acks_are_refused(world: World, version: int) -> Steps:
    for acks in (2, -2):
        yield _request(world, version, world.empty_topic(), batch(1), acks=acks)


@case(PRODUCE, only=(3, 9, 12, 13))
def acks_zero_gets_no_answer_but_order_holds(world: World, version: int) -> Steps:
    topic = world.topic()
    yield Ask(message=_request(world, version, topic, batch(2), acks=0), timeout_s=0.2)


@case(PRODUCE, only=(3, 12))
def acks_zero_with_an_error_closes(world: World, version: int) -> Steps:
    yield Ask(message=_request(world, version, "nobody-made-this", batch(1), acks=0), timeout_s=3)
    yield Ask(message=MetadataRequest(topics=[]), version=1, view=lambda answer: len(answer.topics))


@case(PRODUCE, least=ALL)
def damaged_batches_are_refused_each_with_its_code(world: World, version: int) -> Steps:
    topic, good = world.topic(), batch(2)
    wrong_crc = bytearray(good)
    wrong_crc[-1] ^= 1
    damaged: list[Any] = [
        bytes(wrong_crc),
        _patched(good, 0, struct.pack(">q", 5)),  # base offset
        good[:16] + b"\1" + good[17:],  # magic 1
        good[:16] + b"\0" + good[17:],  # magic 0
        good[:16] + b"\3" + good[17:],  # magic 3
        good + good,
        _patched(good, 23, struct.pack(">i", 5)),  # last offset delta
        _patched(good, 57, struct.pack(">i", 1)),  # count of records
        _patched(good, 21, struct.pack(">h", 0x20)),  # control batch
        good[:-3],
        good[:40],
        good[:8] + struct.pack(">i", 10_000) + good[12:],  # a length beyond the field
        good[:8] + struct.pack(">i", 10) + good[12:],  # a length below the header
        good[:8] + struct.pack(">i", -1) + good[12:],
        b"",
        b"\0" * 200,
    ]
    for data in damaged:
        yield _request(world, version, topic, data)
    yield _request(world, version, topic, good)


@case(PRODUCE, least=ALL)
def bytes_behind_a_batch(world: World, version: int) -> Steps:
    topic = world.topic()
    for junk in (b"\0", b"\0" * 11, b"\0" * 12, b"\xff" * 11, batch(1)[:11], batch(1)[:20]):
        yield _request(world, version, topic, batch(1) + junk)
    yield _request(world, version, topic, batch(1))


@case(PRODUCE, only=(12,))
def one_partition_named_twice(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)

    def asked(*rows: tuple[int, bytes]) -> ProduceRequest:
        request = _request(world, version, topic, b"")
        data = [PartitionProduceData(index=index, records=records) for index, records in rows]
        request.topic_data[0].partition_data = data
        return request

    yield asked((0, batch(2)), (0, batch(3)))
    split = asked((0, batch(2)))
    split.topic_data += asked((0, batch(3))).topic_data
    yield split


@case(PRODUCE, least=ALL)
def a_batch_above_max_message_bytes_is_too_large(world: World, version: int) -> Steps:
    topic = world.topic(configs={"max.message.bytes": "1000"})
    yield _request(world, version, topic, batch(1, size=2000))
    yield _request(world, version, topic, batch(1, size=200))


@case(PRODUCE, least=ALL)
def log_append_time_is_the_brokers_to_set(world: World, version: int) -> Steps:
    topic = world.topic(configs={"message.timestamp.type": "LogAppendTime"})
    yield _request(world, version, topic, batch(2))
    yield _request(world, version, topic, batch(2, timestamp_type=1))
    yield _request(world, version, world.topic("create-time"), batch(2, timestamp_type=1))


@case(PRODUCE, only=(3, 8, 13))
def a_timestamp_far_off_is_refused(world: World, version: int) -> Steps:
    topic = world.topic(configs={"message.timestamp.before.max.ms": "1000"})
    yield _request(world, version, topic, batch(3))
    future = [Record(offset=0, timestamp=4_000_000_000_000, key=None, value=b"v")]
    yield _request(world, version, world.topic("future"), encode_batch(future))


@case(PRODUCE, only=(3, 8, 13))
def a_compacted_topic_wants_keys(world: World, version: int) -> Steps:
    topic = world.topic(configs={"cleanup.policy": "compact"})
    keyless = [Record(offset=n, timestamp=BASE_TIME_MS, key=None, value=b"v") for n in range(2)]
    yield _request(world, version, topic, encode_batch(keyless))
    yield _request(
        world, version, topic, encode_batch([*records(1), Record(offset=1, timestamp=BASE_TIME_MS, value=b"v")])
    )
    yield _request(world, version, topic, batch(2))


@case(PRODUCE, only=(3, 12))
def internal_topics_are_not_for_clients(world: World, version: int) -> Steps:
    world.group()
    yield _request(world, version, "__consumer_offsets", batch(1))


@case(PRODUCE, only=(3, 9, 13))
def no_records_at_all_is_an_answer_too(world: World, version: int) -> Steps:
    yield ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[])


def _producer(world: World) -> int:
    answer = world.until(InitProducerIdRequest(transactional_id=None), 1, lambda answer: answer.error_code == 0)
    return int(answer.producer_id)


@case(PRODUCE, least=ALL)
def sequences_are_checked_and_duplicates_answered(world: World, version: int) -> Steps:
    topic, producer = world.topic(), _producer(world)

    def sent(sequence: int, count: int = 2, epoch: int = 0) -> ProduceRequest:
        data = batch(count, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)
        return _request(world, version, topic, data)

    yield sent(0)
    yield sent(2)
    yield sent(2)  # the last batch again
    yield sent(0)  # an older one again
    yield sent(2, count=3)  # overlaps, but is not the same
    yield sent(7)  # a gap
    yield sent(4)
    for sequence in (6, 8, 10, 12):
        yield sent(sequence)
    yield sent(0)  # older than the five remembered batches
    yield sent(20, epoch=1)  # a new epoch begins at 0
    yield sent(0, epoch=1)
    yield sent(2, epoch=0)  # the old epoch is fenced


@case(PRODUCE, only=(3, 12))
def sequences_wrap_and_unknown_producers_may_start_anywhere(world: World, version: int) -> Steps:
    topic, producer = world.topic(), _producer(world)
    last = 2**31 - 1
    for sequence in (last - 1, 0, 5):
        data = batch(2, producer_id=producer, producer_epoch=0, base_sequence=sequence)
        yield _request(world, version, topic, data)
    yield _request(world, version, topic, batch(1, producer_id=producer, producer_epoch=0, base_sequence=-1))


@case(INIT_PRODUCER_ID)
def an_idempotent_producer_gets_an_id(world: World, version: int) -> Steps:
    yield InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60000)
    yield InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=-1)


@case(INIT_PRODUCER_ID)
def an_empty_transactional_id_is_refused(world: World, version: int) -> Steps:
    yield InitProducerIdRequest(transactional_id="", transaction_timeout_ms=60000)
