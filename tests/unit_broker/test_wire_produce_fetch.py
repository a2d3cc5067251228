"""The hand-written codecs of Produce and Fetch against the generic one: same messages, same bytes, same refusals."""

import random

import pytest
from automq_broker.wire import codec, fetch, frames, produce
from automq_broker.wire.apis.k00_produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from automq_broker.wire.apis.k01_fetch import FetchableTopicResponse, FetchRequest, FetchResponse, PartitionData
from automq_broker.wire.primitives import MAX_ITEMS, Sink, WireError
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.random_messages import random_message

TUNED = {0: (produce, ProduceRequest, ProduceResponse), 1: (fetch, FetchRequest, FetchResponse)}
VERSIONS = [(0, version) for version in range(3, 14)] + [(1, version) for version in range(4, 19)]
seeds = st.integers(0, 1 << 32)


def outcome(decode, *arguments):
    try:
        return decode(*arguments)
    except WireError:
        return "refused"


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(VERSIONS), seed=seeds)
def test_requests_are_read_as_the_generic_codec_reads_them(kind, seed):
    key, version = kind
    module, request_class, _ = TUNED[key]
    message = random_message(request_class, version, random.Random(seed))
    frame = memoryview(b"head" + codec.encode(message, version) + b"tail")
    assert module.decode_request(version, frame, 4) == message == codec.decode(request_class, version, frame, 4)


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(VERSIONS), seed=seeds)
def test_damaged_requests_are_read_or_refused_as_the_generic_codec_does(kind, seed):
    key, version = kind
    module, request_class, _ = TUNED[key]
    chance = random.Random(seed)
    frame = bytearray(codec.encode(random_message(request_class, version, chance), version))
    for _ in range(chance.randint(1, 4)):
        frame[chance.randrange(len(frame))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    view = memoryview(frame)[: chance.choice((len(frame), chance.randint(0, len(frame))))]
    assert outcome(module.decode_request, version, view, 0) == outcome(codec.decode, request_class, version, view)


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_a_request_cut_short_anywhere_is_refused(key, version):
    module, request_class, _ = TUNED[key]
    frame = memoryview(codec.encode(random_message(request_class, version, random.Random(5)), version))
    for end in range(0, len(frame), max(1, len(frame) // 150)):
        with pytest.raises(WireError):
            module.decode_request(version, frame[:end], 0)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(VERSIONS), seed=seeds)
def test_responses_are_written_as_the_generic_codec_writes_them(kind, seed):
    key, version = kind
    module, _, response_class = TUNED[key]
    message = random_message(response_class, version, random.Random(seed))
    sink = Sink()
    module.encode_response(sink, message, version)
    assert b"".join((*sink.parts, sink.head)) == codec.encode(message, version)


@pytest.mark.parametrize("version", range(3, 14))
def test_produced_records_are_views_into_the_frame(version):
    request = ProduceRequest(
        acks=-1,
        topic_data=[TopicProduceData(name="t", partition_data=[PartitionProduceData(records=b"batch bytes")])],
    )
    frame = bytearray(codec.encode(request, version))
    records = produce.decode_request(version, memoryview(frame), 0).topic_data[0].partition_data[0].records
    frame[frame.index(b"batch bytes")] = ord("B")
    assert records == b"Batch bytes"


@pytest.mark.parametrize("version", range(4, 19))
def test_fetched_segments_leave_as_the_very_buffers_that_came(version):
    segments = [memoryview(b"first"), memoryview(b"second")]
    rows = [PartitionData(partition_index=i, aborted_transactions=None, records=segments) for i in range(2)]
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=rows)])
    parts = frames.encode_response(frames.RequestHeader(1, version, 7, None), response)
    passed = [part for part in parts if any(part is segment for segment in segments)]
    assert len(passed) == 4
    frame = b"".join(parts)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    correlation_id, decoded = frames.decode_response(1, version, memoryview(frame)[4:])
    assert correlation_id == 7
    assert [row.records for row in decoded.responses[0].partitions] == [b"firstsecond"] * 2


@pytest.mark.parametrize("version", [4, 11, 12, 16])
def test_empty_records_and_null_records_differ(version):
    rows = [PartitionData(records=None), PartitionData(records=b""), PartitionData(records=[])]
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=rows)])
    frame = b"".join(frames.encode_response(frames.RequestHeader(1, version, 7, None), response))
    _, decoded = frames.decode_response(1, version, memoryview(frame)[4:])
    assert [row.records for row in decoded.responses[0].partitions] == [None, b"", b""]


def test_a_produce_request_may_not_bring_more_items_than_the_budget():
    empty = codec.encode(ProduceRequest(), 9)[:-2]
    rows = MAX_ITEMS // 2 + 1
    topic = b"\x02t" + b"\xa2\xc2\x1e" + bytes(6 * rows) + b"\0"
    frame = memoryview(empty + b"\x03" + topic * 2 + b"\0")
    with pytest.raises(WireError):
        produce.decode_request(9, frame, 0)
    with pytest.raises(WireError):
        codec.decode(ProduceRequest, 9, frame)


def test_a_value_that_does_not_fit_is_a_wire_error_here_too():
    row = PartitionProduceResponse(index=1 << 40)
    response = ProduceResponse(responses=[TopicProduceResponse(name="t", partition_responses=[row])])
    wrong_fetch = FetchResponse(responses=[FetchableTopicResponse(partitions=[PartitionData(partition_index="x")])])
    for version in (3, 7, 8, 9, 13):
        with pytest.raises(WireError):
            produce.encode_response(Sink(), response, version)
    for version in (4, 11, 12):
        with pytest.raises(WireError):
            fetch.encode_response(Sink(), wrong_fetch, version)
