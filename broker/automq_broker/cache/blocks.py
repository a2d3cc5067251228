"""Blocks read back from the bucket, for readers that are behind the tail.

Two generations (a segmented LRU): a block enters young and becomes old when a second reader wants it. A reader that
brought a block and reads it again in pieces does not count as a second one, so a scan of a whole topic stays young and
leaves what several readers share alone. When room is needed, a reader above its fair share gives first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import ObjectId

Buffer = bytes | memoryview
Key = tuple[ObjectId, int]

BLOCK_OVERHEAD_BYTES: Final = 640
"""Counted per block: its bytes object, the block, its key, and its places in three dictionaries and a set. Measured
with tracemalloc: 542 bytes on CPython 3.11, x86-64; alone in its object 300 more, which 512 KiB do not feel."""
OLD_SHARE: Final = 0.75
"""Of the budget, for old blocks; the oldest of them fall back among the young."""
SHARES_MIN: Final = 2
"""A reader alone may hold no more than 1/2 of the budget once the cache is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStatistics:
    """The block cache in numbers; hits, misses and evictions count since the start."""

    budget_bytes: int
    used_bytes: int
    old_bytes: int
    blocks: int
    readers: int
    hits: int
    misses: int
    evictions: int


class _Block:
    __slots__ = ("cost", "data", "is_old", "reader")

    def __init__(self, data: Buffer, cost: int, reader: Hashable) -> None:
        self.data = data
        self.cost = cost
        self.reader = reader
        self.is_old = False


class _Reader:
    """The young blocks that one reader brought, least recently used first."""

    __slots__ = ("keys", "used_bytes")

    def __init__(self) -> None:
        self.keys: OrderedDict[Key, None] = OrderedDict()
        self.used_bytes = 0


