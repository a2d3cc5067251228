"""What the admin API can change: each call becomes commands to the controller, and a decision with its reason.

Nothing is decided twice: the controller refuses what does not fit its state, and says so to the caller.
"""

import asyncio
import logging
from collections.abc import Mapping

from automq_broker.cluster.balance import Move
from automq_broker.contract import admin
from automq_broker.desk.context import BrokerConfigs
from automq_broker.engine.balancing import Balancer
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.sweep import Sweeper
from automq_broker.kernel.errors import ClientFault, Refused, Retry
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamId
from automq_broker.lake.sweep import Brake
from automq_broker.meta import topics
from automq_broker.meta.commands import (
    AcceptWalLoss,
    AssignStreams,
    FenceNode,
    ForgetNode,
    RescueDone,
    RescueNode,
    SetConfigs,
    StopCluster,
)
from automq_broker.meta.draining import plan_drain
from automq_broker.meta.rows import NodeRow, ResourceType
from automq_broker.meta.state import State
from automq_broker.ports import Clock, Metadata
from automq_broker.wire.codes import ErrorCode

log = logging.getLogger("automq.admin")

_SWEEP_TIMEOUT_S = 300.0


class UnknownBroker(ClientFault):
    """No broker has this id."""

    def __init__(self, node_id: int) -> None:
        super().__init__(ErrorCode.BROKER_ID_NOT_REGISTERED, f"no broker {node_id} is registered")


