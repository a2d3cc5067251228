"""Gives partitions up: the other side of a move, and the last act of an orderly stop (DESIGN 5a.5, 8).

Stop serving -> everything handed to the WAL is durable -> upload -> CloseStream at the log's end, appends in flight
included -> forget. Only then may another node open at the next epoch, so no acknowledgement of the old epoch can come
after one of the new. A crash between any two steps leaves the stream open at this node, whose next life (or adopter)
has all of it in the WAL.

Partitions go in waves: few objects and few commits for many of them. Most of a wave is uploaded while it still serves,
so that clients wait only for the rest of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from automq_broker.engine.admission import Admission
from automq_broker.engine.append import Appender
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.producers import ProducerLoader
from automq_broker.engine.upload import Uploader
from automq_broker.kernel.errors import Bug, NotMine
from automq_broker.kernel.ids import StreamId
from automq_broker.meta.commands import CommitRefused

log = logging.getLogger("automq.moves")

REST_BYTES = 4 << 20
"""A wave stops serving when no more than this is left to upload: about a tenth of a second."""

_ROUNDS_WHILE_SERVING = 3
"""Uploads before that; with faster producers than uploads more of them would not help."""

_CLOSE_TRIES = 3

Upload = Callable[[Collection[StreamId]], Awaitable[None]]


class Closer:
    """Closes what `OpenPartitions` no longer wants, wave after wave. A topic that is deleted meanwhile is no trouble."""

    def __init__(
        self,
        *,
        open_partitions: OpenPartitions,
        appender: Appender,
        admission: Admission,
        producers: ProducerLoader,
        uploader: Uploader,
    ) -> None:
        self._open_partitions = open_partitions
        self._appender = appender
        self._admission = admission
        self._producers = producers
        self._uploader = uploader
        self.closed_total = 0
        self.waves_total = 0

    async def run(self) -> None:
        """For ever: everything that is unwanted now is one wave."""
        while True:
            wave = await self._open_partitions.next_unwanted()
            closed = await self._close_wave(wave, self._open_partitions.is_unwanted)
            log.info("partitions handed over", extra={"count": len(closed)})

    async def close_all(self) -> None:
        """Close every partition at its end, whoever is to have it; nothing opens here any more."""
        self._open_partitions.open_no_more()
        # ORDER: an open that is answered behind this wave would be left open, or meet a node that has stopped.
        await self._open_partitions.wait_opened()
        await self._close_wave(list(self._open_partitions.by_stream.values()), lambda _: True)

    async def _close_wave(self, wave: Sequence[Partition], is_to_go: Callable[[Partition], bool]) -> list[Partition]:
        """Returns those that were closed: a move may be called off until its partition stops serving."""
        async with self._uploader.alone() as upload:
            await self._upload_while_serving(upload, [partition.stream_id for partition in wave])
            going = [partition for partition in wave if partition.is_held and is_to_go(partition)]
            for partition in going:
                self._stop_serving(partition)
            await self._appender.wait_durable()
            await self._close(upload, going)
        self.waves_total += 1
        self.closed_total += len(going)
        return going

    async def _upload_while_serving(self, upload: Upload, streams: Sequence[StreamId]) -> None:
        wanted = frozenset(streams)
        for _ in range(_ROUNDS_WHILE_SERVING):
            if self._uploader.waiting_bytes_of_all(wanted) <= REST_BYTES:
                return
            await upload(wanted)

    def _stop_serving(self, partition: Partition) -> None:
        self._open_partitions.stop_serving(partition)
        self._admission.closed(partition.stream_id)
        self._producers.closed(partition)

    async def _close(self, upload: Upload, going: Sequence[Partition]) -> None:
        """Upload the rest and close; a commit that went another way than this node saw is met by one more round."""
        left = [partition for partition in going if partition.is_held]
        for _ in range(_CLOSE_TRIES):
            wanted = frozenset(partition.stream_id for partition in left)
            while self._uploader.waiting_bytes_of_all(wanted):
                await upload(wanted)
            outcomes = await asyncio.gather(*(self._close_one(partition) for partition in left))
            left = [partition for partition, is_closed in zip(left, outcomes, strict=True) if not is_closed]
            if not left:
                return
        names = ", ".join(f"{partition.topic}-{partition.index}" for partition in left)
        raise Bug(f"everything is uploaded, and yet these do not close: {names}")

    async def _close_one(self, partition: Partition) -> bool:
        """Whether it is closed, or nobody's any more (its topic is deleted, its stream given away)."""
        try:
            await self._open_partitions.close_stream(partition)
        except CommitRefused:
            return False
        except NotMine as gone:
            log.warning("not ours to close", extra={"stream": partition.stream_id, "reason": str(gone)})
        self._open_partitions.closed(partition)
        return True


__all__ = ["Closer"]
