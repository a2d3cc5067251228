"""Start and stop of one broker's engine, step by step; each step may be repeated after a crash.

Start: WAL superblock -> controller -> register (broker epoch) -> superblock at that epoch -> confirm -> scan -> open
streams at epoch + 1 -> replay above their committed ends -> recovered -> serve. Stop: flush -> close streams -> clean
mark -> stopped. The order is the protocol (DESIGN 5, 5a.6); nothing of it may move.
"""

import asyncio
import logging
from collections.abc import Callable

from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.parts import Parts
from automq_broker.engine.producers import expire_producers
from automq_broker.engine.recover import claim_wal, read_wal, replay, write_superblock
from automq_broker.engine.running import Budgets, Identity, Outside, Running, TopicSettings
from automq_broker.engine.supervise import Supervisor
from automq_broker.engine.voice import Voice
from automq_broker.engine.wal_heartbeat import watch_device
from automq_broker.engine.wal_size import fit
from automq_broker.kernel.ids import BrokerEpoch, Offset, StreamId
from automq_broker.meta.commands import ConfirmWal, NodeRecovered, NodeStopped, RegisterNode
from automq_broker.meta.nodes import describe
from automq_broker.meta.rows import Volume
from automq_broker.ports import Metadata, WalDevice
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.superblock import Superblock

log = logging.getLogger("automq.start")


async def start(
    *,
    identity: Identity,
    superblock: Superblock | None,
    outside: Outside,
    metadata: Metadata,
    supervisor: Supervisor,
    knobs: EngineKnobs,
    budgets: Budgets,
    topics: TopicSettings,
) -> Running:
    """Bring the engine up on a started controller. Raises Refused, Corrupt or Fenced: the process must end."""
    broker_epoch, superblock = await _claim(identity, superblock, outside, metadata, knobs)
    metadata = Voice(metadata, identity.node_id, broker_epoch, supervisor.fail)
    committed_end = committed_ends(metadata)
    contents = await read_wal(outside.device, superblock, committed_end)
    resized = await fit(contents, outside.device, outside.rng, outside.allocate)
    if resized is not None:
        contents = await read_wal(outside.device, resized, committed_end)
    running = Parts(
        identity=identity,
        broker_epoch=broker_epoch,
        contents=contents,
        outside=outside,
        metadata=metadata,
        supervisor=supervisor,
        knobs=knobs,
        budgets=budgets,
        topics=topics,
    ).running()
    partitions = running.engine.open_partitions
    metadata.subscribe(partitions.applied, partitions.reloaded)
    await partitions.open_all(contents.ends)
    running.recovered_batches = replay(contents, running.engine.partition_of, running.cache, outside.clock)
    running.ring_keeper.committed()
    await metadata.submit(NodeRecovered(node_id=identity.node_id, broker_epoch=broker_epoch))
    _start_work(running, outside, knobs)
    return running


def _start_work(running: Running, outside: Outside, knobs: EngineKnobs) -> None:
    engine, supervisor = running.engine, running.supervisor
    supervisor.start("partitions", engine.open_partitions.run())
    supervisor.start("moves", running.closer.run())
    watch = watch_device(outside.device, engine.appender, running.ring_keeper, knobs.wal_heartbeat_s)
    supervisor.start("write-ahead log", watch)
    supervisor.start("upload", engine.uploader.run())
    supervisor.start("producer ids", engine.producer_ids.run())
    expiry = expire_producers(engine.open_partitions, knobs.producer_check_interval_s, outside.clock)
    running.chores += [
        supervisor.start("retention", running.retention.run()),
        supervisor.start("compaction", running.compactor.run()),
        supervisor.start("sweep", running.sweeper.run()),
        supervisor.start("producer expiry", expiry),
    ]


