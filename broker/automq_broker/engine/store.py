"""The bucket with patience: every call is tried again, with jitter, for as long as it takes.

A store that throttles, times out or denies never ends the process (DESIGN, rule 4): the caller waits, the WAL fills, and
producers slow down. Reads are tried again as they are. A write of a new object is made idempotent by its name: object
ids are never used twice, so "exists already" is this process's own earlier attempt, and its bytes are compared.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import crc32c

from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.objects import EncodedObject
from automq_broker.ports import Bucket, BucketDenied, BucketUnavailable, Buffer, ObjectStat, PreconditionFailed

T = TypeVar("T")

_FIRST_DELAY_S = 0.1
_DELAY_S_MAX = 30.0


@dataclass(slots=True)
class StoreHealth:
    """What /readyz and /metrics say of the bucket: calls by kind, errors by (kind, family), and the present trouble."""

    calls: dict[str, int] = field(default_factory=dict)
    errors: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    trouble: str | None = None
    is_denied: bool = False


class Store:
    """A Bucket for the engine's loops. Raises only NotFound, PreconditionFailed and Corrupt; never gives up otherwise."""

    def __init__(self, bucket: Bucket, rng: random.Random, health: StoreHealth) -> None:
        self._bucket = bucket
        self._rng = rng
        self.health = health

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """The bytes [start, end) of an object; raises NotFound."""
        data = await self._patiently("get", lambda: self._bucket.get(key, start, end))
        self.health.bytes_in += len(data)
        return data

    async def put_new(self, key: str, encoded: EncodedObject) -> None:
        """Store a new object durably; success also if an earlier attempt of ours had arrived after all."""
        try:
            await self._patiently("put", lambda: self._bucket.put(key, encoded.segments, if_absent=True))
        except PreconditionFailed:
            await self._compare(key, encoded)
        self.health.bytes_out += encoded.size

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """One page of keys, in order; empty at the end."""
        return await self._patiently("list", lambda: self._bucket.list(prefix, start_after))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete up to 1000 keys; absent ones count as deleted."""
        await self._patiently("delete", lambda: self._bucket.delete_many(keys))

    async def _compare(self, key: str, encoded: EncodedObject) -> None:
        """The tail holds the CRCs of everything before it, so size and tail decide whether the objects are equal."""
        stat = await self._patiently("head", lambda: self._bucket.head(key))
        tail = b"" if stat.size != encoded.size else await self.get(key, encoded.index_position, encoded.size)
        if crc32c.crc32c(tail) != encoded.crc:
            raise Corrupt(f"object {key} exists with other bytes ({stat.size} instead of {encoded.size})")

    async def _patiently(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        delay_s = _FIRST_DELAY_S
        while True:
            self.health.calls[kind] = self.health.calls.get(kind, 0) + 1
            try:
                answer = await call()
            except (BucketUnavailable, BucketDenied) as error:
                self._note_trouble(kind, error)
            else:
                self.health.trouble = None
                self.health.is_denied = False
                return answer
            await asyncio.sleep(self._rng.uniform(delay_s / 2, delay_s))
            delay_s = min(delay_s * 2, _DELAY_S_MAX)

    def _note_trouble(self, kind: str, error: BucketUnavailable | BucketDenied) -> None:
        family = "denied" if isinstance(error, BucketDenied) else "unavailable"
        self.health.errors[kind, family] = self.health.errors.get((kind, family), 0) + 1
        self.health.trouble = str(error)
        self.health.is_denied = isinstance(error, BucketDenied)


__all__ = ["Store", "StoreHealth"]
