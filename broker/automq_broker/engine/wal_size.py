"""Gives the WAL the size that its user asks for, at a start that finds its ring empty.

The ring's geometry is part of every LSN, so another size means another generation, and that is allowed only while the
bucket holds everything. A start after an orderly stop always finds that; after a crash the WAL keeps its size once more.
"""

import logging
import random
from collections.abc import Callable

from automq_broker.engine.recover import WalContents, write_superblock
from automq_broker.ports import WalDevice
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import RING_POSITION
from automq_broker.wal.superblock import Superblock

log = logging.getLogger("automq.wal")


async def fit(
    contents: WalContents, device: WalDevice, rng: random.Random, allocate: Callable[[int], memoryview]
) -> Superblock | None:
    """Make device and ring as large as wanted; returns the superblock of the new, empty generation.

    None when the ring stays as it is. Every step may be the last one of a process: the next start repeats it. Raises
    Refused when the volume has no room, WalWriteFailed.
    """
    old = contents.scan.superblock
    wanted = superblocks.ring_capacity(device.wanted_bytes)
    if wanted == old.capacity_bytes:
        _cut_behind(old, device)
        return None
    if contents.scan.end_lsn != old.trim_lsn:
        log.warning(
            "the write-ahead log keeps its size until a start after an orderly stop",
            extra={"capacity_bytes": old.capacity_bytes, "wanted_bytes": wanted},
        )
        return None
    if device.wanted_bytes > device.capacity_bytes:
        device.resize(device.wanted_bytes)  # ORDER: no superblock may promise a ring that the device does not have
    new = superblocks.reformatted(
        old, generation=rng.getrandbits(64), device_bytes=device.wanted_bytes, end_lsn=contents.scan.end_lsn
    )
    await write_superblock(device, new, allocate)
    _cut_behind(new, device)
    log.info("write-ahead log resized", extra={"from_bytes": old.capacity_bytes, "to_bytes": new.capacity_bytes})
    return new


def _cut_behind(superblock: Superblock, device: WalDevice) -> None:
    """Give back what lies behind the ring; also what a resize that was cut short has left there."""
    if device.capacity_bytes > max(device.wanted_bytes, RING_POSITION + superblock.capacity_bytes):
        device.resize(device.wanted_bytes)


__all__ = ["fit"]
