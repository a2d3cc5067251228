"""The WAL in a file: preallocated and zero-filled, locked, and known by an identity that a copy does not inherit."""

import errno
import fcntl
import os
import uuid

from automq_broker.adapters.wal_block import device_handle
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_io import WalIo, check_alignment, direct_alignment
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.adapters.wal_zeroing import AHEAD_BYTES, Zeroing
from automq_broker.kernel.errors import Refused
from automq_broker.wal.format import BLOCK_ALIGNMENT, RING_POSITION
from automq_broker.wal.superblock import ring_capacity

_PROBE_BYTES = RING_POSITION + 64 * 1024
_VOLUME_SHARE = 0.95
_STEP_BYTES = 64 << 20


class FileWal(DirectWal):
    """A DirectWal over a file, whose size can change while it is drained."""

    def __init__(self, io: WalIo, *, capacity_bytes: int, handle: str, lock_fd: int, pacing: Pacing) -> None:
        super().__init__(
            io,
            capacity_bytes=capacity_bytes,
            alignment_bytes=check_alignment(io.path, direct_alignment(io.path)),
            handle=handle,
            lock_fd=lock_fd,
            pacing=pacing,
            zeroing=Zeroing(io, end=capacity_bytes, fail=self._zeroing_failed),
        )

    def resize(self, capacity_bytes: int) -> None:
        """Give the file another size. Only when the WAL is drained, and before `start_zeroing`; then format it anew.

        Raises Refused when the volume has no room; the file keeps its size then.
        """
        ring_capacity(capacity_bytes)
        capacity = capacity_bytes // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT
        _allocate(self._lock_fd, self._io.path, capacity)
        os.ftruncate(self._lock_fd, capacity)
        os.fsync(self._lock_fd)
        self.capacity_bytes = capacity
        self._zeroing = Zeroing(self._io, end=capacity, fail=self._zeroing_failed)


def open_file_wal(
    path: str,
    *,
    capacity_bytes: int | None = None,
    handle: str | None = None,
    pacing: Pacing | None = None,
    is_read_only: bool = False,
) -> FileWal:
    """Open the WAL file, or create it with `capacity_bytes` (default: 95 % of its volume) and its first 64 MiB zeroed.

    An existing WAL keeps its size and tells `capacity_bytes` as `wanted_bytes`: resize it when it is drained. `handle`
    replaces the identity of the file when someone outside knows the volume (the operator: the PersistentVolume). Blocks
    up to a second. Raises Refused: in use, no room, not allowed.
    """
    try:
        return _open(path, capacity_bytes, handle, pacing or Pacing(), is_read_only)
    except OSError as error:
        raise Refused(f"WAL {path}: {error.strerror}") from error


def _open(path: str, capacity_bytes: int | None, handle: str | None, pacing: Pacing, is_read_only: bool) -> FileWal:
    lock_fd = _lock(path, is_read_only)
    try:
        size = os.fstat(lock_fd).st_size
        is_new = size == 0
        if is_new and is_read_only:
            raise Refused(f"WAL {path}: the file is empty")
        if is_new:
            size = _capacity(path, capacity_bytes)
            _allocate(lock_fd, path, size)
        known = handle or _handle(path, lock_fd, is_new=is_new, is_read_only=is_read_only)
        size = size // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT
        device = FileWal(
            WalIo(path, is_read_only=is_read_only), capacity_bytes=size, handle=known, lock_fd=lock_fd, pacing=pacing
        )
        if capacity_bytes is not None and not is_read_only:
            device.wanted_bytes = capacity_bytes // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT
        if not is_read_only and (is_new or _was_never_formatted(device)):
            device._zeroing.fill_now(0, AHEAD_BYTES)
        return device
    except BaseException:
        os.close(lock_fd)
        raise


def volume_capacity(path: str) -> int:
    """95 % of what the volume below `path` can still hold: the WAL of a pod has a volume to itself."""
    volume = os.statvfs(os.path.dirname(os.path.abspath(path)))
    return int(volume.f_bavail * volume.f_frsize * _VOLUME_SHARE)


def grown_capacity(path: str) -> int:
    """95 % of the volume that the WAL at `path` has to itself, its own file included; never less than that file.

    In steps of 64 MiB: what a file system takes for itself varies a little, and is no reason to make a ring anew.
    Raises Refused if the volume cannot be looked at.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        volume = os.statvfs(os.path.dirname(os.path.abspath(path)))
        file = os.stat(path) if os.path.exists(path) else None
    except OSError as error:
        raise Refused(f"WAL {path}: {error.strerror}") from error
    own = file.st_blocks * 512 if file is not None else 0
    share = int((volume.f_bavail * volume.f_frsize + own) * _VOLUME_SHARE)
    return max(share // _STEP_BYTES * _STEP_BYTES, file.st_size if file is not None else 0)


def _capacity(path: str, wanted: int | None) -> int:
    size = volume_capacity(path) if wanted is None else wanted
    ring_capacity(size)
    return size // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT


def _lock(path: str, is_read_only: bool) -> int:
    """Open (or create) the file and lock it against every other process; a reader takes no lock."""
    if is_read_only:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Refused(f"WAL {path}: another process uses it") from error
    return fd


def _allocate(fd: int, path: str, size: int) -> None:
    before = os.fstat(fd).st_size
    if size <= before:
        return
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, before, size - before)
        else:
            os.ftruncate(fd, size)
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        os.ftruncate(fd, before)
        raise Refused(
            f"WAL {path}: no room for {size} bytes, the volume can hold {volume_capacity(path)}; "
            "choose a smaller s3.wal.capacity"
        ) from error


def _was_never_formatted(device: FileWal) -> bool:
    """Whether a start was cut short before its first superblock; a look into the ring spares a WAL that lost both."""
    head = bytes(device.read_blocking(0, min(_PROBE_BYTES, device.capacity_bytes)))
    return head.count(0) == len(head)


def _handle(path: str, fd: int, *, is_new: bool, is_read_only: bool) -> str:
    """volume:inode:file id. The id lies beside the file, so that a copy of the bytes is not taken for the original."""
    sidecar = path + ".id"
    file_id = None if is_new else _read_id(sidecar)
    if file_id is None and is_read_only:
        file_id = "unknown"
    elif file_id is None:
        file_id = uuid.uuid4().hex
        _write_durably(sidecar, file_id)
    return f"{_volume(fd)}:{os.fstat(fd).st_ino}:{file_id}"


def _volume(fd: int) -> str:
    """The volume below the file by a name that it keeps on another node and behind a reboot.

    The disk's serial (EBS: the volume id), else the file system's own id; a device number is only what this boot calls
    it, and the last resort.
    """
    serial = device_handle(os.fstat(fd).st_dev)
    file_system = os.fstatvfs(fd).f_fsid
    return f"fs:{file_system:x}" if serial.startswith("device:") and file_system else serial


def _read_id(sidecar: str) -> str | None:
    try:
        with open(sidecar, encoding="ascii") as file:
            return file.read().strip() or None
    except FileNotFoundError:
        return None


def _write_durably(sidecar: str, file_id: str) -> None:
    """All or nothing: a temporary file, renamed, and the directory's entry made durable (the WAL file's own, too)."""
    temporary = sidecar + ".new"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(file_id + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, sidecar)
    directory = os.open(os.path.dirname(os.path.abspath(sidecar)), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


__all__ = ["FileWal", "grown_capacity", "open_file_wal", "volume_capacity"]
