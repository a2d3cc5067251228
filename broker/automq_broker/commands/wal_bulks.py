"""A write-ahead log that lies in a bucket, read by commands: no claim, no seal, nothing is changed."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from automq_broker.adapters.wal_bulks import BulkWal, open_bulk_wal
from automq_broker.commands.offline import bucket_at
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import NodeId
from automq_broker.wal.inspect import WalReport, inspect

if TYPE_CHECKING:
    from automq_broker.ports import Bucket
    from automq_broker.wal.recovery import Deliver

_TRIES = 3
"""Beside a running broker bulks are trimmed while they are read: what is missing is looked at afresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSize:
    """What the log of one broker epoch holds."""

    epoch: int
    bulks: int
    size_bytes: int


async def inspect_bulks(uri: str, node_id: int, see: "Deliver | None" = None) -> tuple[WalReport, list[LogSize]]:
    """What the log of a node holds now. Raises Refused if it has none here, Corrupt if a bulk is missing."""
    async with bucket_at(uri) as bucket:
        tries = 0
        while True:
            tries += 1
            try:
                return await _inspect(bucket, NodeId(node_id), see)
            except Corrupt:
                if tries == _TRIES:
                    raise


async def _inspect(bucket: "Bucket", node_id: NodeId, see: "Deliver | None") -> tuple[WalReport, list[LogSize]]:
    device = await open_bulk_wal(bucket, node_id, handle="", nonce=b"", rng=Random())
    if not device.capacity_bytes:
        raise Refused(f"the bucket holds no write-ahead log of node {node_id}")
    await device.survey()
    scan = inspect(see)
    try:
        wanted = next(scan)
        while True:
            wanted = scan.send(await device.read(wanted.position, wanted.length))
    except StopIteration as done:
        report: WalReport = done.value
        return report, _sizes(device)


def _sizes(device: BulkWal) -> list[LogSize]:
    bulks: Counter[int] = Counter()
    size: Counter[int] = Counter()
    for bulk in device.bulks:
        bulks[bulk.epoch] += 1
        size[bulk.epoch] += bulk.length
    return [LogSize(epoch=epoch, bulks=bulks[epoch], size_bytes=size[epoch]) for epoch in sorted(bulks)]


__all__ = ["LogSize", "inspect_bulks"]
