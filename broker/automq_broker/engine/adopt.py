"""Takeover: drains the WAL of a broker that is proven dead, and closes its streams, as that node at the rescue's epoch.

Check -> WAL claimed at that epoch -> scan, filtered by committed ends that nobody can move any more -> upload -> close every
stream at its end -> WAL marked clean -> done (DESIGN 5a.2, 4, 6, 12). The order is the protocol. After a crash between
any two steps the same adopter, one at a later epoch, or the broker itself begins anew from what the WAL and the metadata
say; no offset is given and no stream opened here, so there is nothing to undo.
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from automq_broker.contract.adopt import AdoptedStream, AdoptOutcome, AdoptReport
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.engine.parts import Parts
from automq_broker.engine.patience import submit_patiently
from automq_broker.engine.recover import WalContents, claim_wal, read_superblock, read_wal, replay
from automq_broker.engine.running import Budgets, Identity, Outside, Running, TopicSettings
from automq_broker.engine.start import committed_ends, flush
from automq_broker.engine.supervise import Supervisor
from automq_broker.kernel.errors import Refused
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset
from automq_broker.meta.commands import ConfirmWal, RescueDone
from automq_broker.meta.rows import NodeRow, NodeStatus
from automq_broker.meta.state import State
from automq_broker.ports import Clock, Metadata
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.superblock import Superblock

log = logging.getLogger("automq.adopt")

_PROGRESS_INTERVAL_S = 1.0


class NotAdoptable(Refused):
    """This WAL must not be drained by this adopter; nothing was changed."""

    def __init__(self, outcome: AdoptOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopter:
    """For whom this process speaks, and what it works with. The device is held exclusively."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    """E', which the rescue granted."""
    outside: Outside
    metadata: Metadata
    supervisor: Supervisor
    knobs: EngineKnobs
    budgets: Budgets
    topics: TopicSettings


@dataclass(slots=True)
class _Stages:
    """Seconds by stage."""

    clock: Clock
    began: float
    seconds: dict[str, float] = field(default_factory=dict)

    def end(self, name: str) -> None:
        now = self.clock.monotonic()
        self.seconds[name] = round(now - self.began, 3)
        self.began = now


async def adopt(adopter: Adopter) -> AdoptReport:
    """Drain, close, say so; returns at once where an earlier run came to its end.

    Raises NotAdoptable before anything is changed, Fenced when a newer epoch appears meanwhile, Corrupt for a damaged
    WAL. Waits as long as it takes for the bucket and for a controller.
    """
    clock = adopter.outside.clock
    stages = _Stages(clock, clock.monotonic())
    node = check_node(adopter.metadata.state, adopter.node_id, adopter.broker_epoch)
    if node.status is NodeStatus.STOPPED:
        return _report(adopter, stages)
    superblock = await read_superblock(adopter.outside.device)
    if superblock is None and _was_never_written(adopter.metadata.state, node, adopter.outside.device.handle):
        await _done(adopter)
        return _report(adopter, stages)
    owned = await _claim(adopter, check_volume(adopter, node, superblock))
    stages.end("claim")
    contents = await read_wal(adopter.outside.device, owned, committed_ends(adopter.metadata))
    running = _engine_of(adopter, owned, contents)
    partitions = running.engine.open_partitions
    partitions.open_no_more()
    adopter.metadata.subscribe(partitions.applied, partitions.reloaded)
    held = partitions.take_over()
    batches = replay(contents, running.engine.partition_of, running.cache, clock)
    running.ring_keeper.committed()
    stages.end("scan")
    adopter.supervisor.start("deleted topics", partitions.run())
    adopter.supervisor.start("progress", _tell_progress(running, clock))
    await running.engine.uploader.upload_all()
    stages.end("drain")
    await flush(running, lambda _: None)
    await _done(adopter)
    stages.end("close")
    return _report(adopter, stages, running, held, batches)


def check_node(state: State, node_id: NodeId, broker_epoch: BrokerEpoch) -> NodeRow:
    """The node, if its rescue granted this epoch, whether it still goes on or is done. Raises NotAdoptable."""
    node = state.nodes.get(node_id)
    if node is None:
        raise NotAdoptable(AdoptOutcome.NOT_PROVEN_DEAD, f"node {node_id} is not registered in this cluster")
    if node.broker_epoch > broker_epoch:
        raise NotAdoptable(
            AdoptOutcome.SUPERSEDED,
            f"superseded: node {node_id} is {node.status.name} at broker epoch {node.broker_epoch}, beyond {broker_epoch}",
        )
    is_drained = node.status is NodeStatus.STOPPED and node.is_clean and not state.open_streams_of(node_id)
    if node.broker_epoch == broker_epoch and (node.status is NodeStatus.RESCUING or is_drained):
        return node
    raise NotAdoptable(
        AdoptOutcome.NOT_PROVEN_DEAD,
        f"not proven dead: node {node_id} is {node.status.name} at broker epoch {node.broker_epoch}; "
        f"no rescue granted {broker_epoch}",
    )