class ClusterActions:
    """What an operator may ask for, over the metadata of one process."""

    def __init__(
        self,
        metadata: Metadata,
        decisions: Decisions,
        balancer: Balancer | None,
        sweeper: Sweeper,
        clock: Clock,
        configs: BrokerConfigs,
    ) -> None:
        self._clock = clock
        self._configs = configs
        self._metadata = metadata
        self._decisions = decisions
        self._balancer = balancer
        self._sweeper = sweeper

    async def drain(self, request: admin.DrainRequest) -> admin.Drained:
        """Cordon the broker and give its partitions to the others, the emptiest first.

        Raises Refused if nobody else could serve them; nothing is changed then.
        """
        node_id = NodeId(request.node_id)
        node = self._node(node_id)
        if request.is_cancelled:
            return await self._uncordon(node)
        plan = plan_drain(self._metadata.state, node_id)
        await self._submit_cordon(node_id, is_cordoned=True)
        for target, streams in plan.items():
            await self._metadata.submit(AssignStreams(stream_ids=tuple(streams), node_id=target))
        count = sum(map(len, plan.values()))
        left = len(self._metadata.state.open_streams_of(node_id))
        reason = _drain_reason(plan, left)
        if count:
            self._decisions.note("drain", f"broker {node_id}", f"{count} partitions leave", reason)
        return admin.Drained(node_id=node_id, moves=count, partitions_left=left, reason=reason)

    async def _uncordon(self, node: NodeRow) -> admin.Drained:
        await self._submit_cordon(node.node_id, is_cordoned=False)
        reason = "it may get partitions again; those that left stay where they are until the balance wants otherwise"
        self._decisions.note("drain", f"broker {node.node_id}", "cancelled", reason)
        left = len(self._metadata.state.open_streams_of(node.node_id))
        return admin.Drained(node_id=node.node_id, moves=0, partitions_left=left, reason=reason)

    async def _submit_cordon(self, node_id: NodeId, *, is_cordoned: bool) -> None:
        if topics.is_cordoned(self._metadata.state, node_id) == is_cordoned:
            return
        await self._metadata.submit(
            SetConfigs(
                resource_type=ResourceType.BROKER,
                resource_name=str(node_id),
                upserts={topics.CORDON_CONFIG: "*"} if is_cordoned else {},
                deletes=() if is_cordoned else (topics.CORDON_CONFIG,),
            )
        )

    async def balance(self, request: admin.BalanceRequest) -> admin.Balanced:
        """Even out the load by the balancer's own rules, or only say how. Raises Refused or NotTheController."""
        if self._balancer is None:
            raise Refused("this broker is alone: there is nothing to balance")
        plan = await (self._balancer.preview() if request.is_dry_run else self._balancer.balance())
        return admin.Balanced(
            is_dry_run=request.is_dry_run,
            moves=tuple(_balance_move(move) for move in plan.moves),
            not_moved=tuple(admin.NotMoved(subject=each.subject, reason=each.reason) for each in plan.refusals),
            is_full=plan.is_full,
        )

    async def fence(self, request: admin.FenceRequest) -> admin.Done:
        """ACTIVE -> FENCED at exactly this epoch; a heartbeat lifts it."""
        node_id, epoch = NodeId(request.node_id), BrokerEpoch(request.broker_epoch)
        self._node(node_id)
        await self._metadata.submit(FenceNode(node_id=node_id, broker_epoch=epoch))
        self._decisions.note("fence", f"broker {node_id}", f"fenced at epoch {epoch}", "asked for by an operator")
        return self._done(node_id)

    async def rescue(self, request: admin.RescueRequest) -> admin.RescueGranted:
        """Take the broker's epoch away for an adopter; the same key gets the same epoch."""
        node_id, epoch = NodeId(request.node_id), BrokerEpoch(request.broker_epoch)
        is_repeated = self._node(node_id).rescue == request.rescue
        granted = await self._metadata.submit(RescueNode(node_id=node_id, expected_epoch=epoch, rescue=request.rescue))
        if not is_repeated:
            self._decisions.note(
                "rescue",
                f"broker {node_id}",
                f"epoch {granted.broker_epoch} granted to an adopter",
                f"an operator proved that epoch {epoch} is dead (rescue {request.rescue})",
            )
        return admin.RescueGranted(node_id=node_id, broker_epoch=granted.broker_epoch)

    async def adopt_done(self, request: admin.AdoptDoneRequest) -> admin.Done:
        """RESCUING -> STOPPED once no partition of the node is open."""
        node_id, epoch = NodeId(request.node_id), BrokerEpoch(request.broker_epoch)
        self._node(node_id)
        await self._metadata.submit(RescueDone(node_id=node_id, broker_epoch=epoch))
        return self._done(node_id)

    async def accept_wal_loss(self, request: admin.AcceptWalLossRequest) -> admin.WalLossAccepted:
        """Close the partitions of a dead broker where they were committed, and tell which they are."""
        node_id, epoch = NodeId(request.node_id), BrokerEpoch(request.broker_epoch)
        self._node(node_id)
        accepted = await self._metadata.submit(
            AcceptWalLoss(
                node_id=node_id,
                expected_epoch=epoch,
                volume_uuid=request.volume_uuid,
                volume_handle=request.volume_handle,
            )
        )
        lost = _lost_behind(self._metadata.state, accepted.ends)
        for each in lost:
            log.error(
                "the loss of the write-ahead log was accepted",
                extra={"node": node_id, "lost_behind": f"{each.topic}-{each.partition} at {each.committed_end}"},
            )
        if lost:
            volume = f"WAL volume {request.volume_uuid} ({request.volume_handle})"
            decision = f"{volume} is given up: what {len(lost)} partitions had not uploaded is lost"
            self._decisions.note("accept-wal-loss", f"broker {node_id}", decision, "asked for by an operator")
        return admin.WalLossAccepted(
            node_id=node_id, broker_epoch=accepted.broker_epoch, lost=lost[: admin.PAGE_ROWS_MAX], total=len(lost)
        )

    async def stop_cluster(self, request: admin.StopClusterRequest) -> admin.ClusterStopping:
        """Brokers that stop from now on keep their partitions, for so long; asked again, for so long again."""
        until_ms = self._clock.now_ms() + request.seconds * 1000 if request.seconds else 0
        await self._metadata.submit(StopCluster(until_ms=until_ms))
        what = f"brokers that stop within {request.seconds} s keep their partitions" if until_ms else "taken back"
        self._decisions.note("stop-cluster", "cluster", what, "asked for by an operator")
        return admin.ClusterStopping(until_ms=until_ms)

    async def forget(self, request: admin.ForgetRequest) -> admin.Forgotten:
        """Show a broker that is gone for good no more; refused while anything depends on it."""
        node_id = NodeId(request.node_id)
        self._node(node_id)
        await self._metadata.submit(ForgetNode(node_id=node_id))
        self._decisions.note("forget", f"broker {node_id}", "forgotten", "asked for by an operator")
        return admin.Forgotten(node_id=node_id)

    async def configure(self, request: admin.ConfigsRequest) -> admin.Configs:
        """Change dynamic configs of all brokers at once. Raises Refused for what this broker would not take."""
        before = self._dynamic()
        after = {name: value for name, value in {**before, **request.set}.items() if name not in request.unset}
        self._configs.check(after, {})
        if after != before:
            upserts = {name: value for name, value in after.items() if before.get(name) != value}
            deletes = tuple(sorted(before.keys() - after.keys()))
            await self._metadata.submit(
                SetConfigs(resource_type=ResourceType.BROKER, resource_name="", upserts=upserts, deletes=deletes)
            )
            told = [f"{name}={value}" for name, value in sorted(upserts.items())] + [
                f"{name} unset" for name in deletes
            ]
            self._decisions.note("configs", "all brokers", ", ".join(told), "asked for by an operator")
        return admin.Configs(configs=self._dynamic())

    def _dynamic(self) -> dict[str, str]:
        return dict(self._metadata.state.configs(ResourceType.BROKER, ""))

    async def sweep(self, request: admin.SweepRequest) -> admin.Swept:
        """Delete the orphans if they are no more than was agreed to. Raises NotMine unless this is the controller."""
        consent = Brake(fraction_max=0, orphans_free=request.orphans, bytes_max=request.size_bytes)
        try:
            async with asyncio.timeout(_SWEEP_TIMEOUT_S):
                plan = await self._sweeper.sweep_consented(consent)
        except TimeoutError:
            raise Retry("the bucket does not answer in time; the sweep may be asked for again", 10.0) from None
        if plan.delete:
            what = f"{len(plan.delete)} orphans of {plan.size_bytes} bytes deleted"
            self._decisions.note("sweep", "bucket", what, "asked for by an operator")
        return admin.Swept(
            orphans=len(plan.orphans),
            size_bytes=plan.size_bytes,
            live_objects=len(self._metadata.state.objects),
            deleted=len(plan.delete),
            held_back=plan.held_back,
        )

    def _node(self, node_id: NodeId) -> NodeRow:
        node = self._metadata.state.nodes.get(node_id)
        if node is None:
            raise UnknownBroker(node_id)
        return node

    def _done(self, node_id: NodeId) -> admin.Done:
        return admin.Done(node_id=node_id, status=admin.BrokerStatus(self._node(node_id).status.name))


