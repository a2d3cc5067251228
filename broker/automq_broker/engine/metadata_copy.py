"""The confirmed metadata as this process has it: the state, how far it goes, and who is told of changes.

Holder and follower use the same copy: the one adds what it committed, the other what it heard. `seq` is the commit up
to which the state is complete; commits without records (renewals) move it too.
"""

import asyncio
import heapq
from collections.abc import Sequence

from automq_broker.engine.metadata_recent import RecentBatches
from automq_broker.meta.codec import Batch
from automq_broker.meta.records import Record
from automq_broker.meta.state import State
from automq_broker.ports import OnRecords, OnReload


class MetadataCopy:
    """One per process, used from one loop. `state` is replaced by another object at a reload: ask for it each time."""

    def __init__(self, recent_bytes: int) -> None:
        self.state = State("")
        self.seq = -1
        self.recent = RecentBatches(recent_bytes)
        self._subscribers: list[tuple[OnRecords, OnReload | None]] = []
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waits = 0
        self._news: asyncio.Future[None] | None = None

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None) -> None:
        """See Metadata.subscribe."""
        self._subscribers.append((on_records, on_reload))

    def add(self, seq: int, data: bytes, records: Sequence[Record]) -> None:
        """A confirmed commit, the next one; `data` is the batch as it was stored. Subscribers hear of it at once."""
        for record in records:
            self.state.replay(record)
        if data:
            self.recent.append(seq, data)
        self.seq = seq
        for on_records, _ in self._subscribers:
            on_records(records)
        self.tell_news()  # also without records: who asked for the commit waits until its own copy is as far
        self._wake_waiting()

    def add_batch(self, batch: Batch) -> None:
        """A confirmed commit as it was stored; one that is here already changes nothing. Raises Corrupt and Refused."""
        if batch.seq > self.seq:
            self.add(batch.seq, bytes(batch.whole), list(batch.records()))

    def advance(self, seq: int) -> None:
        """Everything up to `seq` is here: what is between had no records."""
        if seq > self.seq:
            self.seq = seq
            self._wake_waiting()

    def replace(self, state: State, seq: int, recent: RecentBatches) -> None:
        """The state was loaded anew, as of `seq`."""
        self.state, self.seq, self.recent = state, seq, recent
        for _, on_reload in self._subscribers:
            if on_reload is not None:
                on_reload(state)
        self.tell_news()
        self._wake_waiting()

    async def wait_seq(self, seq: int) -> None:
        """Wait until the state has everything up to `seq`."""
        if self.seq >= seq:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits += 1
        heapq.heappush(self._waiting, (seq, self._waits, reached))
        await reached

    async def wait_news(self, timeout_s: float) -> None:
        """Wait for the next batch, or for `tell_news`; at most so long."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._news], timeout=timeout_s)

    def tell_news(self) -> None:
        """Let everybody who waits for news look again."""
        news, self._news = self._news, None
        if news is not None:
            news.set_result(None)

    def _wake_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.seq:
            _, _, reached = heapq.heappop(self._waiting)
            if not reached.done():
                reached.set_result(None)


__all__ = ["MetadataCopy"]
