"""A bucket that counts: calls by kind and outcome, their time, bytes moved, and what is wrong with it just now.

Everything in the process reaches the bucket through it, so what /readyz, /status and the alerts say has one source.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from typing import TypeVar

from automq_broker.contract import metrics
from automq_broker.contract.histogram import Histogram
from automq_broker.contract.metrics import Sample
from automq_broker.kernel.errors import AutomqError
from automq_broker.ports import Bucket, BucketDenied, BucketUnavailable, Buffer, ObjectStat

T = TypeVar("T")
log = logging.getLogger("automq.bucket")

_OUTAGE_S = 5.0
"""A call that fails for so long is told in the log; shorter troubles are everyday, and counted."""


class MeteredBucket:
    """Delegates to `inner`, errors included. One loop uses it."""

    def __init__(self, inner: Bucket) -> None:
        self._inner = inner
        self._calls: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, Histogram] = {}
        # Whoever was refused tries again, so a kind of call stays here exactly as long as it does not work.
        self._troubles: dict[str, BucketDenied | BucketUnavailable] = {}
        self._troubled_since_s = 0.0
        self._is_outage_told = False
        self.bytes_in = 0
        self.bytes_out = 0

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """As the port says."""
        data = await self._count("get", self._inner.get(key, start, end))
        self.bytes_in += len(data)
        return data

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """As the port says."""
        data, etag = await self._count("get", self._inner.get_with_etag(key))
        self.bytes_in += len(data)
        return data, etag

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """As the port says."""
        etag = await self._count("put", self._inner.put(key, segments, if_absent=if_absent))
        self.bytes_out += sum(map(len, segments))
        return etag

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """As the port says."""
        new_etag = await self._count("put_if_match", self._inner.put_if_match(key, data, etag))
        self.bytes_out += len(data)
        return new_etag

    async def head(self, key: str) -> ObjectStat:
        """As the port says."""
        return await self._count("head", self._inner.head(key))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """As the port says."""
        return await self._count("list", self._inner.list(prefix, start_after))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """As the port says."""
        await self._count("delete", self._inner.delete_many(keys))

    async def close(self) -> None:
        """As the port says."""
        await self._inner.close()

    @property
    def trouble(self) -> str | None:
        """What the bucket last said to calls that do not work now; None while all do."""
        return next((f"{kind}: {error}" for kind, error in self._troubles.items()), None)

    @property
    def denial(self) -> str | None:
        """As `trouble`, where patience will not help: bad credentials, no permission, no such bucket."""
        found = (f"{kind}: {error}" for kind, error in self._troubles.items() if isinstance(error, BucketDenied))
        return next(found, None)

    def calls(self) -> dict[str, int]:
        """Calls so far as "kind result" -> count; result is ok or the error's name."""
        return {f"{kind} {result}": count for (kind, result), count in sorted(self._calls.items())}

    def samples(self) -> Iterator[Sample]:
        """Everything counted so far."""
        for (kind, result), count in self._calls.items():
            yield Sample(metrics.BUCKET_REQUESTS, count, (kind, result))
        for kind, histogram in self._durations.items():
            yield Sample(metrics.BUCKET_DURATION, histogram.distribution(), (kind,))
        yield Sample(metrics.BUCKET_BYTES, self.bytes_in, ("in",))
        yield Sample(metrics.BUCKET_BYTES, self.bytes_out, ("out",))
        yield Sample(metrics.BUCKET_TROUBLE, int(bool(self._troubles)))

    async def _count(self, kind: str, call: Awaitable[T]) -> T:
        started = time.monotonic()
        try:
            result = await call
        except AutomqError as error:
            self._calls[kind, type(error).__name__] += 1
            if isinstance(error, BucketDenied | BucketUnavailable):
                self._troubled(kind, error)
            else:
                self._works(kind)
            raise
        self._calls[kind, "ok"] += 1
        self._works(kind)
        histogram = self._durations.get(kind)
        if histogram is None:
            histogram = self._durations[kind] = Histogram()
        histogram.observe(time.monotonic() - started)
        return result

    def _troubled(self, kind: str, error: BucketDenied | BucketUnavailable) -> None:
        now = asyncio.get_running_loop().time()
        if not self._troubles:
            self._troubled_since_s = now
        self._troubles[kind] = error
        if not self._is_outage_told and now - self._troubled_since_s >= _OUTAGE_S:
            self._is_outage_told = True
            denied = isinstance(error, BucketDenied)
            log.warning(
                "the bucket denies access" if denied else "the bucket fails",
                extra={"call": kind, "reason": str(error), "seconds": round(now - self._troubled_since_s)},
            )

    def _works(self, kind: str) -> None:
        if self._troubles.pop(kind, None) is None or self._troubles or not self._is_outage_told:
            return
        self._is_outage_told = False
        seconds = asyncio.get_running_loop().time() - self._troubled_since_s
        log.info("the bucket works again", extra={"seconds": round(seconds)})


__all__ = ["MeteredBucket"]
