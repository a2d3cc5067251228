"""The write-ahead log's device as the settings name it: a file, a block device, or bulks in a bucket; closed at the end."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncIterator, Callable

from automq_broker.adapters.bucket_uri import DirectoryLocation, parse_bucket_uri
from automq_broker.adapters.wal_bulks import BulkWal, open_bulk_wal
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_file import grown_capacity
from automq_broker.adapters.wal_open import open_wal_device, parse_wal_uri
from automq_broker.assembly.outside import checked_bucket
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import NodeId
from automq_broker.lake.keys import wal_node_prefix
from automq_broker.settings import WHOLE_VOLUME, Settings

log = logging.getLogger("automq.broker")

_CLOSE_S = 2.0
"""A disk that is gone for good, or a bucket that is out, must not keep the process that has to end."""


def measured(settings: Settings) -> Settings:
    """The settings with the size of a log that has its volume to itself. Raises Refused: it cannot be looked at."""
    if settings.wal.capacity != WHOLE_VOLUME:
        return settings
    kind, path, parameters = parse_wal_uri(settings.wal_uri)
    if kind != "file" or "capacity" in parameters:
        return settings
    return settings.with_wal_capacity(grown_capacity(path))


@contextlib.asynccontextmanager
async def wal_device(settings: Settings, say: Callable[[str], None]) -> AsyncIterator[DirectWal | BulkWal]:
    """The device of this node's log: locked on a disk, to be claimed in a bucket. Raises Refused: in use, no room."""
    if settings.wal_bucket_uri is not None:
        async with bulk_wal(settings, say, capacity_bytes=settings.wal.capacity) as bulks:
            yield bulks
        return
    device = open_wal_device(
        settings.wal_uri,
        capacity_bytes=settings.wal.capacity,
        iops=max(settings.wal.iops, 0),
        bytes_per_s=max(settings.wal.bandwidth, 0),
    )
    if device.warning is not None:
        log.warning("write-ahead log", extra={"reason": device.warning})
    async with _closing(device):
        yield device


@contextlib.asynccontextmanager
async def bulk_wal(
    settings: Settings, say: Callable[[str], None], *, capacity_bytes: int | None = None
) -> AsyncIterator[BulkWal]:
    """The node's log in a bucket, with connections of its own: an upload never stands before an acknowledgement."""
    uri = settings.wal_bucket_uri
    if uri is None:
        raise Bug("a WAL on a disk was taken for one in a bucket")
    node_id = NodeId(settings.node.node_id)
    async with checked_bucket(uri, say) as bucket:
        device = await open_bulk_wal(
            bucket,
            node_id,
            handle=f"{_place(uri, settings.bucket_uri)}:{wal_node_prefix(node_id)}",
            nonce=uuid.uuid4().bytes,
            capacity_bytes=capacity_bytes,
            rng=random.Random(),
        )
        async with _closing(device):
            yield device


def _place(uri: str, data_uri: str) -> str:
    """The bucket by a name that the data's bucket keeps wherever a directory is moved to."""
    location = parse_bucket_uri(uri)
    if location == parse_bucket_uri(data_uri):
        return "data"
    return (
        str(location.path) if isinstance(location, DirectoryLocation) else f"s3://{location.bucket}/{location.prefix}"
    )


@contextlib.asynccontextmanager
async def _closing(device: DirectWal | BulkWal) -> AsyncIterator[None]:
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await device.close()
        except TimeoutError:
            log.error("the write-ahead log does not answer; what is under way ends with the process")


__all__ = ["bulk_wal", "wal_device"]
