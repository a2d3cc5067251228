"""Leader epochs: which epoch wrote which offsets, and whether a client's view of the leader is old or ahead.

A history is the list of (epoch, start offset) of a stream's opens, in order, kept by the metadata.
Source: KIP-101, KIP-320; Kafka's LeaderEpochFileCache.endOffsetFor and Partition.readRecords.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.codes import ErrorCode

UNDEFINED_EPOCH: Final = -1
UNDEFINED_OFFSET: Final = -1
NO_CURRENT_EPOCH: Final = -1


class EpochEnd(NamedTuple):
    """An epoch and the first offset after its last record; (-1, -1) where nothing is known."""

    epoch: int
    end_offset: int


UNDEFINED: Final = EpochEnd(UNDEFINED_EPOCH, UNDEFINED_OFFSET)


def effective_history(history: Sequence[tuple[int, int]], log_start: int = 0) -> list[tuple[int, int]]:
    """The opens that own at least one offset at or above `log_start`, or that are the last; starts cut to `log_start`.

    An open followed by another at the same offset wrote nothing and is left out, as Kafka leaves it out.
    """
    effective: list[tuple[int, int]] = []
    for epoch, start in history:
        start = max(start, log_start)  # noqa: PLW2901 - the cut start is the start from here on
        while effective and effective[-1][1] >= start:
            effective.pop()
        effective.append((epoch, start))
    return effective


def end_offset_for_epoch(
    history: Sequence[tuple[int, int]], requested_epoch: int, log_end: int, log_start: int = 0
) -> EpochEnd:
    """The largest epoch at or below the requested one, and where it ends.

    The latest epoch ends at `log_end`. A requested epoch above every known one, or -1, is undefined; one below every
    known one is answered with itself and the first known start, because its records are gone.
    """
    known = effective_history(history, log_start)
    if requested_epoch == UNDEFINED_EPOCH or not known or requested_epoch > known[-1][0]:
        return UNDEFINED
    if requested_epoch == known[-1][0]:
        return EpochEnd(requested_epoch, log_end)
    after = bisect_right(known, requested_epoch, key=lambda opened: opened[0])
    epoch = requested_epoch if after == 0 else known[after - 1][0]
    return EpochEnd(epoch, known[after][1])


def diverging_epoch(
    history: Sequence[tuple[int, int]], last_fetched_epoch: int, fetch_offset: int, *, log_end: int, log_start: int = 0
) -> EpochEnd | None:
    """None if a reader at `fetch_offset` whose last record was of `last_fetched_epoch` shares our log so far.

    Otherwise the epoch and end offset to which it must go back (Fetch v12+, diverging_epoch). Raises ClientFault
    OFFSET_OUT_OF_RANGE if its epoch is unknown here or its offset lies below the log's start.
    """
    end = end_offset_for_epoch(history, last_fetched_epoch, log_end, log_start)
    if end == UNDEFINED:
        raise ClientFault(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"Could not determine the end offset of the last fetched epoch {last_fetched_epoch} from the request",
        )
    if fetch_offset < log_start:
        raise ClientFault(
            ErrorCode.OFFSET_OUT_OF_RANGE, f"Received request for offset {fetch_offset}, the log starts at {log_start}"
        )
    if end.epoch < last_fetched_epoch or end.end_offset < fetch_offset:
        return end
    return None


def check_current_epoch(requested: int, current: int) -> None:
    """Refuse a request made for another leader epoch than ours; -1 asks for no check.

    Raises ClientFault: FENCED_LEADER_EPOCH for an older one, UNKNOWN_LEADER_EPOCH for a newer one (ours is stale).
    """
    if requested in (NO_CURRENT_EPOCH, current):
        return
    if requested < current:
        raise ClientFault(ErrorCode.FENCED_LEADER_EPOCH, f"leader epoch {requested} is older than {current}")
    raise ClientFault(ErrorCode.UNKNOWN_LEADER_EPOCH, f"leader epoch {requested} is newer than {current}")


__all__ = [
    "UNDEFINED",
    "EpochEnd",
    "check_current_epoch",
    "diverging_epoch",
    "effective_history",
    "end_offset_for_epoch",
]
