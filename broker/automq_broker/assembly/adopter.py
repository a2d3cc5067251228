"""One adopter process from settings to report: the dead broker's WAL, the bucket, and the metadata as a mere follower."""

import asyncio
import contextlib
import logging
import os
import random
import stat
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

from automq_broker.adapters.clock import SystemClock
from automq_broker.adapters.loop import run_loop
from automq_broker.adapters.peers import WirePeers
from automq_broker.adapters.slabs import SlabPool
from automq_broker.adapters.wal_bulks import BulkWal
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_open import is_in_use, open_wal_device, parse_wal_uri
from automq_broker.adapters.workers import ThreadWorkers
from automq_broker.assembly import knobs
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.inter_broker import caller_tls, cluster_knobs, read_secret
from automq_broker.assembly.outside import checked_bucket
from automq_broker.assembly.wal import bulk_wal
from automq_broker.contract.adopt import AdoptOutcome, AdoptReport
from automq_broker.engine.adopt import Adopter, NotAdoptable, adopt
from automq_broker.engine.control_values import Identity
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.engine.running import Budgets, Outside
from automq_broker.engine.supervise import Supervisor
from automq_broker.kernel.errors import Fenced, Refused
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.ports import Bucket
from automq_broker.settings import Settings

log = logging.getLogger("automq.adopt")

_OBJECT_BYTES_MAX = 16 << 20
_UPLOAD_BYTES_MAX = 2 * _OBJECT_BYTES_MAX
_BATCHES_AT_ONCE = 20_000
_CACHE_BYTES = 1 << 20
"""An adopter pod has 256 MiB: two objects under way, not too many small batches in them, and no caches to speak of."""


def run(settings: Settings, broker_epoch: int, secret_file: str) -> AdoptReport:
    """Drain the WAL of `settings` as its node. Raises NotAdoptable, Refused, Fenced and Corrupt, and WalWriteFailed."""
    return run_loop(_run(settings, BrokerEpoch(broker_epoch), secret_file))


async def _run(settings: Settings, broker_epoch: BrokerEpoch, secret_file: str) -> AdoptReport:
    supervisor = Supervisor()
    clock, rng = SystemClock(), random.Random()
    workers = ThreadWorkers(1)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(workers.close)
        bucket = await stack.enter_async_context(checked_bucket(settings.bucket_uri, log.info))
        device = await stack.enter_async_context(_wal_of_the_dead(settings))
        metadata = await stack.enter_async_context(_following(settings, bucket, secret_file, rng))
        stack.push_async_callback(supervisor.stop)
        adopter = Adopter(
            node_id=NodeId(settings.node.node_id),
            broker_epoch=broker_epoch,
            outside=Outside(
                bucket=bucket, device=device, clock=clock, workers=workers, rng=rng, allocate=SlabPool().take
            ),
            metadata=metadata,
            supervisor=supervisor,
            knobs=replace(
                knobs.engine_knobs(settings),
                object_size_bytes_max=_OBJECT_BYTES_MAX,
                upload_bytes_max=_UPLOAD_BYTES_MAX,
                upload_batches_max=_BATCHES_AT_ONCE,
            ),
            budgets=Budgets(tail_cache_bytes=_CACHE_BYTES, block_cache_bytes=_CACHE_BYTES),
            topics=knobs.topic_settings(LiveConfigs(settings, metadata), settings.topics.producer_id_expiration_ms),
        )
        return await _unless_failed(adopt(adopter), supervisor, metadata)


async def _unless_failed(
    work: Coroutine[Any, Any, AdoptReport], supervisor: Supervisor, metadata: MetadataNode
) -> AdoptReport:
    """The report, unless a background task or the metadata fails first: then that is raised."""
    adopting = asyncio.ensure_future(work)
    failed = asyncio.ensure_future(supervisor.wait_failed())
    ended = asyncio.ensure_future(metadata.wait_ended())
    await asyncio.wait({adopting, failed, ended}, return_when=asyncio.FIRST_COMPLETED)
    for other in (failed, ended):
        other.cancel()
    if adopting.done():
        return adopting.result()
    adopting.cancel()
    await asyncio.gather(adopting, failed, ended, return_exceptions=True)
    reasons = [other.result() for other in (failed, ended) if not other.cancelled()]
    raise next((reason for reason in reasons if reason is not None), Fenced("the metadata's loop ended"))


@contextlib.asynccontextmanager
async def _wal_of_the_dead(settings: Settings) -> AsyncIterator[DirectWal | BulkWal]:
    """The device, locked if it is a disk; it must exist. Raises NotAdoptable if a process still uses the disk."""
    if settings.wal_bucket_uri is not None:
        async with bulk_wal(settings, log.info) as bulks:
            yield bulks
        return
    uri = settings.wal_uri
    kind, path, _ = parse_wal_uri(uri)
    try:
        found = os.stat(path)
    except OSError as error:
        raise Refused(f"WAL {path}: {error.strerror}") from error
    if stat.S_ISBLK(found.st_mode) and kind != "block":
        uri = f"block://{path}"
    elif stat.S_ISREG(found.st_mode) and not found.st_size:
        raise NotAdoptable(AdoptOutcome.FOREIGN, f"foreign: {path} is an empty file, not a WAL")
    try:
        device = open_wal_device(uri)
    except Refused as refused:
        if is_in_use(uri):
            raise NotAdoptable(AdoptOutcome.NOT_PROVEN_DEAD, f"not proven dead: {refused}") from refused
        raise
    try:
        yield device
    finally:
        await device.close()


@contextlib.asynccontextmanager
async def _following(
    settings: Settings, bucket: Bucket, secret_file: str, rng: random.Random
) -> AsyncIterator[MetadataNode]:
    """The metadata, loaded, and followed from whoever holds the controller's seat."""
    peers = WirePeers(
        node_id=settings.node.node_id,
        cluster_id=lambda: metadata.state.cluster_id,
        secret=read_secret(secret_file),
        rng=rng,
        tls=caller_tls(settings) if settings.inter_broker_listener else None,
    )
    identity = Identity(
        node_id=NodeId(settings.node.node_id),
        incarnation=uuid.uuid4(),
        endpoint="",
        volume_uuid=uuid.UUID(int=0),
        is_candidate=False,
    )
    metadata = MetadataNode(bucket, SystemClock(), identity, peers, cluster_knobs(settings), rng=rng)
    try:
        await metadata.start()
        yield metadata
    finally:
        await metadata.stop()
        await peers.close()


__all__ = ["run"]
