"""A state from rows alone: what a rescue builds from objects."""

from dataclasses import replace

import pytest
from automq_broker.meta.invariants import findings
from automq_broker.meta.rebuilding import build_state
from automq_broker.meta.rows import StreamStatus
from twins.meta_world import CLUSTER_ID, MetaWorld


def rows_of(world):
    topics = list(world.state.topics())
    streams = [world.state.stream(row.stream_id) for topic in topics for row in topic.partitions]
    return topics, streams, list(world.state.objects.values())


def rebuilt(topics, streams, objects):
    return build_state(
        CLUSTER_ID,
        topics=topics,
        streams=streams,
        objects=objects,
        last_epoch=100,
        next_stream_id=50,
        next_object_id=60,
        next_producer_id=70,
    )


def closed_world():
    world = MetaWorld(nodes=1)
    world.topic("a.b", 2, configs={"retention.ms": "5"})
    for stream_id in (1, 2):
        world.open(stream_id)
        for _ in range(3):
            world.append(stream_id)
        world.close(stream_id)
    return world


def test_rows_come_back_as_they_were():
    world = closed_world()
    state = rebuilt(*rows_of(world))
    assert findings(state) == []
    assert list(state.topics()) == list(world.state.topics())
    assert state.stream(2) == world.state.stream(2)
    assert dict(state.objects) == dict(world.state.objects)
    assert (state.last_epoch, state.next_producer_id) == (100, 70)


def test_life_goes_on_above_every_number_that_was_ever_given():
    world = closed_world()
    world.state = rebuilt(*rows_of(world))
    assert world.start(0, wal_epoch_found=140) == 141
    opened = world.open(1, log_end=45)
    assert (opened.stream_epoch, opened.committed_end) == (1, 30)
    assert world.state.stream(1).opens[-1] == (1, 45)
    assert world.topic("new").partitions[0].stream_id == 50
    assert world.append(1).object_id == 60
    world.check()


def test_an_open_stream_cannot_be_rebuilt():
    topics, streams, objects = rows_of(closed_world())
    streams[0] = replace(streams[0], status=StreamStatus.OPEN)
    with pytest.raises(ValueError, match="nobody can have it open"):
        rebuilt(topics, streams, objects)
