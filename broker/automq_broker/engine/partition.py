"""One open partition as the desk and the coordinators hold it."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automq_broker.kernel.ids import Offset, StreamEpoch, StreamId
from automq_broker.log.partition import PartitionLog
from automq_broker.ports import Buffer

if TYPE_CHECKING:
    from automq_broker.engine.engine import Engine


@dataclass(slots=True)
class Appended:
    """Where a batch went. `append_time_ms` is -1 for CreateTime topics; `is_duplicate` for a retried idempotent batch.

    COST: not frozen, since one is made per batch and frozen ones cost 3x.
    """

    base_offset: Offset
    append_time_ms: int
    log_start_offset: Offset
    is_duplicate: bool = False


class Partition:
    """Identity, the log's truth, and whether this broker serves it now. One event loop owns it, so it has no lock."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "engine",
        "in_flight_appends",
        "index",
        "is_held",
        "is_internal",
        "is_open",
        "loading",
        "log",
        "replay_from",
        "stream_epoch",
        "stream_id",
        "topic",
        "topic_id",
    )

    engine: "Engine"
    """Who appends and reads for this partition; set when it is announced."""

    def __init__(
        self,
        *,
        topic: str,
        topic_id: uuid.UUID,
        index: int,
        stream_id: StreamId,
        stream_epoch: StreamEpoch,
        is_internal: bool,
        log: PartitionLog,
        replay_from: Offset,
    ) -> None:
        """`replay_from` is the committed end at the open: what the producers' checkpoint must be valid for."""
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.stream_id = stream_id
        self.stream_epoch = stream_epoch
        self.is_internal = is_internal
        self.log = log
        self.replay_from = replay_from
        self.is_open = True
        self.bytes_in = 0
        self.bytes_out = 0
        """Serves clients: takes appends, answers fetches."""
        self.is_held = True
        """Its records are this broker's to upload; while it closes it is still held, and not open any more."""
        self.loading: asyncio.Task[None] | None = None
        self.in_flight_appends = 0

    def append(self, batch: Buffer) -> asyncio.Future[Appended]:
        """Append one v2 batch of this broker's own making; the future resolves when it is durable.

        Raises ClientFault at once if the partition is closed or the batch is refused. Order of calls = order of offsets.
        """
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self.engine.append(self, batch, _resolve(future))
        return future

    async def read(self, offset: Offset, max_bytes: int) -> list[memoryview]:
        """Whole batches from the one that contains `offset`, as views in offset order; empty at the high watermark."""
        answer = await self.engine.read(self, offset, max_bytes)
        return answer.segments

    async def trim(self, start_offset: Offset) -> None:
        """Forget everything below `start_offset`, durably; uploads first if the bucket does not reach that far."""
        await self.engine.advance_start(self, start_offset)


def _resolve(future: "asyncio.Future[Appended]") -> "Callable[[Appended | BaseException], None]":
    def done(outcome: "Appended | BaseException") -> None:
        if future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    return done


__all__ = ["Appended", "Partition"]
