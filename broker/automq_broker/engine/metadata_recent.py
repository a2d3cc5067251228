"""The last batches of the metadata as bytes, for followers that are a little behind: a bounded window."""

from collections import deque


class RecentBatches:
    """Every batch above `floor_seq`, oldest first. A follower at or above the floor can go on from here."""

    def __init__(self, bytes_max: int, floor_seq: int = 0) -> None:
        self.floor_seq = floor_seq
        self._bytes_max = bytes_max
        self._batches: deque[tuple[int, bytes]] = deque()
        self._size_bytes = 0

    def append(self, seq: int, data: bytes) -> None:
        """The next batch; the oldest ones make room for it."""
        self._batches.append((seq, data))
        self._size_bytes += len(data)
        while self._size_bytes > self._bytes_max:
            self.floor_seq, dropped = self._batches.popleft()
            self._size_bytes -= len(dropped)

    def after(self, seq: int, bytes_max: int) -> tuple[bytes, int | None]:
        """Batches above `seq`, whole ones, at least one if there is any; and the last one's seq if more are left."""
        taken: list[bytes] = []
        size, last = 0, seq
        for number, data in self._batches:
            if number <= seq:
                continue
            if taken and size + len(data) > bytes_max:
                return b"".join(taken), last
            taken.append(data)
            size += len(data)
            last = number
        return b"".join(taken), None

    def since(self, seq: int) -> tuple[int, int]:
        """How many of the kept batches are above `seq`, and their bytes."""
        sizes = [len(data) for number, data in self._batches if number > seq]
        return len(sizes), sum(sizes)


__all__ = ["RecentBatches"]
