"""twins/memory_bucket.py: its faults do what they say, the same seed does the same, and requests are counted."""

import asyncio

import pytest
from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound, PreconditionFailed
from twins.memory_bucket import Faults, MemoryBucket, MemoryStore


def run(coroutine):
    return asyncio.run(coroutine)


def test_an_unavailable_store_has_done_nothing():
    bucket = MemoryBucket(faults=Faults(unavailable=1.0))
    with pytest.raises(BucketUnavailable):
        run(bucket.put("k", [b"x"]))
    assert bucket.store.keys() == []
    assert bucket.errors == {"unavailable": 1}


def test_a_timeout_may_have_applied_the_write_or_not():
    for name, keys in (("timeout_applied", ["k"]), ("timeout_lost", [])):
        bucket = MemoryBucket(faults=Faults(timeout_s=0, **{name: 1.0}))
        with pytest.raises(BucketUnavailable):
            run(bucket.put("k", [b"x"], if_absent=True))
        assert bucket.store.keys() == keys


def test_a_conflict_may_have_applied_the_write_or_not():
    for name, stored in (("conflict_applied", b"new"), ("conflict", b"old")):
        bucket = MemoryBucket()
        etag = run(bucket.put("k", [b"old"]))
        setattr(bucket.faults, name, 1.0)
        with pytest.raises(PreconditionFailed):
            run(bucket.put_if_match("k", b"new", etag))
        assert bucket.store.data("k") == stored


def test_an_applied_timeout_still_honours_its_condition():
    bucket = MemoryBucket()
    run(bucket.put("k", [b"old"]))
    bucket.faults = Faults(timeout_s=0, timeout_applied=1.0)
    with pytest.raises(BucketUnavailable):
        run(bucket.put("k", [b"new"], if_absent=True))
    assert bucket.store.data("k") == b"old"


def test_a_corrupt_read_differs_in_one_bit_and_the_store_does_not():
    bucket = MemoryBucket(faults=Faults(corrupt_read=1.0))
    run(bucket.put("k", [b"hello"]))
    got = run(bucket.get("k"))
    assert sum((a ^ b).bit_count() for a, b in zip(got, b"hello", strict=True)) == 1
    assert bucket.store.data("k") == b"hello"


def test_an_outage_or_lost_rights_hit_one_client_and_not_its_neighbour():
    store = MemoryStore()
    here, there = MemoryBucket(store, faults=Faults(outage=True)), MemoryBucket(store)
    with pytest.raises(BucketUnavailable):
        run(here.list(""))
    here.faults = Faults(denied=True)
    with pytest.raises(BucketDenied):
        run(here.list(""))
    run(there.put("k", [b"x"]))


def test_the_same_seed_sees_the_same_faults():
    async def trace(seed):
        bucket = MemoryBucket(seed=seed, faults=Faults(unavailable=0.3, conflict=0.3, corrupt_read=0.3))
        seen = []
        for number in range(60):
            try:
                await bucket.put(f"k{number % 5}", [b"data"], if_absent=number % 2 == 0)
                seen.append(bytes(await bucket.get(f"k{number % 5}")))
            except (BucketUnavailable, PreconditionFailed, NotFound) as error:
                seen.append(type(error).__name__)
        return seen

    assert run(trace(5)) == run(trace(5)) != run(trace(6))


def test_changing_a_buffer_before_the_put_returned_fails_the_test():
    async def scenario():
        bucket = MemoryBucket(faults=Faults(latency_s=(0.01, 0.01)))
        data = bytearray(b"before")
        task = asyncio.create_task(bucket.put("k", [data]))
        await asyncio.sleep(0)
        data[0] = 0
        with pytest.raises(AssertionError, match="was changed"):
            await task

    run(scenario())


def test_requests_are_counted_as_a_store_bills_them():
    async def scenario():
        bucket = MemoryBucket(part_bytes=10, single_put_bytes=20)
        etag = await bucket.put("a", [bytes(20)])
        await bucket.put("b", [bytes(21)], if_absent=True)
        await bucket.put_if_match("a", b"x", etag)
        await bucket.get("a")
        await bucket.head("a")
        await bucket.list("")
        await bucket.delete_many(["a", "b"])
        return bucket

    bucket = run(scenario())
    assert bucket.requests == {
        "put": 1,
        "create_multipart": 1,
        "part": 3,
        "complete_multipart": 1,
        "put_if_match": 1,
        "get": 1,
        "head": 1,
        "list": 1,
        "delete": 1,
    }
    assert bucket.puts == 7
    assert (bucket.bytes_in, bucket.bytes_out) == (42, 1)
