"""Nodes: registration, fences, rescue. Who may speak for a node is decided here, nowhere else (DESIGN 5a.1-4, 11)."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamId
from automq_broker.meta import orphans
from automq_broker.meta.commands import (
    AcceptWalLoss,
    ConfirmWal,
    FenceNode,
    ForgetNode,
    LiftFence,
    NodeRecovered,
    NodeStopped,
    Registered,
    RegisterNode,
    RescueDone,
    RescueGranted,
    RescueNode,
    StopCluster,
    WalLossAccepted,
)
from automq_broker.meta.decision import Decision
from automq_broker.meta.records import (
    ClusterStopping,
    ConfigsChanged,
    NodeForgotten,
    NodeRegistered,
    NodeRescued,
    NodeStatusChanged,
    Record,
    StreamClosed,
    VolumeGivenUp,
    WalConfirmed,
    join_endpoints,
)
from automq_broker.meta.rows import NO_VOLUME, NodeRow, NodeStatus, ResourceType, Volume
from automq_broker.meta.tables import Stream
from automq_broker.meta.topics import CORDON_CONFIG, is_cordoned
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.meta.state import State

_S = NodeStatus

LEGAL: Final[dict[NodeStatus, frozenset[NodeStatus]]] = {
    _S.RECOVERING: frozenset({_S.RECOVERING, _S.ACTIVE, _S.RESCUING, _S.STOPPED}),
    _S.ACTIVE: frozenset({_S.RECOVERING, _S.FENCED, _S.RESCUING, _S.STOPPED}),
    _S.FENCED: frozenset({_S.RECOVERING, _S.ACTIVE, _S.RESCUING, _S.STOPPED}),
    _S.RESCUING: frozenset({_S.RECOVERING, _S.RESCUING, _S.STOPPED}),
    _S.STOPPED: frozenset({_S.RECOVERING, _S.RESCUING}),
}
"""Where a node may go. Registrations (to RECOVERING) and rescues grant a new epoch, the other ways do not; to STOPPED a
loss of the WAL that was accepted leads too, from everywhere but ACTIVE, at an epoch that nobody is told.

