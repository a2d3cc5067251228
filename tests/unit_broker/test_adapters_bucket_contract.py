"""One suite for every bucket: the memory twin, the directory, S3 on a real server, and moto as a second opinion."""

import asyncio
import os
from itertools import count, pairwise

import pytest
from automq_broker.adapters.bucket_selftest import check_bucket
from automq_broker.adapters.bucket_uri import parse_bucket_uri
from automq_broker.adapters.directory_bucket import DirectoryBucket
from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import NotFound, PreconditionFailed
from twins.faulty_s3 import faulty_s3
from twins.memory_bucket import MemoryBucket
from twins.seaweed import seaweed

KINDS = ["memory", "directory", "seaweed", "moto"]
PREFIXES = count()
PART_BYTES = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def weed(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("weed")) as server, server.environment():
        yield server


@pytest.fixture(scope="module")
def moto():
    with faulty_s3() as server:
        yield server


@pytest.fixture(params=KINDS)
def bucket(request, tmp_path, monkeypatch):
    made = make_bucket(request, tmp_path, monkeypatch)
    yield made
    asyncio.run(made.close())


def make_bucket(request, tmp_path, monkeypatch):
    match request.param:
        case "memory":
            return MemoryBucket()
        case "directory":
            return DirectoryBucket(tmp_path / "bucket")
        case "seaweed":
            return open_s3(request.getfixturevalue("weed").uri(prefix=f"p{next(PREFIXES)}"))
        case _:
            server = request.getfixturevalue("moto")
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            return open_s3(server.uri(prefix=f"p{next(PREFIXES)}"))


def open_s3(uri):
    from automq_broker.adapters.s3_bucket import open_s3_bucket

    return open_s3_bucket(parse_bucket_uri(uri), part_bytes=PART_BYTES, single_put_bytes=PART_BYTES)


def test_what_is_put_can_be_read_whole_and_in_part(bucket):
    async def scenario():
        segments = [b"abc", bytearray(b"defg"), memoryview(b"xhijx")[1:4], b""]
        await bucket.put("data/00/1", segments)
        assert bytes(await bucket.get("data/00/1")) == b"abcdefghij"
        assert bytes(await bucket.get("data/00/1", 2, 5)) == b"cde"
        assert bytes(await bucket.get("data/00/1", 7)) == b"hij"
        assert bytes(await bucket.get("data/00/1", 9, 10)) == b"j"

    asyncio.run(scenario())


def test_a_range_behind_the_object_is_an_error_and_not_a_short_answer(bucket):
    async def scenario():
        await bucket.put("data/00/1", [b"0123456789"])
        for start, end in ((5, 11), (11, 12), (20, 30)):
            with pytest.raises(Corrupt):
                await bucket.get("data/00/1", start, end)

    asyncio.run(scenario())


def test_an_empty_range_and_an_empty_object_read_as_nothing(bucket):
    async def scenario():
        await bucket.put("data/00/1", [b"0123"])
        assert bytes(await bucket.get("data/00/1", 2, 2)) == b""
        await bucket.put("data/00/2", [])
        assert bytes(await bucket.get("data/00/2")) == b""
        assert (await bucket.head("data/00/2")).size == 0

    asyncio.run(scenario())


def test_a_missing_key_is_not_found(bucket):
    async def scenario():
        for call in (
            lambda: bucket.get("no/such"),
            lambda: bucket.get("no/such", 0, 4),
            lambda: bucket.get_with_etag("no/such"),
            lambda: bucket.head("no/such"),
        ):
            with pytest.raises(NotFound):
                await call()

    asyncio.run(scenario())


def test_put_replaces_and_put_if_absent_does_not(bucket):
    async def scenario():
        await bucket.put("a/key", [b"one"])
        await bucket.put("a/key", [b"two"])
        with pytest.raises(PreconditionFailed):
            await bucket.put("a/key", [b"three"], if_absent=True)
        assert bytes(await bucket.get("a/key")) == b"two"
        await bucket.put("a/other", [b"three"], if_absent=True)
        assert bytes(await bucket.get("a/other")) == b"three"

    asyncio.run(scenario())


def test_of_many_that_create_one_key_exactly_one_wins(bucket):
    async def scenario():
        async def create(number):
            try:
                await bucket.put("meta/x", [b"%d" % number], if_absent=True)
            except PreconditionFailed:
                return None
            return number

        winners = [got for got in await asyncio.gather(*map(create, range(6))) if got is not None]
        assert len(winners) == 1
        assert bytes(await bucket.get("meta/x")) == b"%d" % winners[0]

    asyncio.run(scenario())


def test_put_if_match_replaces_only_what_it_was_built_on(bucket):
    async def scenario():
        first = await bucket.put("meta/head", [b"one"])
        second = await bucket.put_if_match("meta/head", b"two", first)
        assert second != first
        with pytest.raises(PreconditionFailed):
            await bucket.put_if_match("meta/head", b"three", first)
        assert await bucket.get_with_etag("meta/head") == (b"two", second)
        with pytest.raises(PreconditionFailed):
            await bucket.put_if_match("meta/none", b"x", second)

    asyncio.run(scenario())


