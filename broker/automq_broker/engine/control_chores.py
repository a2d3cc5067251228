"""The controller's housekeeping in the bucket: snapshots, and the removal of deltas and snapshots that they replace.

Chores run beside the commits, one at a time. SAFETY: a snapshot that is stored but not yet referenced has a sequence
number below the head's, so a sweep that ran meanwhile would take it for garbage; hence never both.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from automq_broker.engine.control_head import PatientBucket
from automq_broker.lake.keys import DELTA_PREFIX, SNAPSHOT_PREFIX, parse_meta_key, snapshot_key
from automq_broker.meta.codec import split_batches
from automq_broker.meta.head import Head
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.meta.state import State


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot of everything up to `seq` that is in the bucket, and that no head references yet."""

    key: str
    seq: int

    def put_under(self, head: Head) -> Head:
        """`head` with this snapshot in the place of what it holds."""
        deltas = tuple(key for key in head.deltas if (parsed := parse_meta_key(key)) is None or parsed.seq > self.seq)
        inline = b"".join(batch.whole for batch in split_batches(head.inline) if batch.seq > self.seq)
        return replace(head, snapshot=self.key, snapshot_seq=self.seq, deltas=deltas, inline=inline)


@dataclass(slots=True)
class TermFigures:
    """Counts over all terms of one process."""

    commits: int = 0
    commands: int = 0
    renewals: int = 0
    snapshots: int = 0
    swept: int = 0
    last_commit_s: float = 0.0
    batches: int = 0
    commit_s: float = 0.0


class Chores:
    """At most one chore at a time; `on_done` is called on the loop when one ends."""

    def __init__(self, bucket: PatientBucket, on_done: Callable[[], None], figures: TermFigures) -> None:
        self._bucket = bucket
        self._figures = figures
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._stored: StoredSnapshot | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a chore runs, or a stored snapshot waits for its head."""
        return self._task is not None or self._stored is not None

    def reap(self) -> None:
        """Note the end of a chore; raises what it failed of."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            task.result()

    def take_snapshot(self) -> StoredSnapshot | None:
        """The snapshot that was stored, once."""
        self.reap()
        stored, self._stored = self._stored, None
        return stored

    async def start_snapshot(self, state: State, seq: int, nonce: str) -> None:
        """Cut a snapshot now, giving way to the loop (the caller keeps `state` as it is), and store it beside."""
        pieces = []
        for piece in encode_snapshot(state):
            pieces.append(piece)
            await asyncio.sleep(0)
        self._start(self._store(pieces, seq, nonce), "metadata snapshot")

    def start_sweep(self, head: Head) -> None:
        """Remove what `head`, which this controller committed, made superfluous."""
        self._start(self._sweep(head), "metadata sweep")

    async def drop(self) -> None:
        """End what runs; nothing of it is lost but work."""
        task, self._task, self._stored = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(work, name=name)
        self._task.add_done_callback(lambda _: self._on_done())

    async def _store(self, pieces: list[bytes], seq: int, nonce: str) -> None:
        key = snapshot_key(seq, nonce)
        await self._bucket.put(key, pieces)
        self._stored = StoredSnapshot(key, seq)

    async def _sweep(self, head: Head) -> None:
        self._figures.swept += await sweep(self._bucket, head)


async def sweep(bucket: PatientBucket, head: Head) -> int:
    """Delete deltas and snapshots that `head` made superfluous; returns how many.

    SAFETY: `head` must be one that this controller itself committed. Keys above its sequence number may belong to a
    commit in flight, of this or of a newer controller; those at or below it that it does not reference can never be
    referenced again, because every later head is built on it (DESIGN 5a.9).
    """
    deleted = 0
    for prefix in (DELTA_PREFIX, SNAPSHOT_PREFIX):
        last = ""
        while page := await bucket.list(prefix, last):
            last = page[-1].key
            garbage = [stat.key for stat in page if _is_garbage(stat.key, head)]
            if garbage:
                await bucket.delete_many(garbage)
                deleted += len(garbage)
    return deleted


def _is_garbage(key: str, head: Head) -> bool:
    parsed = parse_meta_key(key)
    return parsed is not None and parsed.seq <= head.seq and not head.references(key)


__all__ = ["Chores", "StoredSnapshot", "TermFigures", "sweep"]