FENCED is reached from ACTIVE alone: a recovering node is not advertised anyway and has a deadline, after which it is
rescued. RESCUING -> RECOVERING is a start of the node itself: whoever holds the volume wins. STOPPED -> RESCUING is for
a node that ended without handing its streams over.
"""

GRANTING: Final = frozenset({_S.RECOVERING, _S.RESCUING})
"""What a node becomes by a command that grants a new broker epoch, and by no other."""

NAMED_STREAMS_MAX: Final = 20
"""How many streams a refusal names before it only counts them."""


def speaker(state: "State", node_id: int, broker_epoch: int) -> NodeRow:
    """The node for which this epoch speaks. Raises Fenced (EPOCH_GONE, the process ends) or Retry (soft fence)."""
    node = state.nodes.get(NodeId(node_id))
    if node is None:
        raise Fenced(f"node {node_id} is not registered")
    if node.broker_epoch != broker_epoch:
        raise Fenced(
            f"EPOCH_GONE: node {node_id} is at broker epoch {node.broker_epoch}, the command at {broker_epoch}"
        )
    if node.status is NodeStatus.STOPPED:
        raise Fenced(f"node {node_id} has stopped at broker epoch {broker_epoch}")
    if node.status is NodeStatus.FENCED:
        raise Retry(f"node {node_id} is fenced until its next heartbeat", 0.5)
    return node


def register(state: "State", command: RegisterNode) -> Decision[Registered]:
    """Grant the next broker epoch, unless the volume is the wrong one."""
    node = state.nodes.get(command.node_id) or state.forgotten.get(command.node_id)
    volume = Volume(uuid=command.volume_uuid, handle=command.volume_handle)
    loses_wal = False
    if node is not None:
        if node.incarnation == command.incarnation:
            return _repeated_registration(state, node)
        loses_wal = _judge_volume(state, node, volume, command)
    epoch = BrokerEpoch(max(state.last_epoch, 0 if node else command.wal_epoch_found) + 1)
    record = NodeRegistered(
        node_id=command.node_id,
        broker_epoch=epoch,
        wal_epoch_found=command.wal_epoch_found,
        loses_wal=loses_wal,
        incarnation=command.incarnation,
        volume_uuid=volume.uuid,
        volume_handle=volume.handle,
        rack=command.rack,
        endpoints=join_endpoints(command.endpoints),
    )
    lost = state.open_streams_of(command.node_id) if loses_wal else []
    return Decision((record, *_closes(lost)), Registered(broker_epoch=epoch))


def _closes(streams: list[Stream]) -> tuple[StreamClosed, ...]:
    """One record each, which tells whoever is to have it next that it may be opened."""
    return tuple(StreamClosed(stream_id=each.stream_id) for each in streams)


def _repeated_registration(state: "State", node: NodeRow) -> Decision[Registered]:
    if node.node_id in state.forgotten or node.broker_epoch != node.incarnation_epoch:
        raise Fenced(
            f"EPOCH_GONE: node {node.node_id} was forgotten, or given away at broker epoch {node.broker_epoch}"
        )
    return Decision((), Registered(broker_epoch=node.broker_epoch))


def _judge_volume(state: "State", node: NodeRow, volume: Volume, command: RegisterNode) -> bool:
    """Whether the registration gives the recorded WAL up; raises Refused with what the user needs to know."""
    found = command.wal_epoch_found
    if volume in node.refused_volumes:
        raise Refused(
            f"WAL volume {volume.uuid} of node {node.node_id} was given up by accept-wal-loss and stays refused"
        )
    if volume == node.volume:
        if found == node.confirmed_epoch or found in node.granted_epochs:
            return False
        raise Refused(
            f"WAL volume {volume.uuid} of node {node.node_id} is at epoch {found}, confirmed was "
            f"{node.confirmed_epoch}: it was rolled back, or another process wrote to it"
        )
    left = state.open_streams_of(node.node_id)
    if not left:
        return False
    if not command.accept_wal_loss:
        raise Refused(
            f"node {node.node_id} owns {len(left)} open streams whose tail may lie on WAL volume {node.volume.uuid} "
            f"({node.volume.handle}), but came with {volume.uuid} ({volume.handle}). Bring that volume back, or give "
            f"up everything behind these committed ends with `automq cluster accept-wal-loss {node.node_id}` where other "
            f"brokers serve, else with --accept-wal-loss: {describe(state, left)}"
        )
    if volume.uuid == node.volume.uuid or found != 0:
        raise Refused(
            f"a loss is accepted only on a freshly formatted WAL: volume {volume.uuid} of node {node.node_id} "
            f"holds epoch {found}"
        )
    return True


def describe(state: "State", streams: list[Stream]) -> str:
    """Streams with their committed ends, for people."""
    named = []
    for stream in streams[:NAMED_STREAMS_MAX]:
        topic = state.topics_by_id.get(stream.topic_id)
        name = topic.name if topic else str(stream.topic_id)
        named.append(f"{name}-{stream.partition} (stream {stream.stream_id}) at {stream.committed_end}")
    more = len(streams) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def confirm_wal(state: "State", command: ConfirmWal) -> Decision[None]:
    """From now on the WAL is expected at this epoch."""
    node = speaker(state, command.node_id, command.broker_epoch)
    return Decision(() if node.is_wal_confirmed else (WalConfirmed(node_id=node.node_id),), None)


def recovered(state: "State", command: NodeRecovered) -> Decision[None]:
    """RECOVERING -> ACTIVE; a node that is ACTIVE stays so, and a fence is lifted.

    A start whose word was carried out and whose answer was lost has no heartbeat yet that could lift it: it repeats this.
    """
    node = state.nodes.get(command.node_id)
    if node is not None and node.status is NodeStatus.FENCED and node.broker_epoch == command.broker_epoch:
        return _go(node, NodeStatus.ACTIVE)
    node = speaker(state, command.node_id, command.broker_epoch)
    if node.status is NodeStatus.RECOVERING and not node.is_wal_confirmed:
        raise NotMine(f"node {node.node_id} has not confirmed WAL epoch {node.broker_epoch}")
    return _go(node, NodeStatus.ACTIVE)


def stopped(state: "State", command: NodeStopped) -> Decision[None]:
    """The broker ends; a fenced one may say so too. What it has closed goes to nodes that serve, in the same commit.

    Repeated for a node that has stopped and kept its partitions, it gives them away after all.
    """
    node = state.nodes.get(command.node_id)
    if node is None or node.broker_epoch != command.broker_epoch:
        raise Fenced(f"EPOCH_GONE: node {command.node_id} is no longer at broker epoch {command.broker_epoch}")
    if node.status is NodeStatus.RESCUING:
        raise NotMine(f"node {node.node_id} is being rescued; its adopter ends that")
    return _end(state, node, is_clean=command.clean, heirs=() if command.keeps_partitions else orphans.SERVING)


def stop_cluster(state: "State", command: StopCluster) -> Decision[None]:
    """Note until when a stop is one of all brokers; the same again changes nothing."""
    until_ms = max(command.until_ms, 0)
    return Decision((ClusterStopping(until_ms=until_ms),) if until_ms != state.stops_until_ms else (), None)


def forget(state: "State", command: ForgetNode) -> Decision[None]:
    """Show a node that ended for good no more. Its streams decide, not the clean mark: a lost log never gets one."""
    node = state.nodes.get(command.node_id)
    if node is None:
        raise ClientFault(
            ErrorCode.BROKER_ID_NOT_REGISTERED, f"Broker ID {command.node_id} is not currently registered"
        )
    if node.status is not NodeStatus.STOPPED:
        raise Refused(f"node {node.node_id} is {node.status.name}: only one that has STOPPED can be forgotten")
    if left := state.open_streams_of(node.node_id):
        raise Refused(f"node {node.node_id} still has open streams: {describe(state, left)}")
    if count := state.partition_counts.get(node.node_id, 0):
        raise Refused(f"node {node.node_id} is still to serve {count} partitions; drain it first")
    records: tuple[Record, ...] = (NodeForgotten(node_id=node.node_id),)
    if is_cordoned(state, node.node_id):
        records += (_uncordoned(node.node_id),)
    return Decision(records, None)


def _uncordoned(node_id: int) -> ConfigsChanged:
    return ConfigsChanged(
        resource_type=ResourceType.BROKER, resource_name=str(node_id), upserts=(), deletes=(CORDON_CONFIG,)
    )


def fence(state: "State", command: FenceNode) -> Decision[None]:
    """ACTIVE -> FENCED, if the node is still the one whose session ran out."""
    return _go(_expected(state, command.node_id, command.broker_epoch), NodeStatus.FENCED)


def lift(state: "State", command: LiftFence) -> Decision[None]:
    """FENCED -> ACTIVE by a heartbeat; one at an older epoch is told that its epoch is gone."""
    node = state.nodes.get(command.node_id)
    if node is None or node.broker_epoch != command.broker_epoch:
        raise Fenced(f"EPOCH_GONE: node {command.node_id} is no longer at broker epoch {command.broker_epoch}")
    if node.status is not NodeStatus.FENCED:
        return Decision((), None)
    return _go(node, NodeStatus.ACTIVE)


def rescue(state: "State", command: RescueNode) -> Decision[RescueGranted]:
    """Take the node's epoch away and grant one to an adopter."""
    node = state.nodes.get(command.node_id)
    if node is not None and node.status is NodeStatus.RESCUING and node.rescue == command.rescue:
        return Decision((), RescueGranted(broker_epoch=node.broker_epoch))
    node = _expected(state, command.node_id, command.expected_epoch)
    _check_way(node, NodeStatus.RESCUING)
    epoch = BrokerEpoch(state.last_epoch + 1)
    record = NodeRescued(node_id=node.node_id, broker_epoch=epoch, rescue=command.rescue)
    return Decision((record,), RescueGranted(broker_epoch=epoch))


