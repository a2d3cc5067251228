"""Streams: who appends, from where, at which epoch (DESIGN 5a.5)."""

from typing import TYPE_CHECKING

from automq_broker.kernel.errors import ClientFault, NotMine
from automq_broker.kernel.ids import Offset, StreamEpoch, StreamId
from automq_broker.meta import nodes
from automq_broker.meta.commands import AdvanceStart, CloseStream, CommitRefused, Opened, OpenStream
from automq_broker.meta.decision import Decision
from automq_broker.meta.records import StartAdvanced, StreamClosed, StreamOpened
from automq_broker.meta.rows import NodeRow, NodeStatus
from automq_broker.meta.tables import Stream
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.meta.state import State


def open_stream(state: "State", command: OpenStream) -> Decision[Opened]:
    """Grant the next epoch to the assigned node, or to the node that has the stream open already."""
    node = nodes.speaker(state, command.node_id, command.broker_epoch)
    stream = _stream(state, command.stream_id)
    is_own = stream.is_open and stream.owner == node.node_id
    if is_own and stream.epoch == command.stream_epoch and stream.opener_epoch == command.broker_epoch:
        return Decision((), _opened(stream, stream.epoch))
    _check_may_open(node, stream, command, is_own=is_own)
    first_offset = max(stream.committed_end, command.log_end)
    record = StreamOpened(
        stream_id=stream.stream_id,
        epoch=command.stream_epoch,
        node_id=node.node_id,
        broker_epoch=node.broker_epoch,
        first_offset=first_offset,
    )
    return Decision((record,), _opened(stream, command.stream_epoch))


def _check_may_open(node: NodeRow, stream: Stream, command: OpenStream, *, is_own: bool) -> None:
    if node.status is NodeStatus.RESCUING:
        raise NotMine(f"node {node.node_id} is being rescued: its adopter closes streams, it opens none")
    if not node.is_wal_confirmed:
        raise NotMine(f"node {node.node_id} has not confirmed WAL epoch {node.broker_epoch}")
    if stream.is_open and not is_own:
        raise NotMine(f"stream {stream.stream_id} is open at node {stream.owner}")
    if not is_own and stream.assigned != node.node_id:
        raise NotMine(f"stream {stream.stream_id} is assigned to node {stream.assigned}")
    if command.stream_epoch != stream.epoch + 1:
        raise NotMine(f"stream {stream.stream_id} is at epoch {stream.epoch}, {command.stream_epoch} is not the next")


def close_stream(state: "State", command: CloseStream) -> Decision[None]:
    """OPEN -> CLOSED at a fully committed end. A stream that is closed, reopened or deleted already needs nothing."""
    node = nodes.speaker(state, command.node_id, command.broker_epoch)
    stream = state.streams.get(command.stream_id)
    if stream is None or stream.epoch > command.stream_epoch or not stream.is_open:
        return Decision((), None)
    if stream.epoch < command.stream_epoch or stream.owner != node.node_id:
        raise NotMine(f"stream {stream.stream_id} is at epoch {stream.epoch}, open at node {stream.owner}")
    if stream.committed_end != command.final_end:
        raise CommitRefused(
            f"stream {stream.stream_id} is committed up to {stream.committed_end}, not {command.final_end}",
            {command.stream_id: Offset(stream.committed_end)},
        )
    return Decision((StreamClosed(stream_id=stream.stream_id),), None)


def advance_start(state: "State", command: AdvanceStart) -> Decision[None]:
    """Raise the start offset; it never falls and never passes the committed end."""
    stream = _stream(state, command.stream_id)
    if command.start_offset > stream.committed_end:
        raise ClientFault(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"Stream {stream.stream_id} is committed up to {stream.committed_end}, not {command.start_offset}.",
        )
    if command.start_offset <= stream.start_offset:
        return Decision((), None)
    record = StartAdvanced(stream_id=stream.stream_id, start_offset=command.start_offset, since_ms=command.now_ms)
    return Decision((record,), None)


def _stream(state: "State", stream_id: StreamId) -> Stream:
    stream = state.streams.get(stream_id)
    if stream is None:
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Stream {stream_id} does not exist.")
    return stream


def _opened(stream: Stream, epoch: int) -> Opened:
    return Opened(
        stream_epoch=StreamEpoch(epoch),
        start_offset=Offset(stream.start_offset),
        committed_end=Offset(stream.committed_end),
    )


__all__ = ["advance_start", "close_stream", "open_stream"]
