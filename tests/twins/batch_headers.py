"""Batch headers with any field at will: what a client could send, and what only a broken one sends."""

from automq_broker.wire.records import BatchHeader


def plain(records: int = 1, **fields: int) -> BatchHeader:
    """A good batch of `records` records without a producer, some `fields` of it changed."""
    chosen = {
        "base_offset": 0,
        "batch_length": max(88, 49 + 7 * records),
        "partition_leader_epoch": -1,
        "magic": 2,
        "crc": 0,
        "attributes": 0,
        "last_offset_delta": records - 1,
        "base_timestamp": 1_000_000,
        "max_timestamp": 1_000_000,
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "records_count": records,
    }
    return BatchHeader(**(chosen | fields))


def idempotent(producer_id: int, sequence: int, records: int = 1, epoch: int = 0, **fields: int) -> BatchHeader:
    """A good batch of an idempotent producer."""
    chosen = {"producer_id": producer_id, "producer_epoch": epoch, "base_sequence": sequence}
    return plain(records, **(chosen | fields))


def stored(header: BatchHeader, offset: int, max_timestamp: int | None = None) -> BatchHeader:
    """The same batch as it lies in the log at `offset`, with the broker's time if one is given."""
    timestamp = header.max_timestamp if max_timestamp is None else max_timestamp
    return header._replace(base_offset=offset, max_timestamp=timestamp)
