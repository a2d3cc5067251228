"""Checks that need the records themselves: keys on compacted topics, every record's timestamp.

Only batches for which `LogSettings.needs_records` says so come here, decoded off the loop.
Source: Kafka's LogValidator.validateRecord and processRecordErrors; KIP-467.
"""

from collections.abc import Iterable
from typing import Final

from automq_broker.kernel.errors import ClientFault
from automq_broker.log.admission import NO_TIMESTAMP, LogSettings
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import Record

SHOWN: Final = 3


class RecordFaults(ClientFault):
    """A batch refused because of some of its records; `faults` are (index in the batch, message) for the answer."""

    def __init__(self, code: ErrorCode, message: str, faults: tuple[tuple[int, str], ...]) -> None:
        super().__init__(code, message)
        self.faults = faults


def check_records(records: Iterable[Record], settings: LogSettings, now_ms: int) -> None:
    """Refuse the whole batch if one of its records may not enter.

    Raises RecordFaults: INVALID_TIMESTAMP if any record is out of the topic's time limits, else INVALID_RECORD.
    """
    oldest, newest = now_ms - settings.timestamp_before_max_ms, now_ms + settings.timestamp_after_max_ms
    faults: list[tuple[int, str]] = []
    code = ErrorCode.INVALID_RECORD
    for index, record in enumerate(records):
        timestamp = record.timestamp
        if settings.is_compacted and record.key is None:
            faults.append((index, "Compacted topic cannot accept message without key"))
        elif not settings.is_log_append_time and timestamp != NO_TIMESTAMP and not oldest <= timestamp <= newest:
            code = ErrorCode.INVALID_TIMESTAMP
            faults.append(
                (
                    index,
                    f"Timestamp {timestamp} of message with offset {index} is out of range. "
                    f"The timestamp should be within [{oldest}, {newest}]",
                )
            )
    if not faults:
        return
    if code is ErrorCode.INVALID_TIMESTAMP:
        message = "One or more records have been rejected due to invalid timestamp"
    else:
        shown = "; ".join(f"record {index}: {text}" for index, text in faults[:SHOWN])
        message = f"{len(faults)} records have been rejected, the first {min(len(faults), SHOWN)}: {shown}"
    raise RecordFaults(code, message, tuple(faults))


__all__ = ["RecordFaults", "check_records"]
