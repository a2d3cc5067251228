"""A bucket in a local directory: the embedded default, with the semantics of S3 and nothing to install.

A key is a path below the root. Nothing is ever changed in place: bytes go to a temporary file, are made durable, and
appear under their key by one rename or link, so a reader sees the old object or the new one and a crash leaves a
temporary file at worst. Every change of a name happens under an exclusive flock that all processes share: that makes
`put_if_match` (read, compare, rename) atomic, also against a second process. The kernel drops the lock with its holder;
whether the lock file exists means nothing, and a lock on a deleted lock file is noticed and taken anew.

ETags: objects up to 256 KiB (the head, deltas) have the hash of their bytes, as on S3, where equal bytes have equal
ETags. Hashing a data object for every listing would read the whole store, so larger ones have size, inode and a
modification time whose nanoseconds are drawn at random for every write.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from automq_broker.adapters.bucket_threads import BucketThreads
from automq_broker.adapters.directory_errors import translated
from automq_broker.adapters.directory_files import (
    LIST_PAGE,
    check_key,
    remove_abandoned,
    sync_directory,
    sync_file,
    walk,
    write_all,
)
from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import Buffer, NotFound, ObjectStat, PreconditionFailed

T = TypeVar("T")

_Page = list[ObjectStat]

_HASHED_BYTES_MAX = 256 * 1024
_THREADS = 8
_LOCK_FILE = ".lock"
_TEMPORARY = ".tmp"
_ABANDONED_S = 600.0


class DirectoryBucket:
    """Port Bucket over a directory, which is created when missing. Several processes may use one directory at a time.

    Raises BucketUnavailable when the disk is full or fails, BucketDenied when rights are missing. Deleting the
    directory under a running process reads as an empty bucket until the next write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._threads = BucketThreads("bucket", _THREADS)
        self._known_directories: set[Path] = set()
        with translated(str(self.root)):
            self._make_directory(self.root / _TEMPORARY)
            remove_abandoned(self.root / _TEMPORARY, _ABANDONED_S, time.time())

    def __repr__(self) -> str:
        return f"DirectoryBucket({str(self.root)!r})"

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """See Bucket.get. A range that reaches behind the object raises Corrupt: no retry can mend it."""
        return await self._threads.read(self._guarded(key, partial(self._read, key, start, end)))

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See Bucket.get_with_etag; ETag and bytes come from one open file, so they belong together."""
        return await self._threads.read(self._guarded(key, partial(self._read_with_etag, key)))

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put. With `if_absent`, of several writers in any processes exactly one wins."""
        return await self._threads.write(self._guarded(key, partial(self._store, key, segments, if_absent)))

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match; a missing object is a failed precondition too."""
        return await self._threads.write(self._guarded(key, partial(self._replace, key, data, etag)))

    async def head(self, key: str) -> ObjectStat:
        """See Bucket.head."""
        return await self._threads.read(self._guarded(key, partial(self._stat, key)))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """See Bucket.list; objects deleted while the listing runs are left out."""
        return await self._threads.read(self._guarded(prefix, partial(self._list, prefix, start_after)))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many; empty directories stay."""
        await self._threads.write(self._guarded("", partial(self._delete, list(keys))))

    async def close(self) -> None:
        """Release the threads. No lock is held between calls."""
        self._threads.close()

    def _guarded(self, key: str, work: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            with translated(key or str(self.root)):
                return work()

        return run

    # Everything below runs on the bucket's threads.

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.root / key

    def _read(self, key: str, start: int, end: int | None) -> bytes:
        with open(self._path(key), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            stop = size if end is None else end
            if not 0 <= start <= stop <= size:
                raise Corrupt(f"{key} has {size} bytes; {start}..{stop} were asked for")
            chunks = []
            while start < stop:
                chunk = os.pread(file.fileno(), stop - start, start)
                if not chunk:
                    raise Corrupt(f"{key} ended at byte {start} while it was read")
                chunks.append(chunk)
                start += len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _read_with_etag(self, key: str) -> tuple[bytes, str]:
        with open(self._path(key), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            data = file.readall()
            return data, _etag(status, lambda: data)

    def _stat(self, key: str) -> ObjectStat:
        with open(self._path(key), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            return ObjectStat(
                key=key,
                size=status.st_size,
                etag=_etag(status, file.readall),
                modified_ms=status.st_mtime_ns // 1_000_000,
            )

    def _store(self, key: str, segments: Sequence[Buffer], if_absent: bool) -> str:
        target = self._path(key)
        self._make_directory(target.parent)
        with self._temporary(segments) as (path, etag):
            with self._locked():
                if if_absent:
                    try:
                        os.link(path, target)
                    except FileExistsError:
                        raise PreconditionFailed(f"{key} exists") from None
                else:
                    os.replace(path, target)
            sync_directory(target.parent)
        return etag

    def _replace(self, key: str, data: bytes, etag: str) -> str:
        target = self._path(key)
        with self._temporary([data]) as (path, new_etag):
            with self._locked():
                try:
                    found = self._stat(key).etag
                except FileNotFoundError:
                    raise PreconditionFailed(f"{key} does not exist") from None
                if found != etag:
                    raise PreconditionFailed(f"{key} has changed")
                os.replace(path, target)
            sync_directory(target.parent)
        return new_etag

    def _list(self, prefix: str, start_after: str) -> _Page:
        page: _Page = []
        for key in walk(self.root, prefix, start_after):
            try:
                page.append(self._stat(key))
            except FileNotFoundError:
                continue
            if len(page) == LIST_PAGE:
                break
        return page

    def _delete(self, keys: Sequence[str]) -> None:
        parents = set()
        with self._locked():
            for key in keys:
                path = self._path(key)
                try:
                    path.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                parents.add(path.parent)
        for parent in sorted(parents):
            sync_directory(parent)

    @contextmanager
    def _temporary(self, segments: Sequence[Buffer]) -> Iterator[tuple[Path, str]]:
        """A durable file without a name in the bucket, and the ETag that it will have there."""
        path = self.root / _TEMPORARY / secrets.token_hex(16)
        self._make_directory(path.parent)
        try:
            with open(path, "xb", buffering=0) as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # tells other processes that its writer is alive
                write_all(file.fileno(), segments)
                now_s = int(time.time())
                os.utime(file.fileno(), ns=(now_s * 10**9, now_s * 10**9 + secrets.randbelow(10**9)))
                sync_file(file.fileno())
                yield path, _etag(os.fstat(file.fileno()), lambda: b"".join(segments))
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the exclusive lock of all writers of this directory, in this process and in others."""
        while True:
            descriptor = os.open(self.root / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not _is_still(descriptor, self.root / _LOCK_FILE):
                    continue  # someone deleted the file: the next writer would lock another inode
                yield
                return
            finally:
                os.close(descriptor)

    def _make_directory(self, path: Path) -> None:
        """Create `path` and make its name durable, once per process: S3 has no directories that a crash could lose."""
        if path in self._known_directories and path.is_dir():
            return
        missing = [parent for parent in (path, *path.parents) if not parent.is_dir()]
        path.mkdir(parents=True, exist_ok=True)
        for directory in [path, *missing]:
            sync_directory(directory.parent)
        self._known_directories.add(path)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _etag(status: os.stat_result, content: Callable[[], bytes]) -> str:
    if not S_ISREG(status.st_mode):
        raise NotFound("not an object")
    if status.st_size <= _HASHED_BYTES_MAX:
        return blake2b(content(), digest_size=16).hexdigest()
    return f"{status.st_size:x}-{status.st_ino:x}-{status.st_mtime_ns:x}"


__all__ = ["DirectoryBucket"]
