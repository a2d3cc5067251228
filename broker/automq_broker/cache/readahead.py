"""How much to fetch from the bucket at once for a reader that is behind, and when to fetch the next piece early.

A reader that goes on where it stopped gets windows that double at each miss and each piece fetched early, so that a short
look costs little and a long catch-up few requests; one whose answers are larger than its window gets two answers ahead at
once, else it would wait for the bucket at each of them. A jump starts over. Source: AutoMQ's StreamReader (unit 512 KiB,
at most 32 MiB).
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, NamedTuple

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Offset, StreamId

UNIT_BYTES: Final = 512 * 1024
WINDOW_BYTES_MAX: Final = 32 * 1024 * 1024
READERS_MAX: Final = 4096


class Prefetch(NamedTuple):
    """Fetch `size_bytes` from `start_offset` on now: the reader will want them soon."""

    start_offset: Offset
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAheadStatistics:
    """Read-ahead in numbers; the counters count since the start."""

    readers: int
    seeks: int
    misses: int
    prefetches: int


class _Window:
    __slots__ = ("ahead_bytes", "is_planning", "loaded_end", "next_offset", "window_bytes")

    def __init__(self, offset: int, window_bytes: int) -> None:
        self.next_offset = offset
        self.window_bytes = window_bytes
        self.loaded_end = offset
        self.ahead_bytes = 0
        """Bytes loaded or being loaded beyond `next_offset`."""
        self.is_planning = False
        """A prefetch was asked for, and is not among the `ahead_bytes` yet."""


class ReadAhead:
    """The windows of up to `readers_max` readers, each a (stream, reader) pair; the longest unused are forgotten.

    The engine calls `missed` before it loads, `loaded` when a load was planned, `served` after every answer, `planned` when
    it has dealt with the prefetch that this returned.
    """

    def __init__(
        self,
        *,
        unit_bytes: int = UNIT_BYTES,
        window_bytes_max: int = WINDOW_BYTES_MAX,
        readers_max: int = READERS_MAX,
    ) -> None:
        if not 0 < unit_bytes <= window_bytes_max:
            raise Bug(f"read-ahead unit {unit_bytes}, at most {window_bytes_max}")
        self.unit_bytes = unit_bytes
        self.window_bytes_max = window_bytes_max
        self.readers_max = readers_max
        self._windows: OrderedDict[tuple[StreamId, Hashable], _Window] = OrderedDict()
        self._seeks = 0
        self._misses = 0
        self._prefetches = 0

    def missed(self, stream_id: StreamId, reader: Hashable, offset: int, spare_bytes: int) -> int:
        """The bytes that the load for this miss should bring, from `offset` on; at least a unit.

        `spare_bytes` is what the cache can take for this reader (its fair share): no window is larger.
        """
        self._misses += 1
        window = self._window(stream_id, reader, offset)
        if not window.window_bytes:
            window.window_bytes = self.unit_bytes
        else:
            window.window_bytes = min(2 * window.window_bytes, self.window_bytes_max)
        window.loaded_end = offset
        window.ahead_bytes = 0
        window.is_planning = False
        return self._capped(window.window_bytes, spare_bytes)

    def loaded(self, stream_id: StreamId, reader: Hashable, end_offset: int, size_bytes: int) -> None:
        """A load of `size_bytes` that ends before `end_offset` was planned, for a miss or a prefetch."""
        window = self._windows.get((stream_id, reader))
        if window is not None and end_offset > window.loaded_end:
            window.loaded_end = end_offset
            window.ahead_bytes += size_bytes
            if window.is_planning:
                window.is_planning = False
                window.window_bytes = min(2 * window.window_bytes, self.window_bytes_max)

    def served(
        self,
        stream_id: StreamId,
        reader: Hashable,
        offset: int,
        next_offset: int,
        *,
        size_bytes: int,
        spare_bytes: int,
    ) -> Prefetch | None:
        """An answer of `size_bytes` from `offset` up to `next_offset` left; what to fetch early, if anything.

        A prefetch is due when no more than three quarters of a window are left ahead of a reader that reads on, and tops
        the window up: most of it is then on its way or here, however far the bucket is. After a first small look that used
        up what it loaded none is.
        """
        window = self._window(stream_id, reader, offset)
        window.next_offset = next_offset
        window.ahead_bytes = max(0, window.ahead_bytes - size_bytes)
        if not window.window_bytes:
            return None
        if size_bytes > window.window_bytes:
            window.window_bytes = min(2 * size_bytes, self.window_bytes_max)
        if window.loaded_end <= next_offset:
            if window.window_bytes == self.unit_bytes:
                return None
            window.loaded_end, window.ahead_bytes = next_offset, 0
        size = self._capped(window.window_bytes, spare_bytes)
        if window.is_planning or window.ahead_bytes * 4 > size * 3 or spare_bytes < self.unit_bytes:
            return None
        self._prefetches += 1
        window.is_planning = True
        return Prefetch(Offset(window.loaded_end), max(self.unit_bytes, size - window.ahead_bytes))

    def planned(self, stream_id: StreamId, reader: Hashable) -> None:
        """The prefetch that was asked for is planned, with whatever success: the next one may come."""
        window = self._windows.get((stream_id, reader))
        if window is not None:
            window.is_planning = False

    def forget(self, stream_id: StreamId, reader: Hashable) -> None:
        """The reader is gone."""
        self._windows.pop((stream_id, reader), None)

    def statistics(self) -> ReadAheadStatistics:
        """Read-ahead in numbers."""
        return ReadAheadStatistics(
            readers=len(self._windows), seeks=self._seeks, misses=self._misses, prefetches=self._prefetches
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if len(self._windows) > self.readers_max:
            raise Bug(f"{len(self._windows)} readers, {self.readers_max} allowed")
        for key, window in self._windows.items():
            if not 0 <= window.window_bytes <= self.window_bytes_max or window.ahead_bytes < 0:
                raise Bug(f"reader {key} has a window of {window.window_bytes}, {window.ahead_bytes} bytes ahead")

    def _window(self, stream_id: StreamId, reader: Hashable, offset: int) -> _Window:
        """The reader's window, a new one for a new reader or after a jump."""
        key = (stream_id, reader)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(offset, 0)
            if len(self._windows) > self.readers_max:
                self._windows.popitem(last=False)
        elif offset != window.next_offset:
            self._seeks += 1
            window = self._windows[key] = _Window(offset, 0)
            self._windows.move_to_end(key)
        else:
            self._windows.move_to_end(key)
        return window

    def _capped(self, window_bytes: int, spare_bytes: int) -> int:
        return max(self.unit_bytes, min(window_bytes, spare_bytes))


__all__ = ["Prefetch", "ReadAhead", "ReadAheadStatistics"]
