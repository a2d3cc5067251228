"""What clients know of each partition: what they sent, what was acknowledged, what was read. Contradictions end the run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from automq_broker.wire import records

Key = tuple[UUID, int]
"""(topic id, partition index)"""


class Violation(Exception):
    """A promise was broken; the text names the invariant."""


@dataclass(slots=True, eq=False)
class Sent:
    """One batch in one form of bytes; a plain producer's retry is another one."""

    key: Key
    data: bytes
    crc: int
    count: int
    sent: int = 0
    """How often it was handed to a broker."""
    base_offset: int | None = None
    """Where an ack said that it is."""


@dataclass(slots=True)
class PartitionHistory:
    """One partition, as all clients together saw it."""

    sent: dict[int, Sent] = field(default_factory=dict)
    """By the batch's CRC, which its unique payload makes unique."""
    at: dict[int, int] = field(default_factory=dict)
    """base offset -> CRC, from acks and reads."""
    where: dict[int, int] = field(default_factory=dict)
    """CRC -> base offset."""
    acked_end: int = 0
    high_watermark: int = 0
    """The highest that anybody was told."""
    start_offset: int = 0
    start_requested: int = 0
    """The highest offset that DeleteRecords was asked for."""
    has_retention: bool = False
    is_deleted: bool = False
    read_end: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What everybody together knew of a partition at one moment."""

    acked_end: int
    high_watermark: int
    start_offset: int


class History:
    """All partitions. Methods raise Violation."""

    def __init__(self) -> None:
        self.partitions: dict[Key, PartitionHistory] = {}
        self.acked_batches = 0
        self.read_batches = 0
        self.unknown_outcomes = 0

    def of(self, key: Key) -> PartitionHistory:
        """The history of one partition."""
        return self.partitions.setdefault(key, PartitionHistory())

    def sends(self, sent: Sent) -> None:
        """The batch is about to be handed to a broker."""
        sent.sent += 1
        self.of(sent.key).sent[sent.crc] = sent

    def acked(self, sent: Sent, base_offset: int) -> None:
        """The broker acknowledged the batch at this offset."""
        history = self.of(sent.key)
        if sent.base_offset is not None and sent.base_offset != base_offset:
            raise Violation(f"I5: {_name(sent.key)}: one batch acknowledged at {sent.base_offset} and at {base_offset}")
        sent.base_offset = base_offset
        self._place(sent.key, history, base_offset, sent.crc)
        history.acked_end = max(history.acked_end, base_offset + sent.count)
        self.acked_batches += 1

    def read(
        self, key: Key, offset: int, segments: Iterable[memoryview], high_watermark: int, start_offset: int,
        *, since: "Bounds | None",
    ) -> int:  # fmt: skip
        """An answer to a read from `offset`, asked for when `since` was known; returns the next offset.

        None for an answer of a broker that was overtaken unawares: what it says is true, and may be old.
        """
        history = self.of(key)
        if since is not None:
            self.saw_bounds(key, high_watermark, start_offset, since=since)
        data = memoryview(b"".join(segments))
        is_first = True
        for position, header in records.iter_headers(data):
            batch = data[position : position + header.size_bytes]
            if not records.crc_is_valid(batch):
                raise Violation(f"I2: {_name(key)}: a batch with a wrong CRC was read at {header.base_offset}")
            if is_first and not header.base_offset <= offset <= header.last_offset:
                raise Violation(f"I3: {_name(key)}: asked for {offset}, read a batch from {header.base_offset}")
            if not is_first and header.base_offset != offset:
                raise Violation(f"I3: {_name(key)}: a batch from {header.base_offset} follows offset {offset}")
            if header.last_offset >= high_watermark:
                raise Violation(f"I4: {_name(key)}: read {header.last_offset} above the mark {high_watermark}")
            self._place(key, history, header.base_offset, header.crc)
            is_first = False
            offset = header.last_offset + 1
            self.read_batches += 1
        history.read_end = max(history.read_end, offset)
        return offset

    def saw_bounds(self, key: Key, high_watermark: int, start_offset: int, *, since: "Bounds | None" = None) -> None:
        """What a broker says of the partition's bounds, at least as new as what was known at `since` (default: now)."""
        history = self.of(key)
        before = since or self.bounds(key)
        if high_watermark < before.high_watermark:
            raise Violation(f"I3: {_name(key)}: high watermark {before.high_watermark} went back to {high_watermark}")
        if high_watermark < before.acked_end:
            raise Violation(f"I1: {_name(key)}: acknowledged up to {before.acked_end}, it ends at {high_watermark}")
        if start_offset < before.start_offset:
            raise Violation(f"I3: {_name(key)}: start {before.start_offset} went back to {start_offset}")
        if start_offset > history.start_requested and not history.has_retention:
            raise Violation(f"I1: {_name(key)}: starts at {start_offset}, deleted was {history.start_requested}")
        history.high_watermark = max(history.high_watermark, high_watermark)
        history.start_offset = max(history.start_offset, start_offset)

    def bounds(self, key: Key) -> "Bounds":
        """What is known now; an answer that was made before may be older."""
        history = self.of(key)
        return Bounds(history.acked_end, history.high_watermark, history.start_offset)

    def _place(self, key: Key, history: PartitionHistory, base_offset: int, crc: int) -> None:
        known = history.at.setdefault(base_offset, crc)
        if known != crc:
            raise Violation(f"I2: {_name(key)}: two batches at offset {base_offset}")
        place = history.where.setdefault(crc, base_offset)
        if place != base_offset:
            raise Violation(f"I5: {_name(key)}: one batch at offsets {place} and {base_offset}")
        if crc not in history.sent:
            raise Violation(f"I2: {_name(key)}: a batch that nobody sent at offset {base_offset}")


def _name(key: Key) -> str:
    return f"topic {key[0].int}-{key[1]}"


__all__ = ["Bounds", "History", "Key", "PartitionHistory", "Sent", "Violation"]
