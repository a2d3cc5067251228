"""Checks that need the records themselves: keys on compacted topics, every record's timestamp.

Only batches for which `LogSettings.needs_records` says so come here, decoded off the loop.
Source: Kafka's LogValidator.validateRecord and processRecordErrors; KIP-467.
"""

from collections.abc import Iterable
from typing import Final

from automq_broker.kernel.errors import ClientFault
from automq_broker.log.admission import NO_TIMESTAMP, LogSettings
from automq_broker.wire.batches import BatchHeader
from automq_broker.wire.codes import ErrorCode

SHOWN: Final = 3
FAULTS_MAX: Final = 1000
"""Records named in one answer; a batch may hold millions, and one fault is enough to refuse it."""


class RecordFaults(ClientFault):
    """A batch refused because of some of its records; `faults` are (index in the batch, message) for the answer."""

    def __init__(self, code: ErrorCode, message: str, faults: tuple[tuple[int, str], ...]) -> None:
        super().__init__(code, message)
        self.faults = faults


def check_records(glances: Iterable[tuple[int, bool]], header: BatchHeader, settings: LogSettings, now_ms: int) -> int:
    """Refuse the whole batch if one of its records, seen as (timestamp, has a key), may not enter.

    Returns the largest timestamp. Raises RecordFaults: INVALID_TIMESTAMP if any record is out of the topic's time
    limits or claims the broker's time, else INVALID_RECORD.
    """
    oldest, newest = now_ms - settings.timestamp_before_max_ms, now_ms + settings.timestamp_after_max_ms
    is_limited, needs_key = not settings.is_log_append_time, settings.is_compacted
    faults: list[tuple[int, str]] = []
    code = ErrorCode.INVALID_RECORD
    largest = NO_TIMESTAMP
    for index, (timestamp, has_key) in enumerate(glances):
        largest = max(largest, timestamp)
        if needs_key and not has_key:
            faults.append((index, "Compacted topic cannot accept message without key"))
        elif is_limited and timestamp != NO_TIMESTAMP:
            if not oldest <= timestamp <= newest:
                code = ErrorCode.INVALID_TIMESTAMP
                faults.append(
                    (
                        index,
                        f"Timestamp {timestamp} of message with offset {index} is out of range. "
                        f"The timestamp should be within [{oldest}, {newest}]",
                    )
                )
        elif header.is_log_append_time:
            code = ErrorCode.INVALID_TIMESTAMP
            faults.append((index, f"Message with offset {index} claims LogAppendTime, which only the broker may set"))
        if len(faults) == FAULTS_MAX:
            break
    if not faults:
        return largest
    if code is ErrorCode.INVALID_TIMESTAMP:
        message = "One or more records have been rejected due to invalid timestamp"
    else:
        shown = "; ".join(f"record {index}: {text}" for index, text in faults[:SHOWN])
        message = f"{len(faults)} records have been rejected, the first {min(len(faults), SHOWN)}: {shown}"
    raise RecordFaults(code, message, tuple(faults))


__all__ = ["RecordFaults", "check_records"]
