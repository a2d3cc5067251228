"""lake/rescue.py: streams come back from objects alone; the higher epoch wins; what is lost is named."""

from dataclasses import replace
from random import Random
from uuid import UUID

from automq_broker.lake.keys import data_key
from automq_broker.lake.objects import ObjectHeader, ObjectKind, StreamSlice, decode_index, encode_object
from automq_broker.lake.rescue import rebuild
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.lake_objects import joined, slice_of


def stored(object_id, *slices, cluster="c1", created_ms=0, block_bytes=60):
    head = ObjectHeader(
        cluster_id=cluster,
        node_id=1,
        broker_epoch=4,
        object_id=object_id,
        created_ms=created_ms,
        kind=ObjectKind.STREAM_SET,
    )
    encoded = encode_object(head, slices, block_bytes=block_bytes)
    return data_key(object_id), decode_index(joined(encoded)[encoded.index_position :]), encoded.size


def run(stream, start, batches, *, epoch=1, count=5, checkpoint=b"cp"):
    return slice_of(stream, start, [(count, 50, 1)] * batches, epoch=epoch, checkpoint=checkpoint)


def spans(stream):
    return [(piece.start, piece.end, piece.object_id) for piece in stream.ranges]


def test_streams_come_back_from_their_objects_in_any_order():
    found = [stored(3, run(1, 20, 2), run(2, 0, 1)), stored(1, run(1, 0, 4)), stored(7, run(2, 5, 1, epoch=3))]
    rescued = rebuild(found)
    assert rescued == rebuild(found[::-1])
    one, two = rescued.streams
    assert spans(one) == [(0, 20, 1), (20, 30, 3)]
    assert spans(two) == [(0, 5, 3), (5, 10, 7)]
    assert (one.gaps, one.topic, one.partition, one.node_id) == ((), "töpic-1", 1, 1)
    assert (rescued.cluster_id, rescued.left_out) == ("c1", ())
    assert (rescued.next_object_id, rescued.next_stream_id, rescued.next_epoch) == (8, 3, 5)
    assert two.stream_epoch == 3


def test_a_stray_upload_of_a_fenced_owner_loses_against_the_higher_epoch():
    rescued = rebuild([stored(1, run(1, 0, 4)), stored(9, run(1, 20, 4, epoch=1)), stored(5, run(1, 20, 6, epoch=2))])
    assert spans(rescued.streams[0]) == [(0, 20, 1), (20, 50, 5)]
    assert [one.subject for one in rescued.left_out] == ["object 9"]


def test_a_stray_upload_keeps_what_lies_before_the_higher_epoch():
    rescued = rebuild([stored(1, run(1, 0, 4)), stored(9, run(1, 0, 8)), stored(5, run(1, 30, 6, epoch=2))])
    (stream,) = rescued.streams
    assert stream.gaps == ()
    assert (stream.ranges[0].start, stream.ranges[-1].end) == (0, 60)


def test_inputs_of_a_compaction_in_their_grace_do_no_harm():
    parts = [stored(n, run(1, 10 * n, 2)) for n in range(1, 4)]
    whole = stored(8, run(1, 10, 6))
    rescued = rebuild([*parts, whole])
    assert spans(rescued.streams[0]) == [(10, 40, 8)]
    assert len(rescued.left_out) == 3


def test_blocks_that_cross_are_chosen_so_that_no_offset_is_left_out():
    # 90 is an aborted compaction of [0, 30); 85 a committed one of [10, 60), after which its inputs were deleted.
    found = [
        stored(1, run(1, 0, 1, count=10)),
        stored(85, run(1, 10, 1, count=50)),
        stored(90, run(1, 0, 1, count=30)),
    ]
    (stream,) = rebuild(found).streams
    assert spans(stream) == [(0, 10, 1), (10, 60, 85)]


def test_a_missing_object_leaves_a_gap_and_everything_around_it_is_kept():
    rescued = rebuild([stored(1, run(1, 0, 2)), stored(3, run(1, 20, 2)), stored(4, run(1, 30, 2))])
    (stream,) = rescued.streams
    assert stream.gaps == ((10, 20),)
    assert [piece.start for piece in stream.ranges] == [0, 20, 30]