def rescue_done(state: "State", command: RescueDone) -> Decision[None]:
    """RESCUING -> STOPPED once no stream of the node is open, also none without a record in the WAL (DESIGN 5a.12).

    Its partitions go to other nodes in the same commit.
    """
    node = state.nodes.get(command.node_id)
    if node is None or node.broker_epoch != command.broker_epoch:
        raise Fenced(f"EPOCH_GONE: node {command.node_id} is no longer at broker epoch {command.broker_epoch}")
    if node.status not in (NodeStatus.RESCUING, NodeStatus.STOPPED):
        raise NotMine(f"node {node.node_id} is {node.status.name}, not being rescued")
    left = state.open_streams_of(node.node_id)
    if left:
        raise NotMine(f"node {node.node_id} still has open streams: {describe(state, left)}")
    return _end(state, node, is_clean=True, heirs=orphans.SERVING_OR_COMING)


def accept_wal_loss(state: "State", command: AcceptWalLoss) -> Decision[WalLossAccepted]:
    """Any status but ACTIVE -> STOPPED at a new epoch, without a volume; its streams close and go to other nodes."""
    volume = Volume(uuid=command.volume_uuid, handle=command.volume_handle)
    node = state.nodes.get(command.node_id)
    if node is not None and volume in node.refused_volumes:
        return Decision((), WalLossAccepted(broker_epoch=node.broker_epoch, ends={}))
    node = _expected(state, command.node_id, command.expected_epoch)
    if node.volume != volume:
        raise NotMine(
            f"node {node.node_id} has WAL volume {node.volume.uuid} ({node.volume.handle}), not {volume.uuid}"
        )
    if node.status is NodeStatus.ACTIVE:
        raise NotMine(f"node {node.node_id} is ACTIVE: it serves from its WAL, which is not lost")
    if volume == NO_VOLUME:
        raise NotMine(f"node {node.node_id} has no WAL volume that could be given up")
    epoch = BrokerEpoch(state.last_epoch + 1)
    lost = state.open_streams_of(node.node_id)
    ends = {StreamId(each.stream_id): Offset(each.committed_end) for each in lost}
    records: tuple[Record, ...] = (VolumeGivenUp(node_id=node.node_id, broker_epoch=epoch), *_closes(lost))
    after = state.draft()
    for record in records:
        after.replay(record)
    given = orphans.reassign(after, node.node_id, orphans.SERVING_OR_COMING)
    return Decision((*records, *given), WalLossAccepted(broker_epoch=epoch, ends=ends))


