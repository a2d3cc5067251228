"""The generic codec: every API and version there and back, the rules for null and tags, and what it refuses."""

import random
import struct
import tracemalloc

import pytest
from automq_broker.wire import codec
from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from automq_broker.wire.apis.k18_api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from automq_broker.wire.apis.k75_describe_topic_partitions import DescribeTopicPartitionsRequest
from automq_broker.wire.apis.k75_describe_topic_partitions import DescribeTopicPartitionsRequestCursor as TopicCursor
from automq_broker.wire.index import APIS, RECORDS, record_classes, request_class, response_class
from automq_broker.wire.primitives import MAX_ITEMS, WireError
from automq_broker.wire.schema import ZERO_UUID
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.random_messages import random_message

KINDS = [(entry.key, entry.name) for entry in APIS.values()]


def both_classes(key):
    return request_class(key), response_class(key)


def versions_of(key):
    return range(APIS[key].min_version, APIS[key].max_version + 1)


@pytest.mark.parametrize(("key", "name"), KINDS)
def test_every_version_of_an_api_comes_back_as_it_went(key, name):
    for message_class in both_classes(key):
        for version in versions_of(key):
            for seed in range(4):
                message = random_message(message_class, version, random.Random(seed))
                data = codec.encode(message, version)
                assert codec.decode(message_class, version, memoryview(data)) == message


