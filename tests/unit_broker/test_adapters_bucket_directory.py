"""adapters/directory_*.py: what a directory does beyond the common contract."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from automq_broker.adapters.bucket_threads import BucketThreads
from automq_broker.adapters.directory_bucket import DirectoryBucket
from automq_broker.adapters.directory_errors import translated
from automq_broker.adapters.directory_files import remove_abandoned, walk, write_all
from automq_broker.kernel.errors import Bug
from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound, PreconditionFailed
from hypothesis import given, settings
from hypothesis import strategies as st

INCREMENT = """
import asyncio, sys
from pathlib import Path
from automq_broker.adapters.directory_bucket import DirectoryBucket
from automq_broker.ports import PreconditionFailed

async def main():
    bucket = DirectoryBucket(Path(sys.argv[1]))
    done = 0
    while done < 25:
        data, etag = await bucket.get_with_etag("meta/head")
        try:
            await bucket.put_if_match("meta/head", b"%d" % (int(data) + 1), etag)
        except PreconditionFailed:
            continue
        done += 1
        if done == 12:
            (bucket.root / ".lock").unlink(missing_ok=True)

asyncio.run(main())
"""


def test_two_processes_that_swap_one_key_lose_no_update_even_when_the_lock_file_is_deleted(tmp_path):
    bucket = DirectoryBucket(tmp_path)
    asyncio.run(bucket.put("meta/head", [b"0"]))
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.modules[DirectoryBucket.__module__].__file__).parents[2])}
    processes = [subprocess.Popen([sys.executable, "-c", INCREMENT, str(tmp_path)], env=environment) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert asyncio.run(bucket.get_with_etag("meta/head"))[0] == b"50"


def test_nothing_but_keys_is_listed_and_no_temporary_file_is_left(tmp_path):
    async def scenario():
        bucket = DirectoryBucket(tmp_path)
        await bucket.put("data/00/1", [b"x"])
        await bucket.put("data/00/1", [b"y"])
        with pytest.raises(PreconditionFailed):
            await bucket.put("data/00/1", [b"z"], if_absent=True)
        assert [found.key for found in await bucket.list("")] == ["data/00/1"]
        assert list((tmp_path / ".tmp").iterdir()) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/.", ".tmp/x", ".lock", "a\0b"])
def test_a_key_that_would_leave_the_bucket_is_a_bug(tmp_path, key):
    bucket = DirectoryBucket(tmp_path)
    for call in (bucket.put(key, [b"x"]), bucket.get(key), bucket.head(key), bucket.delete_many([key])):
        with pytest.raises(Bug):
            asyncio.run(call)


@pytest.mark.parametrize(
    ("number", "family", "words"),
    [
        (errno.ENOSPC, BucketUnavailable, "disk is full"),
        (errno.EDQUOT, BucketUnavailable, "disk is full"),
        (errno.EIO, BucketUnavailable, "k: "),
        (errno.EACCES, BucketDenied, "Permission denied"),
        (errno.EROFS, BucketDenied, "Read-only"),
        (errno.ENOENT, NotFound, "not found"),
    ],
)
def test_errors_of_the_file_system_have_one_family_each(number, family, words):
    with pytest.raises(family, match=words), translated("k"):
        raise OSError(number, os.strerror(number))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_fails_the_write_with_a_clear_line():
    with (
        pytest.raises(BucketUnavailable, match="disk is full"),
        translated("data/1"),
        open("/dev/full", "wb", 0) as full,
    ):
        write_all(full.fileno(), [b"x" * 4096])


def test_a_directory_that_is_a_file_is_denied_at_the_open(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises((BucketDenied, NotFound)):
        DirectoryBucket(tmp_path / "file")


def test_a_deleted_directory_is_made_again_by_the_next_write(tmp_path):
    import shutil

    async def scenario():
        bucket = DirectoryBucket(tmp_path / "b")
        await bucket.put("data/00/1", [b"x"])
        shutil.rmtree(tmp_path / "b")
        with pytest.raises(NotFound):
            await bucket.get("data/00/1")
        await bucket.put("data/00/1", [b"y"])
        assert await bucket.get("data/00/1") == b"y"

    asyncio.run(scenario())


def test_temporary_files_of_a_dead_process_go_and_those_of_a_living_one_stay(tmp_path):
    import fcntl

    dead, alive, young = tmp_path / "dead", tmp_path / "alive", tmp_path / "young"
    for path in (dead, alive, young):
        path.write_text("x")
        os.utime(path, (1000, 1000))
    os.utime(young, (9000, 9000))
    with open(alive) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_abandoned(tmp_path, older_than_s=600, now_s=9100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "young"]


def test_a_large_object_written_twice_with_equal_bytes_still_changes_its_etag(tmp_path):
    async def scenario():
        bucket = DirectoryBucket(tmp_path)
        blob = bytes(300_000)
        tags = {await bucket.put("data/00/1", [blob]) for _ in range(4)}
        assert len(tags) == 4

    asyncio.run(scenario())


names = st.text(alphabet="ab-0/", min_size=1, max_size=6).filter(
    lambda key: all(part for part in key.split("/")) and not key.startswith(".")
)


@settings(max_examples=50, deadline=None)
@given(keys=st.sets(names, max_size=12), prefix=st.text("ab-0/", max_size=3), after=st.text("ab-0/", max_size=4))
def test_listing_is_in_the_order_of_whole_keys(tmp_path_factory, keys, prefix, after):
    root = tmp_path_factory.mktemp("walk")
    kept = [key for key in sorted(keys) if not any(other.startswith(key + "/") for other in keys)]
    for key in kept:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text("x")
    expected = [key for key in kept if key.startswith(prefix) and key > after]
    assert list(walk(root, prefix, after)) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=1200))
def test_segments_are_written_one_behind_the_other(tmp_path_factory, segments):
    path = tmp_path_factory.mktemp("write") / "file"
    with open(path, "wb", 0) as file:
        write_all(file.fileno(), segments)
    assert path.read_bytes() == b"".join(segments)


def test_a_cancelled_write_returns_only_when_its_buffers_are_free():
    async def scenario():
        threads, release, done = BucketThreads("t", 1), threading.Event(), []

        def work():
            release.wait(10)
            done.append(True)

        task = asyncio.create_task(threads.write(work))
        await asyncio.sleep(0.02)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [True]
        threads.close()

    asyncio.run(scenario())
