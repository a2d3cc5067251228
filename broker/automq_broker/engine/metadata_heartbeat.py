"""A registered node's heartbeats: that it lives, at which broker epoch, under which load."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from automq_broker.cluster.sessions import Load
from automq_broker.engine.control_values import NotController
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.kernel.errors import Fenced
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.ports import PeerDenied, PeerUnavailable
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest, PartitionLoad
from automq_broker.wire.codes import ErrorCode

_log = logging.getLogger(__name__)

_AGAIN_S = 0.5
"""How soon a heartbeat that found no controller is tried again."""


async def heartbeats(
    metadata: MetadataNode, node_id: NodeId, broker_epoch: BrokerEpoch, take_load: Callable[[], Load], rng: Random
) -> None:
    """For ever: one heartbeat per interval. Raises Fenced (EPOCH_GONE) when the node goes on without this process."""
    interval_s = metadata.knobs.heartbeat_s
    while True:
        request = _request(node_id, broker_epoch, take_load())
        while not await _is_heard(metadata, request):
            await asyncio.sleep(_AGAIN_S * rng.uniform(0.5, 1.0))
        await asyncio.sleep(interval_s * rng.uniform(0.9, 1.0))


async def _is_heard(metadata: MetadataNode, request: NodeHeartbeatRequest) -> bool:
    try:
        response = await metadata.heartbeat(request)
    except (NotController, PeerUnavailable, PeerDenied) as error:
        _log.debug("heartbeat not heard reason=%s", error)
        return False
    if response.error_code == ErrorCode.STALE_BROKER_EPOCH:
        raise Fenced(response.error_message or "EPOCH_GONE")
    return not response.error_code


def _request(node_id: NodeId, broker_epoch: BrokerEpoch, load: Load) -> NodeHeartbeatRequest:
    return NodeHeartbeatRequest(
        node_id=node_id,
        broker_epoch=broker_epoch,
        applied_seq=load.applied_seq,
        is_draining=load.is_draining,
        wal_used_bytes=load.wal_used_bytes,
        wal_capacity_bytes=load.wal_capacity_bytes,
        connections=load.connections,
        interval_ms=load.interval_ms,
        bytes_in=load.bytes_in,
        bytes_out=load.bytes_out,
        partitions=[
            PartitionLoad(stream_id=stream_id, bytes_in=bytes_in, bytes_out=bytes_out)
            for stream_id, (bytes_in, bytes_out) in load.streams.items()
        ],
    )


__all__ = ["heartbeats"]