def _balance_move(move: Move) -> admin.BalanceMove:
    topic, _, partition = move.partition.name.rpartition("-")
    return admin.BalanceMove(
        topic=topic,
        partition=int(partition),
        source=move.partition.node_id,
        target=move.target,
        goal=move.goal,
        reason=move.reason,
    )


def _lost_behind(state: State, ends: Mapping[StreamId, Offset]) -> tuple[admin.LostBehind, ...]:
    """By topic and number; a partition that was deleted meanwhile lost nothing that anybody wants."""
    found = []
    for stream_id, end in ends.items():
        stream = state.streams.get(stream_id)
        if stream is not None:
            topic = state.topics_by_id[stream.topic_id].name
            found.append(admin.LostBehind(topic=topic, partition=stream.partition, committed_end=end))
    return tuple(sorted(found, key=lambda each: (each.topic, each.partition)))


def _drain_reason(plan: dict[NodeId, list[StreamId]], left: int) -> str:
    shares = ", ".join(f"{len(streams)} to broker {target}" for target, streams in sorted(plan.items()))
    if shares:
        return f"asked for by an operator; {shares}, by the fewest partitions and the same zone first"
    return f"{left} partitions are still to be closed" if left else "it has no partitions"


__all__ = ["ClusterActions", "UnknownBroker"]
