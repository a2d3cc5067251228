"""A bucket that counts: calls by kind and outcome, their time, bytes moved. Wraps any other; adds nothing else."""

import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from typing import TypeVar

from automq_broker.contract import metrics
from automq_broker.contract.histogram import Histogram
from automq_broker.contract.metrics import Sample
from automq_broker.kernel.errors import AutomqError
from automq_broker.ports import Bucket, Buffer, ObjectStat

T = TypeVar("T")


class MeteredBucket:
    """Delegates to `inner`, errors included. One loop uses it."""

    def __init__(self, inner: Bucket) -> None:
        self._inner = inner
        self._calls: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, Histogram] = {}
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

    def samples(self) -> Iterator[Sample]:
        """Everything counted so far."""
        for (kind, result), count in self._calls.items():
            yield Sample(metrics.BUCKET_REQUESTS, count, (kind, result))
        for kind, histogram in self._durations.items():
            yield Sample(metrics.BUCKET_DURATION, histogram.distribution(), (kind,))
        yield Sample(metrics.BUCKET_BYTES, self.bytes_in, ("in",))
        yield Sample(metrics.BUCKET_BYTES, self.bytes_out, ("out",))

    async def _count(self, kind: str, call: Awaitable[T]) -> T:
        started = time.monotonic()
        try:
            result = await call
        except AutomqError as error:
            self._calls[kind, type(error).__name__] += 1
            raise
        self._calls[kind, "ok"] += 1
        histogram = self._durations.get(kind)
        if histogram is None:
            histogram = self._durations[kind] = Histogram()
        histogram.observe(time.monotonic() - started)
        return result


__all__ = ["MeteredBucket"]
