"""A partition of `__consumer_offsets` in memory: the handle that coordinators append to, with a durability that can be held.

The batches live in a `GroupStream`, which outlives handles as a stream outlives its owners.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from automq_broker.groups.placement import GROUPS_TOPIC
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode


@dataclass(slots=True)
class GroupStream:
    """What is durable: (base offset, end offset, batch) in order, and where the log starts."""

    batches: list[tuple[int, int, bytes]] = field(default_factory=list)
    start_offset: int = 0
    end_offset: int = 0
    trims: int = 0

    def append(self, batch: Any) -> int:
        """Make a batch durable; returns its base offset."""
        stamped = bytearray(batch)
        base = self.end_offset
        records.stamp(stamped, base, 0)
        header = records.read_batch_header(stamped)
        self.end_offset = base + header.last_offset_delta + 1
        self.batches.append((base, self.end_offset, bytes(stamped)))
        return base

    @property
    def size_bytes(self) -> int:
        return sum(len(batch) for _, _, batch in self.batches)


class GroupPartition:
    """One open of the stream. Appends become durable after `delay_s`; `refuses` is raised at once, `fails` later."""

    topic = GROUPS_TOPIC

    def __init__(self, stream: GroupStream, index: int = 0, *, delay_s: float = 0.001) -> None:
        self.stream = stream
        self.index = index
        self.delay_s = delay_s
        self.is_open = True
        self.refuses: ErrorCode | None = None
        self.fails: ErrorCode | None = None
        self.read_troubles: list[Exception] = []
        self.appended: list[bytes] = []

    @property
    def log(self) -> Any:
        return SimpleNamespace(start_offset=Offset(self.stream.start_offset), end_offset=Offset(self.stream.end_offset))

    def append(self, batch: Any) -> "asyncio.Future[Any]":
        if not self.is_open:
            raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if self.refuses is not None:
            raise ClientFault(self.refuses)
        self.appended.append(bytes(batch))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self.fails is not None:
            loop.call_later(self.delay_s, future.set_exception, ClientFault(self.fails))
        else:
            base = self.stream.append(batch)
            loop.call_later(self.delay_s, future.set_result, SimpleNamespace(base_offset=base))
        return future

    async def read(self, offset: int, max_bytes: int) -> list[memoryview]:
        await asyncio.sleep(self.delay_s)
        if self.read_troubles:
            raise self.read_troubles.pop(0)
        assert offset >= self.stream.start_offset
        found: list[memoryview] = []
        size = 0
        for _, end, batch in self.stream.batches:
            if end > offset and (not found or size + len(batch) <= max_bytes):
                found += [memoryview(batch)[:40], memoryview(batch)[40:]]  # a batch may lie in several segments
                size += len(batch)
        return found

    async def trim(self, start_offset: int) -> None:
        await asyncio.sleep(self.delay_s)
        assert self.stream.start_offset <= start_offset <= self.stream.end_offset
        self.stream.start_offset = start_offset
        self.stream.trims += 1
        self.stream.batches = [row for row in self.stream.batches if row[1] > start_offset]


class Tasks:
    """Starts background work as the supervisor does, and remembers the first error."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


def counting_ids() -> Callable[[], str]:
    """id1, id2, ..."""
    count = 0

    def make_id() -> str:
        nonlocal count
        count += 1
        return f"id{count}"

    return make_id


__all__ = ["GroupPartition", "GroupStream", "Tasks", "counting_ids"]
