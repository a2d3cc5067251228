"""A bucket as a command uses it: it tries for a while, then says in one line what the trouble is.

A broker waits for its bucket as long as it takes; a person at a terminal wants to know.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

from automq_broker.engine.control_values import Backoff, ControlKnobs
from automq_broker.kernel.errors import AutomqError, Refused
from automq_broker.ports import Bucket, BucketDenied, BucketUnavailable, Buffer, ObjectStat

T = TypeVar("T")


class ImpatientBucket:
    """Port Bucket. Reads are repeated; a write that failed is handed to the caller, who alone may repeat it.

    Both raise Refused once the bucket has failed for `patience_s` without one success, and at once when it denies
    access.
    """

    def __init__(self, bucket: Bucket, rng: Random, patience_s: float) -> None:
        self._bucket = bucket
        self._rng = rng
        self._patience_s = patience_s
        self._troubled_since: float | None = None

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """See Bucket.get."""
        return await self._repeat(lambda: self._bucket.get(key, start, end))

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See Bucket.get_with_etag."""
        return await self._repeat(lambda: self._bucket.get_with_etag(key))

    async def head(self, key: str) -> ObjectStat:
        """See Bucket.head."""
        return await self._repeat(lambda: self._bucket.head(key))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """See Bucket.list."""
        return await self._repeat(lambda: self._bucket.list(prefix, start_after))

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put."""
        return await self._once(self._bucket.put(key, segments, if_absent=if_absent))

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        return await self._once(self._bucket.put_if_match(key, data, etag))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many."""
        await self._once(self._bucket.delete_many(keys))

    async def close(self) -> None:
        """See Bucket.close."""
        await self._bucket.close()

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(self._rng, ControlKnobs())
        while True:
            try:
                return await self._once(call())
            except BucketUnavailable:
                await asyncio.sleep(backoff.next_s())

    async def _once(self, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except (BucketUnavailable, BucketDenied) as error:
            self._judge(error)
            raise
        self._troubled_since = None
        return answer

    def _judge(self, error: AutomqError) -> None:
        now = asyncio.get_running_loop().time()
        if isinstance(error, BucketDenied):
            raise Refused(f"the bucket denies access: {error}") from error
        if self._troubled_since is None:
            self._troubled_since = now
        elif now - self._troubled_since >= self._patience_s:
            raise Refused(f"the bucket cannot be reached: {error}") from error


__all__ = ["ImpatientBucket"]
