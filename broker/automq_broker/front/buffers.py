"""Where bytes from sockets land: one slab for everything small, a buffer for each request that comes in parts.

A read of the loop is atomic: it asks for a buffer, fills it and reports, with nothing between. So one slab serves all
connections, and an idle connection owns no buffer at all. What stays beyond the read is copied out of the slab: whole
requests (they become immutable bytes, which any number of views may hold), and the start of a longer one into its own
buffer, into which the rest is then received directly.

Large buffers are reused, because fresh pages cost as much as the copy they would save; but only when nobody can see
them.
"""

import mmap
import sys

SLAB_BYTES = 64 * 1024
_SMALL_READ_BYTES = 1024
_IDLE_BYTES_MAX = 16 * 1024 * 1024

# Within give_back the mapping is known to its local name and to getrefcount; a view left anywhere adds one.
_UNSEEN_REFERENCES = 2


class FrameBuffer:
    """A buffer for one request. `view` has exactly the request's size; drop every other view before `give_back`."""

    __slots__ = ("memory", "view")

    def __init__(self, memory: mmap.mmap | bytearray, size: int) -> None:
        self.memory: mmap.mmap | bytearray | None = memory
        self.view: memoryview | None = memoryview(memory)[:size]


class Buffers:
    """The slab, and a small stock of large buffers by size class. Used by one loop."""

    def __init__(self, idle_bytes_max: int = _IDLE_BYTES_MAX) -> None:
        self.slab = memoryview(bytearray(SLAB_BYTES))
        self.slab_when_tight = self.slab[:_SMALL_READ_BYTES]
        """Handed out while memory is short, so that connections about to wait keep little."""

        self._stock: dict[int, list[mmap.mmap]] = {}
        self._idle_bytes_max = idle_bytes_max
        self.idle_bytes = 0
        self.reused_total = 0

    def take(self, size: int) -> FrameBuffer:
        """A buffer for a request of `size` bytes, with any old content."""
        if size <= SLAB_BYTES:
            return FrameBuffer(bytearray(size), size)
        capacity = size_class(size)
        stock = self._stock.get(capacity)
        if stock:
            self.idle_bytes -= capacity
            self.reused_total += 1
            return FrameBuffer(stock.pop(), size)
        return FrameBuffer(mmap.mmap(-1, capacity), size)

    def give_back(self, buffer: FrameBuffer) -> bool:
        """Keep the buffer for another request if it is large, no view of it is left and there is room; True if kept.

        A view that somebody still holds stays valid: the buffer then is not reused, and lives as long as the view.
        """
        buffer.view = None
        memory, buffer.memory = buffer.memory, None
        if not isinstance(memory, mmap.mmap):
            return False
        capacity = len(memory)
        if sys.getrefcount(memory) > _UNSEEN_REFERENCES or self.idle_bytes + capacity > self._idle_bytes_max:
            return False
        self._stock.setdefault(capacity, []).append(memory)
        self.idle_bytes += capacity
        return True


def size_class(size: int) -> int:
    """The capacity for a request of `size` bytes: powers of two and the middles between them, at least one slab."""
    power = max(SLAB_BYTES, 1 << (size - 1).bit_length())
    middle = power // 4 * 3
    return middle if middle >= max(size, SLAB_BYTES) else power


__all__ = ["SLAB_BYTES", "Buffers", "FrameBuffer", "size_class"]