def _expected(state: "State", node_id: int, epoch: int) -> NodeRow:
    node = state.nodes.get(NodeId(node_id))
    if node is None or node.broker_epoch != epoch:
        at = "unknown" if node is None else f"at broker epoch {node.broker_epoch}"
        raise NotMine(f"node {node_id} is {at}, expected {epoch}")
    return node


def _check_way(node: NodeRow, status: NodeStatus) -> None:
    if status not in LEGAL[node.status]:
        raise NotMine(f"node {node.node_id} cannot go from {node.status.name} to {status.name}")


def _end(state: "State", node: NodeRow, *, is_clean: bool, heirs: Sequence[Collection[NodeStatus]]) -> Decision[None]:
    ended = _go(node, NodeStatus.STOPPED, is_clean=is_clean)
    return Decision((*ended.records, *orphans.reassign(state, node.node_id, heirs)), None)


def _go(node: NodeRow, status: NodeStatus, *, is_clean: bool = False) -> Decision[None]:
    if node.status is status and node.is_clean == is_clean:
        return Decision((), None)
    if node.status is not status:
        _check_way(node, status)
    return Decision((NodeStatusChanged(node_id=node.node_id, status=status, is_clean=is_clean),), None)


__all__ = [
    "GRANTING",
    "LEGAL",
    "accept_wal_loss",
    "confirm_wal",
    "describe",
    "fence",
    "forget",
    "lift",
    "recovered",
    "register",
    "rescue",
    "rescue_done",
    "speaker",
    "stop_cluster",
    "stopped",
]
