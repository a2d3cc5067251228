"""What always holds. Each invariant has a name; all are checked before every commit, on what the commit touches.

`check_draft` looks at the rows that a draft touched and compares them with the base, `findings` looks at everything and
is for tests and `automq verify`. A violation is a bug of ours: nothing is committed and the process ends (Bug).
COST: a stream's ranges are checked with array and tuple operations, about 0.1 us per range of a touched stream.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import ge
from typing import NamedTuple

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import NodeId
from automq_broker.meta import nodes
from automq_broker.meta.rows import NEVER_OPENED, NO_NODE, BlockRow, NodeRow, NodeStatus
from automq_broker.meta.state import State
from automq_broker.meta.tables import CELLS, Stream, unpack_object
from automq_broker.meta.topics import collision_key


class Finding(NamedTuple):
    """The invariant that does not hold, and where."""

    invariant: str
    detail: str


def check_draft(base: State, draft: State) -> None:
    """Raise Bug, naming the invariant, unless `draft` may be committed on top of `base`."""
    for finding in _draft_findings(base, draft):
        raise Bug(f"metadata invariant {finding.invariant}: {finding.detail}")


def findings(state: State) -> list[Finding]:
    """Everything that does not hold in the whole state; empty if all is well. Looks at every row."""
    return [
        *_counters(state),
        *_topics(state, state.topics_by_id),
        *_names_are_unique(state),
        *_streams(state, state.streams),
        *_nodes(state, state.nodes),
        *_forgotten_own_nothing(state, state.forgotten),
        *_blocks(state.blocks.values(), state),
        *_objects(state, [*state.object_entries, *state.deleting_entries]),
        *_references(state),
    ]


def _draft_findings(base: State, draft: State) -> Iterator[Finding]:
    yield from _counters(draft)
    yield from _counters_never_fall(base, draft)
    yield from _topics(draft, draft.topics_by_id.touched())
    yield from _streams(draft, draft.streams.touched())
    yield from _streams_never_fall(base, draft)
    yield from _nodes(draft, draft.nodes.touched())
    yield from _forgotten_own_nothing(draft, draft.forgotten.touched())
    yield from _nodes_go_legal_ways(base, draft)
    if draft.blocks.touched():
        yield from _blocks(draft.blocks.values(), draft)
    yield from _objects(draft, [*draft.object_entries.touched(), *draft.deleting_entries.touched()])
    yield from _references_follow(base, draft)


def _counters(state: State) -> Iterator[Finding]:
    if len(state.topic_ids) != len(state.topics_by_id):
        yield Finding("names and topics are one to one", f"{len(state.topic_ids)} names")
    if min(state.last_epoch, state.next_stream_id, state.next_object_id, state.next_producer_id) < 0:
        yield Finding("counters are not negative", str(state.last_epoch))


def _counters_never_fall(base: State, draft: State) -> Iterator[Finding]:
    for name in ("last_epoch", "next_stream_id", "next_object_id", "next_producer_id"):
        if getattr(draft, name) < getattr(base, name):
            yield Finding("counters never fall", f"{name} {getattr(base, name)} -> {getattr(draft, name)}")


def _topics(state: State, topic_ids: Iterable[object]) -> Iterator[Finding]:
    for topic_id in topic_ids:
        topic = state.topics_by_id.get(topic_id)  # type: ignore[call-overload]
        if topic is None:
            continue
        if state.topic_ids.get(topic.name) != topic.topic_id:
            yield Finding("names and topics are one to one", f"{topic.name} is not {topic.topic_id}")
        for index, stream_id in enumerate(topic.streams):
            stream = state.streams.get(stream_id)
            if stream is None or stream.topic_id != topic.topic_id or stream.partition != index:
                yield Finding("one stream per partition", f"{topic.name}-{index} has stream {stream_id}")


def _names_are_unique(state: State) -> Iterator[Finding]:
    expected = {key: topic.topic_id for topic in state.topics_by_id.values() if (key := collision_key(topic.name))}
    if expected != dict(state.collisions):
        yield Finding("no two names collide", str(expected.keys() ^ state.collisions.keys()))
    partitions = sum(len(topic.streams) for topic in state.topics_by_id.values())
    if partitions != len(state.streams):
        yield Finding("one stream per partition", f"{partitions} partitions, {len(state.streams)} streams")
    counts = Counter(stream.assigned for stream in state.streams.values())
    if counts != Counter({node_id: count for node_id, count in state.partition_counts.items() if count}):
        yield Finding("partition counts match", str(counts))


def _streams(state: State, stream_ids: Iterable[int]) -> Iterator[Finding]:
    for stream_id in stream_ids:
        stream = state.streams.get(stream_id)
        if stream is None:
            continue
        if stream_id >= state.next_stream_id:
            yield Finding("ids are below their counter", f"stream {stream_id}")
        if stream.topic_id not in state.topics_by_id:
            yield Finding("one stream per partition", f"stream {stream_id} has no topic")
        name = _wrong_owner(state, stream) or _wrong_bounds(stream) or _wrong_ranges(stream) or _wrong_opens(stream)
        if name is not None:
            yield Finding(name, f"stream {stream_id} of {stream.topic_id}-{stream.partition}")


def _wrong_owner(state: State, stream: Stream) -> str | None:
    owner = state.nodes.get(stream.owner)  # type: ignore[call-overload]
    if not stream.is_open:
        return None if stream.owner == NO_NODE else "a closed stream has no owner"
    if owner is None:
        return "an open stream has one owner, a known node"
    if stream.opener_epoch > owner.broker_epoch or stream.epoch <= NEVER_OPENED:
        return "an open stream was opened at an epoch of its owner"
    return None


def _wrong_bounds(stream: Stream) -> str | None:
    if not 0 <= stream.start_offset <= stream.committed_end:
        return "0 <= start <= committed end"
    if len(stream.cells) != len(stream.ends) * CELLS:
        return "every range has its columns"
    if not stream.ends:
        return None if stream.start_offset == stream.committed_end else "ranges hold all from start to committed end"
    if stream.ends[0] <= stream.start_offset or not 0 <= stream.cells[2] <= stream.start_offset:
        return "ranges hold all from start to committed end, none is wholly below"
    return None


def _wrong_ranges(stream: Stream) -> str | None:
    ends, starts, epochs = stream.ends, stream.cells[2::CELLS], stream.cells[1::CELLS]
    if starts[1:] != ends[:-1] or (ends and ends[-1] != stream.committed_end):
        return "ranges are contiguous and disjoint up to the committed end"
    if any(map(ge, starts, ends)):
        return "no range is empty"
    if list(epochs) != sorted(epochs) or (epochs and epochs[-1] > stream.epoch):
        return "epochs of ranges never fall and are not ahead of the stream"
    return None


def _wrong_opens(stream: Stream) -> str | None:
    epochs, starts = stream.opens[::2], stream.opens[1::2]
    if any(map(ge, epochs, epochs[1:])) or any(map(ge, starts, starts[1:])):
        return "the epoch history ascends"
    if (epochs[-1] if epochs else NEVER_OPENED) != stream.epoch:
        return "the epoch history ends with the stream's epoch"
    return None


def _streams_never_fall(base: State, draft: State) -> Iterator[Finding]:
    for stream_id in draft.streams.touched():
        before, after = base.streams.get(stream_id), draft.streams.get(stream_id)
        if before is None or after is None:
            continue
        if after.epoch < before.epoch:
            yield Finding("epochs never fall", f"stream {stream_id} {before.epoch} -> {after.epoch}")
        if after.committed_end < before.committed_end or after.start_offset < before.start_offset:
            yield Finding("starts and committed ends never fall", f"stream {stream_id}")
        if before.is_open and after.is_open and before.owner != after.owner and after.epoch == before.epoch:
            yield Finding("one open owner per epoch", f"stream {stream_id} {before.owner} -> {after.owner}")


def _nodes(state: State, node_ids: Iterable[object]) -> Iterator[Finding]:
    for node_id in node_ids:
        node = state.nodes.get(node_id)  # type: ignore[call-overload]
        if node is not None and (name := _wrong_node(state, node)) is not None:
            yield Finding(name, f"node {node_id} {node.status.name} at epoch {node.broker_epoch}")


def _wrong_node(state: State, node: NodeRow) -> str | None:
    if node.broker_epoch > state.last_epoch:
        return "ids are below their counter"
    if not node.is_wal_confirmed and node.broker_epoch not in node.granted_epochs:
        return "a node's epoch is granted or confirmed"
    if node.status in (NodeStatus.ACTIVE, NodeStatus.FENCED) and not node.is_wal_confirmed:
        return "an active node's WAL epoch is confirmed"
    if node.volume in node.refused_volumes:
        return "a volume that was given up never returns"
    return None


def _forgotten_own_nothing(state: State, node_ids: Iterable[NodeId]) -> Iterator[Finding]:
    for node_id in node_ids:
        if node_id in state.forgotten and (node_id in state.nodes or state.partition_counts.get(node_id)):
            yield Finding("a forgotten node is no node and owns nothing", f"node {node_id}")


def _nodes_go_legal_ways(base: State, draft: State) -> Iterator[Finding]:
    for node_id in draft.nodes.touched():
        before, after = base.nodes.get(node_id), draft.nodes.get(node_id)
        if after is None:
            after = draft.forgotten.get(node_id)
        if after is None:
            yield Finding("a node that is not shown any more is still known", f"node {node_id}")
        elif before is not None and after.broker_epoch < before.broker_epoch:
            yield Finding("epochs never fall", f"node {node_id} {before.broker_epoch} -> {after.broker_epoch}")
        elif before is not None and after.broker_epoch == before.broker_epoch and not _can_reach(before, after):
            yield Finding("nodes go legal ways", f"node {node_id} {before.status.name} -> {after.status.name}")


def _can_reach(before: NodeRow, after: NodeRow) -> bool:
    """One batch may hold several steps, none of which grants a new epoch."""
    reached = {before.status}
    for _ in NodeStatus:
        reached |= {way for status in reached for way in nodes.LEGAL[status] if way not in nodes.GRANTING}
    return after.status in reached


def _blocks(blocks: Iterable[BlockRow], state: State) -> Iterator[Finding]:
    position = 0
    for block in sorted(blocks, key=lambda each: each.first):
        if block.first < position or block.end <= block.first or block.end > state.next_object_id:
            yield Finding("id blocks are disjoint and below their counter", f"[{block.first}, {block.end})")
        position = block.end


def _objects(state: State, object_ids: Iterable[int]) -> Iterator[Finding]:
    for object_id in object_ids:
        packed = state.object_entries.get(object_id)
        deleting = state.deleting_entries.get(object_id)
        if packed is not None and deleting is not None:
            yield Finding("an object is live or deleting, not both", f"object {object_id}")
        if packed is not None and unpack_object(packed).live_ranges <= 0:
            yield Finding("a live object has ranges", f"object {object_id}")
        if object_id >= state.next_object_id:
            yield Finding("ids are below their counter", f"object {object_id}")


def _references(state: State) -> Iterator[Finding]:
    used: Counter[int] = Counter()
    for stream in state.streams.values():
        used.update(stream.cells[::CELLS])
    counted = {object_id: unpack_object(packed).live_ranges for object_id, packed in state.object_entries.items()}
    if used != counted:
        wrong = [key for key in used.keys() | counted.keys() if used[key] != counted.get(key, 0)]
        yield Finding("ranges and objects refer to each other", f"objects {sorted(wrong)[:10]}")


def _references_follow(base: State, draft: State) -> Iterator[Finding]:
    """Like `_references`, by the change alone: what touched streams gained and lost is what objects gained and lost."""
    change: Counter[int] = Counter()
    for stream_id in draft.streams.touched():
        before, after = base.streams.get(stream_id), draft.streams.get(stream_id)
        kept = _common_front(before, after)
        if after is not None:
            change.update(after.cells[kept * CELLS :: CELLS])
        if before is not None:
            change.subtract(before.cells[kept * CELLS :: CELLS])
    for object_id in {*change, *draft.object_entries.touched()}:
        old, new = base.object_entries.get(object_id), draft.object_entries.get(object_id)
        counted = (unpack_object(new).live_ranges if new else 0) - (unpack_object(old).live_ranges if old else 0)
        if counted != change[object_id]:
            yield Finding(
                "ranges and objects refer to each other", f"object {object_id}: {change[object_id]}, {counted}"
            )


def _common_front(before: Stream | None, after: Stream | None) -> int:
    """How many ranges both begin with; an append, the usual case, leaves all of the older ones alone."""
    if before is None or after is None or not before.ends:
        return 0
    count = bisect_right(after.ends, before.ends[-1])
    is_prefix = count == len(before.ends) and after.cells[: count * CELLS] == before.cells
    return count if is_prefix else 0


__all__ = ["Finding", "check_draft", "findings"]
