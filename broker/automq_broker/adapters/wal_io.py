"""Blocking reads and durable writes of one file or block device, past the page cache where the system allows it."""

import ctypes
import errno
import fcntl
import logging
import mmap
import os
from collections.abc import Sequence
from enum import Enum

from automq_broker.kernel.errors import Corrupt, Refused

_LOG = logging.getLogger(__name__)
_DIRECT = getattr(os, "O_DIRECT", 0)
_FULLFSYNC = getattr(fcntl, "F_FULLFSYNC", None)
_STATX_DIOALIGN = 0x2000
_STATX_BYTES = 256
_DIO_ALIGN_AT = 152
_AT_FDCWD = -100
_ALIGNMENT = 4096


class Durability(Enum):
    """How a write is made durable before it returns."""

    DIRECT = "O_DIRECT|O_DSYNC"
    DSYNC = "O_DSYNC through the page cache"
    FULLFSYNC = "F_FULLFSYNC after each write"


class WalIo:
    """One open device. Writes come from one thread; reads may come from others at the same time.

    `warning` says what is missing on this file system, or is None.
    """

    def __init__(self, path: str, *, is_read_only: bool = False) -> None:
        self.path = path
        self._is_read_only = is_read_only
        self.warning: str | None = None
        self.durability = Durability.DIRECT
        self._retired: list[int] = []
        self._fd = self._open_direct()

    def _open_direct(self) -> int:
        if not _DIRECT:
            return self._open_buffered("this system has no direct I/O")
        try:
            return os.open(self.path, self._access() | _DIRECT | os.O_DSYNC | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return self._open_buffered("this file system has no direct I/O")

    def _open_buffered(self, why: str) -> int:
        self.durability = Durability.DSYNC if _FULLFSYNC is None else Durability.FULLFSYNC
        self.warning = f"WAL {self.path}: {why}; using {self.durability.value}, which is slower"
        _LOG.warning(self.warning)
        return os.open(self.path, self._access() | os.O_DSYNC | os.O_CLOEXEC)

    def _access(self) -> int:
        return os.O_RDONLY if self._is_read_only else os.O_RDWR

    def write(self, position: int, parts: Sequence[memoryview]) -> None:
        """Write the parts back to back from `position` on, durable on return. A short write is an OSError too."""
        size = sum(map(len, parts))
        try:
            written = _write_some(self._fd, parts, position)
        except OSError as error:
            if error.errno != errno.EINVAL or self.durability is not Durability.DIRECT:
                raise
            written = self._write_after_einval(position, parts)
        if written != size:
            raise OSError(errno.EIO, f"short write: {written} of {size} bytes at position {position}", self.path)
        if self.durability is Durability.FULLFSYNC and _FULLFSYNC is not None:
            fcntl.fcntl(self._fd, _FULLFSYNC)

    def _write_after_einval(self, position: int, parts: Sequence[memoryview]) -> int:
        """EINVAL wrote nothing: memory that is not aligned, or a file system that refuses direct I/O only now."""
        size = sum(map(len, parts))
        bounce = mmap.mmap(-1, max(size, 1))
        bounce[:size] = b"".join(parts)
        aligned = [memoryview(bounce)[:size]]
        try:
            return _write_some(self._fd, aligned, position)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        self._retired.append(self._fd)  # another thread may be reading from it
        self._fd = self._open_buffered("this file system refuses direct I/O")
        return _write_some(self._fd, aligned, position)

    def read(self, position: int, length: int) -> memoryview:
        """The bytes in fresh aligned memory. Raises Corrupt when the device cannot give them."""
        target = memoryview(mmap.mmap(-1, -(-max(length, 1) // _ALIGNMENT) * _ALIGNMENT))
        done = 0
        while done < length:
            try:
                count = _read_some(self._fd, target[done:length], position + done)
            except OSError as error:
                raise Corrupt(
                    f"WAL {self.path}: position {position + done} cannot be read: {error.strerror}"
                ) from error
            if count == 0:
                raise Corrupt(f"WAL {self.path}: it ends at {position + done}, before {position + length}")
            done += count
        return target[:length]

    def sync(self) -> None:
        """Make everything durable that any process wrote, and forget cached pages, so that reads see the device."""
        if not self._is_read_only:
            os.fsync(self._fd)
            if _FULLFSYNC is not None:
                fcntl.fcntl(self._fd, _FULLFSYNC)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the descriptors; nobody may be using them any more."""
        for fd in (self._fd, *self._retired):
            os.close(fd)


def _write_some(fd: int, parts: Sequence[memoryview], position: int) -> int:
    if hasattr(os, "pwritev"):
        return os.pwritev(fd, parts, position)
    return os.pwrite(fd, parts[0] if len(parts) == 1 else b"".join(parts), position)


def _read_some(fd: int, target: memoryview, position: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [target], position)
    data = os.pread(fd, len(target), position)
    target[: len(data)] = data
    return len(data)


def check_alignment(path: str, alignment: int) -> int:
    """The alignment to use; raises Refused for a device whose own is coarser than a WAL block."""
    if alignment > _ALIGNMENT or _ALIGNMENT % max(alignment, 1):
        raise Refused(f"WAL {path}: the device wants writes aligned to {alignment} bytes; the WAL's blocks have 4096")
    return _ALIGNMENT


def direct_alignment(path: str) -> int:
    """What direct writes to this file must be aligned to, by statx (Linux 6.1); 4096 where the system does not say."""
    libc = ctypes.CDLL(None, use_errno=True)
    statx = getattr(libc, "statx", None)
    if statx is None:
        return _ALIGNMENT
    result = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_DIOALIGN, result) != 0:
        return _ALIGNMENT
    if not int.from_bytes(result.raw[:4], "little") & _STATX_DIOALIGN:
        return _ALIGNMENT
    memory = int.from_bytes(result.raw[_DIO_ALIGN_AT : _DIO_ALIGN_AT + 4], "little")
    offset = int.from_bytes(result.raw[_DIO_ALIGN_AT + 4 : _DIO_ALIGN_AT + 8], "little")
    return max(memory, offset) or _ALIGNMENT


__all__ = ["Durability", "WalIo", "check_alignment", "direct_alignment"]
