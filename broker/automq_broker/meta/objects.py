"""Objects: leases of ids, commits, replacement, the end of an object (DESIGN 5a.7-9)."""

import hashlib
from array import array
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

from automq_broker.kernel.errors import ClientFault, NotMine, Refused
from automq_broker.kernel.ids import Offset, StreamId
from automq_broker.meta import nodes
from automq_broker.meta.commands import (
    AllocateObjectIds,
    AllocateProducerIds,
    CommitObject,
    CommitRefused,
    Committed,
    ForgetObjects,
    IdBlock,
    ReplaceObjects,
    RetireBlock,
)
from automq_broker.meta.decision import Decision
from automq_broker.meta.records import (
    BlockLeased,
    BlockRetired,
    ObjectAdded,
    ObjectReplacing,
    ObjectsForgotten,
    ProducerIdsLeased,
    Record,
    object_added,
)
from automq_broker.meta.rows import OFFSET_MAX, BlockRow, ObjectRow, RangeRow
from automq_broker.meta.tables import CELLS, unpack_object
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.meta.state import State

BLOCK_COUNT_MAX: Final = 1_000_000
"""Ids in one lease; more would be a mistake of the sender."""


def digest(record: ObjectAdded) -> int:
    """63 bits that stand for everything a repeat of the commit must have in common with it."""
    state = hashlib.blake2b(digest_size=8)
    state.update(repr((record.size, record.crc, record.kind, record.index_position)).encode())
    state.update(record.ranges.tobytes())
    return int.from_bytes(state.digest(), "little") >> 1


def lease_object_ids(state: "State", command: AllocateObjectIds) -> Decision[IdBlock]:
    """The next `count` ids, for this incarnation only."""
    node = nodes.speaker(state, command.node_id, command.broker_epoch)
    _check_count(command.count)
    first = state.next_object_id
    record = BlockLeased(
        first=first,
        end=first + command.count,
        node_id=node.node_id,
        broker_epoch=node.broker_epoch,
        issued_ms=command.now_ms,
    )
    return Decision((record,), IdBlock(first=first, end=first + command.count))


def lease_producer_ids(state: "State", command: AllocateProducerIds) -> Decision[IdBlock]:
    """The next `count` producer ids."""
    nodes.speaker(state, command.node_id, command.broker_epoch)
    _check_count(command.count)
    first = state.next_producer_id
    end = first + command.count
    return Decision((ProducerIdsLeased(end=end),), IdBlock(first=first, end=end))


def commit(state: "State", command: CommitObject) -> Decision[Committed]:
    """Continue every stream of the object, or refuse the whole."""
    node = nodes.speaker(state, command.node_id, command.broker_epoch)
    row = command.object
    _check_shape(row)
    record = object_added(row, node.broker_epoch)
    if (known := _known(state, record)) is not None:
        if not known:
            raise _refusal(state, command, f"object {row.object_id} was committed with other content")
        return Decision((), Committed(ends={each.stream_id: _end(state, each.stream_id) for each in row.ranges}))
    if not _is_leased(state, row.object_id, command):
        raise _refusal(state, command, f"object id {row.object_id} is retired or was never leased to this incarnation")
    ends: dict[StreamId, Offset] = {}
    for each in row.ranges:
        stream = state.streams.get(each.stream_id)
        if (
            stream is None
            or not stream.is_open
            or stream.owner != node.node_id
            or stream.epoch != each.stream_epoch
            or ends.get(each.stream_id, stream.committed_end) != each.start
        ):
            raise _refusal(state, command, f"object {row.object_id} does not continue stream {each.stream_id}")
        ends[each.stream_id] = each.end
    return Decision((record,), Committed(ends=ends))


def _refusal(state: "State", command: CommitObject, message: str) -> CommitRefused:
    ends: dict[StreamId, Offset] = {}
    gone: list[StreamId] = []
    for stream_id in dict.fromkeys(each.stream_id for each in command.object.ranges):
        stream = state.streams.get(stream_id)
        if stream is not None and stream.is_open and stream.owner == command.node_id:
            ends[stream_id] = Offset(stream.committed_end)
        else:
            ends[stream_id] = OFFSET_MAX
            gone.append(stream_id)
    return CommitRefused(message, ends, tuple(gone))


def replace(state: "State", command: ReplaceObjects) -> Decision[None]:
    """Put new objects in the place of live ones. Refused unless they cover exactly what the old ones hold now."""
    node = nodes.speaker(state, command.node_id, command.broker_epoch)
    records: list[Record] = []
    known = 0
    for row in command.added:
        _check_shape(row)
        plain = object_added(row, node.broker_epoch)
        already = _known(state, plain)
        if already is False:
            raise NotMine(f"object {row.object_id} was committed with other content")
        known += already is True
        records.append(_replacing(plain, command.now_ms))
    if known and known == len(command.added):
        return Decision((), None)
    for row in command.added:
        if not _is_leased(state, row.object_id, command):
            raise NotMine(f"object id {row.object_id} is retired or was never leased to this incarnation")
    _check_cover(state, command)
    return Decision(tuple(records), None)


