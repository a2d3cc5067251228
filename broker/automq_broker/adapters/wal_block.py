"""The WAL on a raw block device: no file system in between, and the volume's own serial number as its identity."""

import fcntl
import os
import stat
import struct
from pathlib import Path

from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_io import WalIo, check_alignment
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.kernel.errors import Refused
from automq_broker.wal.format import BLOCK_ALIGNMENT, RING_POSITION
from automq_broker.wal.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_POSITIONS, decode_superblock, ring_capacity

_BLKSSZGET = 0x1268
_SYS_BLOCK = Path("/sys/dev/block")
_SERIALS = ("serial", "device/serial", "device/wwid", "wwid", "dm/uuid")


def open_block_wal(
    path: str, *, handle: str | None = None, pacing: Pacing | None = None, is_read_only: bool = False
) -> DirectWal:
    """Open a whole device or partition for exclusive use. Nothing is zero-filled: a raw device has no holes.

    Raises Refused: no block device, in use or mounted, not allowed, or holding something that is no WAL.
    """
    try:
        return _open(path, handle, pacing or Pacing(), is_read_only)
    except OSError as error:
        raise Refused(f"WAL {path}: {error.strerror}") from error


def _open(path: str, handle: str | None, pacing: Pacing, is_read_only: bool) -> DirectWal:
    fd = _lock(path, is_read_only)
    try:
        capacity = os.lseek(fd, 0, os.SEEK_END) // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT
        ring_capacity(capacity)
        (sector,) = struct.unpack("i", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))
        device = DirectWal(
            WalIo(path, is_read_only=is_read_only),
            capacity_bytes=capacity,
            alignment_bytes=check_alignment(path, sector),
            handle=handle or device_handle(os.fstat(fd).st_rdev),
            lock_fd=fd,
            pacing=pacing,
        )
        _check_contents(device, path)
        return device
    except BaseException:
        os.close(fd)
        raise


def _lock(path: str, is_read_only: bool) -> int:
    """O_EXCL keeps mounts and other exclusive users away, flock other brokers that see the same node."""
    if not stat.S_ISBLK(os.stat(path).st_mode):
        raise Refused(f"WAL {path}: not a block device; give a file as file://{path}")
    if is_read_only:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Refused(f"WAL {path}: another process uses it") from error
    return fd


def device_handle(device_number: int, sys_block: Path = _SYS_BLOCK) -> str:
    """`serial:<serial>`, with the partition's number behind it, from /sys; else `device:<major>:<minor>`.

    On EBS the serial is the volume id, so the handle survives another device name on another node.
    """
    name = f"{os.major(device_number)}:{os.minor(device_number)}"
    place = (sys_block / name).resolve()
    partition = _read(place / "partition")
    disk = place.parent if partition else place
    for candidate in _SERIALS:
        if serial := _read(disk / candidate):
            return f"serial:{serial}" + (f":{partition}" if partition else "")
    return f"device:{name}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _check_contents(device: DirectWal, path: str) -> None:
    """A device that holds neither zeros nor a WAL belongs to somebody: a file system, a partition table."""
    head = device.read_blocking(0, RING_POSITION)
    if any(decode_superblock(head[at : at + SUPERBLOCK_BYTES]) is not None for at in SUPERBLOCK_POSITIONS):
        return
    if bytes(head).count(0) != len(head):
        raise Refused(f"WAL {path}: the device holds something else; zero its first MiB if it may be overwritten")


__all__ = ["device_handle", "open_block_wal"]
