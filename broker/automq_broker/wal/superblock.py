"""The two superblocks: whose WAL this is, which life of it, and from where a recovery has to read.

They are written in turn, so that a torn write leaves the other one; the newest by counter wins. Magic, CRC, format
version and counter keep their places in every version to come, so that an old program can name a newer format.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID

from crc32c import crc32c

from automq_broker.kernel.errors import Bug, Corrupt, Refused
from automq_broker.kernel.ids import Lsn, NodeId
from automq_broker.wal.format import BLOCK_ALIGNMENT, BLOCK_BYTES_MAX, RING_POSITION, WINDOW_BYTES, Bytes

FORMAT_VERSION = 1
SUPERBLOCK_BYTES = 4096
SUPERBLOCK_POSITIONS = (0, 512 * 1024)
RING_BYTES_MIN = 256 * 1024

_MAGIC = b"AMQ-WAL\0"
_START = struct.Struct("<8sIIQ")  # magic, CRC32C of everything after it, format version, counter
_FIELDS = struct.Struct("<Qqq q QQQQQQ B16s H")
_CRC_FROM = 12
_CLUSTER_ID_BYTES_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """What one superblock says. LSNs and sizes in bytes; every LSN in it is a block boundary."""

    counter: int
    cluster_id: str
    node_id: NodeId
    volume_uuid: UUID
    generation: int
    """Random, new at every format: blocks of another generation are foreign."""
    wal_epoch: int
    """The last epoch that claimed this WAL."""
    append_epoch: int
    """The epoch of the blocks from `append_lsn` on; older blocks there were truncated and count for nothing."""
    append_lsn: Lsn
    trim_lsn: Lsn
    """Everything below is committed to the bucket and may be overwritten."""
    durable_lsn: Lsn
    """Known durable when this was written: a break below it is damage."""
    capacity_bytes: int
    """Size of the ring."""
    window_bytes: int
    """No block was written further than this ahead of what its writer knew to be durable."""
    zeroed_bytes: int
    """The device is zero-filled up to this position, which makes first writes cheap."""
    is_clean: bool = False
    """The last writer stopped in order, and everything up to `durable_lsn` is intact."""

    @property
    def position(self) -> int:
        """Where this superblock belongs: A for even counters, B for odd ones."""
        return SUPERBLOCK_POSITIONS[self.counter % 2]


def ring_capacity(device_bytes: int) -> int:
    """How large a ring fits on a device of this size; raises Refused when it is too small to work with."""
    capacity = (device_bytes - RING_POSITION) // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT
    if capacity < RING_BYTES_MIN:
        raise Refused(f"the WAL needs at least {RING_POSITION + RING_BYTES_MIN} bytes, and has {device_bytes}")
    return capacity


def new_superblock(
    *,
    cluster_id: str,
    node_id: NodeId,
    volume_uuid: UUID,
    generation: int,
    wal_epoch: int,
    device_bytes: int,
    zeroed_bytes: int = 0,
    window_bytes: int = WINDOW_BYTES,
    replaces: Superblock | None = None,
) -> Superblock:
    """The first superblock of an empty WAL; `generation` is 64 random bits, and makes all old contents foreign.

    Give the superblock that it `replaces` where there is one, else the old one could win by its counter.
    """
    if window_bytes < BLOCK_BYTES_MAX:
        raise Bug(f"a window of {window_bytes} bytes is smaller than one block")
    return Superblock(
        counter=1 if replaces is None else replaces.counter + 1,
        cluster_id=cluster_id,
        node_id=node_id,
        volume_uuid=volume_uuid,
        generation=generation & (1 << 64) - 1,
        wal_epoch=wal_epoch,
        append_epoch=wal_epoch,
        append_lsn=Lsn(0),
        trim_lsn=Lsn(0),
        durable_lsn=Lsn(0),
        capacity_bytes=ring_capacity(device_bytes),
        window_bytes=window_bytes,
        zeroed_bytes=zeroed_bytes,
    )


def claimed(superblock: Superblock, wal_epoch: int) -> Superblock:
    """The superblock by which a new incarnation takes the WAL, before it scans. Raises Refused for an older epoch."""
    if wal_epoch < superblock.wal_epoch:
        raise Refused(f"the WAL is already at epoch {superblock.wal_epoch}; epoch {wal_epoch} is superseded")
    return replace(superblock, counter=superblock.counter + 1, wal_epoch=wal_epoch, is_clean=False)


def reformatted(superblock: Superblock, *, generation: int, device_bytes: int, end_lsn: Lsn) -> Superblock:
    """A new generation for another capacity, allowed only when nothing is left in the ring (raises Refused)."""
    if superblock.trim_lsn != end_lsn:
        raise Refused(
            f"the WAL still holds {end_lsn - superblock.trim_lsn} bytes that are not in the bucket; "
            "its capacity can change only when it is drained"
        )
    if generation == superblock.generation:
        raise Bug("a new generation must differ from the old one")
    return new_superblock(
        cluster_id=superblock.cluster_id,
        node_id=superblock.node_id,
        volume_uuid=superblock.volume_uuid,
        generation=generation,
        wal_epoch=superblock.wal_epoch,
        device_bytes=device_bytes,
        zeroed_bytes=min(superblock.zeroed_bytes, device_bytes),
        window_bytes=superblock.window_bytes,
        replaces=superblock,
    )


def encode_superblock(superblock: Superblock) -> bytes:
    """The 4 KiB to be written at `superblock.position`."""
    cluster_id = superblock.cluster_id.encode()
    if len(cluster_id) > _CLUSTER_ID_BYTES_MAX:
        raise Refused(f"the cluster id is longer than {_CLUSTER_ID_BYTES_MAX} bytes")
    fields = _FIELDS.pack(
        superblock.generation,
        superblock.node_id,
        superblock.wal_epoch,
        superblock.append_epoch,
        superblock.append_lsn,
        superblock.trim_lsn,
        superblock.durable_lsn,
        superblock.capacity_bytes,
        superblock.window_bytes,
        superblock.zeroed_bytes,
        superblock.is_clean,
        superblock.volume_uuid.bytes,
        len(cluster_id),
    )
    page = bytearray(SUPERBLOCK_BYTES)
    body = fields + cluster_id
    page[_START.size : _START.size + len(body)] = body
    _START.pack_into(page, 0, _MAGIC, 0, FORMAT_VERSION, superblock.counter)
    _START.pack_into(page, 0, _MAGIC, crc32c(page[_CRC_FROM:]), FORMAT_VERSION, superblock.counter)
    return bytes(page)


def decode_superblock(page: Bytes) -> Superblock | None:
    """One superblock, or None when the page is not a whole one. Raises Refused for a newer format."""
    magic, crc, version, counter = _START.unpack_from(page, 0)
    if magic != _MAGIC or crc32c(memoryview(page)[_CRC_FROM:SUPERBLOCK_BYTES]) != crc:
        return None
    if version > FORMAT_VERSION:
        raise Refused(f"the WAL has format version {version}; this program knows versions up to {FORMAT_VERSION}")
    *numbers, is_clean, volume_uuid, length = _FIELDS.unpack_from(page, _START.size)
    generation, node_id, wal_epoch, append_epoch, append_lsn, trim_lsn, durable_lsn, capacity, window, zeroed = numbers
    cluster_id_from = _START.size + _FIELDS.size
    return Superblock(
        counter=counter,
        cluster_id=bytes(page[cluster_id_from : cluster_id_from + length]).decode(),
        node_id=NodeId(node_id),
        volume_uuid=UUID(bytes=volume_uuid),
        generation=generation,
        wal_epoch=wal_epoch,
        append_epoch=append_epoch,
        append_lsn=Lsn(append_lsn),
        trim_lsn=Lsn(trim_lsn),
        durable_lsn=Lsn(durable_lsn),
        capacity_bytes=capacity,
        window_bytes=window,
        zeroed_bytes=zeroed,
        is_clean=bool(is_clean),
    )


def newest_superblock(a: Bytes, b: Bytes) -> Superblock | None:
    """The newest whole one of both pages; None when both are all zeros, that is, never formatted.

    Raises Corrupt when there are bytes but no whole superblock, Refused for a newer format.
    """
    found = [superblock for page in (a, b) if (superblock := decode_superblock(page)) is not None]
    if found:
        return max(found, key=lambda superblock: superblock.counter)
    if any(a) or any(b):
        raise Corrupt("the WAL has no whole superblock: it was damaged, or this is something else than a WAL")
    return None


def check_owner(superblock: Superblock, *, cluster_id: str, node_id: NodeId, volume_uuid: UUID | None = None) -> None:
    """Refuse a WAL of another cluster or node, or (when the metadata knows one) of another volume."""
    if superblock.cluster_id != cluster_id:
        raise Refused(f"the WAL belongs to cluster {superblock.cluster_id}, this is cluster {cluster_id}")
    if superblock.node_id != node_id:
        raise Refused(f"the WAL belongs to node {superblock.node_id}, this is node {node_id}")
    if volume_uuid is not None and superblock.volume_uuid != volume_uuid:
        raise Refused(
            f"the WAL volume is {superblock.volume_uuid}, but the metadata knows {volume_uuid} for node {node_id}: "
            "the volume was lost, re-created or exchanged"
        )


def check_epoch(superblock: Superblock, *, confirmed: int, granted: Collection[int] = ()) -> None:
    """Refuse a WAL whose epoch is neither the last confirmed one nor granted since: rolled back, or superseded."""
    found = superblock.wal_epoch
    if found == confirmed or found in granted:
        return
    if found < confirmed:
        raise Refused(f"the WAL is at epoch {found}, but {confirmed} was confirmed: the volume was rolled back")
    raise Refused(f"the WAL is at epoch {found}, which was never granted (last confirmed: {confirmed}): superseded")


def zeroing_start(superblock: Superblock, end_lsn: Lsn) -> int:
    """From which device position zero-filling may go on after a recovery that ended at `end_lsn`.

    SAFETY: the mark in the superblock may lag behind what was zeroed and then written, so never below the recovered
    end. In later laps everything was zeroed long ago.
    """
    end_of_ring = RING_POSITION + superblock.capacity_bytes
    if end_lsn >= superblock.capacity_bytes:
        return end_of_ring
    return min(end_of_ring, max(superblock.zeroed_bytes, RING_POSITION + end_lsn))


__all__ = [
    "FORMAT_VERSION",
    "RING_BYTES_MIN",
    "SUPERBLOCK_BYTES",
    "SUPERBLOCK_POSITIONS",
    "Superblock",
    "check_epoch",
    "check_owner",
    "claimed",
    "decode_superblock",
    "encode_superblock",
    "new_superblock",
    "newest_superblock",
    "reformatted",
    "ring_capacity",
    "zeroing_start",
]
