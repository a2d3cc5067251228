"""The bucket with patience: every call is tried again, with jitter, for as long as it takes.

A store that throttles, times out or denies never ends the process (DESIGN, rule 4): the caller waits, the WAL fills, and
producers slow down. Reads are tried again as they are. A write of a new object is made idempotent by its name: object
ids are never used twice, so "exists already" is this process's own earlier attempt, and its bytes are compared.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import crc32c

from automq_broker.engine.damage import Damage
from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.objects import EncodedObject
from automq_broker.ports import (
    Bucket,
    BucketDenied,
    BucketUnavailable,
    Buffer,
    NotFound,
    ObjectStat,
    PreconditionFailed,
)

T = TypeVar("T")

_FIRST_DELAY_S = 0.1
_DELAY_S_MAX = 30.0


class Store:
    """A Bucket for the engine's loops. Raises only NotFound, PreconditionFailed and Corrupt; never gives up otherwise."""

    def __init__(self, bucket: Bucket, rng: random.Random) -> None:
        self._bucket = bucket
        self._rng = rng

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """The bytes [start, end) of an object; raises NotFound."""
        return await self._patiently(lambda: self._bucket.get(key, start, end))

    async def put_new(self, key: str, encoded: EncodedObject) -> None:
        """Store a new object durably; success also if an earlier attempt of ours had arrived after all."""
        while True:
            try:
                await self._patiently(lambda: self._bucket.put(key, encoded.segments, if_absent=True))
            except PreconditionFailed:
                try:
                    await self._compare(key, encoded)
                except NotFound:  # a 409: S3 saw a conflicting write which then came to nothing
                    await asyncio.sleep(self._rng.uniform(_FIRST_DELAY_S / 2, _FIRST_DELAY_S))
                    continue
            return

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """One page of keys, in order; empty at the end."""
        return await self._patiently(lambda: self._bucket.list(prefix, start_after))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete up to 1000 keys; absent ones count as deleted."""
        await self._patiently(lambda: self._bucket.delete_many(keys))

    async def _compare(self, key: str, encoded: EncodedObject) -> None:
        """The tail holds the CRCs of everything before it, so size and tail decide whether the objects are equal."""
        stat = await self._patiently(lambda: self._bucket.head(key))
        if stat.size == encoded.size:
            damage = Damage()
            while crc32c.crc32c(tail := await self.get(key, encoded.index_position, encoded.size)) != encoded.crc:
                if damage.is_stored(tail):
                    break
            else:
                return
        raise Corrupt(f"object {key} exists with other bytes ({stat.size} instead of {encoded.size})")

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        delay_s = _FIRST_DELAY_S
        while True:
            with contextlib.suppress(BucketUnavailable, BucketDenied):
                return await call()
            await asyncio.sleep(self._rng.uniform(delay_s / 2, delay_s))
            delay_s = min(delay_s * 2, _DELAY_S_MAX)


__all__ = ["Store"]
