"""Which blocks of a cold read go into one GET."""

from typing import Any

from automq_broker.engine.cold_plan import Place, runs, whole, without_rest
from automq_broker.kernel.ids import ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.lake.objects import IndexEntry
from automq_broker.meta.rows import ObjectRow
from hypothesis import given
from hypothesis import strategies as st

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 511 * KIB


def places(object_id: int, lengths: list[int], *, start: int = 0) -> list[Place]:
    row: Any = ObjectRow(
        object_id=ObjectId(object_id), size=1 << 30, crc=0, node_id=1, kind=1, created_ms=0, index_position=0, ranges=()
    )  # type: ignore[arg-type]
    found = []
    for number, length in enumerate(lengths):
        entry = IndexEntry(
            stream_id=StreamId(1),
            stream_epoch=StreamEpoch(1),
            first_offset=Offset(number),
            last_offset=Offset(number),
            position=start,
            length=length,
            records=1,
            max_timestamp=0,
            crc=0,
        )
        found.append((row, entry))
        start += length
    return found


def sizes(planned: list[Place], get_bytes: int) -> list[int]:
    return [sum(entry.length for entry in run) for _, run in runs(planned, get_bytes)]


def test_a_stretch_is_cut_into_equal_gets_and_leaves_no_rest() -> None:
    assert sizes(places(1, [BLOCK] * 17), 8 * MIB) == [17 * BLOCK]
    assert sizes(places(1, [BLOCK] * 17), 4 * MIB) == [9 * BLOCK, 8 * BLOCK]
    assert sizes(places(1, [BLOCK] * 33), 8 * MIB) == [17 * BLOCK, 16 * BLOCK]


def test_blocks_that_do_not_touch_or_lie_in_several_objects_are_gets_of_their_own() -> None:
    apart = places(1, [BLOCK]) + places(1, [BLOCK], start=2 * BLOCK) + places(2, [BLOCK], start=3 * BLOCK)
    assert sizes(apart, 8 * MIB) == [BLOCK] * 3
    assert sizes([], 8 * MIB) == []


def test_an_answer_ends_with_a_whole_block_unless_that_would_halve_it() -> None:
    assert len(whole(places(1, [BLOCK] * 17), 8 * MIB)) == 16
    assert len(whole(places(1, [BLOCK] * 2), 2 * BLOCK)) == 2
    assert len(whole(places(1, [BLOCK, BLOCK]), 1020 * KIB)) == 1
    assert len(whole(places(1, [100 * KIB, BLOCK]), 300 * KIB)) == 2, "100 of 300 KiB would be a poor answer"
    assert len(whole(places(1, [BLOCK]), 1)) == 1
    assert whole([], 1) == []


def test_the_first_blocks_of_the_next_object_are_left_for_the_next_prefetch() -> None:
    planned = places(1, [BLOCK] * 8) + places(2, [BLOCK])
    assert without_rest(planned, 2 * MIB) == planned[:8]
    assert without_rest(planned, BLOCK) == planned
    assert without_rest(places(1, [BLOCK]), 2 * MIB) == places(1, [BLOCK])


@given(lengths=st.lists(st.integers(1, 600), max_size=60), get_bytes=st.integers(100, 3000))
def test_every_block_is_in_one_run_and_none_is_much_larger_than_a_get(lengths: list[int], get_bytes: int) -> None:
    planned = places(1, lengths)
    found = runs(planned, get_bytes)
    assert [entry for _, run in found for entry in run] == [entry for _, entry in planned]
    assert all(len(run) == 1 or sum(entry.length for entry in run) <= 1.5 * get_bytes + 600 for _, run in found)
