"""A metadata state with hands: short verbs for tests that need a cluster in some condition.

Every command goes the controller's way: decided on a draft, checked against the invariants, replayed below, and the
records are kept, so that a test can compare the state with one that replays them.
"""

from typing import Any, TypeVar
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.meta import commands
from automq_broker.meta.commands import Command
from automq_broker.meta.invariants import check_draft, findings
from automq_broker.meta.records import Record
from automq_broker.meta.rows import NO_VOLUME, ObjectRow, RangeRow, TopicRow, Volume
from automq_broker.meta.state import State

R = TypeVar("R")

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class MetaWorld:
    """One state and everything that happened to it. `epochs` holds the last broker epoch of every node."""

    def __init__(self, *, nodes: int = 0) -> None:
        self.state = State(CLUSTER_ID)
        self.records: list[Record] = []
        self.epochs: dict[int, BrokerEpoch] = {}
        self._count = 0
        for node_id in range(nodes):
            self.start(node_id)

    def do(self, command: Command[R]) -> R:
        """Decide, check and apply; raises what the state refuses with, unchanged then."""
        draft = self.state.draft()
        decision = draft.decide(command)
        for record in decision.records:
            draft.replay(record)
        check_draft(self.state, draft)
        for record in decision.records:
            self.state.replay(record)
        self.records.extend(decision.records)
        return decision.result

    def unique(self) -> int:
        """A number that was not used before."""
        self._count += 1
        return self._count

    def register(self, node_id: int, **changes: Any) -> BrokerEpoch:
        """A new incarnation of a node on its own volume, unless told otherwise."""
        node = self.state.nodes.get(NodeId(node_id))
        volume = node.volume if node else Volume(uuid=UUID(int=0xD0000 + node_id), handle=f"disk-{node_id}")
        if volume == NO_VOLUME:
            volume = Volume(uuid=UUID(int=0xE0000 + self.unique()), handle="replacement")
        fields: dict[str, Any] = {
            "node_id": NodeId(node_id),
            "incarnation": UUID(int=0xA0000 + self.unique()),
            "volume_uuid": volume.uuid,
            "volume_handle": volume.handle,
            "wal_epoch_found": node.confirmed_epoch if node else BrokerEpoch(0),
        }
        epoch = self.do(commands.RegisterNode(**(fields | changes))).broker_epoch
        self.epochs[node_id] = epoch
        return epoch

    def start(self, node_id: int, **changes: Any) -> BrokerEpoch:
        """Register, confirm, recover: the node is ACTIVE. Its open streams stay as they are."""
        epoch = self.register(node_id, **changes)
        self.do(commands.ConfirmWal(node_id=NodeId(node_id), broker_epoch=epoch))
        self.do(commands.NodeRecovered(node_id=NodeId(node_id), broker_epoch=epoch))
        return epoch

    def topic(self, name: str, partitions: int = 1, **changes: Any) -> TopicRow:
        """A new topic."""
        topic_id = UUID(int=0xC0000 + self.unique())
        command = commands.CreateTopic(name=name, topic_id=topic_id, partitions=partitions, **changes)
        return self.do(command).topic

    def open(self, stream_id: int, node_id: int | None = None, log_end: int = 0) -> commands.Opened:
        """Open a stream at its next epoch, by its owner."""
        stream = self.state.streams[stream_id]
        node_id = stream.assigned if node_id is None else node_id
        return self.do(
            commands.OpenStream(
                stream_id=StreamId(stream_id),
                node_id=NodeId(node_id),
                broker_epoch=self.epochs[node_id],
                stream_epoch=StreamEpoch(stream.epoch + 1),
                log_end=Offset(log_end),
            )
        )

    def close(self, stream_id: int) -> None:
        """Close a stream at its committed end, by whoever has it open."""
        stream = self.state.streams[stream_id]
        self.do(
            commands.CloseStream(
                stream_id=StreamId(stream_id),
                node_id=NodeId(stream.owner),
                broker_epoch=self.epochs[stream.owner],
                stream_epoch=StreamEpoch(stream.epoch),
                final_end=Offset(stream.committed_end),
            )
        )

    def new_object(self, node_id: int, *spans: tuple[int, int, int], **changes: Any) -> ObjectRow:
        """An object of the node with ranges (stream, start, end) at the streams' epochs, under a freshly leased id."""
        block = self.do(
            commands.AllocateObjectIds(
                node_id=NodeId(node_id), broker_epoch=self.epochs[node_id], count=1, now_ms=self.unique()
            )
        )
        return object_of(self.state, node_id, block.first, *spans, **changes)

    def commit(self, node_id: int, *spans: tuple[int, int, int]) -> ObjectRow:
        """Commit a new object with these ranges."""
        row = self.new_object(node_id, *spans)
        self.do(commands.CommitObject(node_id=NodeId(node_id), broker_epoch=self.epochs[node_id], object=row))
        return row

    def append(self, stream_id: int, count: int = 10) -> ObjectRow:
        """Commit `count` more offsets of one stream, by whoever has it open."""
        stream = self.state.streams[stream_id]
        return self.commit(stream.owner, (stream_id, stream.committed_end, stream.committed_end + count))

    def check(self) -> None:
        """All invariants over the whole state."""
        assert findings(self.state) == []


def object_of(state: State, node_id: int, object_id: int, *spans: tuple[int, int, int], **changes: Any) -> ObjectRow:
    """An object's row as its writer would send it; 100 bytes per offset."""
    ranges = []
    position = 0
    for stream_id, start, end in spans:
        stream = state.streams.get(stream_id)
        ranges.append(
            RangeRow(
                stream_id=StreamId(stream_id),
                stream_epoch=StreamEpoch(stream.epoch if stream else 0),
                start=Offset(start),
                end=Offset(end),
                position=position,
                length=(end - start) * 100,
                records=end - start,
                max_timestamp=1_000 + end,
            )
        )
        position += (end - start) * 100
    fields: dict[str, Any] = {
        "object_id": ObjectId(object_id),
        "size": position + 1_000,
        "crc": 0xC0FFEE ^ object_id,
        "node_id": NodeId(node_id),
        "kind": 1,
        "created_ms": 5,
        "index_position": position,
        "ranges": tuple(ranges),
    }
    return ObjectRow(**(fields | changes))


__all__ = ["CLUSTER_ID", "MetaWorld", "object_of"]
