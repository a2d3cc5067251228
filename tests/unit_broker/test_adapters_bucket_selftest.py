"""adapters/bucket_selftest.py: stores that break a promise are refused, each with its own line."""

import asyncio

import pytest
from automq_broker.adapters.bucket_selftest import check_bucket
from automq_broker.kernel.errors import Refused
from automq_broker.ports import BucketUnavailable, PreconditionFailed
from twins.memory_bucket import Faults, MemoryBucket


class IgnoresIfNoneMatch(MemoryBucket):
    async def put(self, key, segments, *, if_absent=False):
        return await super().put(key, segments)


class IgnoresIfMatch(MemoryBucket):
    async def put_if_match(self, key, data, etag):
        return await super().put(key, [data])


class StoresAndRefuses(MemoryBucket):
    async def put(self, key, segments, *, if_absent=False):
        existed = key in self.store.objects
        await super().put(key, segments)
        if if_absent and existed:
            raise PreconditionFailed(key)
        return self.store.objects[key].etag


class ConstantEtag(MemoryBucket):
    async def get_with_etag(self, key):
        return (await super().get_with_etag(key))[0], "same"

    async def put_if_match(self, key, data, etag):
        await super().put(key, [data])
        return "same"


class StaleLists(MemoryBucket):
    async def list(self, prefix, start_after=""):
        return []


class NeverDeletes(MemoryBucket):
    async def delete_many(self, keys):
        return


class NoRanges(MemoryBucket):
    async def get(self, key, start=0, end=None):
        return await super().get(key)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (IgnoresIfNoneMatch, "ignores If-None-Match"),
        (IgnoresIfMatch, "ignores If-Match"),
        (StoresAndRefuses, "stored it all the same"),
        (ConstantEtag, "ETag did not change"),
        (StaleLists, "listings are not consistent"),
        (NeverDeletes, "still shows a key"),
        (NoRanges, "ranged reads"),
    ],
)
def test_a_store_that_breaks_a_promise_is_refused_by_name(kind, words):
    with pytest.raises(Refused, match=words):
        asyncio.run(check_bucket(kind(), "n1"))


def test_denied_access_is_refused_with_the_reason():
    with pytest.raises(Refused, match="AccessDenied"):
        asyncio.run(check_bucket(MemoryBucket(faults=Faults(denied=True)), "n1"))


def test_a_store_that_cannot_be_reached_is_worth_another_try():
    bucket = MemoryBucket(faults=Faults(outage=True))
    with pytest.raises(BucketUnavailable):
        asyncio.run(check_bucket(bucket, "n1"))
    bucket.faults.outage = False
    asyncio.run(check_bucket(bucket, "n2"))
    assert bucket.store.keys() == []