async def stop(running: Running, progress: Callable[[int], None], *, keeps_partitions: bool = False) -> None:
    """Flush everything to the bucket, close the streams, mark the WAL clean. `progress` hears the bytes left.

    With `keeps_partitions` they stay assigned to this node, which is to be back; else others that serve inherit them.

    Only for an orderly end: nothing may be appended any more. Cut short, it loses nothing; the flag stays unset.
    """
    await flush(running, progress)
    if running.heartbeats is not None:  # one that came after the last word would be refused, and look like a failure
        running.heartbeats.cancel()
        await asyncio.gather(running.heartbeats, return_exceptions=True)
    await running.metadata.submit(
        NodeStopped(
            node_id=running.identity.node_id,
            broker_epoch=running.broker_epoch,
            clean=True,
            keeps_partitions=keeps_partitions,
        )
    )


async def flush(running: Running, progress: Callable[[int], None]) -> None:
    """Everything into the bucket, every stream closed at its end, the WAL marked clean; nothing opens any more."""
    engine = running.engine
    for chore in running.chores:
        chore.cancel()
    await asyncio.gather(*running.chores, return_exceptions=True)
    await engine.appender.wait_durable()
    await engine.uploader.upload_all(progress)
    await running.closer.close_all()
    running.ring_keeper.stop()
    # ORDER: the mark comes behind everything on its way; another superblock beside it could tear both.
    await engine.appender.close()
    await running.ring_keeper.mark_clean()


def registration(identity: Identity, superblock: Superblock | None, device: WalDevice) -> RegisterNode:
    """What a start says of itself to the controller."""
    return RegisterNode(
        node_id=identity.node_id,
        incarnation=identity.incarnation,
        volume_uuid=identity.volume_uuid,
        volume_handle=device.handle,
        wal_epoch_found=BrokerEpoch(0 if superblock is None else superblock.wal_epoch),
        rack=identity.rack,
        endpoints=identity.endpoints,
        accept_wal_loss=identity.accept_wal_loss,
    )


async def _claim(
    identity: Identity, superblock: Superblock | None, outside: Outside, metadata: Metadata, knobs: EngineKnobs
) -> tuple[BrokerEpoch, Superblock]:
    """Register, and own the WAL: its superblock carries the new broker epoch before anything is read from it."""
    cluster_id = metadata.state.cluster_id
    lost = _given_up(identity, outside.device, metadata)
    if superblock is not None:
        superblocks.check_owner(superblock, cluster_id=cluster_id, node_id=identity.node_id)
    registered = await metadata.submit(registration(identity, superblock, outside.device))
    epoch = registered.broker_epoch
    for stream in lost:
        log.error("the loss of the write-ahead log was accepted", extra={"lost_behind": stream})
    if superblock is None:
        owned = superblocks.new_superblock(
            cluster_id=cluster_id,
            node_id=identity.node_id,
            volume_uuid=identity.volume_uuid,
            generation=outside.rng.getrandbits(64),
            wal_epoch=epoch,
            device_bytes=outside.device.capacity_bytes,
            window_bytes=knobs.in_flight_bytes_max,
        )
        await write_superblock(outside.device, owned, outside.allocate)
    else:
        owned = await claim_wal(outside.device, superblock, epoch, outside.allocate)
    await metadata.submit(ConfirmWal(node_id=identity.node_id, broker_epoch=epoch))
    return epoch, owned


def _given_up(identity: Identity, device: WalDevice, metadata: Metadata) -> list[str]:
    """The streams behind whose committed ends an accepted registration would give everything up, with those ends."""
    node = metadata.state.nodes.get(identity.node_id)
    if node is None or not identity.accept_wal_loss:
        return []
    if node.volume == Volume(uuid=identity.volume_uuid, handle=device.handle):
        return []
    return [describe(metadata.state, [each]) for each in metadata.state.open_streams_of(identity.node_id)]


def committed_ends(metadata: Metadata) -> Callable[[StreamId], Offset | None]:
    """Each stream's committed end when it was first asked for; None for a stream that is gone. For `read_wal`."""
    ends: dict[StreamId, Offset | None] = {}

    def committed_end(stream_id: StreamId) -> Offset | None:
        if stream_id not in ends:
            head = metadata.state.stream_head(stream_id)
            ends[stream_id] = None if head is None else head.committed_end
        return ends[stream_id]

    return committed_end


__all__ = ["committed_ends", "flush", "registration", "start", "stop"]
