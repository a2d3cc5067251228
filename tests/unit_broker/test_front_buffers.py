"""Receive buffers: reuse only what nobody can see."""

import pytest
from automq_broker.front.buffers import SLAB_BYTES, Buffers, size_class


def test_a_buffer_nobody_sees_is_used_again() -> None:
    buffers = Buffers()
    buffer = buffers.take(200_000)
    assert buffer.view is not None
    buffer.view[:5] = b"first"
    assert buffers.give_back(buffer)
    again = buffers.take(197_000)
    assert buffers.reused_total == 1
    assert again.view is not None
    assert (len(again.view), bytes(again.view[:5])) == (197_000, b"first")


def test_a_buffer_that_somebody_still_sees_is_left_to_him() -> None:
    buffers = Buffers()
    buffer = buffers.take(200_000)
    assert buffer.view is not None
    kept = buffer.view[10:20]
    kept[:] = b"0123456789"
    assert not buffers.give_back(buffer)
    other = buffers.take(200_000)
    assert other.view is not None
    other.view[:] = b"x" * 200_000
    assert bytes(kept) == b"0123456789"


def test_the_stock_is_bounded() -> None:
    buffers = Buffers(idle_bytes_max=300_000)
    taken = [buffers.take(200_000) for _ in range(3)]
    assert [buffers.give_back(buffer) for buffer in taken] == [True, False, False]
    assert buffers.idle_bytes <= 300_000


def test_small_buffers_and_double_returns_are_harmless() -> None:
    buffers = Buffers()
    small, large = buffers.take(100), buffers.take(100_000)
    assert not buffers.give_back(small)
    assert buffers.give_back(large)
    assert not buffers.give_back(large)
    assert buffers.idle_bytes == size_class(100_000)


@pytest.mark.parametrize("size", [1, SLAB_BYTES, SLAB_BYTES + 1, 98_304, 98_305, 1 << 20, (1 << 20) + 1, 104_857_600])
def test_a_size_class_wastes_at_most_half(size: int) -> None:
    capacity = size_class(size)
    assert size <= capacity
    assert capacity <= max(size * 3 // 2 + 1, SLAB_BYTES)
