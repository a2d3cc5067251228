"""Idempotent producers of one partition: the last five batches of each, so that a retry is answered, not appended.

Source: KIP-98, KIP-360; Kafka's ProducerStateEntry and ProducerAppendInfo (4.x). Two differences, both on purpose:
silence is measured by the broker's time of the last append (Kafka takes the record timestamps, so that a backfill
of old records loses its protection), and the number of producers is bounded (the longest silent go first).
"""

from array import array
from itertools import pairwise
from typing import Final, NamedTuple

from automq_broker.kernel.errors import Bug, ClientFault, Corrupt
from automq_broker.kernel.ids import Offset
from automq_broker.log import checkpoint
from automq_broker.log.producer import (
    FIELDS,
    NO_EPOCH,
    SEQUENCE_MAX,
    WINDOW_BATCHES,
    WINDOW_FIELDS,
    BatchSeen,
    Producer,
    last_sequence_of,
)
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import BatchHeader

EVICTED_SHARE: Final = 16
"""A full table drops 1/16 of its entries at once, which makes the sort behind it cheap per producer."""


class ProducerRow(NamedTuple):
    """What DescribeProducers tells of a producer; no transaction is ever open, so that offset is always -1."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp: int
    coordinator_epoch: int
    current_txn_start_offset: int


class ProducerStates:
    """All producers of one partition. `is_complete` is False while an older checkpoint is still to be restored.

    A partition may open without reading its checkpoint: replayed batches are noted at once, and `restore` puts the
    older state below them. Until then `check` refuses to judge (Bug): the engine loads first.
    """

    __slots__ = ("_table", "changes", "evicted", "expiration_ms", "is_complete", "producers_max")

    def __init__(self, *, expiration_ms: int, producers_max: int, is_complete: bool = True) -> None:
        self._table: dict[int, Producer] = {}
        self.expiration_ms = expiration_ms
        self.producers_max = producers_max
        self.is_complete = is_complete
        self.changes = 0
        """Raised by every change of the state: equal numbers mean that a snapshot taken before still holds."""
        self.evicted = 0
        """Producers that the bound pushed out, ever."""

    def __len__(self) -> int:
        return len(self._table)

    def check(self, header: BatchHeader) -> BatchSeen | None:
        """None if the batch is the next one of its producer, the batch seen before if it is a retry.

        Raises ClientFault: INVALID_PRODUCER_EPOCH for an older epoch, OUT_OF_ORDER_SEQUENCE_NUMBER for a gap, for a
        retry older than the window, and for a new epoch that does not begin at 0 (Kafka 4.x never answers
        DUPLICATE_SEQUENCE_NUMBER). A producer without state may begin anywhere (KIP-360).
        """
        if not self.is_complete:
            raise Bug("a producer was judged before the partition's checkpoint was restored")
        entry = self._table.get(header.producer_id)
        if entry is None:
            return None
        first, epoch = header.base_sequence, header.producer_epoch
        if epoch == entry.epoch:
            expected = entry.last_sequence + 1
            if first == expected or (first == 0 and expected > SEQUENCE_MAX):
                return None
            seen = entry.find(first, last_sequence_of(first, header.last_offset_delta))
            if seen is not None or epoch == NO_EPOCH:
                return seen
            raise ClientFault(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Out of order sequence number for producer {header.producer_id}: {first} (incoming seq. number), "
                f"{entry.last_sequence} (current end sequence number)",
            )
        if epoch < entry.epoch:
            raise ClientFault(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {header.producer_id} is {epoch}, which is smaller than the last seen epoch "
                f"{entry.epoch}",
            )
        if first != 0 and entry.epoch != NO_EPOCH:
            raise ClientFault(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Invalid sequence number for new epoch of producer {header.producer_id}: {epoch} (request epoch), "
                f"{first} (seq. number), {entry.epoch} (current producer epoch)",
            )
        return None

    def update(self, header: BatchHeader, last_offset: int, timestamp: int, now_ms: int) -> None:
        """Note an appended batch of a producer: its last offset, its max timestamp as stored, the present time."""
        entry = self._table.get(header.producer_id)
        epoch = header.producer_epoch
        if entry is None:
            entry = self._admit(header.producer_id, epoch, now_ms)
        elif entry.epoch != epoch:
            entry.epoch = epoch
            entry.window = array("q")
        delta = header.last_offset_delta
        last_sequence = header.base_sequence + delta
        if last_sequence > SEQUENCE_MAX:
            last_sequence -= SEQUENCE_MAX + 1
        window = entry.window
        if len(window) == WINDOW_FIELDS:
            del window[:FIELDS]
        window.extend((last_sequence, delta, last_offset, timestamp))
        entry.last_sequence = last_sequence
        entry.active_ms = now_ms
        self.changes += 1

    def expire(self, now_ms: int) -> int:
        """Forget producers that were silent for the expiration time; the number forgotten. O(producers)."""
        limit = now_ms - self.expiration_ms
        gone = [producer_id for producer_id, entry in self._table.items() if entry.active_ms <= limit]
        for producer_id in gone:
            del self._table[producer_id]
        if gone:
            self.changes += 1
        return len(gone)

    def active(self) -> list[ProducerRow]:
        """Every producer with state, by id, as DescribeProducers wants it."""
        return [
            ProducerRow(producer_id, entry.epoch, entry.last_sequence, entry.window[-1], -1, -1)
            for producer_id, entry in self.entries()
        ]

    def entries(self) -> list[tuple[int, Producer]]:
        """Every producer with state, by id; the live objects: look, do not keep."""
        return sorted(self._table.items())

    def snapshot(self, offset: Offset) -> bytes:
        """The state at `offset` as bytes: a batch boundary at or below the log's end, where a range ends.

        Batches above it are left out (see `checkpoint`). Deterministic: equal states and offsets give equal bytes.
        Raises Bug while an older checkpoint is missing.
        """
        if not self.is_complete:
            raise Bug("a checkpoint was asked for before the older one was restored")
        return checkpoint.encode(offset, self._table)

    def restore(self, data: checkpoint.Buffer, replayed_from: Offset) -> None:
        """Put a snapshot below what was replayed since; afterwards the state is complete.

        `replayed_from` is the offset where replay began (the log's end where nothing was replayed). Raises Corrupt if
        the bytes are damaged or valid for another offset, Refused if a newer version wrote them.
        """
        offset, older = checkpoint.decode(data)
        if offset != replayed_from:
            raise Corrupt(f"the producer checkpoint is valid at offset {offset}, replay began at {replayed_from}")
        self._place_below(older)

    def complete_without_checkpoint(self) -> None:
        """There is no older checkpoint (nothing was ever committed): what was replayed is all there is."""
        self.is_complete = True

    def _place_below(self, older: dict[int, Producer]) -> None:
        """Put a state that is older than everything noted so far below it, as if it had been there from the start.

        Raises Bug if the older state holds a higher epoch than the newer one: they cannot be one log's.
        """
        for producer_id, entry in older.items():
            newer = self._table.get(producer_id)
            if newer is None:
                self._table[producer_id] = entry
            elif newer.epoch == entry.epoch:
                joined = entry.window + newer.window
                newer.window = joined[-WINDOW_FIELDS:]
            elif newer.epoch < entry.epoch:
                raise Bug(f"producer {producer_id} went from epoch {entry.epoch} back to {newer.epoch} in one log")
        if len(self._table) > self.producers_max:
            self._evict()
        self.is_complete = True
        self.changes += 1

    def check_invariants(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if len(self._table) > self.producers_max:
            raise Bug(f"{len(self._table)} producers, {self.producers_max} allowed")
        for producer_id, entry in self._table.items():
            batches = list(entry.batches())
            if not 1 <= len(batches) <= WINDOW_BATCHES:
                raise Bug(f"producer {producer_id} has a window of {len(batches)} batches")
            if batches[-1].last_sequence != entry.last_sequence:
                raise Bug(f"producer {producer_id} ends at two sequences")
            for before, after in pairwise(batches):
                if after.first_offset <= before.last_offset:
                    raise Bug(f"producer {producer_id} has offsets out of order: {before}, {after}")

    def _admit(self, producer_id: int, epoch: int, now_ms: int) -> Producer:
        if len(self._table) >= self.producers_max:
            self._evict()
        entry = self._table[producer_id] = Producer(epoch, now_ms)
        return entry

    def _evict(self) -> None:
        """Make room: the longest silent producers go. They may go on with any sequence, only their retries are lost."""
        surplus = len(self._table) - self.producers_max + max(1, self.producers_max // EVICTED_SHARE)
        oldest = sorted(self._table, key=lambda producer_id: (self._table[producer_id].active_ms, producer_id))
        for producer_id in oldest[:surplus]:
            del self._table[producer_id]
        self.evicted += surplus
        self.changes += 1


__all__ = ["ProducerRow", "ProducerStates"]
