"""What the cluster really agreed on: the metadata as the heads in the bucket say it, replayed the moment each is there.

Whoever is wrong about it, is wrong. Each record is judged before it is replayed, and each command that a controller says
it carried out by the epochs that were granted before (DESIGN 5a.13): histories of clients alone would not show it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from automq_broker.kernel.errors import AutomqError
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.lake.keys import HEAD_KEY
from automq_broker.meta import head as heads
from automq_broker.meta.codec import Batch, split_batches
from automq_broker.meta.command_codec import decode_answer, decode_command
from automq_broker.meta.head import Head
from automq_broker.meta.records import (
    BlockLeased,
    NodeRegistered,
    NodeRescued,
    ObjectAdded,
    Record,
    StreamOpened,
)
from automq_broker.meta.rows import NodeRow
from automq_broker.meta.state import State
from twins.memory_bucket import MemoryStore

from sim.history import Violation


class Truth:
    """`fail` hears of the first record that must not be."""

    def __init__(self, store: MemoryStore, fail: Callable[[Violation], None]) -> None:
        self.state = State("")
        self.seq = 0
        self.head: Head | None = None
        self.moves = 0
        """Openings by a broker that was not the last owner."""
        self.rescues = 0
        self.started_on: dict[UUID, object] = {}
        """The log that the process of an incarnation has opened."""
        self.logs: dict[int, object] = {}
        """The log on which a node last registered: only there may a tail lie that is not in the bucket."""
        self._last_owner: dict[int, int] = {}
        self._store = store
        self._fail = fail
        self._grants: dict[int, list[tuple[int, int]]] = {}
        """Per node (commit, broker epoch granted by it), ascending."""
        store.objects = _Watched(self._head_written)

    def node(self, node_id: int) -> NodeRow | None:
        """The node as it is agreed on."""
        return self.state.nodes.get(NodeId(node_id))

    def commands_answered(self, request: Any, response: Any) -> None:
        """A controller answered: no command of an older broker epoch may count after a newer one was granted."""
        for sent, answer in zip(request.commands, response.answers, strict=False):
            if answer.error_code or isinstance(decode_answer(answer.payload), AutomqError):
                continue
            command = decode_command(sent.payload)
            node_id, epoch = getattr(command, "node_id", None), getattr(command, "broker_epoch", None)
            if node_id is None or epoch is None:
                continue
            before = self._granted_before(node_id, answer.seq)
            if before > epoch:
                what = type(command).__name__
                self._fail(
                    Violation(f"5a.13: {what} of node {node_id} at epoch {epoch} counts after {before} was granted")
                )

    def _granted_before(self, node_id: int, seq: int) -> int:
        grants = self._grants.get(node_id, [])
        place = bisect_left(grants, (seq, 0))
        return grants[place - 1][1] if place else 0

    def _head_written(self, data: bytes) -> None:
        head = heads.parse(data)
        if self.head is None:
            self.state = State(head.cluster_id)
        for batch in self._batches(head):
            if batch.seq <= self.seq:
                continue
            for record in batch.records():
                self._judge(batch.seq, record)
                self.state.replay(record)
            self.seq = batch.seq
        self.seq = head.seq
        self.head = head

    def _batches(self, head: Head) -> Iterator[Batch]:
        known = set(self.head.deltas) if self.head else set()
        for key in head.deltas:
            if key not in known:
                yield from split_batches(self._store.data(key))
        yield from head.inline_batches()

    def _judge(self, seq: int, record: Record) -> None:
        if isinstance(record, NodeRegistered | NodeRescued):
            node = self.node(record.node_id)
            if node is not None and node.broker_epoch >= record.broker_epoch:
                self._fail(Violation(f"5a.1: node {record.node_id} goes back to epoch {record.broker_epoch}"))
            self._grants.setdefault(record.node_id, []).append((seq, record.broker_epoch))
            if isinstance(record, NodeRegistered):
                self._judge_log(record)
            self.rescues += isinstance(record, NodeRescued)
        elif isinstance(record, StreamOpened):
            self._judge_open(record)
            self.moves += self._last_owner.get(record.stream_id, record.node_id) != record.node_id
            self._last_owner[record.stream_id] = record.node_id
        elif isinstance(record, ObjectAdded | BlockLeased):
            self._judge_epoch(record.node_id, record.broker_epoch, type(record).__name__)

    def _judge_log(self, record: NodeRegistered) -> None:
        known, found = self.logs.get(record.node_id), self.started_on.get(record.incarnation)
        left = self.state.open_streams_of(NodeId(record.node_id))
        if known is not None and found is not known and left and not record.loses_wal:
            what = f"{len(left)} streams of node {record.node_id}"
            self._fail(Violation(f"5a.4: {what} are open, and it registers on another log than they were written to"))
        self.logs[record.node_id] = found

    def _judge_open(self, record: StreamOpened) -> None:
        self._judge_epoch(record.node_id, record.broker_epoch, "StreamOpened")
        stream = self.state.stream_head(StreamId(record.stream_id))
        if stream is None:
            self._fail(Violation(f"5a.5: stream {record.stream_id} is opened and does not exist"))
        elif stream.is_open and stream.owner != record.node_id:
            self._fail(
                Violation(f"5a.5: stream {record.stream_id} opens at {record.node_id}, is open at {stream.owner}")
            )
        elif record.epoch != stream.epoch + 1:
            self._fail(Violation(f"5a.5: stream {record.stream_id} goes from epoch {stream.epoch} to {record.epoch}"))

    def _judge_epoch(self, node_id: int, epoch: int, what: str) -> None:
        node = self.node(node_id)
        if node is None or node.broker_epoch != epoch:
            at = "nowhere" if node is None else node.broker_epoch
            self._fail(Violation(f"5a.13: {what} of node {node_id} at epoch {epoch}, which is at {at}"))


class _Watched(dict[str, Any]):
    """The store's objects; every head is looked at as it comes."""

    def __init__(self, on_head: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_head = on_head

    def __setitem__(self, key: str, stored: Any) -> None:
        super().__setitem__(key, stored)
        if key == HEAD_KEY:
            self._on_head(stored.data)


__all__ = ["Truth"]
