"""Blocks read back from the bucket, for readers that are behind the tail.

What one GET brought is a run: its blocks share one piece of memory, so they are counted, aged and dropped together. Two
generations (a segmented LRU): a run enters young and becomes old when a second reader wants a block of it. A reader that
brought a run and reads it in pieces does not count as a second one, so a scan of a whole topic stays young and leaves what
several readers share alone. When room is needed, a reader above its fair share gives first, and among young runs those
that their reader has read to the end: what was fetched early for it is still to be read.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import ObjectId

Buffer = bytes | bytearray | memoryview
Key = tuple[ObjectId, int]

BLOCK_OVERHEAD_BYTES: Final = 1280
"""Counted per block: its bytes object, its run, its key, and its places in dictionaries. Measured with tracemalloc: 1100
bytes for a block alone in its run on CPython 3.11, x86-64; 512 KiB do not feel it."""
OLD_SHARE: Final = 0.5
"""Of the budget, for old runs; the oldest of them fall back among the young."""
SHARES_MIN: Final = 2
"""A reader alone may hold no more than 1/2 of what is not old once the cache is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStatistics:
    """The block cache in numbers; hits, misses and evictions count since the start."""

    budget_bytes: int
    used_bytes: int
    reserved_bytes: int
    old_bytes: int
    blocks: int
    readers: int
    hits: int
    misses: int
    evictions: int


class _Run:
    """Blocks by their positions in one object; `unread` are those that the reader who brought them did not take yet."""

    __slots__ = ("blocks", "cost", "is_old", "object_id", "reader", "unread")

    def __init__(self, object_id: ObjectId, blocks: Sequence[tuple[int, Buffer]], reader: Hashable) -> None:
        self.object_id = object_id
        self.blocks = dict(blocks)
        self.unread = set(self.blocks)
        self.cost = cost_of(blocks)
        self.reader = reader
        self.is_old = False


class _Young:
    """Young runs, of one reader or of all: least recently used first, apart by whether they were read to the end."""

    __slots__ = ("ahead", "read", "used_bytes")

    def __init__(self) -> None:
        self.ahead: OrderedDict[_Run, None] = OrderedDict()
        self.read: OrderedDict[_Run, None] = OrderedDict()
        self.used_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.ahead or self.read)

    def add(self, run: _Run) -> None:
        (self.ahead if run.unread else self.read)[run] = None
        self.used_bytes += run.cost

    def remove(self, run: _Run) -> None:
        (self.ahead if run in self.ahead else self.read).pop(run)
        self.used_bytes -= run.cost

    def renew(self, run: _Run) -> None:
        """It was just used: the youngest again, and among those read to the end if that is so now."""
        (self.ahead if run in self.ahead else self.read).pop(run)
        (self.ahead if run.unread else self.read)[run] = None

    def first(self) -> _Run:
        return next(iter(self.read or self.ahead))