class BlockCache:
    """Blocks by (object id, position), within `budget_bytes` after every call, overhead included.

    A `reader` is any hashable name of who reads (a connection and partition). Data given must own its memory: a view
    into a larger buffer would pin the whole of it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._blocks: dict[Key, _Block] = {}
        self._young: OrderedDict[Key, None] = OrderedDict()
        self._old: OrderedDict[Key, None] = OrderedDict()
        self._readers: dict[Hashable, _Reader] = {}
        self._by_object: dict[ObjectId, set[int]] = {}
        self._old_bytes_max = int(budget_bytes * OLD_SHARE)
        self._used_bytes = 0
        self._old_bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all blocks, overhead included."""
        return self._used_bytes

    @property
    def fair_share_bytes(self) -> int:
        """What one reader may hold of young blocks when room is needed: read-ahead should stay below it."""
        return self.budget_bytes // max(SHARES_MIN, len(self._readers))

    def get(self, object_id: ObjectId, position: int, reader: Hashable = None) -> Buffer | None:
        """The block, or None; counts as a hit or a miss and renews the block's age."""
        key = (object_id, position)
        block = self._blocks.get(key)
        if block is None:
            self._misses += 1
            return None
        self._hits += 1
        if block.is_old:
            self._old.move_to_end(key)
        elif block.reader == reader and reader is not None:
            self._young.move_to_end(key)
            self._readers[reader].keys.move_to_end(key)
        else:
            self._promote(key, block)
        return block.data

    def has(self, object_id: ObjectId, position: int) -> bool:
        """The block is here; changes nothing (for planning a read-ahead)."""
        return (object_id, position) in self._blocks

    def put(self, object_id: ObjectId, position: int, data: Buffer, reader: Hashable = None) -> bool:
        """Keep a block that `reader` brought; False if it alone would not fit. A block that is here is replaced."""
        key = (object_id, position)
        cost = len(data) + BLOCK_OVERHEAD_BYTES
        self._drop(key)
        if cost > self.budget_bytes:
            return False
        self._make_room(cost, reader)
        self._blocks[key] = block = _Block(data, cost, reader)
        self._by_object.setdefault(object_id, set()).add(position)
        self._used_bytes += cost
        self._add_young(key, block)
        return True

    def drop_object(self, object_id: ObjectId) -> int:
        """Forget all blocks of an object that was deleted or replaced; the number forgotten."""
        positions = sorted(self._by_object.get(object_id, ()))
        for position in positions:
            self._drop((object_id, position))
        return len(positions)

    def statistics(self) -> BlockStatistics:
        """The cache in numbers."""
        return BlockStatistics(
            budget_bytes=self.budget_bytes,
            used_bytes=self._used_bytes,
            old_bytes=self._old_bytes,
            blocks=len(self._blocks),
            readers=len(self._readers),
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if self._used_bytes > self.budget_bytes:
            raise Bug(f"block cache uses {self._used_bytes} of {self.budget_bytes} bytes")
        if self._used_bytes != sum(block.cost for block in self._blocks.values()):
            raise Bug("block cache counts other bytes than it holds")
        old = {key for key, block in self._blocks.items() if block.is_old}
        if old != set(self._old) or set(self._blocks) - old != set(self._young):
            raise Bug("a block is in the wrong generation")
        if self._old_bytes != sum(self._blocks[key].cost for key in old) or self._old_bytes > self._old_bytes_max:
            raise Bug(f"old blocks hold {self._old_bytes} bytes of {self._old_bytes_max}")
        for name, reader in self._readers.items():
            mine = {key for key in self._young if self._blocks[key].reader == name}
            if not mine or mine != set(reader.keys):
                raise Bug(f"reader {name} and its blocks disagree")
            if reader.used_bytes != sum(self._blocks[key].cost for key in mine):
                raise Bug(f"reader {name} counts other bytes than it holds")
        if {(oid, position) for oid, positions in self._by_object.items() for position in positions} != set(
            self._blocks
        ):
            raise Bug("objects and blocks disagree")

    def _add_young(self, key: Key, block: _Block) -> None:
        self._young[key] = None
        if block.reader is not None:
            reader = self._readers.get(block.reader)
            if reader is None:
                reader = self._readers[block.reader] = _Reader()
            reader.keys[key] = None
            reader.used_bytes += block.cost

    def _remove_young(self, key: Key, block: _Block) -> None:
        del self._young[key]
        if block.reader is not None:
            reader = self._readers[block.reader]
            del reader.keys[key]
            reader.used_bytes -= block.cost
            if not reader.keys:
                del self._readers[block.reader]

    def _promote(self, key: Key, block: _Block) -> None:
        """A second reader wants the block: it becomes old and nobody's; the oldest old ones become young again."""
        if block.cost > self._old_bytes_max:
            self._young.move_to_end(key)
            return
        self._remove_young(key, block)
        block.reader = None
        block.is_old = True
        self._old[key] = None
        self._old_bytes += block.cost
        while self._old_bytes > self._old_bytes_max:
            fallen, _ = self._old.popitem(last=False)
            other = self._blocks[fallen]
            other.is_old = False
            self._old_bytes -= other.cost
            self._young[fallen] = None

    def _make_room(self, cost: int, reader: Hashable) -> None:
        while self._used_bytes + cost > self.budget_bytes:
            self._evictions += 1
            self._drop(self._victim(cost, reader))

    def _victim(self, cost: int, reader: Hashable) -> Key:
        mine = self._readers.get(reader)
        if mine is not None and mine.used_bytes + cost > self.fair_share_bytes:
            return next(iter(mine.keys))
        return next(iter(self._young or self._old))

    def _drop(self, key: Key) -> None:
        block = self._blocks.pop(key, None)
        if block is None:
            return
        if block.is_old:
            del self._old[key]
            self._old_bytes -= block.cost
        else:
            self._remove_young(key, block)
        self._used_bytes -= block.cost
        positions = self._by_object[key[0]]
        positions.discard(key[1])
        if not positions:
            del self._by_object[key[0]]


__all__ = ["BlockCache", "BlockStatistics"]
