"""One idempotent producer in one partition: its epoch and the window of its last five batches."""

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

WINDOW_BATCHES: Final = 5
FIELDS: Final = 4
LAST_OFFSET: Final = 2
"""Of a batch's fields in the window, the one that holds its last offset."""
WINDOW_FIELDS: Final = WINDOW_BATCHES * FIELDS
SEQUENCE_MAX: Final = 2_147_483_647
NO_EPOCH: Final = -1


class BatchSeen(NamedTuple):
    """One batch of a producer's window; sequences wrap from 2147483647 to 0. `timestamp` is its max timestamp."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int


class Producer:
    """One producer's epoch and its window of batches.

    COST: 310 to 470 bytes, measured. The window is one array of 64-bit integers (last sequence, offset delta, last
    offset, timestamp per batch, oldest first), since five tuples of five integers would be four times as large, and a
    busy producer has an entry in every partition that it writes to.
    """

    __slots__ = ("active_ms", "epoch", "last_sequence", "window")

    def __init__(self, epoch: int, active_ms: int) -> None:
        self.epoch = epoch
        self.last_sequence = -1
        self.active_ms = active_ms
        self.window = array("q")

    def batches(self) -> Iterator[BatchSeen]:
        """The window, oldest first."""
        window = self.window
        for i in range(0, len(window), FIELDS):
            last_sequence, delta, last_offset, timestamp = window[i : i + FIELDS]
            yield BatchSeen(
                first_sequence_of(last_sequence, delta), last_sequence, last_offset - delta, last_offset, timestamp
            )

    def find(self, first_sequence: int, last_sequence: int) -> BatchSeen | None:
        """The batch of the window with exactly these sequences."""
        for batch in self.batches():
            if batch.last_sequence == last_sequence and batch.first_sequence == first_sequence:
                return batch
        return None


def first_sequence_of(last_sequence: int, delta: int) -> int:
    """The sequence `delta` records before `last_sequence`, around the wrap."""
    first = last_sequence - delta
    return first if first >= 0 else first + SEQUENCE_MAX + 1


def last_sequence_of(first_sequence: int, delta: int) -> int:
    """The sequence `delta` records after `first_sequence`, around the wrap."""
    last = first_sequence + delta
    return last if last <= SEQUENCE_MAX else last - SEQUENCE_MAX - 1


__all__ = ["BatchSeen", "Producer", "first_sequence_of", "last_sequence_of"]
