"""A state through its snapshot and back, at size, and damaged."""

import struct
import time
import zlib
from uuid import UUID

import pytest
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.meta.codec import encode_batch, split_batches
from automq_broker.meta.commands import AdvanceStart, DeleteTopic, RescueNode, SetConfigs
from automq_broker.meta.invariants import findings
from automq_broker.meta.rows import Endpoint, ResourceType
from automq_broker.meta.snapshots import decode_snapshot, encode_snapshot, restore, state_as_data
from automq_broker.meta.state import State
from twins.meta_world import CLUSTER_ID, MetaWorld


def lived_in_world():
    world = MetaWorld(nodes=2)
    world.start(1, rack="b", endpoints=(Endpoint(listener="L", host="h", port=9092),))
    world.topic("a.b", 3, configs={"retention.ms": "5"}, owners=(0, 1, 0))
    gone = world.topic("gone")
    for stream_id in (1, 2, 3, 4):
        world.open(stream_id)
        for _ in range(3):
            world.append(stream_id, 10)
    world.start(0)
    world.do(AdvanceStart(stream_id=1, start_offset=15, now_ms=4))
    world.do(DeleteTopic(topic_id=gone.topic_id, now_ms=9))
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="", upserts={"x": "ü"}))
    world.do(RescueNode(node_id=1, expected_epoch=world.epochs[1], rescue=UUID(int=1)))
    return world


def through_bytes(state):
    return decode_snapshot(b"".join(encode_snapshot(state)), state.cluster_id)


def test_a_snapshot_holds_everything():
    world = lived_in_world()
    restored = through_bytes(world.state)
    assert state_as_data(restored) == state_as_data(world.state)
    assert findings(restored) == []


def test_a_restored_state_goes_on_like_the_one_it_was_taken_from():
    world = lived_in_world()
    world.state = through_bytes(world.state)
    world.topic("new", 2)
    world.open(1)
    world.append(1, 4)
    world.check()


def test_replaying_the_records_gives_the_same_state():
    world = lived_in_world()
    (batch,) = split_batches(encode_batch(1, world.records))
    other = State(CLUSTER_ID)
    for record in batch.records():
        other.replay(record)
    assert state_as_data(other) == state_as_data(world.state)


def test_an_empty_state_has_a_snapshot_too():
    assert state_as_data(through_bytes(State(CLUSTER_ID))) == state_as_data(State(CLUSTER_ID))


def test_every_cut_and_every_flipped_byte_is_noticed():
    data = b"".join(encode_snapshot(lived_in_world().state))
    for cut in range(0, len(data), 7):
        with pytest.raises(Corrupt):
            decode_snapshot(data[:cut], CLUSTER_ID)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        if position in (10, 11):  # reserved
            continue
        with pytest.raises(Refused if position in (8, 9) else Corrupt):  # another version
            decode_snapshot(bytes(damaged), CLUSTER_ID)


def test_a_missing_frame_is_noticed():
    pieces = list(encode_snapshot(lived_in_world().state))
    del pieces[-2]
    with pytest.raises(Corrupt, match="lacks frames"):
        decode_snapshot(b"".join(pieces), CLUSTER_ID)


def test_a_newer_version_or_section_is_refused_by_name():
    data = bytearray(b"".join(encode_snapshot(State(CLUSTER_ID))))
    data[8] = 2
    with pytest.raises(Refused, match=r"version 2 .* newer release"):
        decode_snapshot(bytes(data), CLUSTER_ID)
    content = zlib.compress(b"")
    crc = zlib.crc32(content, zlib.crc32(struct.pack("<BII", 99, len(content), 0)))
    frame = struct.pack("<BII", 99, len(content), crc) + content
    with pytest.raises(Refused, match="section 99"):
        decode_snapshot(next(encode_snapshot(State(CLUSTER_ID))) + frame, CLUSTER_ID)


def test_a_loop_can_breathe_while_a_topic_with_very_many_partitions_or_ranges_is_loaded_and_stored():
    world = MetaWorld(nodes=1)
    world.topic("wide", 10_000)
    (deep,) = world.topic("deep", 1).partitions
    for stream in list(world.state.streams.values())[:100]:
        for index in range(2_000):
            stream.ends.append(index + 1)
            stream.cells.extend((7, 0, index, 0, 1, 1, 1, 0, 0))
    pieces = list(encode_snapshot(world.state))
    state = State(CLUSTER_ID)
    streams = ranges = 0
    for _ in restore(state, b"".join(pieces)):
        assert len(state.streams) - streams <= 2_000
        loaded = sum(len(stream.ends) for stream in state.streams.values())
        assert loaded - ranges <= 25_000
        streams, ranges = len(state.streams), loaded
    assert (streams, ranges) == (10_001, 200_000)
    assert state_as_data(state)["topics"] == state_as_data(world.state)["topics"]
    assert deep.stream_id in state.streams


def test_ten_thousand_partitions_with_a_hundred_thousand_ranges_load_in_a_second():
    world = MetaWorld(nodes=1)
    world.topic("big", 10_000)
    state = world.state
    for stream in state.streams.values():
        stream.epoch, stream.is_open, stream.owner, stream.opener_epoch = 0, True, 0, 1
        stream.opens.extend((0, 0))
        for index in range(10):
            stream.ends.append((index + 1) * 1000)
            stream.cells.extend((7, 0, index * 1000, 4096, 8192, 1000, 1_700_000_000_000, 1, 2))
        stream.committed_end = 10_000
    data = b"".join(encode_snapshot(state))
    started = time.process_time()
    restored = decode_snapshot(data, CLUSTER_ID)
    assert time.process_time() - started < 1.0
    assert len(restored.streams) == 10_000
    assert restored.ranges_from(5, 9_500, 1)[0].start == 9_000
