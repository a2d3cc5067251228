"""lake/upload_plan.py: every batch in exactly one object, in an order that can be committed."""

from automq_broker.lake.objects import ObjectKind
from automq_broker.lake.upload_plan import WaitingStream, plan_upload
from hypothesis import given, settings
from hypothesis import strategies as st

streams = st.dictionaries(st.integers(0, 50), st.lists(st.integers(1, 60), max_size=8), max_size=12)


@settings(max_examples=150, deadline=None)
@given(streams, st.integers(1, 120), st.integers(1, 150), st.integers(1, 4))
def test_every_batch_is_in_one_object_and_a_stream_comes_in_order(waiting, split, limit, streams_max):
    planned = plan_upload(
        [WaitingStream(stream_id=stream, sizes=tuple(sizes)) for stream, sizes in waiting.items()],
        split_bytes=split,
        object_bytes_max=limit,
        streams_max=streams_max,
    )
    next_place = dict.fromkeys(waiting, 0)
    for one in planned:
        assert one.size_bytes == sum(part.size_bytes for part in one.parts)
        assert [part.stream_id for part in one.parts] == sorted(part.stream_id for part in one.parts)
        assert len(one.parts) <= streams_max
        assert one.size_bytes <= limit or (len(one.parts) == 1 and one.parts[0].end - one.parts[0].first == 1)
        for part in one.parts:
            assert part.first == next_place[part.stream_id] < part.end
            assert part.size_bytes == sum(waiting[part.stream_id][part.first : part.end])
            next_place[part.stream_id] = part.end
            if sum(waiting[part.stream_id]) >= split:
                assert one.kind is ObjectKind.STREAM
    assert next_place == {stream: len(sizes) for stream, sizes in waiting.items()}


def test_a_large_stream_stands_alone_and_small_ones_share():
    planned = plan_upload(
        [
            WaitingStream(stream_id=3, sizes=(5, 5)),
            WaitingStream(stream_id=1, sizes=(3,)),
            WaitingStream(stream_id=2, sizes=(4,)),
            WaitingStream(stream_id=4, sizes=()),
        ],
        split_bytes=10,
    )
    assert [(one.kind, [part.stream_id for part in one.parts]) for one in planned] == [
        (ObjectKind.STREAM, [3]),
        (ObjectKind.STREAM_SET, [1, 2]),
    ]


def test_one_stream_alone_makes_a_stream_object_however_small():
    (planned,) = plan_upload([WaitingStream(stream_id=1, sizes=(3,))])
    assert planned.kind is ObjectKind.STREAM


def test_nothing_waiting_is_nothing_to_do():
    assert plan_upload([]) == []
