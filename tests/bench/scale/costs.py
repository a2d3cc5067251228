"""What commands cost at a size: CPU time of the real decide, check, encode, decode and replay, and bytes."""

import time
from typing import Any

from automq_broker.meta import commands
from automq_broker.meta.codec import encode_batch, split_batches
from automq_broker.meta.commands import Command
from automq_broker.meta.invariants import check_draft
from automq_broker.meta.records import Record
from automq_broker.meta.rows import ObjectRow, RangeRow
from automq_broker.meta.state import State
from automq_broker.meta.tables import Stream
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest, PartitionLoad
from automq_broker.wire.apis.k20004_tail_metadata import TailMetadataRequest, TailMetadataResponse
from automq_broker.wire.frames import (
    RequestHeader,
    decode_request,
    decode_request_header,
    encode_request,
    encode_response,
)

BATCH = 5_000
"""Commands in a full commit."""

_HEARTBEAT, _TAIL = 20_003, 20_004
_HEARTBEAT_STREAMS_MAX = 1_000
_REPEATS = 1_000


def command_costs(state: State, follower: State, brokers: int) -> dict[str, float]:
    """Of a follower and of the controller: a partition opened, one upload of one broker, a heartbeat, a tail's answer."""
    streams = list(state.streams.values())[:BATCH]
    for stream in streams:
        for copy in (state, follower):
            copy.streams[stream.stream_id].is_open = False
    opened = _play(state, follower, [_open(state, stream) for stream in streams])
    first = next(iter(state.nodes))
    epoch = state.nodes[first].broker_epoch
    lease = commands.AllocateObjectIds(node_id=first, broker_epoch=epoch, count=10, now_ms=1)
    _play(state, follower, [lease])
    upload = _play(state, follower, [commands.CommitObject(node_id=first, broker_epoch=epoch, object=_upload(state))])
    ranges = len(state.streams) / brokers
    return {
        "open_controller_us": opened["controller_s"] / len(streams) * 1e6,
        "open_follower_us": opened["follower_s"] / len(streams) * 1e6,
        "open_bytes": opened["bytes"] / len(streams),
        "open_batch_step_ms": opened["step_s"] * 1000,
        "upload_ranges": ranges,
        "upload_controller_ms": upload["controller_s"] * 1000,
        "upload_follower_ms": upload["follower_s"] * 1000,
        "upload_kib": upload["bytes"] / 1024,
        "tail_us": _tail_us(b"x" * int(upload["bytes"])),
        **_heartbeat(min(_HEARTBEAT_STREAMS_MAX, int(ranges))),
    }


def _open(state: State, stream: Stream) -> Command[Any]:
    return commands.OpenStream(
        stream_id=stream.stream_id,  # type: ignore[arg-type]
        node_id=stream.assigned,  # type: ignore[arg-type]
        broker_epoch=state.nodes[stream.assigned].broker_epoch,  # type: ignore[index]
        stream_epoch=stream.epoch + 1,  # type: ignore[arg-type]
        log_end=stream.committed_end,  # type: ignore[arg-type]
    )


def _upload(state: State) -> ObjectRow:
    """What one broker commits every minute if records came to all of its partitions."""
    first = next(iter(state.nodes))
    ranges = tuple(
        RangeRow(
            stream_id=stream.stream_id,  # type: ignore[arg-type]
            stream_epoch=stream.epoch,  # type: ignore[arg-type]
            start=stream.committed_end,  # type: ignore[arg-type]
            end=stream.committed_end + 60,  # type: ignore[arg-type]
            position=index * 61_440,
            length=61_440,
            records=60,
            max_timestamp=1_700_000_000_000 + index,
        )
        for index, stream in enumerate(state.open_streams_of(first))
    )
    return ObjectRow(
        object_id=state.next_object_id - 10,  # type: ignore[arg-type]
        size=len(ranges) * 61_440,
        crc=1,
        node_id=first,
        kind=0,
        created_ms=2,
        index_position=7,
        ranges=ranges,
    )


def _play(state: State, follower: State, batch: list[Command[Any]]) -> dict[str, float]:
    """One commit's batch through the controller and through a follower; seconds, the longest single step, bytes."""
    records: list[Record] = []
    begun = time.process_time()
    draft = state.draft()
    for command in batch:
        decision = draft.decide(command)
        for record in decision.records:
            draft.replay(record)
        records += decision.records
    decided = time.process_time()
    check_draft(state, draft)
    data = encode_batch(1, records)
    encoded = time.process_time()
    for record in records:
        state.replay(record)
    replayed = time.process_time()
    (stored,) = split_batches(data)
    for record in list(stored.records()):
        follower.replay(record)
    followed = time.process_time()
    return {
        "controller_s": replayed - begun,
        "follower_s": followed - replayed,
        "step_s": max(encoded - decided, replayed - encoded, followed - replayed),
        "bytes": len(data),
    }


def _heartbeat(streams: int) -> dict[str, float]:
    """A broker tells at most its busiest thousand partitions."""
    loads = [PartitionLoad(stream_id=number, bytes_in=1000, bytes_out=1000) for number in range(streams)]
    frame = encode_request(_HEARTBEAT, 0, 1, "bench", NodeHeartbeatRequest(node_id=1, partitions=loads))[4:]
    begun = time.process_time()
    for _ in range(_REPEATS // 10):
        _read(frame)
    return {"heartbeat_kib": len(frame) / 1024, "heartbeat_ms": (time.process_time() - begun) / (_REPEATS // 10) * 1000}


def _tail_us(batches: bytes) -> float:
    """One follower's question and its answer, without the socket."""
    frame = encode_request(_TAIL, 0, 1, "bench", TailMetadataRequest(after_seq=1, max_bytes=1 << 20))[4:]
    begun = time.process_time()
    for _ in range(_REPEATS):
        encode_response(_read(frame), TailMetadataResponse(seq=2, batches=batches))
    return (time.process_time() - begun) / _REPEATS * 1e6


def _read(frame: bytes | bytearray) -> RequestHeader:
    header, position = decode_request_header(memoryview(frame))
    decode_request(header, memoryview(frame), position)
    return header


__all__ = ["BATCH", "command_costs"]
