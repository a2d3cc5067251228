"""A bucket in memory with seeded faults: the twin of every adapter, for tests and for the simulator.

One `MemoryStore` is the truth; each `MemoryBucket` is one client's way to it, with faults of its own, so that a test
can cut off a single broker. Waiting is asyncio.sleep only, and every draw comes from the seed: the same calls in the
same order see the same faults.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from random import Random

from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import (
    BucketDenied,
    BucketUnavailable,
    Buffer,
    NotFound,
    ObjectStat,
    PreconditionFailed,
)

LIST_PAGE = 1000


@dataclass(slots=True, kw_only=True)
class Faults:
    """Rates are probabilities per request; times are ranges in seconds. All may be changed while the test runs."""

    unavailable: float = 0.0
    """503 before anything was done."""
    timeout_applied: float = 0.0
    """A write is done, its answer is lost."""
    timeout_lost: float = 0.0
    """A write is not done and no answer comes; both timeouts take `timeout_s`."""
    conflict: float = 0.0
    """A conditional write is refused although its condition holds (409, or 412 after an inner retry)."""
    conflict_applied: float = 0.0
    """A conditional write is done and still answered with 412."""
    short_read: float = 0.0
    """The body of a GET breaks off; adapters notice that and raise."""
    corrupt_read: float = 0.0
    """A GET of bytes returns one flipped bit: only checksums notice."""
    slow: float = 0.0
    latency_s: tuple[float, float] = (0.0, 0.0)
    slow_s: tuple[float, float] = (1.0, 10.0)
    late_s: float = 0.0
    """So much later than it is done a `put` is answered."""
    timeout_s: float = 10.0
    outage: bool = False
    """Every request fails as unavailable until it is switched off."""
    denied: bool = False
    """Every request fails as denied until it is switched off."""


@dataclass(slots=True)
class _Stored:
    data: bytes
    etag: str
    modified_ms: int


@dataclass(slots=True)
class MemoryStore:
    """The objects themselves; strongly consistent, shared by any number of clients."""

    objects: dict[str, _Stored] = field(default_factory=dict)

    def keys(self, prefix: str = "") -> list[str]:
        """All keys below `prefix`, sorted."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    def data(self, key: str) -> bytes:
        """The bytes of an object, past every fault."""
        return self.objects[key].data

    def plant(self, key: str, data: bytes) -> None:
        """Put bytes there, past every fault: for damage and for objects of other hands."""
        self.objects[key] = _Stored(data, md5(data, usedforsecurity=False).hexdigest(), 0)


