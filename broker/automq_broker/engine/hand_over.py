"""The first act of a stop among several brokers: the others take the partitions over while this one still serves.

Waves keep the pause of each partition short: only those of the present wave wait for their new owner. Nothing here is
needed for safety; what is still held when this ends is closed by `engine.start.stop`, and what is not closed by then is
in the WAL.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator

from automq_broker.engine.open_close import OpenPartitions
from automq_broker.kernel.errors import ClientFault, NotMine, Refused, Retry
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta.commands import AssignStreams, LiftFence
from automq_broker.meta.draining import keeps_partitions, plan_drain
from automq_broker.ports import Metadata

log = logging.getLogger("automq.moves")

_WAVE_STREAMS = 250
_WAVES_MAX = 16
"""Each wave costs a few commits and an object: tens of thousands of partitions go in larger waves, not in more."""

_WAVE_PATIENCE_S = 3.0
"""A wave that takes longer is not waited for; its stragglers are planned anew with the next round."""

_PAUSE_S = 0.1
_WORD_PATIENCE_S = 2.0

Wave = dict[NodeId, list[StreamId]]


async def hand_over(
    metadata: Metadata, partitions: OpenPartitions, node_id: NodeId, limit_s: float, now_ms: int
) -> bool:
    """Give every partition to the other ACTIVE brokers; nothing opens here any more.

    Returns when none is held here, when nobody could take them, or after `limit_s`; False, and at once, if all brokers
    stop: each keeps its partitions then.
    """
    partitions.open_no_more()
    await _hear_the_latest(metadata, node_id)
    if keeps_partitions(metadata.state, now_ms):
        return False
    try:
        async with asyncio.timeout(limit_s):
            await _until_nothing_is_held(metadata, partitions, node_id)
    except Refused as nobody:
        log.info("not handed over", extra={"reason": str(nobody)})
    except TimeoutError:
        log.warning("not all handed over in time", extra={"left": len(partitions.by_stream), "seconds": limit_s})
    return True


async def _hear_the_latest(metadata: Metadata, node_id: NodeId) -> None:
    """Have everything that was committed before this call, if a controller answers soon: maybe all brokers stop.

    Any word brings an answer that waits for the copy; this one says no more than the last heartbeat did.
    """
    node = metadata.state.nodes[node_id]
    with contextlib.suppress(TimeoutError, Retry, NotMine):
        async with asyncio.timeout(_WORD_PATIENCE_S):
            await metadata.submit(LiftFence(node_id=node_id, broker_epoch=node.broker_epoch))


async def _until_nothing_is_held(metadata: Metadata, partitions: OpenPartitions, node_id: NodeId) -> None:
    """The last round finds nothing held, and sends on what came meanwhile or lost its next owner."""
    given_up = list(partitions.by_stream)
    is_last = False
    while not is_last:
        is_last = not partitions.by_stream
        plan = plan_drain(metadata.state, node_id, given_up)
        for wave in _waves(plan):
            await _assign(metadata, wave)
            await _wait_given_up(partitions, [stream_id for streams in wave.values() for stream_id in streams])
        await _wait_given_up(partitions, list(partitions.by_stream))


async def _assign(metadata: Metadata, wave: Wave) -> None:
    for target, streams in wave.items():
        try:
            await metadata.submit(AssignStreams(stream_ids=tuple(streams), node_id=target))
        except (Retry, NotMine, ClientFault) as refusal:  # the target is gone or a topic is; the next round knows
            log.info("hand-over put off", extra={"to": target, "count": len(streams), "reason": str(refusal)})
            await asyncio.sleep(_PAUSE_S)


async def _wait_given_up(partitions: OpenPartitions, streams: Collection[StreamId]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAVE_PATIENCE_S):
            await partitions.wait_given_up(streams)


def _waves(plan: Wave) -> Iterator[Wave]:
    """The plan in pieces, each with a share for every target."""
    moves = sum(map(len, plan.values()))
    count = -(-moves // max(_WAVE_STREAMS, -(-moves // _WAVES_MAX)))
    for number in range(count):
        yield {target: streams[number::count] for target, streams in plan.items() if streams[number::count]}


__all__ = ["hand_over"]
