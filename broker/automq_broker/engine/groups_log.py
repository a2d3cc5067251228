"""How one partition of `__consumer_offsets` is read and written: loading, batches of records, snapshots.

What is asked for in one turn of the loop leaves as one batch. Appends end in the order in which they were asked for,
whatever their outcome, because the state machine applies them in that order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from automq_broker.groups import records as group_records
from automq_broker.groups.values import Append
from automq_broker.groups.written import Record
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.ports import Buffer, Clock
from automq_broker.wire import records as wire_records
from automq_broker.wire.codes import ErrorCode

BATCH_BYTES = 256 * 1024
"""A batch is closed at this size; only a single larger record makes a larger one."""

READ_BYTES = 4 << 20
_LIMIT_BYTES = 64 << 20
_LIMIT_RATIO = 64
_EMPTY_READ_PAUSE_S = 0.01

_APPEND_FAULTS = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}
"""What a member of a group is told when the log refuses a record, in terms that its client knows."""


class LogBounds(Protocol):
    """The offsets of a partition's log."""

    @property
    def start_offset(self) -> Offset:
        """First offset kept."""

    @property
    def end_offset(self) -> Offset:
        """The next offset to be written."""


class PartitionHandle(Protocol):
    """What a coordinator needs of an open partition; `engine.partition.Partition` offers it."""

    @property
    def topic(self) -> str:
        """Its topic's name."""

    @property
    def index(self) -> int:
        """Its number in the topic."""

    @property
    def is_open(self) -> bool:
        """Whether this broker still serves it."""

    @property
    def log(self) -> LogBounds:
        """Its offsets."""

    def append(self, batch: Buffer) -> "asyncio.Future[Any]":
        """Resolves with an object that has `base_offset` once durable; raises ClientFault, at once or later."""

    async def read(self, offset: Offset, max_bytes: int) -> list[memoryview]:
        """Whole batches from the one that holds `offset`."""

    async def trim(self, start_offset: Offset) -> None:
        """Forget what is below, durably."""


@dataclass(slots=True)
class _Flight:
    """One batch on its way, or refused: whose appends it carries and how it ended (None = not yet)."""

    tickets: tuple[int, ...]
    outcome: ErrorCode | None = None