def test_of_many_that_replace_one_state_exactly_one_wins(bucket):
    async def scenario():
        etag = await bucket.put("meta/head", [b"start"])

        async def replace(number):
            try:
                return await bucket.put_if_match("meta/head", b"%d" % number, etag)
            except PreconditionFailed:
                return None

        won = [got for got in await asyncio.gather(*map(replace, range(4))) if got is not None]
        assert len(won) == 1
        assert (await bucket.get_with_etag("meta/head"))[1] == won[0]

    asyncio.run(scenario())


def test_changed_bytes_change_the_etag_and_all_calls_agree_on_it(bucket):
    async def scenario():
        tags = []
        for data in (b"a", b"b", b"a" * 300_000, b"b" * 300_000):
            etag = await bucket.put("meta/k", [data])
            assert (await bucket.get_with_etag("meta/k"))[1] == etag
            stat = await bucket.head("meta/k")
            assert (stat.key, stat.size, stat.etag) == ("meta/k", len(data), etag)
            assert [found.etag for found in await bucket.list("meta/k")] == [etag]
            tags.append(etag)
        assert len(set(tags)) == len(tags)

    asyncio.run(scenario())


def test_listing_is_in_key_order_by_prefix_and_starts_after_a_key(bucket):
    async def scenario():
        # The shapes that our keys have. No key is a folder of another (a directory could not hold both), and no folder's
        # name begins another name beside it (SeaweedFS sorts folders without their slash).
        keys = ["data/0a/1", "data/0a/2", "data/1a/1", "data/1b/7", "meta/head", "meta/snapshot/1"]
        for key in keys:
            await bucket.put(key, [key.encode()])
        assert [found.key for found in await bucket.list("data/")] == keys[:4]
        assert [found.key for found in await bucket.list("data/0a/")] == keys[:2]
        assert [found.key for found in await bucket.list("data/1")] == keys[2:4]
        assert [found.key for found in await bucket.list("data/", "data/0a/1")] == keys[1:4]
        assert [found.key for found in await bucket.list("data/", "data/0b")] == keys[2:4]
        assert [found.size for found in await bucket.list("meta/h")] == [9]
        assert await bucket.list("nothing/") == []
        assert [found.key for found in await bucket.list("")] == keys

    asyncio.run(scenario())


def test_deleting_takes_many_keys_and_does_not_mind_absent_ones(bucket):
    async def scenario():
        for number in range(5):
            await bucket.put(f"data/0{number}/k", [b"x"])
        await bucket.delete_many([f"data/0{number}/k" for number in range(1, 8)])
        assert [found.key for found in await bucket.list("data/")] == ["data/00/k"]
        await bucket.delete_many([])
        await bucket.put("data/01/k", [b"again"], if_absent=True)

    asyncio.run(scenario())


def test_keys_may_hold_characters_that_urls_treat_specially(bucket):
    async def scenario():
        for key in ("data/a b", "data/a+b", "data/a%20b", "data/ä", "data/a=b&c"):
            await bucket.put(key, [key.encode()])
            assert bytes(await bucket.get(key, 0, len(key.encode()))) == key.encode()
        assert len(await bucket.list("data/")) == 5

    asyncio.run(scenario())


def test_a_megabyte_in_many_small_segments_arrives_in_order(bucket):
    async def scenario():
        blob = bytes(range(256)) * 4096
        view = memoryview(blob)
        await bucket.put("data/big", [view[at : at + 700] for at in range(0, len(blob), 700)], if_absent=True)
        assert bytes(await bucket.get("data/big")) == blob
        assert bytes(await bucket.get("data/big", 700_001, 700_099)) == blob[700_001:700_099]

    asyncio.run(scenario())


def test_an_object_of_several_parts_arrives_whole_and_keeps_its_condition(bucket):
    async def scenario():
        blob = os.urandom(1024) * (11 * 1024)
        view = memoryview(blob)
        cuts = [0, 3, 5_000_000, 5_000_001, 9_000_000, len(blob)]
        segments = [view[a:b] for a, b in pairwise(cuts)]
        await bucket.put("data/parts", segments, if_absent=True)
        assert bytes(await bucket.get("data/parts")) == blob
        with pytest.raises(PreconditionFailed):
            await bucket.put("data/parts", [blob[::-1]], if_absent=True)
        assert bytes(await bucket.get("data/parts", 5_242_870, 5_242_890)) == blob[5_242_870:5_242_890]
        await bucket.put("data/parts", [view[:6_000_000]])
        assert (await bucket.head("data/parts")).size == 6_000_000

    asyncio.run(scenario())


def test_the_store_passes_the_test_at_the_start_and_nothing_is_left_of_it(bucket):
    async def scenario():
        await check_bucket(bucket, "n1")
        await check_bucket(bucket, "n2")
        assert await bucket.list("") == []

    asyncio.run(scenario())


def test_a_listing_of_more_than_a_page_goes_on_where_it_stopped(bucket):
    async def scenario():
        keys = [f"data/{number % 7}/{number:04d}" for number in range(1003)]
        if not isinstance(bucket, MemoryBucket):
            keys = keys[:30]
        await asyncio.gather(*(bucket.put(key, [b"x"]) for key in keys))
        seen, last = [], ""
        while page := await bucket.list("data/", last):
            seen += [found.key for found in page]
            last = seen[-1]
        assert seen == sorted(keys)

    asyncio.run(scenario())