def filler(object_id, start, count, *, epoch=1):
    piece = slice_of(1, start, [(count, 61, 1)], epoch=epoch)
    empty = [batch._replace(records_count=0) for batch in piece.batches]
    return stored(object_id, replace(piece, batches=empty))


def test_what_filled_a_gap_gives_way_to_the_records_when_they_are_found_again():
    lost = stored(2, run(1, 10, 2))
    (stream,) = rebuild([stored(1, run(1, 0, 2)), filler(9, 10, 10), stored(3, run(1, 20, 2))]).streams
    assert stream.gaps == ((10, 20),)
    (stream,) = rebuild([stored(1, run(1, 0, 2)), lost, filler(9, 10, 10), stored(3, run(1, 20, 2))]).streams
    assert spans(stream) == [(0, 10, 1), (10, 20, 2), (20, 30, 3)]


def test_behind_the_first_offset_of_an_epoch_nothing_of_an_older_one_counts():
    rescued = rebuild([stored(1, run(1, 0, 4)), stored(9, run(1, 40, 2, epoch=1)), stored(5, run(1, 20, 2, epoch=2))])
    assert spans(rescued.streams[0]) == [(0, 20, 1), (20, 30, 5)]


def test_objects_of_another_cluster_under_wrong_keys_or_of_wrong_size_are_left_out():
    good = stored(1, run(1, 0, 1))
    also = stored(2, run(1, 5, 1))
    other = stored(3, run(9, 0, 1), cluster="c2")
    key, index, size = stored(4, run(8, 0, 1))
    rescued = rebuild([good, also, other, (data_key(5), index, size), (key, index, size + 1)])
    assert [stream.stream_id for stream in rescued.streams] == [1]
    assert len(rescued.left_out) == 3
    assert rebuild([good, also, other], cluster_id="c2").streams[0].stream_id == 9


def test_of_two_topics_of_one_name_the_one_written_last_has_it():
    def topic(stream, topic_id):
        piece = run(stream, 0, 1)
        return StreamSlice(
            stream_id=stream,
            topic_id=UUID(int=topic_id),
            topic="orders",
            partition=0,
            stream_epoch=1,
            batches=piece.batches,
        )

    rescued = rebuild([stored(1, topic(1, 5), created_ms=10), stored(2, topic(2, 4), created_ms=20)])
    assert [(stream.stream_id, stream.topic_id.int) for stream in rescued.streams] == [(2, 4)]
    assert "stream 1" in [one.subject for one in rescued.left_out]


def test_only_a_range_that_ends_with_its_slice_has_its_checkpoint():
    rescued = rebuild([stored(1, run(1, 0, 4)), stored(2, run(1, 10, 1, epoch=2))])
    (stream,) = rescued.streams
    assert [(piece.start, piece.checkpoint_length) for piece in stream.ranges] == [(0, 0), (10, 2)]


def test_nothing_is_rescued_from_nothing():
    rescued = rebuild([])
    assert (rescued.streams, rescued.next_object_id, rescued.cluster_id) == ((), 0, "")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_stream_whose_live_objects_all_exist_comes_back_without_a_gap(seed):
    """Commits, uploads that were never committed, restarts at higher epochs, compactions with inputs still there."""
    random, found, live = Random(seed), [], []
    object_id, end, epoch = 0, 0, 1
    for _ in range(random.randrange(1, 12)):
        object_id += 1
        batches = random.randrange(1, 6)
        action = random.choice(("commit", "commit", "stray", "restart", "compact"))
        if action == "compact" and len(live) > 1:
            first = random.randrange(len(live) - 1)
            start, stop = live[first][0], live[-1][1]
            found.append(stored(object_id, run(1, start, (stop - start) // 5, epoch=live[-1][2])))
            live[first:] = [(start, stop, live[-1][2])]
            continue
        found.append(stored(object_id, run(1, end, batches, epoch=epoch)))
        if action == "commit":
            live.append((end, end + 5 * batches, epoch))
            end += 5 * batches
        elif action == "restart":
            epoch += 1
    random.shuffle(found)
    rescued = rebuild(found)
    for stream in rescued.streams:
        assert stream.gaps == ()
        assert stream.ranges[0].start == 0
        assert stream.ranges[-1].end >= end