class GroupsLog:
    """The hands of one coordinator. `ended(ticket, fault)` is called once for every append, in order."""

    def __init__(self, handle: PartitionHandle, clock: Clock, ended: Callable[[int, ErrorCode], None]) -> None:
        self._handle = handle
        self._clock = clock
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._queue: list[Append] = []
        self._flights: deque[_Flight] = deque()
        self._is_flush_scheduled = False
        self._is_paused = False
        self._settled: asyncio.Future[None] | None = None
        self.bytes_since_snapshot = 0
        self.snapshot_size_bytes = 0

    # --- loading --------------------------------------------------------------------------------------------------

    async def latest(self) -> dict[bytes, bytes]:
        """The last value of every key that has one. Gives the loop back after every batch."""
        found: dict[bytes, bytes] = {}
        self.bytes_since_snapshot = 0
        start = offset = self._handle.log.start_offset
        end = self._handle.log.end_offset
        while offset < end and self._handle.is_open:
            data = memoryview(b"".join(await self._handle.read(offset, READ_BYTES)))
            if not data:
                await asyncio.sleep(_EMPTY_READ_PAUSE_S)  # the last records are not durable yet
                continue
            for position, header in wire_records.iter_headers(data):
                batch = data[position : position + header.size_bytes]
                offset = Offset(header.last_offset + 1)
                self.bytes_since_snapshot += len(batch)
                # Offsets of transactions count only once their marker is seen; this version writes neither.
                if not header.is_control and not header.is_transactional:
                    _collect(batch, start, found)
                await asyncio.sleep(0)
        return found

    # --- writing --------------------------------------------------------------------------------------------------

    def append(self, append: Append) -> None:
        """Take one append; it leaves at the end of this turn of the loop, together with its neighbours."""
        self._queue.append(append)
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self._flush)

    def refuse_queued(self, fault: ErrorCode) -> None:
        """End what has not left yet; what is on its way ends by itself."""
        queue, self._queue = self._queue, []
        if queue:
            self._flights.append(_Flight(tuple(append.ticket for append in queue), fault))
            self._report()

    @property
    def appends_in_flight(self) -> int:
        """Batches handed over and not ended."""
        return len(self._flights)

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        if self._is_paused:
            return
        queue, self._queue = self._queue, []
        for tickets, rows in self._batches(queue):
            self._hand_over(_Flight(tickets), rows)
        self._report()

    def _batches(self, queue: list[Append]) -> Iterator[tuple[tuple[int, ...], list[wire_records.Record]]]:
        """Neighbouring appends together, none ever split: each is all or nothing."""
        now_ms = self._clock.now_ms()
        tickets: list[int] = []
        rows: list[wire_records.Record] = []
        size = 0
        for append in queue:
            more, more_size = _rows(append.records, now_ms)
            if rows and size + more_size > BATCH_BYTES:
                yield tuple(tickets), rows
                tickets, rows, size = [], [], 0
            tickets.append(append.ticket)
            rows += more
            size += more_size
        if rows:
            yield tuple(tickets), rows

    def _hand_over(self, flight: _Flight, rows: list[wire_records.Record]) -> "asyncio.Future[Any] | None":
        batch = wire_records.encode_batch(rows)
        self._flights.append(flight)
        try:
            future = self._handle.append(batch)
        except ClientFault as fault:
            flight.outcome = _told(fault)
            return None
        self.bytes_since_snapshot += len(batch)
        future.add_done_callback(lambda done: self._landed(flight, done))
        return future

    def _landed(self, flight: _Flight, done: "asyncio.Future[Any]") -> None:
        if done.cancelled():
            flight.outcome = ErrorCode.NOT_COORDINATOR
        else:
            error = done.exception()
            if error is not None and not isinstance(error, ClientFault):
                return  # the log is broken and the process is ending: nobody is told anything
            flight.outcome = ErrorCode.NONE if error is None else _told(error)
        self._report()

    def _report(self) -> None:
        while self._flights and self._flights[0].outcome is not None:
            flight = self._flights.popleft()
            for ticket in flight.tickets:
                self._ended(ticket, flight.outcome or ErrorCode.NONE)
        if not self._flights and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    # --- snapshots ------------------------------------------------------------------------------------------------

    def is_snapshot_due(self, *, bytes_max: int, is_old: bool) -> bool:
        """Whether enough was written since the last one; never less than that one's own size, to bound the writing."""
        worthwhile = max(self.snapshot_size_bytes, BATCH_BYTES)
        return self.bytes_since_snapshot >= (worthwhile if is_old else max(worthwhile, bytes_max))

    async def snapshot(
        self, group_ids: Callable[[], list[str]], records_of: Callable[[str], tuple[Record, ...]]
    ) -> None:
        """Write the live state anew and forget everything before it.

        ORDER: a group's state is taken only while nothing is on its way, so that no record of it stands below the
        snapshot without being in it. New appends wait for one batch at most, then go on between the pieces.
        Raises ClientFault if the partition closes or refuses, or `records_of` does; nothing is forgotten then.
        """
        await self._pause()
        base, left = self._handle.log.end_offset, deque(group_ids())
        self._resume()
        written = 0
        while left:
            await self._pause()
            try:
                rows, size = self._take(left, records_of)
                futures = [self._append_piece(piece) for piece in _pieces(rows)]
            finally:
                self._resume()
            await asyncio.gather(*futures)
            written += size
        self.bytes_since_snapshot = 0
        self.snapshot_size_bytes = written
        await self._handle.trim(base)

    def _take(
        self, left: deque[str], records_of: Callable[[str], tuple[Record, ...]]
    ) -> tuple[list[wire_records.Record], int]:
        """Rows of the next groups, up to one batch full."""
        now_ms = self._clock.now_ms()
        rows: list[wire_records.Record] = []
        size = 0
        while left and size < BATCH_BYTES:
            more, more_size = _rows(records_of(left.popleft()), now_ms)
            rows += more
            size += more_size
        return rows, size

    def _append_piece(self, rows: list[wire_records.Record]) -> "asyncio.Future[Any]":
        flight = _Flight(())
        future = self._hand_over(flight, rows)
        if future is None:
            self._report()
            raise ClientFault(flight.outcome or ErrorCode.UNKNOWN_SERVER_ERROR, "a snapshot of groups was refused")
        return future

    async def _pause(self) -> None:
        self._is_paused = True
        if self._flights:
            self._settled = self._loop.create_future()
            await self._settled
            self._settled = None

    def _resume(self) -> None:
        self._is_paused = False
        if self._queue and not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self._flush)


def _collect(batch: memoryview, start: Offset, found: dict[bytes, bytes]) -> None:
    for record in wire_records.iter_records(batch, limit_bytes=_LIMIT_BYTES, limit_ratio=_LIMIT_RATIO):
        if record.key is None or record.offset < start:
            continue
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value


def _rows(records: tuple[Record, ...], now_ms: int) -> tuple[list[wire_records.Record], int]:
    encoded = [group_records.encode(record) for record in records]
    rows = [wire_records.Record(timestamp=now_ms, key=key, value=value) for key, value in encoded]
    return rows, sum(len(key) + len(value or b"") for key, value in encoded)


def _pieces(rows: list[wire_records.Record]) -> Iterator[list[wire_records.Record]]:
    """A group with very many offsets does not fit one batch."""
    piece: list[wire_records.Record] = []
    size = 0
    for row in rows:
        row_size = len(row.key or b"") + len(row.value or b"")
        if piece and size + row_size > BATCH_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += row_size
    if piece:
        yield piece


def _told(fault: ClientFault) -> ErrorCode:
    code = ErrorCode(fault.code)
    return _APPEND_FAULTS.get(code, code)


__all__ = ["BATCH_BYTES", "GroupsLog", "LogBounds", "PartitionHandle"]