def check_volume(adopter: Adopter, node: NodeRow, superblock: Superblock | None) -> Superblock:
    """The superblock, if it is the recorded volume's and no older or newer than the metadata knows. Raises NotAdoptable."""
    handle = adopter.outside.device.handle
    if superblock is None:
        raise NotAdoptable(AdoptOutcome.FOREIGN, f"foreign: the volume {handle} was never formatted as a WAL")
    try:
        superblocks.check_owner(
            superblock,
            cluster_id=adopter.metadata.state.cluster_id,
            node_id=adopter.node_id,
            volume_uuid=node.volume.uuid,
        )
    except Refused as foreign:
        raise NotAdoptable(AdoptOutcome.FOREIGN, f"foreign: {foreign}") from foreign
    if handle != node.volume.handle:
        raise NotAdoptable(
            AdoptOutcome.FOREIGN, f"foreign: the volume is {handle}, the metadata knows {node.volume.handle}: a copy"
        )
    _check_epoch(superblock, node, adopter.broker_epoch)
    return superblock


def _check_epoch(superblock: Superblock, node: NodeRow, broker_epoch: BrokerEpoch) -> None:
    found = superblock.wal_epoch
    if found > broker_epoch:
        raise NotAdoptable(
            AdoptOutcome.SUPERSEDED, f"superseded: the WAL is at epoch {found} already, beyond {broker_epoch}"
        )
    try:
        superblocks.check_epoch(superblock, confirmed=node.confirmed_epoch, granted=node.granted_epochs)
    except Refused as wrong:
        is_older = found < node.confirmed_epoch
        outcome = AdoptOutcome.ROLLED_BACK if is_older else AdoptOutcome.SUPERSEDED
        raise NotAdoptable(outcome, f"{outcome}: {wrong}") from wrong


def _was_never_written(state: State, node: NodeRow, handle: str) -> bool:
    """The broker died between its first registration and its first superblock."""
    return not node.confirmed_epoch and node.volume.handle == handle and not state.open_streams_of(node.node_id)


async def _claim(adopter: Adopter, superblock: Superblock) -> Superblock:
    owned = await claim_wal(adopter.outside.device, superblock, adopter.broker_epoch, adopter.outside.allocate)
    await submit_patiently(adopter.metadata, ConfirmWal(node_id=adopter.node_id, broker_epoch=adopter.broker_epoch))
    return owned


def _engine_of(adopter: Adopter, owned: Superblock, contents: WalContents) -> Running:
    identity = Identity(node_id=adopter.node_id, incarnation=uuid.UUID(int=0), volume_uuid=owned.volume_uuid)
    return Parts(
        identity=identity,
        broker_epoch=adopter.broker_epoch,
        contents=contents,
        outside=adopter.outside,
        metadata=adopter.metadata,
        supervisor=adopter.supervisor,
        knobs=adopter.knobs,
        budgets=adopter.budgets,
        topics=adopter.topics,
    ).running()


async def _done(adopter: Adopter) -> None:
    await submit_patiently(adopter.metadata, RescueDone(node_id=adopter.node_id, broker_epoch=adopter.broker_epoch))


async def _tell_progress(running: Running, clock: Clock) -> None:
    """Once a second, for ever: what is left, and for how long at the pace so far."""
    uploader, began = running.engine.uploader, clock.monotonic()
    total = uploader.waiting_bytes
    while True:
        await asyncio.sleep(_PROGRESS_INTERVAL_S)
        left = uploader.waiting_bytes
        pace = (total - left) / max(clock.monotonic() - began, 0.001)
        seconds_left = round(left / pace, 1) if pace > 0 else None
        log.info("draining", extra={"bytes_left": left, "bytes_total": total, "seconds_left": seconds_left})


def _report(
    adopter: Adopter,
    stages: _Stages,
    running: Running | None = None,
    held: Sequence[tuple[Partition, Offset]] = (),
    batches: int = 0,
) -> AdoptReport:
    """Of a whole run, or of one that found everything done."""
    streams = tuple(
        AdoptedStream(
            topic=partition.topic,
            partition=partition.index,
            stream_id=partition.stream_id,
            leader_epoch=partition.stream_epoch,
            start_offset=start,
            end_offset=partition.log.end_offset,
        )
        for partition, start in held
    )
    return AdoptReport(
        outcome=AdoptOutcome.DRAINED,
        reason="" if running is not None else "there was nothing left to do",
        node_id=adopter.node_id,
        broker_epoch=adopter.broker_epoch,
        streams_closed=len(streams),
        batches=batches,
        bytes_uploaded=0 if running is None else running.engine.uploader.bytes_total,
        objects=0 if running is None else running.engine.uploader.objects_total,
        seconds=stages.seconds,
        streams=streams,
    )


__all__ = ["Adopter", "NotAdoptable", "adopt", "check_node", "check_volume"]