class MemoryBucket:
    """Port Bucket over a MemoryStore.

    `requests` counts what S3 would bill: put, part, create_multipart, complete_multipart, put_if_match, get, head,
    list, delete; `errors` counts what the faults did; `bytes_in` and `bytes_out` are payload.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        faults: Faults | None = None,
        seed: int = 0,
        now_ms: Callable[[], int] = lambda: 0,
        part_bytes: int = 64 * 1024 * 1024,
        single_put_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self.store = store if store is not None else MemoryStore()
        self.faults = faults if faults is not None else Faults()
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.bytes_in = 0
        self.bytes_out = 0
        self.is_closed = False
        self._random = Random(seed)
        self._now_ms = now_ms
        self._part_bytes = part_bytes
        self._single_put_bytes = single_put_bytes

    @property
    def puts(self) -> int:
        """All requests that S3 bills in the PUT and POST class."""
        kinds = ("put", "part", "create_multipart", "complete_multipart", "put_if_match")
        return sum(self.requests[kind] for kind in kinds)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """See Bucket.get."""
        await self._enter("get")
        found = self._find(key)
        stop = len(found.data) if end is None else end
        if not 0 <= start <= stop <= len(found.data):
            raise Corrupt(f"{key} has {len(found.data)} bytes; {start}..{stop} were asked for")
        return self._hand_out(found.data[start:stop], can_corrupt=True)

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See Bucket.get_with_etag. Never corrupted: S3 checks what carries an ETag end to end."""
        await self._enter("get")
        found = self._find(key)
        return self._hand_out(found.data, can_corrupt=False), found.etag

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put. Fails the test if a buffer changed before this returned."""
        before = b"".join(segments)
        self._count_put(len(before))
        etag = await self._write(key, before, if_absent, lambda: not (if_absent and key in self.store.objects))
        if self.faults.late_s:
            await asyncio.sleep(self.faults.late_s)
        assert b"".join(segments) == before, f"a buffer of {key} was changed while it was being stored"
        return etag

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        self.requests["put_if_match"] += 1

        def is_met() -> bool:
            found = self.store.objects.get(key)
            return found is not None and found.etag == etag

        return await self._write(key, bytes(data), True, is_met)

    async def head(self, key: str) -> ObjectStat:
        """See Bucket.head."""
        await self._enter("head")
        return self._stat(key, self._find(key))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """See Bucket.list."""
        await self._enter("list")
        keys = [key for key in self.store.keys(prefix) if key > start_after][:LIST_PAGE]
        return [self._stat(key, self.store.objects[key]) for key in keys]

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many; a lost answer may leave some of them deleted."""
        assert len(keys) <= LIST_PAGE
        self.requests["delete"] += 1
        outcome = await self._outcome(is_conditional=False)
        if outcome != "timeout_lost":
            for key in keys:
                self.store.objects.pop(key, None)
        self._answer(outcome)

    async def close(self) -> None:
        """See Bucket.close."""
        self.is_closed = True

    async def _enter(self, kind: str) -> None:
        self.requests[kind] += 1
        await self._delay()
        self._refuse()

    async def _delay(self) -> None:
        low, high = self.faults.slow_s if self._draw(self.faults.slow) else self.faults.latency_s
        wait_s = self._random.uniform(low, high)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        else:
            await asyncio.sleep(0)

    def _refuse(self) -> None:
        if self.faults.denied:
            self.errors["denied"] += 1
            raise BucketDenied("403 AccessDenied (injected)")
        if self.faults.outage or self._draw(self.faults.unavailable):
            self.errors["unavailable"] += 1
            raise BucketUnavailable("503 SlowDown (injected)")

    async def _outcome(self, *, is_conditional: bool) -> str:
        await self._delay()
        self._refuse()
        for name in ("timeout_applied", "timeout_lost"):
            if self._draw(getattr(self.faults, name)):
                await asyncio.sleep(self.faults.timeout_s)
                return name
        if is_conditional:
            for name in ("conflict", "conflict_applied"):
                if self._draw(getattr(self.faults, name)):
                    return name
        return "done"

    async def _write(self, key: str, data: bytes, is_conditional: bool, is_met: Callable[[], bool]) -> str:
        outcome = await self._outcome(is_conditional=is_conditional)
        etag = md5(data, usedforsecurity=False).hexdigest()
        # The condition is judged and the write applied in one step of the loop: that is the store's atomicity.
        if outcome in ("done", "timeout_applied", "conflict_applied"):
            if is_met():
                self.bytes_in += len(data)
                self.store.objects[key] = _Stored(data, etag, self._now_ms())
            elif outcome == "done":
                raise PreconditionFailed(f"{key}: 412")
        self._answer(outcome)
        return etag

    def _answer(self, outcome: str) -> None:
        if outcome == "done":
            return
        self.errors[outcome] += 1
        if outcome.startswith("timeout"):
            raise BucketUnavailable("timed out (injected)")
        raise PreconditionFailed("409 or 412 (injected)")

    def _find(self, key: str) -> _Stored:
        found = self.store.objects.get(key)
        if found is None:
            raise NotFound(key)
        return found

    def _hand_out(self, data: bytes, *, can_corrupt: bool) -> bytes:
        if self._draw(self.faults.short_read):
            self.errors["short_read"] += 1
            raise BucketUnavailable("the body broke off (injected)")
        self.bytes_out += len(data)
        if can_corrupt and data and self._draw(self.faults.corrupt_read):
            self.errors["corrupt_read"] += 1
            flipped = bytearray(data)
            flipped[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
            return bytes(flipped)
        return data

    def _stat(self, key: str, found: _Stored) -> ObjectStat:
        return ObjectStat(key=key, size=len(found.data), etag=found.etag, modified_ms=found.modified_ms)

    def _count_put(self, size: int) -> None:
        if size <= self._single_put_bytes:
            self.requests["put"] += 1
            return
        self.requests["create_multipart"] += 1
        self.requests["part"] += -(-size // self._part_bytes)
        self.requests["complete_multipart"] += 1

    def _draw(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability


__all__ = ["LIST_PAGE", "Faults", "MemoryBucket", "MemoryStore"]