@pytest.mark.parametrize("entry", RECORDS, ids=lambda entry: entry.name)
def test_every_record_of_an_internal_topic_comes_back_as_it_went(entry):
    key_class, value_class = record_classes(entry.topic, entry.type)
    for message_class, versions in ((key_class, [0]), (value_class, range(entry.value_version + 1))):
        for version in versions:
            for seed in range(4):
                message = random_message(message_class, version, random.Random(seed))
                assert codec.decode(message_class, version, memoryview(codec.encode(message, version))) == message


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 1 << 30), data=st.data())
def test_random_damage_gives_a_message_or_a_wire_error_and_nothing_else(kind, seed, data):
    key = kind[0]
    version = data.draw(st.sampled_from(list(versions_of(key))))
    message_class = data.draw(st.sampled_from(both_classes(key)))
    chance = random.Random(seed)
    frame = bytearray(codec.encode(random_message(message_class, version, chance), version))
    for _ in range(chance.randint(1, 6)):
        if frame:
            frame[chance.randrange(len(frame))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    try:
        codec.decode(message_class, version, memoryview(frame))
    except WireError:
        pass


@pytest.mark.parametrize(("key", "name"), KINDS)
def test_a_message_cut_short_anywhere_is_refused(key, name):
    for message_class in both_classes(key):
        version = APIS[key].max_version
        frame = memoryview(codec.encode(random_message(message_class, version, random.Random(7)), version))
        step = max(1, len(frame) // 200)
        for end in [*range(0, len(frame), step), len(frame) - 1]:
            if 0 <= end < len(frame):
                with pytest.raises(WireError):
                    codec.decode(message_class, version, frame[:end])


def test_an_array_that_cannot_fit_is_refused_before_anything_is_allocated():
    frames = {
        1: struct.pack(">i", 0x7FFFFFFF),
        9: b"\xff\xff\xff\xff\x0f",
        4: struct.pack(">i", 1_000_000),
        12: b"\xc1\x84\x3d" + bytes(100),
    }
    tracemalloc.start()
    for version, frame in frames.items():
        with pytest.raises(WireError):
            codec.decode(MetadataRequest, version, memoryview(frame))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_items_of_all_arrays_share_one_budget():
    frame = memoryview(struct.pack(">i", 11) + b"\0\0" * 11)
    assert len(codec.decode(MetadataRequest, 1, frame, items=11).topics) == 11
    with pytest.raises(WireError):
        codec.decode(MetadataRequest, 1, frame, items=10)
    many = memoryview(struct.pack(">i", MAX_ITEMS + 1) + bytes(2 * MAX_ITEMS + 2))
    with pytest.raises(WireError):
        codec.decode(MetadataRequest, 1, many)


def test_a_string_longer_than_the_frame_is_refused():
    for frame in (b"\x7f\xff", b"\x00\x05abcd"):
        with pytest.raises(WireError):
            codec.decode(MetadataRequestTopic, 1, memoryview(frame))


def test_null_is_refused_where_the_schema_allows_none():
    with pytest.raises(WireError):
        codec.decode(MetadataRequest, 0, memoryview(struct.pack(">i", -1)))
    with pytest.raises(WireError):
        codec.encode(MetadataRequest(topics=None), 0)
    assert codec.decode(MetadataRequest, 1, memoryview(struct.pack(">i", -1))).topics is None
    with pytest.raises(WireError):
        codec.decode(ApiVersionsRequest, 3, memoryview(b"\0\x02a\0"))


def test_a_null_struct_is_one_signed_byte():
    assert codec.encode(DescribeTopicPartitionsRequest(), 0)[-2:] == b"\xff\0"
    present = DescribeTopicPartitionsRequest(cursor=TopicCursor(topic_name="t", partition_index=5))
    data = codec.encode(present, 0)
    assert data[-9:] == b"\x01\x02t\0\0\0\x05\0\0"
    assert codec.decode(DescribeTopicPartitionsRequest, 0, memoryview(data)) == present


def test_unknown_tagged_fields_are_skipped_and_known_ones_kept():
    message = ApiVersionsResponse(api_keys=[ApiVersion(api_key=1)], finalized_features_epoch=9)
    plain = codec.encode(message, 3)
    assert plain[-11:] == b"\x01" + b"\x01\x08" + struct.pack(">q", 9)
    with_unknown = plain[:-11] + b"\x03" + plain[-10:] + b"\x09\x00" + b"\xff\x01\x05hello"
    assert codec.decode(ApiVersionsResponse, 3, memoryview(with_unknown)) == message


@pytest.mark.parametrize(
    "tags",
    [
        b"\x01\x01\x07" + bytes(8),  # a known field of 8 bytes that claims 7
        b"\x01\x01\x09" + bytes(9),
        b"\x01\x05\x20" + bytes(8),  # an unknown field longer than the frame
        b"\xff\xff\xff\xff\x0f",
        b"\x91\x4e" + b"\x05\x00" * 10_001,
        b"\x80\x80\x80\x80\x80\x01",
    ],
)
def test_damaged_tagged_fields_are_refused(tags):
    plain = codec.encode(ApiVersionsResponse(), 3)
    assert plain.endswith(b"\0")
    with pytest.raises(WireError):
        codec.decode(ApiVersionsResponse, 3, memoryview(plain[:-1] + tags))


def test_bytes_after_the_last_field_are_ignored():
    data = codec.encode(MetadataRequest(topics=None), 12)
    assert codec.decode(MetadataRequest, 12, memoryview(data + b"rest")).topics is None


def test_bytes_that_are_not_utf8_are_replaced_as_kafka_does():
    topic = codec.decode(MetadataRequestTopic, 1, memoryview(b"\x00\x03a\xffb"))
    assert topic.name == "a�b"


def test_fields_outside_the_version_hold_their_defaults():
    response = codec.decode(MetadataResponse, 0, memoryview(codec.encode(MetadataResponse(controller_id=5), 0)))
    assert (response.controller_id, response.cluster_id, response.throttle_time_ms) == (-1, None, 0)
    topic = codec.decode(MetadataRequestTopic, 12, memoryview(codec.encode(MetadataRequestTopic(name=None), 12)))
    assert (topic.name, topic.topic_id) == (None, ZERO_UUID)


def test_each_message_has_lists_of_its_own():
    first, second = MetadataRequest(), MetadataRequest()
    first.topics.append(MetadataRequestTopic())
    assert second.topics == []
    decoded = [codec.decode(MetadataResponse, 0, memoryview(bytes(8))) for _ in range(2)]
    decoded[0].topics.append(1)
    assert decoded[1].topics == []


@pytest.mark.parametrize("wrong", [1 << 40, "five", None, 1.5])
def test_a_value_that_does_not_fit_its_field_is_a_wire_error(wrong):
    with pytest.raises(WireError):
        codec.encode(ApiVersion(api_key=wrong), 3)


def test_a_string_too_long_for_its_length_field_is_a_wire_error():
    with pytest.raises(WireError):
        codec.encode(MetadataRequestTopic(name="x" * 32768), 1)