def _check_cover(state: "State", command: ReplaceObjects) -> None:
    if len({row.object_id for row in command.added}) != len(command.added):
        raise ClientFault(ErrorCode.INVALID_REQUEST, "an object is added twice")
    covered: Counter[int] = Counter()
    seen: set[tuple[int, int]] = set()
    removed = set(command.removed)
    for row in command.added:
        for each in row.ranges:
            for index, object_id in _replaced(state, each):
                if object_id not in removed or (each.stream_id, index) in seen:
                    raise NotMine(f"offsets of stream {each.stream_id} are no longer in the objects to be replaced")
                seen.add((each.stream_id, index))
                covered[object_id] += 1
    for object_id in command.removed:
        packed = state.object_entries.get(object_id)
        if packed is None or unpack_object(packed).live_ranges != covered[object_id]:
            raise NotMine(f"object {object_id} is not live with the ranges that are to be replaced")


def _replaced(state: "State", each: RangeRow) -> "list[tuple[int, int]]":
    """(index, object id) of the ranges that `each` stands for; its bounds must be bounds of theirs."""
    stream = state.streams.get(each.stream_id)
    if stream is None:
        raise NotMine(f"stream {each.stream_id} is deleted")
    last = bisect_left(stream.ends, each.end)
    first = bisect_left(stream.ends, each.start + 1)
    if last >= len(stream.ends) or stream.ends[last] != each.end or stream.cells[first * CELLS + 2] != each.start:
        raise NotMine(f"stream {each.stream_id} has no ranges that span exactly [{each.start}, {each.end})")
    epochs = stream.cells[first * CELLS + 1 : (last + 1) * CELLS : CELLS]
    if not epochs[0] <= each.stream_epoch <= epochs[-1]:
        raise NotMine(f"stream {each.stream_id} has epochs {epochs[0]} to {epochs[-1]} there, not {each.stream_epoch}")
    objects = stream.cells[first * CELLS : (last + 1) * CELLS : CELLS]
    return list(enumerate(objects, first))


def retire(state: "State", command: RetireBlock) -> Decision[None]:
    """Forget a lease; an id without a lease is refused from then on, so the row itself is not needed any more."""
    return Decision((BlockRetired(first=command.first),) if command.first in state.blocks else (), None)


def forget(state: "State", command: ForgetObjects) -> Decision[None]:
    """Forget objects whose data was deleted; ids that nobody knows are no error."""
    live = [object_id for object_id in command.object_ids if object_id in state.object_entries]
    if live:
        raise Refused(f"objects {live[:10]} are live: their data must not be deleted")
    known = [object_id for object_id in command.object_ids if object_id in state.deleting_entries]
    return Decision((ObjectsForgotten(object_ids=array("q", known)),) if known else (), None)


def _known(state: "State", record: ObjectAdded) -> bool | None:
    """None: the id is new. Else whether it was committed with this very content by this incarnation."""
    packed = state.object_entries.get(record.object_id)
    if packed is None:
        deleting = state.deleting_entries.get(record.object_id)
        if deleting is None:
            return None
        packed = deleting[1]
    entry = unpack_object(packed)
    return entry.digest == digest(record) and entry.broker_epoch == record.broker_epoch


def _is_leased(state: "State", object_id: int, command: CommitObject | ReplaceObjects) -> bool:
    block = find_block(state, object_id)
    return block is not None and block.node_id == command.node_id and block.broker_epoch == command.broker_epoch


def find_block(state: "State", object_id: int) -> BlockRow | None:
    """The lease that holds `object_id`; None once it is retired."""
    for block in state.blocks.values():
        if block.first <= object_id < block.end:
            return block
    return None


def _check_shape(row: ObjectRow) -> None:
    for each in row.ranges:
        inside = each.position >= 0 and each.length >= 0 and each.position + each.length <= row.size
        if not (0 <= each.start < each.end and inside):
            raise ClientFault(ErrorCode.INVALID_REQUEST, f"object {row.object_id} has an impossible range: {each}")
    if not row.ranges:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"object {row.object_id} has no ranges")


def _check_count(count: int) -> None:
    if not 0 < count <= BLOCK_COUNT_MAX:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"a block has 1 to {BLOCK_COUNT_MAX} ids, not {count}")


def _end(state: "State", stream_id: StreamId) -> Offset:
    stream = state.streams.get(stream_id)
    return OFFSET_MAX if stream is None else Offset(stream.committed_end)


def _replacing(plain: ObjectAdded, since_ms: int) -> ObjectReplacing:
    return ObjectReplacing(
        object_id=plain.object_id,
        size=plain.size,
        crc=plain.crc,
        node_id=plain.node_id,
        broker_epoch=plain.broker_epoch,
        kind=plain.kind,
        created_ms=plain.created_ms,
        index_position=plain.index_position,
        ranges=plain.ranges,
        since_ms=since_ms,
    )


__all__ = [
    "commit",
    "digest",
    "find_block",
    "forget",
    "lease_object_ids",
    "lease_producer_ids",
    "replace",
    "retire",
]