class BlockCache:
    """Blocks by (object id, position), within `budget_bytes` after every call, overhead and reservations included.

    A `reader` is any hashable name of who reads (a connection and partition). The blocks given together must be all that
    keeps their memory alive.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._runs: dict[Key, _Run] = {}
        self._young = _Young()
        self._old: OrderedDict[_Run, None] = OrderedDict()
        self._readers: dict[Hashable, _Young] = {}
        self._by_object: dict[ObjectId, set[int]] = {}
        self._old_bytes_max = int(budget_bytes * OLD_SHARE)
        self._used_bytes = 0
        self._reserved_bytes = 0
        self._old_bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all blocks, overhead included, and of what is reserved."""
        return self._used_bytes + self._reserved_bytes

    @property
    def fair_share_bytes(self) -> int:
        """What one reader may hold of young runs when room is needed: read-ahead should stay below it."""
        return (self.budget_bytes - self._old_bytes) // max(SHARES_MIN, len(self._readers))

    def get(self, object_id: ObjectId, position: int, reader: Hashable = None) -> Buffer | None:
        """The block, or None; counts as a hit or a miss and renews its run's age."""
        run = self._runs.get((object_id, position))
        if run is None:
            self._misses += 1
            return None
        self._hits += 1
        self._use(run, position, reader)
        return run.blocks[position]

    def taken(self, object_id: ObjectId, position: int, reader: Hashable = None) -> None:
        """`reader` got the block while it was on its way here: as if it had come and asked now, not counted again."""
        run = self._runs.get((object_id, position))
        if run is not None:
            self._use(run, position, reader)

    def has(self, object_id: ObjectId, position: int) -> bool:
        """The block is here; changes nothing (for planning a read-ahead)."""
        return (object_id, position) in self._runs

    def reserve(self, size_bytes: int, reader: Hashable = None) -> int:
        """Make room for bytes that are about to arrive; what is returned counts as used until it is released.

        Less than asked for where the budget ends: what is larger will not be kept.
        """
        granted = min(size_bytes, self.budget_bytes - self._reserved_bytes)
        self._make_room(granted, reader)
        self._reserved_bytes += granted
        return granted

    def release(self, granted_bytes: int) -> None:
        """They have arrived, and will be put now, or will not come."""
        self._reserved_bytes -= granted_bytes

    def put(self, object_id: ObjectId, blocks: Sequence[tuple[int, Buffer]], reader: Hashable = None) -> bool:
        """Keep the blocks, by position, that one read of `reader` brought; False if they would not fit alone.

        A run that held one of these positions goes as a whole.
        """
        cost = cost_of(blocks)
        for position, _ in blocks:
            self._drop(self._runs.get((object_id, position)))
        if cost > self.budget_bytes - self._reserved_bytes:
            return False
        self._make_room(cost, reader)
        run = _Run(object_id, blocks, reader)
        for position in run.blocks:
            self._runs[object_id, position] = run
        self._by_object.setdefault(object_id, set()).update(run.blocks)
        self._used_bytes += cost
        self._young.add(run)
        if reader is not None:
            self._readers.setdefault(reader, _Young()).add(run)
        return True

    def drop_object(self, object_id: ObjectId) -> int:
        """Forget all blocks of an object that was deleted or replaced; the number forgotten."""
        positions = sorted(self._by_object.get(object_id, ()))
        for position in positions:
            self._drop(self._runs.get((object_id, position)))
        return len(positions)

    def statistics(self) -> BlockStatistics:
        """The cache in numbers."""
        return BlockStatistics(
            budget_bytes=self.budget_bytes,
            used_bytes=self.used_bytes,
            reserved_bytes=self._reserved_bytes,
            old_bytes=self._old_bytes,
            blocks=len(self._runs),
            readers=len(self._readers),
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if self.used_bytes > self.budget_bytes:
            raise Bug(f"block cache uses {self.used_bytes} of {self.budget_bytes} bytes")
        runs = set(self._runs.values())
        if self._used_bytes != sum(run.cost for run in runs):
            raise Bug("block cache counts other bytes than it holds")
        if {(run.object_id, position) for run in runs for position in run.blocks} != set(self._runs):
            raise Bug("a block is found without its run")
        old = {run for run in runs if run.is_old}
        if old != set(self._old):
            raise Bug("a run is in the wrong generation")
        if self._old_bytes != sum(run.cost for run in old) or self._old_bytes > self._old_bytes_max:
            raise Bug(f"old runs hold {self._old_bytes} bytes of {self._old_bytes_max}")
        self._check_young(self._young, runs - old)
        for name, young in self._readers.items():
            self._check_young(young, {run for run in runs - old if run.reader == name})
            if not young:
                raise Bug(f"reader {name} has nothing and was not forgotten")
        if {(oid, position) for oid, positions in self._by_object.items() for position in positions} != set(self._runs):
            raise Bug("objects and blocks disagree")

    def _check_young(self, young: _Young, expected: set[_Run]) -> None:
        if {*young.ahead, *young.read} != expected or young.used_bytes != sum(run.cost for run in expected):
            raise Bug("young runs are not where they belong")
        if not all(run.unread for run in young.ahead):
            raise Bug("a run that was read to the end counts as ahead")

    def _use(self, run: _Run, position: int, reader: Hashable) -> None:
        if run.is_old:
            self._old.move_to_end(run)
        elif run.reader == reader and reader is not None:
            run.unread.discard(position)
            self._young.renew(run)
            self._readers[reader].renew(run)
        else:
            self._promote(run)

    def _remove_young(self, run: _Run) -> None:
        self._young.remove(run)
        if run.reader is not None:
            reader = self._readers[run.reader]
            reader.remove(run)
            if not reader:
                del self._readers[run.reader]

    def _promote(self, run: _Run) -> None:
        """A second reader wants the run: it becomes old and nobody's; the oldest old ones become young again."""
        if run.cost > self._old_bytes_max:
            self._young.renew(run)
            return
        self._remove_young(run)
        run.reader = None
        run.unread.clear()
        run.is_old = True
        self._old[run] = None
        self._old_bytes += run.cost
        while self._old_bytes > self._old_bytes_max:
            fallen, _ = self._old.popitem(last=False)
            fallen.is_old = False
            self._old_bytes -= fallen.cost
            self._young.add(fallen)

    def _make_room(self, cost: int, reader: Hashable) -> None:
        while self.used_bytes + cost > self.budget_bytes:
            run = self._victim(cost, reader)
            self._evictions += len(run.blocks)
            self._drop(run)

    def _victim(self, cost: int, reader: Hashable) -> _Run:
        mine = self._readers.get(reader)
        if mine is not None and mine.used_bytes + cost > self.fair_share_bytes:
            return mine.first()
        return self._young.first() if self._young else next(iter(self._old))

    def _drop(self, run: _Run | None) -> None:
        if run is None:
            return
        if run.is_old:
            del self._old[run]
            self._old_bytes -= run.cost
        else:
            self._remove_young(run)
        self._used_bytes -= run.cost
        positions = self._by_object[run.object_id]
        for position in run.blocks:
            del self._runs[run.object_id, position]
            positions.discard(position)
        if not positions:
            del self._by_object[run.object_id]


def cost_of(blocks: Sequence[tuple[int, Buffer]]) -> int:
    """What the cache counts for blocks that come together."""
    return sum(len(data) + BLOCK_OVERHEAD_BYTES for _, data in blocks)


__all__ = ["BLOCK_OVERHEAD_BYTES", "BlockCache", "BlockStatistics", "cost_of"]
